"""Carbon intensity of consumption from Electricity Maps, API version 4: the latest hour, and a forecast by plan.

Owns the format of ``/carbon-intensity/latest`` and ``/forecast`` (provider's API reference, 2026). A point's
``datetime`` is the start of its interval. Without a place the API would answer for that of the caller's address, so the
place is always sent, that look-up is switched off, and the zone in the answer is compared. Numbers of sandbox keys are
invented and refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from exporter.carbon.place import Place
from exporter.carbon.providers.answers import (
    FORECAST_HOURS,
    MalformedError,
    get,
    items_of,
    number_of,
    parse_json,
    reading,
    record_of,
    refuse_future,
    text_of,
    time_of,
    user_agent,
)
from exporter.carbon.providers.credentials import KeyFile
from exporter.carbon.providers.tempo import fresh_for_s
from exporter.carbon.providers.zones import asked_zone
from exporter.carbon.records import IntensityPoint, IntensitySeries, ZoneQuery
from exporter.carbon.settings import ProviderSettings
from exporter.errors import ProviderError
from exporter.web_client import WebClient

__all__ = ["ElectricityMapsClient"]

_SOURCE = "electricity_maps"
_URL = "https://api.electricitymaps.com/v4"
_NO_FORECAST_S = 86_400.0
"""Seconds for which a plan without a forecast is not asked for one again."""
_NO_FORECAST_NOW_S = 3600.0
"""The same for a zone that has no forecast at the moment."""
_PERIODS_S: Mapping[str, int] = {"5_minutes": 300, "15_minutes": 900, "hourly": 3600}


class ElectricityMapsClient:
    """Asks Electricity Maps. Not for several threads at once.

    Args:
        settings: ``key_file``; may have ``url``, ``ca_file``, ``zone``, ``emission_factors``, ``estimates``.
        place: the node's, whose zone ``settings.zone`` translates.
        timeout_s: seconds for a request as a whole.
    """

    provider = _SOURCE

    def __init__(self, settings: ProviderSettings, place: Place, *, timeout_s: float = 10.0) -> None:
        self._settings = settings
        self._place = place
        self._fresh_for_s = fresh_for_s(settings)
        self._key = KeyFile(settings.key_file, source=_SOURCE)
        self._web = WebClient(
            settings.url or _URL, user_agent=user_agent(), ca_file=settings.ca_file, timeout_s=timeout_s
        )
        self._no_forecast_until_s: dict[str, float] = {}

    def credentials_changed(self) -> bool:
        """Return whether the key differs from the one last sent."""
        return self._key.has_changed()

    def fetch(self, query: ZoneQuery, *, now_s: float) -> IntensitySeries:
        """Return the latest interval, with a forecast if asked for and the plan has one. Raises ``ProviderError``."""
        if query.signal != "average":
            raise ProviderError(_SOURCE, "not_found", f"{_SOURCE} offers the average signal only, not {query.signal}")
        zone = asked_zone(self._settings, query.grid_zone, self._place)
        if self._key.has_changed():
            self._no_forecast_until_s.clear()
        key = self._key.read()
        body = self._get(
            "latest", zone, key, {"disableEstimations": _word(is_true=not self._settings.estimates)}, now_s
        )
        with reading(_SOURCE, (key,)):
            point = self._latest(body, zone)
        refuse_future(_SOURCE, point.from_s, now_s)
        forecast, note = self._forecast(query, zone, key, point.until_s, now_s)
        return IntensitySeries(
            grid_zone=query.grid_zone,
            signal="average",
            provider=_SOURCE,
            basis=self._settings.emission_factors,
            points=(point,),
            forecast=forecast,
            fresh_until_s=point.from_s + self._fresh_for_s,
            fetched_s=now_s,
            note=f"Electricity Maps {zone}, consumption-based{note}",
        )

    def _get(self, what: str, zone: str, key: str, parameters: Mapping[str, str], now_s: float) -> bytes:
        asked = {
            "zone": zone,
            "disableCallerLookup": "true",
            "emissionFactorType": self._settings.emission_factors,
            **parameters,
        }
        path = f"/carbon-intensity/{what}"
        return get(self._web, _SOURCE, path, asked, headers={"auth-token": key}, secrets=(key,), now_s=now_s)

    def _latest(self, body: bytes, zone: str) -> IntensityPoint:
        """Return the one point of ``/carbon-intensity/latest``."""
        answer = record_of(parse_json(body), "answer")
        _check(answer, zone)
        kind = answer.get("emissionFactorType", self._settings.emission_factors)
        if kind != self._settings.emission_factors:
            raise MalformedError(f"expected {self._settings.emission_factors} factors, found {str(kind)[:20]!r}")
        if answer.get("carbonIntensity", 0) is None:
            raise ProviderError(_SOURCE, "not_found", f"{_SOURCE} has no value for {zone} now")
        is_estimated = answer.get("isEstimated", False)
        if not isinstance(is_estimated, bool):
            raise MalformedError("expected true or false as isEstimated")
        if is_estimated and not self._settings.estimates:
            raise ProviderError(
                _SOURCE, "not_found", f"{_SOURCE} has only an estimate for {zone}, and estimates are off"
            )
        from_s = time_of(answer.get("datetime"), "datetime")
        value = number_of(answer.get("carbonIntensity"), "carbonIntensity")
        return IntensityPoint(from_s, from_s + _period_s(answer), value, is_estimated)

    def _forecast(
        self, query: ZoneQuery, zone: str, key: str, after_s: float, now_s: float
    ) -> tuple[tuple[IntensityPoint, ...], str]:
        """Return the points from ``after_s`` on that are not over, and a note. A failure costs the forecast only."""
        if not query.with_forecast:
            return (), ""
        if now_s < self._no_forecast_until_s.get(zone, 0.0):
            return (), "; no forecast for now"
        try:
            body = self._get("forecast", zone, key, {"horizonHours": str(FORECAST_HOURS)}, now_s)
            with reading(_SOURCE, (key,)):
                return tuple(p for p in _points(body, zone) if p.from_s >= after_s and p.until_s > now_s), ""
        except ProviderError as exc:
            if exc.reason == "auth":
                self._no_forecast_until_s[zone] = now_s + _NO_FORECAST_S
                return (), "; the plan has no forecast"
            if exc.reason == "not_found":
                self._no_forecast_until_s[zone] = now_s + _NO_FORECAST_NOW_S
            return (), f"; no forecast ({exc.reason})"


def _points(body: bytes, zone: str) -> Iterator[IntensityPoint]:
    """Yield the points of ``/carbon-intensity/forecast`` that have a value, in order, not overlapping."""
    answer = record_of(parse_json(body), "answer")
    _check(answer, zone)
    period_s = _period_s(answer)
    free_s = float("-inf")
    for entry in items_of(answer.get("forecast"), "forecast"):
        point = record_of(entry, "point of the forecast")
        from_s = time_of(point.get("datetime"), "datetime")
        if point.get("carbonIntensity") is None or from_s < free_s:
            continue
        free_s = from_s + period_s
        yield IntensityPoint(from_s, free_s, number_of(point["carbonIntensity"], "carbonIntensity"), is_estimated=True)


def _check(answer: Mapping[str, object], zone: str) -> None:
    """Refuse invented numbers and numbers of another zone."""
    marks = (answer.get("estimationMethod"), answer.get("_disclaimer"))
    if any(isinstance(mark, str) and "sandbox" in mark.lower() for mark in marks):
        raise ProviderError(
            _SOURCE, "sandbox", f"{_SOURCE} answered with invented numbers: the key is for the sandbox; use a live key"
        )
    found = text_of(answer.get("zone"), "zone")
    if found != zone:
        raise ProviderError(_SOURCE, "wrong_zone", f"{_SOURCE} was asked for {zone} and answered for {found[:40]!r}")


def _period_s(answer: Mapping[str, object]) -> int:
    granularity = text_of(answer.get("temporalGranularity", "hourly"), "temporalGranularity")
    if granularity not in _PERIODS_S:
        raise MalformedError(
            f"expected one of {', '.join(_PERIODS_S)} as temporalGranularity, found {granularity[:40]!r}"
        )
    return _PERIODS_S[granularity]


def _word(*, is_true: bool) -> str:
    return "true" if is_true else "false"
