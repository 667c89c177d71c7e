"""Whether anything ran on a GPU in an interval: what the driver says of a moment, and of the time before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from exporter.attribution.gpu_floors import Quiet
from exporter.attribution.gpu_parts import Part
from exporter.attribution.gpu_records import GpuMemory
from exporter.sensors.gpu.records import GpuReading

__all__ = ["GpuActivity", "gpu_activity"]


class GpuActivity(NamedTuple):
    """What is known of a GPU's activity.

    Attributes:
        is_idle: whether nothing ran in the whole interval.
        quiet: which kind of quiet that was.
        utilization_ratio: over the interval, or None where that is not known.
        utilization_now: at its end, or None where that is not told.
    """

    is_idle: bool
    quiet: Quiet
    utilization_ratio: float | None
    utilization_now: float | None


def gpu_activity(reading: GpuReading | None, parts: Sequence[Part], memory: GpuMemory) -> GpuActivity:
    """Return what is known of the interval that ``reading`` ends.

    A device's utilisation covers at most its last second. That nothing ran before is told by the samples, which cover
    the time since the last reading, by a second zero at its beginning, or by there being nobody who could have run
    anything. Where a zero is contradicted by samples, or by somebody who has just left, utilisation is not known.
    """
    if reading is None:
        return GpuActivity(is_idle=False, quiet="", utilization_ratio=None, utilization_now=None)
    now, before = _utilization_now(reading), memory.utilization_ratio
    mean = now if now is None or before is None else (now + before) / 2
    has_left = any(part.departed for part in parts)
    has_samples = any(value > 0 for value in reading.samples.values())
    if has_samples or has_left or (now or 0.0) > 0:
        is_contradicted = (has_samples or has_left) and now == 0
        return GpuActivity(False, "", None if is_contradicted else mean, now)
    has_context = any(part.has_context for part in parts)
    if reading.has_processes and not has_context:
        return GpuActivity(True, "bare", mean, now)
    is_told = reading.has_samples or (now == 0 and before == 0)
    quiet: Quiet = "context" if is_told and has_context and reading.has_processes else ""
    return GpuActivity(is_told, quiet, mean, now)


def _utilization_now(reading: GpuReading) -> float | None:
    if reading.utilization_ratio is not None:
        return reading.utilization_ratio
    known = [(one.share, one.activity_ratio) for one in reading.instances if one.activity_ratio is not None]
    return sum(share * ratio for share, ratio in known) if known and len(known) == len(reading.instances) else None
