"""A client whose answers a test sets, and series to answer with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from exporter.carbon.records import IntensityPoint, IntensitySeries, Signal, ZoneQuery
from exporter.errors import ProviderError

HOUR_S = 3600.0
NOON_S = 1_795_435_200.0  # 2026-11-23T12:00:00Z


def series_of(
    points: Sequence[tuple[float, float, float]],
    *,
    zone: str = "DE",
    signal: Signal = "average",
    provider: str = "upstream",
    forecast: Sequence[tuple[float, float, float]] = (),
    fresh_for_s: float = 2 * HOUR_S,
    fetched_s: float = NOON_S,
    is_estimated: bool = False,
) -> IntensitySeries:
    """Return a series of (from, until, grams); fresh for so long from the start of the newest."""
    return IntensitySeries(
        grid_zone=zone,
        signal=signal,
        provider=provider,
        basis="lifecycle",
        points=tuple(IntensityPoint(*point, is_estimated) for point in points),
        forecast=tuple(IntensityPoint(*point) for point in forecast),
        fresh_until_s=points[-1][0] + fresh_for_s,
        fetched_s=fetched_s,
    )


@dataclass
class ScriptedClient:
    """Answers ``answer``: a series, an error, or what a function of the time gives."""

    answer: IntensitySeries | Exception
    provider: str = "upstream"
    asked_s: list[float] = field(default_factory=list)
    has_new_key: bool = False

    def credentials_changed(self) -> bool:
        return self.has_new_key

    def fetch(self, query: ZoneQuery, *, now_s: float) -> IntensitySeries:
        self.asked_s.append(now_s)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def failure(reason: str, *, retry_after_s: float | None = None) -> ProviderError:
    return ProviderError("upstream", reason, "it went wrong", retry_after_s=retry_after_s)
