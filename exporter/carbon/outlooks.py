"""The best starts by the forecasts in force, computed once a minute: the loop asks more often, and must not wait."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from exporter.carbon.live.choice import Choice
from exporter.carbon.live.windows import best_window, mean_g_per_kwh, outlook
from exporter.carbon.records import GreenWindow, IntensityPoint, IntensitySeries

__all__ = ["Outlooks"]

_MINUTE_S = 60.0
_AHEAD_S = 72 * 3600.0
"""How far a forecast is looked into, or twice the length of the work where that is more."""
_MOST_INTERVALS = 10_000
"""Intervals looked at in one call, about 25 ms; a zone beyond that has its turn in the next call."""


class Outlooks:
    """Green windows of each zone with a forecast. A forecast that has changed is seen within about a minute.

    Args:
        durations_s: lengths of work.
    """

    def __init__(self, durations_s: Sequence[float]) -> None:
        self._durations_s = tuple(dict.fromkeys(durations_s))
        self._known: dict[tuple[str, str], tuple[float, list[GreenWindow]]] = {}

    def windows(self, choices: Sequence[Choice], now_s: float) -> list[GreenWindow]:
        """Return the windows of every zone whose series in force is fresh and has a forecast."""
        usable = [choice.series for choice in choices if choice.is_fresh and choice.series.forecast]
        looked_at = 0
        for series in sorted(usable, key=self._computed_s):
            if looked_at < _MOST_INTERVALS and not 0 <= now_s - self._computed_s(series) < _MINUTE_S:
                self._known[_key(series)] = (now_s, self._computed(series, now_s))
                ahead_s = now_s + _AHEAD_S
                looked_at += len(_between(series.forecast, now_s, ahead_s)) * len(self._durations_s)
        return [window for series in usable for window in self._known.get(_key(series), (now_s, []))[1]]

    def _computed_s(self, series: IntensitySeries) -> float:
        """Return when the zone's windows were computed; minus infinity: never."""
        known = self._known.get(_key(series))
        return known[0] if known else -math.inf

    def _computed(self, series: IntensitySeries, now_s: float) -> list[GreenWindow]:
        windows = []
        for duration_s in self._durations_s:
            ahead = _between(series.forecast, now_s, now_s + max(_AHEAD_S, 2 * duration_s))
            points = outlook(_between(series.points, now_s, math.inf) or series.points[-1:], ahead)
            best = best_window(points, duration_s, now_s)
            from_now = mean_g_per_kwh(points, now_s, now_s + duration_s)
            if best and from_now is not None:
                windows.append(
                    GreenWindow(
                        grid_zone=series.grid_zone,
                        duration_s=duration_s,
                        starts_s=best[0],
                        mean_g_per_kwh=min(best[1], from_now),
                        now_g_per_kwh=from_now,
                        provider=series.provider,
                    )
                )
        return windows


def _key(series: IntensitySeries) -> tuple[str, str]:
    return series.grid_zone, series.provider


def _between(points: Sequence[IntensityPoint], from_s: float, until_s: float) -> Sequence[IntensityPoint]:
    """Return the intervals that are not over at ``from_s`` and begin before ``until_s``."""
    first = bisect_right(points, from_s, key=lambda point: point.until_s)
    return points[first : bisect_left(points, until_s, key=lambda point: point.from_s)]
