"""The table of accelerators: every row is found by its own name, and by what people type."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.carbon.accelerators import (
    Accelerator,
    Alias,
    accelerator_names,
    find_accelerator,
    find_by_common_name,
    origins,
    parse_line,
    read_lines,
)
from exporter.errors import SourceFormatError

ROWS = [line for line in read_lines() if isinstance(line, Accelerator)]


def test_every_row_is_found_by_the_name_its_driver_reports() -> None:
    """An earlier pattern that swallows a later row's name would hide that row."""
    found = {row.name: find_accelerator(row.name) for row in ROWS}

    assert {row.name: row for row in ROWS} == found


def test_every_figure_names_a_source_of_the_header() -> None:
    known = set(origins())
    named = {key for row in ROWS for key in row.tdp_source.split("+") if key}
    named |= {row.idle_source for row in ROWS if row.idle_source}
    named |= {row.embodied.source for row in ROWS if row.embodied}

    assert named <= known
    assert all(bool(row.tdp_source) == (row.tdp_w is not None) for row in ROWS)
    assert all(bool(row.idle_source) == (row.idle_w is not None) for row in ROWS)


def test_every_alias_names_a_row() -> None:
    aliases = [line for line in read_lines() if isinstance(line, Alias)]

    assert {alias.name for alias in aliases} <= set(accelerator_names())


@pytest.mark.parametrize(
    ("name", "tdp_w"),
    [
        ("NVIDIA H100 80GB HBM3", 700),
        ("NVIDIA H100 PCIe", 350),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", 400),
        ("Tesla V100-SXM2-16GB", 300),
        ("NVIDIA A16", 62.5),
        ("AMD Instinct MI250X", 500),
        ("AMD Instinct MI250", 500),
        ("AMD Instinct MI25", 300),
    ],
)
def test_a_driver_s_name_finds_its_model(name: str, tdp_w: float) -> None:
    found = find_accelerator(name)

    assert found is not None
    assert tdp_w == found.tdp_w


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("A100-80GB", "NVIDIA A100-SXM4-80GB"),
        ("a100", "NVIDIA A100-SXM4-80GB"),
        ("A100 40 GB", "NVIDIA A100-SXM4-40GB"),
        ("A100 PCIe 40GB", "NVIDIA A100-PCIE-40GB"),
        ("H100", "NVIDIA H100 80GB HBM3"),
        ("NVIDIA H100", "NVIDIA H100 80GB HBM3"),
        ("H100-80GB", "NVIDIA H100 80GB HBM3"),
        ("8x H100 SXM5", "NVIDIA H100 80GB HBM3"),
        ("H200", "NVIDIA H200"),
        ("V100", "Tesla V100-SXM2-32GB"),
        ("V100 16GB", "Tesla V100-SXM2-32GB"),
        ("TPU v3", "TPU v3"),
        ("TPUv4", "TPU v4"),
        ("tpu-v2", "TPU v2"),
        ("MI250X", "AMD Instinct MI250X"),
        ("mi300x", "AMD Instinct MI300X"),
        ("RTX 4090", "NVIDIA GeForce RTX 4090"),
        ("4090", "NVIDIA GeForce RTX 4090"),
        ("T4", "Tesla T4"),
        ("L4", "NVIDIA L4"),
        ("L40S", "NVIDIA L40S"),
        ("P100", "Tesla P100-SXM2-16GB"),
        ("Max 1550", "Intel Data Center GPU Max 1550"),
    ],
)
def test_what_people_type_finds_the_model_they_mean(text: str, name: str) -> None:
    found = find_by_common_name(text)

    assert found is not None
    assert name == found.name


@pytest.mark.parametrize("text", ["", "NVIDIA", "80GB", "GeForce", "H1000", "A1000000", "quantum chip 9"])
def test_what_names_no_model_finds_none(text: str) -> None:
    assert find_by_common_name(text) is None


@given(st.text(max_size=80))
def test_any_name_is_looked_up_without_an_error(text: str) -> None:
    find_by_common_name(text)
    find_accelerator(text)


@given(st.text(max_size=120).filter(lambda text: not text.startswith("#")))
def test_a_line_is_a_row_or_a_format_error(line: str) -> None:
    try:
        parsed = parse_line(line)
    except SourceFormatError:
        return

    assert parsed is not None


@pytest.mark.parametrize(
    "line",
    [
        "^A;A;0;s;;;;;;",
        "^A;A;-1;s;;;;;;",
        "^A;A;nan;s;;;;;;",
        "^A;A;1;s;;;5;6;7;x",
        "(;A;1;s;;;;;;",
        "^A;;1;s;;;;;;",
        "a;b",
    ],
)
def test_a_row_without_sense_is_refused(line: str) -> None:
    with pytest.raises(SourceFormatError):
        parse_line(line)
