from __future__ import annotations

import ctypes
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import SourceFormatError
from exporter.sensors.gpu.gpu_metrics import GpuMetrics, parse_gpu_metrics
from tests.sensors.gpu.gpu_trees import METRICS_TABLES, gpu_metrics


def _parsed(table: bytes) -> GpuMetrics:
    return parse_gpu_metrics(table, source="amdgpu", path="gpu_metrics")


@pytest.mark.parametrize("version", METRICS_TABLES)
def test_every_known_revision_gives_energy_power_and_time(version: str) -> None:
    """The parser's offsets agree with the structs as the C rules lay them out."""
    metrics = _parsed(gpu_metrics(version, energy=65_536 * 7, power=312, firmware_time=123))

    assert (metrics.energy_uj, metrics.power_w) == (7_000_000, 312)
    assert metrics.firmware_time_ns == (None if version == "1.1" else 1230)


@given(energy=st.integers(0, 2**64 - 2))
def test_microjoules_are_exact(energy: int) -> None:
    """No float is on the way: one unit is 2**-16 J, whatever the size of the counter; the rest is cut off."""
    exact_uj = Fraction(energy * 1_000_000, 2**16)

    assert _parsed(gpu_metrics(energy=energy)).energy_uj == exact_uj.numerator // exact_uj.denominator


def test_all_ones_mean_not_available() -> None:
    metrics = _parsed(gpu_metrics(energy=2**64 - 1, power=0xFFFF, firmware_time=2**64 - 1))

    assert metrics == GpuMetrics(format=1, content=3)


@pytest.mark.parametrize(("revision", "content"), [(0, 3), (1, 0), (1, 8), (2, 3), (3, 0)])
def test_an_unknown_revision_gives_no_energy(revision: int, content: int) -> None:
    table = bytearray(gpu_metrics(energy=1000, power=300))
    table[2:4] = bytes([revision, content])

    assert _parsed(bytes(table)) == GpuMetrics(revision, content)


def test_a_known_revision_of_another_size_gives_no_energy() -> None:
    """1.6 exists in two layouts; a third one is not guessed at."""
    table = bytearray(gpu_metrics("1.6", energy=1000, power=300))
    table[0:2] = (1600).to_bytes(2, "little")

    assert _parsed(bytes(table)).energy_uj is None


@pytest.mark.parametrize("length", [0, 3, 4, 119])
def test_a_truncated_table_is_an_error(length: int) -> None:
    with pytest.raises(SourceFormatError, match="gpu_metrics: expected"):
        _parsed(gpu_metrics("1.3")[:length])


@given(st.binary(max_size=256) | st.builds(gpu_metrics).flatmap(lambda table: st.binary().map(table.__add__)))
def test_any_bytes_give_a_value_or_a_format_error(table: bytes) -> None:
    try:
        metrics = _parsed(table)
    except SourceFormatError:
        return

    assert metrics.energy_uj is None or metrics.energy_uj >= 0


def test_the_tables_have_the_sizes_that_the_kernel_has() -> None:
    sizes = [ctypes.sizeof(table) for table in METRICS_TABLES.values()]

    assert sizes == [96, 104, 120, 288, 360, 384, 1664, 1656, 2208]
