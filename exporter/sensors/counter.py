"""What two readings of one register mean in joules: the only place where wraps, resets, gaps and jumps are judged.

Pure functions. A counter register counts microjoules from 0 to its range and starts again; it may also be reset by a
driver or by sleep. A power register holds microwatts and is integrated by the trapezoidal rule.
Source: powercap.rst of Linux (``energy_uj``, ``max_energy_range_uj``), hwmon sysfs-interface.rst.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from exporter.sensors.records import CounterState
from exporter.units import MICROJOULES_PER_JOULE, MICROWATTS_PER_WATT

__all__ = ["MAX_INTEGRATION_S", "Step", "StepKind", "integrate", "unwrap"]

StepKind = Literal["counted", "reset", "gap", "jump"]

MAX_INTEGRATION_S = 120.0
"""Seconds between two power readings (or runs of a model) beyond which the time between them is a gap."""

_MIN_BOUND_S = 1.0
"""Reads closer than this are judged as if this far apart: registers are refreshed in steps, reads are delayed."""


class Step(NamedTuple):
    """What happened to one register between two readings.

    Attributes:
        kind: ``counted``: the joules are right to one unit of the register; ``reset``: the register fell and no wrap
            explains it, the joules are those since the reset; ``gap``: too long to tell, no joules;
            ``jump``: more than the hardware can draw, no joules.
        energy_j: joules, not negative.
        interval_s: seconds between the readings, not negative.
    """

    kind: StepKind
    energy_j: float
    interval_s: float


def unwrap(before: CounterState, raw_uj: int, now_s: float, *, range_uj: int | None, max_power_w: float) -> Step:
    """Return what an energy register counted between ``before`` and a reading of ``raw_uj`` at ``now_s``.

    Assumption: the mean power since ``before`` was at most ``max_power_w``. Under it a smaller reading is a wrap or a
    reset, never both; and where one more turn of the register would be just as plausible the energy is unknown:
    a ``gap`` without joules, so that the total stays a lower bound. ``range_uj`` None: wraps are not corrected.
    """
    interval_s = now_s - before.read_at_s
    if interval_s < 0:  # the saved reading is of another boot
        return Step("reset", 0.0, 0.0)
    bound_uj = max_power_w * max(interval_s, _MIN_BOUND_S) * MICROJOULES_PER_JOULE
    if range_uj is not None and max(raw_uj, before.raw) > range_uj:
        range_uj = None  # a register above its own range: the range is wrong
    counted_uj = raw_uj - before.raw
    if counted_uj < 0:
        if range_uj is None or counted_uj + range_uj > bound_uj:
            return Step("reset", raw_uj / MICROJOULES_PER_JOULE if raw_uj <= bound_uj else 0.0, interval_s)
        counted_uj += range_uj
    if counted_uj > bound_uj:
        return Step("jump", 0.0, interval_s)
    if range_uj is not None and counted_uj + range_uj <= bound_uj:
        return Step("gap", 0.0, interval_s)
    return Step("counted", counted_uj / MICROJOULES_PER_JOULE, interval_s)


def integrate(before: CounterState, raw_uw: int, now_s: float) -> Step:
    """Return the energy between two readings of a power register, by the trapezoidal rule.

    Assumption: power moved in a straight line between the readings; over more than ``MAX_INTEGRATION_S`` nobody knows.
    """
    interval_s = now_s - before.read_at_s
    if interval_s < 0:
        return Step("reset", 0.0, 0.0)
    if interval_s > MAX_INTEGRATION_S:
        return Step("gap", 0.0, interval_s)
    return Step("counted", (before.raw + raw_uw) / 2 / MICROWATTS_PER_WATT * interval_s, interval_s)
