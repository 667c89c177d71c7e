"""Marginal and average operating emission rates from WattTime, API version 3.

Owns the format of ``/login`` and ``/v3/forecast`` (provider's API reference, 2026). The forecast's first point is the
present: ``/v3/historical`` comes late. Values are pounds of CO2 per megawatt-hour from combustion at the plants.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import NamedTuple

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
from exporter.units import GRAMS_PER_POUND, KILOWATT_HOURS_PER_MEGAWATT_HOUR
from exporter.web_client import WebClient

__all__ = ["WattTimeClient"]

_SOURCE = "watttime"
_URL = "https://api.watttime.org"
_UNITS = "lbs_co2_per_mwh"
_SIGNALS: Mapping[str, str] = {"average": "co2_aoer", "marginal": "co2_moer"}
_TOKEN_LIFE_S = 1500.0
"""Tokens last 30 minutes."""
_LOGIN_INTERVAL_S = 60.0
"""The provider allows 100 logins in 5 minutes, from everybody behind one account."""
_SHORTEST_PERIOD_S, _LONGEST_PERIOD_S = 60, 86_400


class _Token(NamedTuple):
    text: str
    until_s: float


class WattTimeClient:
    """Asks WattTime. Not for several threads at once.

    Args:
        settings: ``username_file`` and ``password_file``; may have ``url``, ``ca_file`` and ``zone`` (a region).
        place: the node's; its cloud region or zone tells WattTime's region.
        timeout_s: seconds for a request as a whole.
    """

    provider = _SOURCE

    def __init__(self, settings: ProviderSettings, place: Place, *, timeout_s: float = 10.0) -> None:
        self._settings = settings
        self._place = place
        self._fresh_for_s = fresh_for_s(settings)
        self._username = KeyFile(settings.username_file, source=_SOURCE, what="user name")
        self._password = KeyFile(settings.password_file, source=_SOURCE, what="password")
        self._web = WebClient(
            settings.url or _URL, user_agent=user_agent(), ca_file=settings.ca_file, timeout_s=timeout_s
        )
        self._token: _Token | None = None
        self._login_at_s: float | None = None
        self._login_error: tuple[str, str] | None = None

    def credentials_changed(self) -> bool:
        """Return whether user name or password differ from those last sent."""
        return self._username.has_changed() or self._password.has_changed()

    def fetch(self, query: ZoneQuery, *, now_s: float) -> IntensitySeries:
        """Return the present interval, with what follows if asked for. Raises ``ProviderError``."""
        signal = _SIGNALS.get(query.signal)
        if signal is None:
            raise ProviderError(_SOURCE, "not_found", f"{_SOURCE} does not offer the {query.signal} signal")
        region = asked_zone(self._settings, query.grid_zone, self._place)
        parameters = {
            "region": region,
            "signal_type": signal,
            "horizon_hours": str(FORECAST_HOURS if query.with_forecast else 1),
        }
        body, secrets = self._ask(parameters, now_s)
        with reading(_SOURCE, secrets):
            points = _points(body, region, signal)
        present, coming = _split(points, now_s)
        return IntensitySeries(
            grid_zone=query.grid_zone,
            signal=query.signal,
            provider=_SOURCE,
            basis="combustion",
            points=present,
            forecast=coming if query.with_forecast else (),
            fresh_until_s=present[-1].from_s + self._fresh_for_s,
            fetched_s=now_s,
            note=f"WattTime {region} {signal}",
        )

    def _ask(self, parameters: Mapping[str, str], now_s: float) -> tuple[bytes, Sequence[str]]:
        """Return the forecast's body and the secrets sent; a token that is refused is replaced once."""
        if self.credentials_changed():
            self._token = self._login_at_s = None
        is_new = self._token is None or now_s >= self._token.until_s
        token = self._login(now_s) if self._token is None or is_new else self._token
        try:
            return self._forecast(parameters, token, now_s), (token.text,)
        except ProviderError as exc:
            if exc.reason != "auth" or is_new or self._is_too_soon(now_s):
                raise
        token = self._login(now_s)
        return self._forecast(parameters, token, now_s), (token.text,)

    def _forecast(self, parameters: Mapping[str, str], token: _Token, now_s: float) -> bytes:
        headers = {"Authorization": f"Bearer {token.text}"}
        return get(self._web, _SOURCE, "/v3/forecast", parameters, headers=headers, secrets=(token.text,), now_s=now_s)

    def _is_too_soon(self, now_s: float) -> bool:
        return self._login_at_s is not None and abs(now_s - self._login_at_s) < _LOGIN_INTERVAL_S

    def _login(self, now_s: float) -> _Token:
        """Return a new token. Raise ``ProviderError`` without asking within a minute of the last login."""
        if self._is_too_soon(now_s):
            reason, text = self._login_error or ("rate_limited", f"{_SOURCE} is logged in to once a minute")
            raise ProviderError(_SOURCE, reason, text, retry_after_s=_LOGIN_INTERVAL_S)
        username, password = self._username.read(), self._password.read()
        self._token, self._login_at_s, self._login_error = None, now_s, None
        try:
            self._token = self._new_token(username, password, now_s)
        except ProviderError as exc:
            self._login_error = exc.reason, str(exc)
            raise
        return self._token

    def _new_token(self, username: str, password: str, now_s: float) -> _Token:
        basic = base64.b64encode(f"{username}:{password}".encode()).decode()
        secrets = (password, basic, username)
        body = get(
            self._web, _SOURCE, "/login", headers={"Authorization": f"Basic {basic}"}, secrets=secrets, now_s=now_s
        )
        with reading(_SOURCE, secrets):
            text = text_of(record_of(parse_json(body), "answer").get("token"), "token")
            if not (text and text.isascii() and text.isprintable()):
                raise MalformedError("expected a token of plain characters")
        return _Token(text, now_s + _TOKEN_LIFE_S)


def _points(body: bytes, region: str, signal: str) -> Sequence[IntensityPoint]:
    """Return the points of ``/v3/forecast`` in order, not overlapping."""
    answer = record_of(parse_json(body), "answer")
    meta = record_of(answer.get("meta"), "meta")
    found = text_of(meta.get("region"), "meta.region")
    if found != region:
        raise ProviderError(_SOURCE, "wrong_zone", f"{_SOURCE} was asked for {region} and answered for {found[:40]!r}")
    for key, wanted in (("units", _UNITS), ("signal_type", signal)):
        if meta.get(key) != wanted:
            raise MalformedError(f"expected {wanted} as meta.{key}, found {str(meta.get(key))[:40]!r}")
    period_s = number_of(meta.get("data_point_period_seconds"), "meta.data_point_period_seconds")
    if not _SHORTEST_PERIOD_S <= period_s <= _LONGEST_PERIOD_S:
        raise MalformedError(f"expected {_SHORTEST_PERIOD_S} to {_LONGEST_PERIOD_S} seconds between points")
    entries = [record_of(entry, "point") for entry in items_of(answer.get("data"), "data")]
    if not entries or entries[0].get("value", 0) is None:
        raise ProviderError(_SOURCE, "not_found", f"{_SOURCE} has no value for {region} now")
    points: list[IntensityPoint] = []
    for entry in entries:
        if entry.get("value", 0) is None:
            continue
        from_s = time_of(entry.get("point_time"), "point_time")
        pounds_per_mwh = number_of(entry.get("value"), "value")
        if points and from_s < points[-1].until_s:
            raise MalformedError("expected points in order of time")
        grams_per_kwh = pounds_per_mwh * GRAMS_PER_POUND / KILOWATT_HOURS_PER_MEGAWATT_HOUR
        points.append(IntensityPoint(from_s, from_s + period_s, grams_per_kwh, is_estimated=True))
    return points


def _split(
    points: Sequence[IntensityPoint], now_s: float
) -> tuple[tuple[IntensityPoint, ...], tuple[IntensityPoint, ...]]:
    """Return the points up to the present one, and those to come.

    A forecast made within an interval may begin with the next one: its first point then counts from now.
    """
    first = points[0]
    if first.from_s > now_s:
        if first.from_s - now_s > first.until_s - first.from_s:
            raise ProviderError(
                _SOURCE, "future", f"{_SOURCE} answered for {first.from_s - now_s:.0f} s ahead; is the clock right?"
            )
        points = (first._replace(from_s=now_s), *points[1:])
    present = tuple(point for point in points if point.from_s <= now_s)
    return present, tuple(points[len(present) :])
