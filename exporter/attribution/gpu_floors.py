"""What a GPU draws while nothing runs on it: bare, and with a context resident; learned per board.

A quiet GPU shows its idle power directly, once it has settled, so nothing is fitted: the level follows what is seen,
quickly down and slowly up, which makes it a low expectile that forgets. Two floors, because a resident context keeps
clocks and memory up (tens of watts on some boards); the difference belongs to whoever holds the context.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from exporter.attribution.baseline import BaselineSettings
from exporter.attribution.records import BaselineOrigin

__all__ = ["Floor", "Floors", "GpuBaseline", "Quiet", "gpu_baseline"]

Quiet = Literal["", "bare", "context"]
"""Which kind of quiet a GPU is in: none (something ran), nobody on it, or contexts that do nothing."""

_FALL_S = 60.0
_RISE_S = 3600.0


class Floor(NamedTuple):
    """A learned power level.

    Attributes:
        level_w: watts; meaningless while nothing was observed.
        observed_s: settled quiet seconds it was learned from.
    """

    level_w: float = 0.0
    observed_s: float = 0.0

    def observed(self, power_w: float, interval_s: float) -> Floor:
        """Return the floor after ``interval_s`` of settled quiet at ``power_w``."""
        if interval_s <= 0 or power_w <= 0:
            return self
        if self.observed_s <= 0:
            return Floor(power_w, interval_s)
        pace_s = _FALL_S if power_w < self.level_w else _RISE_S
        step = 1 - math.exp(-interval_s / pace_s)
        return Floor(self.level_w + (power_w - self.level_w) * step, self.observed_s + interval_s)


class Floors(NamedTuple):
    """What was learned of one GPU, and how long it has been quiet now.

    Attributes:
        bare: nothing on it.
        context: contexts resident, nothing running.
        quiet: which kind of quiet it is in.
        quiet_s: for how long.
    """

    bare: Floor = Floor()
    context: Floor = Floor()
    quiet: Quiet = ""
    quiet_s: float = 0.0

    def after(self, quiet: Quiet, *, power_w: float | None, interval_s: float, settling_s: float) -> Floors:
        """Return the state after one more interval; learns only what has settled before the interval began."""
        lasted_s = self.quiet_s if quiet and quiet == self.quiet else 0.0
        bare, context = self.bare, self.context
        if quiet and power_w is not None and lasted_s >= settling_s:
            bare = bare.observed(power_w, interval_s) if quiet == "bare" else bare
            context = context.observed(power_w, interval_s) if quiet == "context" else context
        return Floors(bare, context, quiet, lasted_s + interval_s if quiet else 0.0)


class GpuBaseline(NamedTuple):
    """A GPU's idle power in force.

    Attributes:
        bare_w: watts with nothing on it: what holding the GPU costs.
        context_w: watts on top of it while a context is resident: what keeping the context costs.
        origin: where they come from.
    """

    bare_w: float
    context_w: float
    origin: BaselineOrigin


def gpu_baseline(
    floors: Floors,
    *,
    power_w: float,
    utilization_ratio: float | None,
    has_context: bool,
    settings: BaselineSettings,
) -> GpuBaseline:
    """Return the idle power in force: configured, learned, or the prior of the linear power model (DESIGN.md §3).

    Of a GPU whose utilisation is not told the prior says nothing: then the floor that is known, else 0 W.
    """
    if settings.gpu_idle_power_w is not None:
        return GpuBaseline(settings.gpu_idle_power_w, 0.0, "configured")
    bare_w = _learned_w(floors.bare, settings)
    context_w = _learned_w(floors.context, settings)
    if not has_context and bare_w is not None:
        return GpuBaseline(bare_w, 0.0, "learned")
    if has_context and context_w is not None:
        bare_w = context_w if bare_w is None else min(bare_w, context_w)
        return GpuBaseline(bare_w, context_w - bare_w, "learned")
    prior_w = 0.0
    if utilization_ratio is not None:
        prior_w = power_w / (1 + (settings.gpu_full_to_idle_ratio - 1) * min(max(utilization_ratio, 0.0), 1.0))
    if bare_w is None:
        return GpuBaseline(prior_w, 0.0, "prior")
    return GpuBaseline(bare_w, max(prior_w - bare_w, 0.0), "prior")


def _learned_w(floor: Floor, settings: BaselineSettings) -> float | None:
    return floor.level_w if floor.observed_s >= max(settings.gpu_min_learning_s, 1e-9) else None
