"""What every provider's answer must satisfy before it is believed, whoever gave it. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

from exporter.carbon.records import IntensityPoint, IntensitySeries, ZoneQuery
from exporter.errors import ProviderError

__all__ = ["FUTURE_TOLERANCE_S", "checked", "moment"]

FUTURE_TOLERANCE_S = 300.0
"""Seconds by which an interval may begin in the future: clocks differ."""


def moment(at_s: float) -> str:
    """Return a wall-clock time for people: ``2026-11-23 12:00 UTC``, or ``for good``."""
    try:
        return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (OverflowError, ValueError, OSError):
        return "for good" if at_s > 0 else "ever"


def checked(
    series: IntensitySeries,
    query: ZoneQuery,
    *,
    source: str,
    now_s: float,
    bounds: tuple[float, float],
    estimates: bool,
) -> IntensitySeries:
    """Return ``series``, without its estimated points unless ``estimates``.

    Raises:
        ProviderError: of ``source``: another zone or signal than asked for, values outside ``bounds`` (lowest and
            highest, in g/kWh), intervals out of order, a present that lies in the future, or nothing but estimates.
    """
    if series.grid_zone != query.grid_zone:
        raise ProviderError(
            source, "wrong_zone", f"asked for {query.grid_zone}, answered for {series.grid_zone[:64]!r}"
        )
    if series.signal != query.signal:
        raise ProviderError(
            source, "format", f"asked for the signal {query.signal}, answered {str(series.signal)[:20]!r}"
        )
    for points in (series.points, series.forecast):
        _check_intervals(points, source)
        _check_values(points, bounds, source)
    if math.isnan(series.fresh_until_s) or not math.isfinite(series.fetched_s):
        raise ProviderError(source, "format", "the answer does not say until when it holds")
    if not series.points:
        raise ProviderError(source, "not_found", f"no value for {query.grid_zone} now")
    newest_s = series.points[-1].from_s
    if newest_s > now_s + FUTURE_TOLERANCE_S:
        raise ProviderError(
            source,
            "future",
            f"the present value is from {moment(newest_s)}, now is {moment(now_s)}: is the clock right?",
        )
    return series if estimates else _measured(series, source)


def _check_intervals(points: Sequence[IntensityPoint], source: str) -> None:
    for point in points:
        if not (math.isfinite(point.from_s) and point.until_s > point.from_s):
            raise ProviderError(source, "format", f"an interval from {point.from_s} until {point.until_s}")
    for before, after in pairwise(points):
        if after.from_s < before.until_s:
            raise ProviderError(source, "format", f"intervals overlap or are not in order at {moment(after.from_s)}")


def _check_values(points: Sequence[IntensityPoint], bounds: tuple[float, float], source: str) -> None:
    lowest, highest = bounds
    for point in points:
        grams = point.intensity_g_per_kwh
        if not (math.isfinite(grams) and max(lowest, 0) <= grams <= highest):
            raise ProviderError(
                source,
                "implausible",
                f"{grams:g} g/kWh at {moment(point.from_s)} is not within {lowest:g} to {highest:g}",
            )


def _measured(series: IntensitySeries, source: str) -> IntensitySeries:
    """Return ``series`` without estimated points; what is left may be taken for the present for as long as it was."""
    kept = [point for point in series.points if not point.is_estimated]
    if not kept:
        raise ProviderError(
            source, "not_found", f"only estimated values for {series.grid_zone}, and estimates are switched off"
        )
    older_by_s = series.points[-1].from_s - kept[-1].from_s
    return replace(series, points=kept, fresh_until_s=series.fresh_until_s - older_by_s)
