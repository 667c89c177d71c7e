"""Reads amdgpu's binary ``gpu_metrics`` table: energy, power and time of the firmware; all else in it is left alone.

Pure. The table is little endian and naturally aligned: u16 size, u8 format, u8 content, then fields whose places
differ from revision to revision. Only revisions whose size is known exactly are read, because content 1.6 was
published in two layouts. Source: struct gpu_metrics_v1_1 to v1_7 in kgd_pp_interface.h of Linux; offsets are derived
from the field lists.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from exporter.errors import SourceFormatError

__all__ = ["MAX_TABLE_BYTES", "GpuMetrics", "parse_gpu_metrics"]

MAX_TABLE_BYTES = 4096
"""A sysfs attribute is one page at most."""

_HEADER = struct.Struct("<HBB")
_U16 = struct.Struct("<H")
_U64 = struct.Struct("<Q")
_NO_U16 = 0xFFFF
_NO_U64 = 0xFFFF_FFFF_FFFF_FFFF
_UNIT_NUMERATOR_UJ, _UNIT_DENOMINATOR = 15_625, 1_024
"""One unit of the accumulator is 2**-16 J = 15625/1024 µJ = 15.259 µJ."""
_FIRMWARE_TICK_NS = 10


class _Layout(NamedTuple):
    power: int
    energy: int
    firmware_time: int | None


_LAYOUTS: dict[tuple[int, int, int], _Layout] = {  # by format, content and size in bytes
    (1, 1, 96): _Layout(22, 24, None),
    (1, 2, 104): _Layout(22, 24, 96),
    (1, 3, 120): _Layout(22, 24, 96),
    (1, 4, 288): _Layout(10, 24, 232),
    (1, 5, 360): _Layout(10, 88, 304),
    (1, 6, 384): _Layout(10, 88, 328),  # the first 1.6, taken back before its release
    (1, 6, 1656): _Layout(10, 16, 256),
    (1, 6, 1664): _Layout(10, 16, 256),
    (1, 7, 2208): _Layout(10, 24, 288),
}


class GpuMetrics(NamedTuple):
    """What the table says. None: this revision or this GPU does not tell.

    Attributes:
        format: 1: a GPU of its own; 2 and 3: a GPU in one package with CPU cores.
        content: revision of the content.
        energy_uj: accumulated energy in microjoules, rounded down; 64 bits in the firmware, so it does not wrap.
        power_w: power of the socket in whole watts.
        firmware_time_ns: time of the firmware's measurement in nanoseconds since an unknown start.
    """

    format: int
    content: int
    energy_uj: int | None = None
    power_w: int | None = None
    firmware_time_ns: int | None = None


def parse_gpu_metrics(table: bytes, *, source: str, path: str) -> GpuMetrics:
    """Return what ``table`` says; its fields are None where its revision and size are not known.

    Raises:
        SourceFormatError: it is shorter than its header says.
    """
    if len(table) < _HEADER.size:
        raise SourceFormatError(source, f"{path}: expected a table with a header, read {len(table)} bytes")
    size, revision, content = _HEADER.unpack_from(table)
    if not _HEADER.size <= size <= len(table):
        raise SourceFormatError(source, f"{path}: expected the {size} bytes of its header, read {len(table)}")
    layout = _LAYOUTS.get((revision, content, size))
    if layout is None:
        return GpuMetrics(revision, content)
    (energy,) = _U64.unpack_from(table, layout.energy)
    (power_w,) = _U16.unpack_from(table, layout.power)
    ticks = _NO_U64 if layout.firmware_time is None else _U64.unpack_from(table, layout.firmware_time)[0]
    return GpuMetrics(
        format=revision,
        content=content,
        energy_uj=None if energy == _NO_U64 else energy * _UNIT_NUMERATOR_UJ // _UNIT_DENOMINATOR,
        power_w=None if power_w == _NO_U16 else power_w,
        firmware_time_ns=None if ticks in {0, _NO_U64} else ticks * _FIRMWARE_TICK_NS,
    )
