from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import DeviceLostError, SourceError, SourceFormatError, SourcePermissionError
from exporter.sensors.sysfs import clean_name, list_names, open_attribute, parse_register, read_name, read_register
from tests.sensors.trees import DENIED, FAILING


@given(st.binary(max_size=64))
def test_any_bytes_are_a_number_or_a_format_error(text: bytes) -> None:
    try:
        value = parse_register(text, source="rapl", path="x")
    except SourceFormatError:
        return

    assert 0 <= value < 10**19


@given(st.integers(0, 10**19 - 1))
def test_what_the_kernel_writes_is_read_back(value: int) -> None:
    assert value == parse_register(f"{value}\n".encode(), source="rapl", path="x")


@pytest.mark.parametrize(
    "text", [b"", b"\n", b"-1\n", b"1e9", b"9" * 20, b"12\x0034", b"12 junk", "٣".encode(), b"1" * 40, b"1_0", b"+1"]
)
def test_malformed_registers_are_format_errors(text: bytes) -> None:
    """F10: empty, negative, float, 20 digits, NUL, trailing junk, other digits, too long."""
    with pytest.raises(SourceFormatError, match="expected one number"):
        parse_register(text, source="rapl", path="x")


def test_a_huge_attribute_is_read_only_in_part_and_refused(tmp_path: Path) -> None:
    """F10: one MiB of digits."""
    path = tmp_path / "energy_uj"
    path.write_bytes(b"1" * 2**20)
    descriptor = os.open(path, os.O_RDONLY)

    with pytest.raises(SourceFormatError):
        read_register(descriptor, source="rapl", path=str(path))
    os.close(descriptor)


def test_errors_of_the_kernel_keep_their_meaning(tmp_path: Path) -> None:
    with pytest.raises(DeviceLostError, match="ENOENT"):
        open_attribute(str(tmp_path / "absent"), source="rapl")
    with pytest.raises(SourcePermissionError, match="EACCES"):
        open_attribute(str(DENIED), source="rapl")
    descriptor = open_attribute(str(FAILING), source="rapl")
    with pytest.raises(SourceError, match="EIO"):
        read_register(descriptor, source="rapl", path=str(FAILING))
    os.close(descriptor)


@given(st.binary(max_size=300))
def test_any_bytes_become_a_clean_name(text: bytes) -> None:
    """F16: newline, quotes, garbage: valid UTF-8, printable, at most 64 characters, and cleaning is final."""
    name = clean_name(text)

    assert len(name) <= 64
    assert name.isprintable()
    assert name == clean_name(name.encode())


def test_a_name_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")

    assert read_name(str(tmp_path / "absent")) is None
    assert read_name(str(tmp_path / "empty")) is None
    assert read_name(str(FAILING)) is None


def test_a_directory_that_cannot_be_listed_is_empty(tmp_path: Path) -> None:
    assert list_names(str(tmp_path / "absent")) == []
