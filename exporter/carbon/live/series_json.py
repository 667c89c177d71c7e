"""A series of intensities as JSON: what the gateway answers and what the cache on disk holds.

One object: ``version`` (1), ``grid_zone``, ``signal``, ``provider``, ``basis``, ``points`` and ``forecast`` (lists of
``[from_s, until_s, g_per_kwh, is_estimated]``), ``fresh_until_s``, ``fetched_s``, ``note``. Times are Unix seconds;
an open end is null. Unknown keys are passed over, so that a newer gateway can add some.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import cast, get_args

from exporter.carbon.records import IntensityPoint, IntensitySeries, Signal
from exporter.errors import ProviderError

__all__ = ["MOST_POINTS", "VERSION", "decode_series", "encode_series"]

VERSION = 1
MOST_POINTS = 5000
"""Of past intervals, and of coming ones: ten times three days of five minutes."""
_LONGEST_TEXT = 500


def encode_series(series: IntensitySeries) -> dict[str, object]:
    """Return ``series`` as an object that ``json.dumps`` takes, without values that JSON does not have."""
    return {
        "version": VERSION,
        "grid_zone": series.grid_zone,
        "signal": series.signal,
        "provider": series.provider,
        "basis": series.basis,
        "points": [_encoded_point(point) for point in series.points],
        "forecast": [_encoded_point(point) for point in series.forecast],
        "fresh_until_s": _or_null(series.fresh_until_s),
        "fetched_s": series.fetched_s,
        "note": series.note,
    }


def decode_series(document: object, *, source: str) -> IntensitySeries:
    """Return the series that ``document`` describes.

    Raises:
        ProviderError: of ``source``, reason ``format``: it is not what ``encode_series`` gives; with the key.
    """
    if not isinstance(document, Mapping):
        raise _error(source, "an object", document)
    if document.get("version") != VERSION:
        raise _error(source, f"version {VERSION}", document.get("version"))
    signal = document.get("signal")
    if signal not in get_args(Signal):
        raise _error(source, "signal average, marginal or market", signal)
    points = _points(document.get("points"), "points", source)
    if not points:
        raise _error(source, "points: at least one", points)
    return IntensitySeries(
        grid_zone=_text(document, "grid_zone", source),
        signal=cast("Signal", signal),
        provider=_text(document, "provider", source),
        basis=_text(document, "basis", source),
        points=points,
        forecast=_points(document.get("forecast", ()), "forecast", source),
        fresh_until_s=_until(document.get("fresh_until_s"), "fresh_until_s", source),
        fetched_s=_number(document.get("fetched_s"), "fetched_s", source),
        note=_text(document, "note", source),
    )


def _encoded_point(point: IntensityPoint) -> list[object]:
    return [point.from_s, _or_null(point.until_s), point.intensity_g_per_kwh, point.is_estimated]


def _or_null(at_s: float) -> float | None:
    return at_s if math.isfinite(at_s) else None


def _error(source: str, expected: str, found: object) -> ProviderError:
    return ProviderError(source, "format", f"expected {expected}, found {str(found)[:60]!r}")


def _text(document: Mapping[str, object], key: str, source: str) -> str:
    value = document.get(key, "")
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT:
        raise _error(source, f"{key}: a text of at most {_LONGEST_TEXT} characters", value)
    return value


def _number(value: object, key: str, source: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    raise _error(source, f"{key}: a finite number", value)


def _until(value: object, key: str, source: str) -> float:
    return math.inf if value is None else _number(value, key, source)


def _points(value: object, key: str, source: str) -> tuple[IntensityPoint, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) > MOST_POINTS:
        raise _error(source, f"{key}: a list of at most {MOST_POINTS}", value)
    points = tuple(_point(one, key, source) for one in value)
    for before, after in pairwise(points):
        if after.from_s < before.until_s:
            raise _error(source, f"{key}: in order, without overlap", [*after])
    return points


def _point(value: object, key: str, source: str) -> IntensityPoint:
    match value:
        case [from_s, until_s, grams, bool(is_estimated)]:
            point = IntensityPoint(
                _number(from_s, key, source), _until(until_s, key, source), _number(grams, key, source), is_estimated
            )
            if point.until_s > point.from_s and point.intensity_g_per_kwh >= 0:
                return point
    raise _error(source, f"{key}: [from_s, until_s, g_per_kwh, is_estimated]", value)
