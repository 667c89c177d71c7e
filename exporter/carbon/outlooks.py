"""The best starts by the forecasts in force, computed when a forecast changes or a minute has passed."""

from __future__ import annotations

from collections.abc import Sequence

from exporter.carbon.live.choice import Choice
from exporter.carbon.live.windows import best_window, mean_g_per_kwh, outlook
from exporter.carbon.records import GreenWindow, IntensitySeries

__all__ = ["Outlooks"]

_MINUTE_S = 60.0


class Outlooks:
    """Green windows of each zone with a forecast.

    Args:
        durations_s: lengths of work.
    """

    def __init__(self, durations_s: Sequence[float]) -> None:
        self._durations_s = tuple(dict.fromkeys(durations_s))
        self._known: dict[str, tuple[float, IntensitySeries, list[GreenWindow]]] = {}

    def windows(self, choices: Sequence[Choice], now_s: float) -> list[GreenWindow]:
        """Return the windows of every zone whose series in force is fresh and has a forecast."""
        found: list[GreenWindow] = []
        for choice in choices:
            series = choice.series
            if not (choice.is_fresh and series.forecast):
                continue
            known = self._known.get(series.grid_zone)
            if known is None or known[1] is not series or not 0 <= now_s - known[0] < _MINUTE_S:
                known = self._known[series.grid_zone] = (now_s, series, self._computed(series, now_s))
            found += known[2]
        return found

    def _computed(self, series: IntensitySeries, now_s: float) -> list[GreenWindow]:
        points = outlook(series.points, series.forecast)
        windows = []
        for duration_s in self._durations_s:
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
