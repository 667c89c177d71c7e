"""What a platform meter reads beyond the components that have sensors of their own: fans, supplies, boards, drives.

Platform meters average over seconds to minutes and lag behind the CPU's counters, so the rest of one interval may come
out negative. The deficit is carried into the next intervals instead of being cut off, which keeps the long-run sum.
"""

from __future__ import annotations

import math
from collections.abc import Collection

from exporter.sensors.meter import Reading
from exporter.sensors.records import Component, ComponentEnergy

__all__ = ["PlatformRest"]

_MAX_LAG_S = 600.0
"""Seconds of platform energy that may be carried: twice the longest averaging time common meters have."""


class PlatformRest:
    """Keeps what the platform meter still owes, in joules (negative: the components were ahead of it)."""

    def __init__(self) -> None:
        self._carried_j = 0.0
        self._carried_s = 0.0

    def energy(
        self, platform: Reading, rest: Collection[ComponentEnergy], *, uncertainty_ratio: float, is_rest_whole: bool
    ) -> ComponentEnergy | None:
        """Return the component ``other``, or None while a component that is part of the platform is unknown.

        ``is_rest_whole`` False: a component failed in this interval; its joules come later, so the platform's wait.
        """
        limit_j = platform.energy_j / platform.interval_s * _MAX_LAG_S if platform.interval_s > 0 else 0.0
        energy_j = self._carried_j + platform.energy_j - sum(part.energy_j for part in rest)
        interval_s = self._carried_s + platform.interval_s
        if not is_rest_whole:
            self._carried_j, self._carried_s = min(energy_j, limit_j), min(interval_s, _MAX_LAG_S)
            return None
        self._carried_j, self._carried_s = max(min(energy_j, 0.0), -limit_j), 0.0
        energy_j = max(energy_j, 0.0)
        return ComponentEnergy(
            component=Component.OTHER,
            energy_j=energy_j,
            interval_s=interval_s,
            source=platform.meter.key.source,
            quality="estimated" if any(part.quality == "estimated" for part in rest) else "measured",
            uncertainty_ratio=_difference_ratio(platform.energy_j * uncertainty_ratio, rest, energy_j),
        )


def _difference_ratio(platform_error_j: float, rest: Collection[ComponentEnergy], energy_j: float) -> float:
    """Return the relative error of a difference of independently measured energies, at least that of 1 J."""
    errors_j = (part.energy_j * part.uncertainty_ratio for part in rest)
    return math.hypot(platform_error_j, *errors_j) / max(energy_j, 1.0)
