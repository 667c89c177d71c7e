"""The power a component draws without load: configured, learned, or a prior until it is learned.

Learning fits a straight line through (utilisation, power) with weights that fade over days; where the line meets
zero utilisation is the baseline, never above the lowest power seen lately. Assumption: power grows with
utilisation, at most concavely (then the line errs upwards, and the lowest power bounds it).
Source of the prior: the linear power model, DESIGN.md §3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from exporter.attribution.records import BaselineOrigin
from exporter.sensors.records import Component, ComponentEnergy

__all__ = ["Baseline", "BaselineSettings", "LearnedPower", "baseline_for"]

_MIN_SPREAD_RATIO = 0.05
_MIN_DETERMINATION_RATIO = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineSettings:
    """How the idle power of a component is found."""

    cpu_idle_power_w: float | None = None
    """Watts that all CPU packages together draw without load. None: learned. Not negative."""
    dram_idle_power_w: float | None = None
    """Watts that the memory draws without load. None: learned. Not negative."""
    full_to_idle_ratio: float = 3.0
    """Power at full load over power without load, used until the baseline is learned. At least 1.

    The default is the ratio of common two-socket servers' packages; a smaller value charges less to those who run."""
    learning_half_life_s: float = 86_400.0
    """Seconds after which an observation counts half. One day, because a node's habits repeat daily. Above 0."""
    min_learning_s: float = 600.0
    """Seconds of observation before a learned baseline is used. Not negative."""
    gpu_idle_power_w: float | None = None
    """Watts that one GPU draws without load, the same for all of them. None: learned, GPU by GPU. Not negative."""
    gpu_full_to_idle_ratio: float = 8.0
    """Power of a GPU at full load over power without load, used until its baseline is learned. At least 1.

    The default is between the ratios of A100 (400 W over 55 W) and H100 boards (700 W over 70 W); a smaller value
    charges more energy as idle."""
    gpu_settling_s: float = 30.0
    """Seconds a GPU must have been quiet before its power counts as idle power: it falls slowly. Not negative."""
    gpu_min_learning_s: float = 60.0
    """Seconds of settled quiet before a GPU's learned idle power is used. Not negative.

    Short, because a quiet GPU tells its idle power directly; a CPU's must be found from how power moves with load."""
    gpu_carry_s: float = 30.0
    """Seconds for which the last known use of a shared GPU stands in where the driver tells of none. Not negative."""

    def configured_w(self, component: Component) -> float | None:
        """Return the configured idle watts of ``component``, or None."""
        return {Component.CPU: self.cpu_idle_power_w, Component.DRAM: self.dram_idle_power_w}.get(component)


class Baseline(NamedTuple):
    """A component's idle power in force: watts, and where they come from."""

    idle_power_w: float
    origin: BaselineOrigin


class LearnedPower(NamedTuple):
    """What was learned of one component: fading sums over (utilisation, power) observations.

    Attributes:
        weight_s: observed seconds, faded.
        mean_busy_ratio: weighted mean utilisation.
        mean_power_w: weighted mean power.
        busy_spread: weighted sum of squared deviations of utilisation.
        power_spread: weighted sum of squared deviations of power.
        joint_spread: weighted sum of products of the deviations.
        lowest_power_w: lowest power seen, rising towards the mean as the observation fades.
    """

    weight_s: float = 0.0
    mean_busy_ratio: float = 0.0
    mean_power_w: float = 0.0
    busy_spread: float = 0.0
    power_spread: float = 0.0
    joint_spread: float = 0.0
    lowest_power_w: float = math.inf

    def observed(self, *, power_w: float, busy_ratio: float, interval_s: float, half_life_s: float) -> LearnedPower:
        """Return the state after one more interval. Intervals without length or without power change nothing.

        Source: West's update of weighted mean and co-moments (CACM 22, 1979), with exponential forgetting.
        """
        if interval_s <= 0 or power_w <= 0:
            return self
        keep = 0.5 ** (interval_s / half_life_s)
        weight_s = self.weight_s * keep + interval_s
        busy_step, power_step = busy_ratio - self.mean_busy_ratio, power_w - self.mean_power_w
        mean_busy_ratio = self.mean_busy_ratio + busy_step * interval_s / weight_s
        mean_power_w = self.mean_power_w + power_step * interval_s / weight_s
        faded_lowest_w = self.lowest_power_w
        if math.isfinite(faded_lowest_w):
            faded_lowest_w += (mean_power_w - faded_lowest_w) * (1 - keep)
        return LearnedPower(
            weight_s=weight_s,
            mean_busy_ratio=mean_busy_ratio,
            mean_power_w=mean_power_w,
            busy_spread=self.busy_spread * keep + interval_s * busy_step * (busy_ratio - mean_busy_ratio),
            power_spread=self.power_spread * keep + interval_s * power_step * (power_w - mean_power_w),
            joint_spread=self.joint_spread * keep + interval_s * busy_step * (power_w - mean_power_w),
            lowest_power_w=min(power_w, faded_lowest_w),
        )

    def idle_power_w(self, *, min_learning_s: float) -> float | None:
        """Return the learned idle power in watts, or None while it cannot be told.

        It can be told once utilisation varied (standard deviation of at least 0.05) for long enough, power followed
        it (coefficient of determination of at least 0.3), and the line meets zero utilisation above zero watts.
        """
        if self.weight_s < min_learning_s or self.weight_s <= 0:
            return None
        if self.busy_spread / self.weight_s < _MIN_SPREAD_RATIO**2 or self.joint_spread <= 0 or self.power_spread <= 0:
            return None
        if self.joint_spread**2 < _MIN_DETERMINATION_RATIO * self.busy_spread * self.power_spread:
            return None
        intercept_w = self.mean_power_w - self.joint_spread / self.busy_spread * self.mean_busy_ratio
        return min(intercept_w, self.lowest_power_w) if intercept_w > 0 else None


def baseline_for(
    energy: ComponentEnergy,
    *,
    busy_ratio: float,
    settings: BaselineSettings,
    learned: Mapping[Component, LearnedPower],
) -> Baseline:
    """Return the idle power in force for ``energy``'s component: configured, else the model's, learned, or prior.

    The platform's rest (fans, supplies) has no active part: all of it is idle power.
    """
    power_w = energy.energy_j / energy.interval_s if energy.interval_s > 0 else 0.0
    if energy.component is Component.OTHER:
        return Baseline(power_w, "model")
    configured_w = settings.configured_w(energy.component)
    if configured_w is not None:
        return Baseline(configured_w, "configured")
    if energy.idle_power_w is not None:
        return Baseline(energy.idle_power_w, "model")
    state = learned.get(energy.component)
    learned_w = state.idle_power_w(min_learning_s=settings.min_learning_s) if state else None
    if learned_w is not None:
        return Baseline(learned_w, "learned")
    return Baseline(power_w / (1 + (settings.full_to_idle_ratio - 1) * busy_ratio), "prior")
