"""Arithmetic on intensities over time: means, what holds at a moment, the best start. Pure functions.

Intervals are half-open, ``[from_s, until_s)``, in order and without overlap; gaps are allowed.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise

from exporter.carbon.records import IntensityPoint

_ROUNDING = 1e-9
"""Of the highest intensity: above the error of sums over some days, below anything that matters."""

__all__ = ["best_window", "held", "mean_g_per_kwh", "outlook", "point_at"]


def mean_g_per_kwh(points: Iterable[IntensityPoint], from_s: float, until_s: float) -> float | None:
    """Return the time-weighted mean over ``[from_s, until_s)``, or None where a part of it is not covered."""
    if not until_s > from_s:
        return None
    reached_s = from_s
    parts: list[float] = []
    for point in points:
        if point.until_s <= reached_s:
            continue
        if point.from_s > reached_s:
            return None
        end_s = min(point.until_s, until_s)
        if end_s >= until_s and not parts:
            return point.intensity_g_per_kwh
        parts.append(point.intensity_g_per_kwh * (end_s - reached_s))
        reached_s = end_s
        if reached_s >= until_s:
            return math.fsum(parts) / (until_s - from_s)
    return None


def point_at(points: Sequence[IntensityPoint], at_s: float) -> IntensityPoint:
    """Return the interval that holds at ``at_s``: the newest that has begun, also past its end; else the first.

    ``points`` has at least one interval.
    """
    index = bisect_right(points, at_s, key=lambda point: point.from_s)
    return points[max(index - 1, 0)]


def held(points: Sequence[IntensityPoint]) -> list[IntensityPoint]:
    """Return ``points`` with every value kept until the next begins, the last without end."""
    return [
        *(before._replace(until_s=after.from_s) for before, after in pairwise(points)),
        *(last._replace(until_s=math.inf) for last in points[-1:]),
    ]


def outlook(points: Sequence[IntensityPoint], forecast: Sequence[IntensityPoint]) -> list[IntensityPoint]:
    """Return ``points`` and then ``forecast`` from where they end; the last known value holds until it begins."""
    known_until_s = points[-1].until_s if points else -math.inf
    coming = [
        point._replace(from_s=max(point.from_s, known_until_s)) for point in forecast if point.until_s > known_until_s
    ]
    if not (points and coming):
        return [*points, *coming]
    return [*points[:-1], points[-1]._replace(until_s=coming[0].from_s), *coming]


def best_window(points: Sequence[IntensityPoint], duration_s: float, now_s: float) -> tuple[float, float] | None:
    """Return start and mean of the ``duration_s`` with the lowest mean from ``now_s`` on, or None where none fits.

    Exact: the mean as a function of the start is linear between starts at which the window's begin or its end meets
    an interval's edge, so a minimum lies at one of them. The earliest of equal ones is taken: those that differ by
    less than the rounding of sums. By prefix sums: n log n steps for n intervals.
    """
    best: tuple[float, float] | None = None
    for stretch in _stretches(points, now_s):
        rounding_g_per_kwh = _ROUNDING * max(point.intensity_g_per_kwh for point in stretch)
        for found in _candidates(stretch, duration_s):
            if best is None or found[1] < best[1] - rounding_g_per_kwh:
                best = found
    return best


def _stretches(points: Sequence[IntensityPoint], now_s: float) -> Iterator[list[IntensityPoint]]:
    """Yield runs of intervals without a gap, from ``now_s`` on; an interval without end ends them."""
    stretch: list[IntensityPoint] = []
    for point in points:
        if point.until_s <= now_s:
            continue
        point = point._replace(from_s=max(point.from_s, now_s))
        if stretch and stretch[-1].until_s != point.from_s:
            yield stretch
            stretch = []
        stretch.append(point)
    if stretch:
        yield stretch


def _candidates(stretch: list[IntensityPoint], duration_s: float) -> Iterator[tuple[float, float]]:
    """Yield every start worth a look with its mean, in the order of time."""
    first_s = stretch[0].from_s
    last = stretch[-1]
    end_s = last.until_s if math.isfinite(last.until_s) else last.from_s + duration_s
    edges = [*(point.from_s for point in stretch), end_s]
    integrals = list(
        accumulate((point.intensity_g_per_kwh * (b - a) for point, (a, b) in _with_edges(stretch, edges)), initial=0.0)
    )

    def integral(at_s: float) -> float:
        index = min(bisect_right(edges, at_s), len(stretch)) - 1
        return integrals[index] + stretch[index].intensity_g_per_kwh * (at_s - edges[index])

    starts = {edge for edge in edges if edge + duration_s <= end_s}
    starts |= {edge - duration_s for edge in edges if edge - duration_s >= first_s}
    for start_s in sorted(starts):
        yield start_s, (integral(start_s + duration_s) - integral(start_s)) / duration_s


def _with_edges(
    stretch: list[IntensityPoint], edges: list[float]
) -> Iterator[tuple[IntensityPoint, tuple[float, float]]]:
    return zip(stretch, pairwise(edges), strict=True)
