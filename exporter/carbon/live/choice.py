"""Which of several providers' values is in force. Pure functions."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from exporter.carbon.live.windows import held, mean_g_per_kwh, point_at
from exporter.carbon.records import Intensity, IntensityPoint, IntensitySeries

__all__ = ["Choice", "choose"]


class Choice(NamedTuple):
    """The series in force.

    Attributes:
        rank: its place in the order of preference, from 0.
        series: what its provider said.
        point: the interval that holds now.
        is_fresh: whether it may be taken for the present.
    """

    rank: int
    series: IntensitySeries
    point: IntensityPoint
    is_fresh: bool

    def intensity(self) -> Intensity:
        """Return the value with its provenance."""
        series, point = self.series, self.point
        return Intensity(
            grid_zone=series.grid_zone,
            signal=series.signal,
            intensity_g_per_kwh=point.intensity_g_per_kwh,
            provider=series.provider,
            basis=series.basis,
            is_estimated=point.is_estimated,
            observed_s=point.from_s,
            fresh_until_s=series.fresh_until_s if math.isfinite(series.fresh_until_s) else None,
            note=series.note,
        )

    def mean_g_per_kwh(self, from_s: float, until_s: float) -> float | None:
        """Return the mean over a past span, each value kept until its successor; None before the first value."""
        points = self.series.points
        first = max(bisect_right(points, from_s, key=lambda point: point.from_s) - 1, 0)
        return mean_g_per_kwh(held(points[first:]), from_s, until_s)


def choose(candidates: Sequence[IntensitySeries | None], *, now_s: float, keep_s: float) -> Choice | None:
    """Return the first fresh one, else the first that was fresh at most ``keep_s`` ago, else None.

    ``candidates`` are in order of preference; None stands for a provider that knows nothing.
    """
    known = [
        Choice(rank, series, point_at(series.points, now_s), now_s < series.fresh_until_s)
        for rank, series in enumerate(candidates)
        if series is not None
    ]
    fresh = (choice for choice in known if choice.is_fresh)
    kept = (choice for choice in known if now_s - choice.series.fresh_until_s <= keep_s)
    return next(fresh, None) or next(kept, None)
