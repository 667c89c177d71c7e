"""Parsing the files of control groups."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import SourceFormatError
from exporter.testing.kernel_files import create_text
from exporter.workloads.cgroup_files import choose_hierarchy, parse_cpu_set, parse_resident_bytes, parse_usage_ns

Version = Literal["v1", "v2"]
_VERSIONS: tuple[Version, ...] = ("v1", "v2")
_TEXT = st.binary() | st.builds(
    b"".join,
    st.lists(
        st.sampled_from(
            [b"usage_usec ", b"anon ", b"shmem ", b"total_rss ", b"1", b"9" * 30, b"-", b",", b"\n", b"\xff"]
        )
    ),
)


@given(raw=_TEXT, version=st.sampled_from(_VERSIONS))
def test_any_bytes_give_a_number_that_is_not_negative_or_a_format_error(raw: bytes, version: Version) -> None:
    with contextlib.suppress(SourceFormatError):
        assert parse_usage_ns(raw, version=version) >= 0
    with contextlib.suppress(SourceFormatError):
        assert parse_resident_bytes(raw, version=version) >= 0
    with contextlib.suppress(SourceFormatError):
        assert parse_cpu_set(raw) >= 0


@given(usage_us=st.integers(min_value=0, max_value=2**63 // 1000))
def test_version_2_counts_in_microseconds_and_version_1_in_nanoseconds(usage_us: int) -> None:
    text = b"usage_usec %d\nuser_usec 1\nsystem_usec 2\nnr_periods 0\n" % usage_us

    assert parse_usage_ns(text, version="v2") == usage_us * 1000
    assert parse_usage_ns(b"%d\n" % usage_us, version="v1") == usage_us


@pytest.mark.parametrize("raw", [b"", b"\n", b"-1\n", b"usage_usec\n", b"usage_usec \n", b"12 13\n", b"0x10\n"])
@pytest.mark.parametrize("version", _VERSIONS)
def test_what_is_no_cpu_time_is_refused(raw: bytes, version: Version) -> None:
    with pytest.raises(SourceFormatError, match="expected CPU time"):
        parse_usage_ns(raw, version=version)


@given(cpus=st.sets(st.integers(min_value=0, max_value=400)))
def test_a_list_of_cpus_is_counted_however_it_is_written(cpus: set[int]) -> None:
    singles = ",".join(str(cpu) for cpu in sorted(cpus))
    ranges: list[str] = []
    for cpu in sorted(cpus):
        if cpu - 1 in cpus:
            ranges[-1] = f"{ranges[-1].partition('-')[0]}-{cpu}"
        else:
            ranges.append(str(cpu))

    assert parse_cpu_set(f"{singles}\n".encode()) == len(cpus)
    assert parse_cpu_set(f"{','.join(ranges)}\n".encode()) == len(cpus)


def test_resident_memory_leaves_out_the_page_cache() -> None:
    v2 = b"anon 100\nfile 7000\nkernel 9\nshmem 30\nfile_mapped 5\nanon_thp 1\n"
    v1 = b"cache 7\nrss 1\nshmem 2\ntotal_cache 9000\ntotal_rss 200\ntotal_rss_huge 5\ntotal_shmem 40\n"

    assert parse_resident_bytes(v2, version="v2") == 130
    assert parse_resident_bytes(v1, version="v1") == 240


def _v1(root: Path, *groups: str) -> None:
    create_text(root / "cpu,cpuacct/cpuacct.usage", "1\n")
    for group in groups:
        (root / "cpu,cpuacct" / group).mkdir()


def _v2(root: Path, *groups: str) -> None:
    create_text(root / "cgroup.controllers", "cpu memory\n")
    create_text(root / "cpu.stat", "usage_usec 1\n")
    for group in groups:
        (root / group).mkdir()


def test_pure_v2_is_followed(tmp_path: Path) -> None:
    """F49."""
    _v2(tmp_path, "system.slice")
    hierarchy = choose_hierarchy(tmp_path)

    assert hierarchy is not None
    assert (hierarchy.version, hierarchy.root) == ("v2", tmp_path)


def test_of_a_hybrid_v1_is_followed_while_it_has_groups(tmp_path: Path) -> None:
    """F49."""
    _v1(tmp_path, "docker")
    _v2(tmp_path / "unified", "system.slice")
    hierarchy = choose_hierarchy(tmp_path)

    assert hierarchy is not None
    assert (hierarchy.version, hierarchy.root) == ("v1", tmp_path / "cpu,cpuacct")


def test_of_a_hybrid_v2_is_followed_if_only_that_has_groups(tmp_path: Path) -> None:
    """F49."""
    _v1(tmp_path)
    _v2(tmp_path / "unified", "system.slice")
    hierarchy = choose_hierarchy(tmp_path)

    assert hierarchy is not None
    assert (hierarchy.version, hierarchy.root) == ("v2", tmp_path / "unified")


def test_of_an_unused_hybrid_v1_is_followed(tmp_path: Path) -> None:
    """F49."""
    _v1(tmp_path)
    _v2(tmp_path / "unified")
    hierarchy = choose_hierarchy(tmp_path)

    assert hierarchy is not None
    assert hierarchy.version == "v1"


def test_nothing_mounted_means_no_hierarchy(tmp_path: Path) -> None:
    assert choose_hierarchy(tmp_path) is None
    assert choose_hierarchy(tmp_path / "missing") is None


def test_a_processs_path_is_taken_from_the_hierarchy_that_is_followed(tmp_path: Path) -> None:
    _v1(tmp_path, "docker")
    hierarchy = choose_hierarchy(tmp_path)

    assert hierarchy is not None
    assert hierarchy.process_path(b"4:memory:/m\n2:cpu,cpuacct:/a:b (deleted)\n0::/\n") == "/a:b"
    assert hierarchy.process_path(b"3:cpu:/other\n0::/\n") is None
    assert hierarchy.process_path(b"\xff\n::\n") is None
