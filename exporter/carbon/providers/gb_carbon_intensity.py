"""Carbon intensity of Great Britain from the Carbon Intensity API of its system operator (NESO), without a key.

Owns the formats of ``/intensity`` and ``/regional/intensity`` (provider's documentation, version 2). Half-hourly; the
present value is a forecast until the half hour is over. Emissions of combustion at the plants, with
factors for imports. Data: CC BY 4.0, NESO.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Never

from exporter.carbon.place import Place
from exporter.carbon.providers.answers import (
    MalformedError,
    get,
    items_of,
    number_of,
    parse_json,
    reading,
    record_of,
    time_of,
    user_agent,
    utc_text,
)
from exporter.carbon.providers.tempo import fresh_for_s
from exporter.carbon.providers.zones import GB_NATIONAL, asked_zone
from exporter.carbon.records import IntensityPoint, IntensitySeries, ZoneQuery
from exporter.carbon.settings import ProviderSettings
from exporter.errors import ProviderError
from exporter.web_client import WebClient

__all__ = ["GbCarbonIntensityClient"]

_SOURCE = "gb_carbon_intensity"
_URL = "https://api.carbonintensity.org.uk"
_PERIOD_S = 1800
_TIME = "%Y-%m-%dT%H:%MZ"
"""The API refuses seconds."""


class GbCarbonIntensityClient:
    """Asks the Carbon Intensity API.

    Args:
        settings: may have ``url``, ``ca_file`` and ``zone`` (a region's number from 1 to 17).
        place: the node's, whose zone ``settings.zone`` translates.
        timeout_s: seconds for a request as a whole; the server can be slow.
    """

    provider = _SOURCE

    def __init__(self, settings: ProviderSettings, place: Place, *, timeout_s: float = 20.0) -> None:
        self._settings = settings
        self._place = place
        self._fresh_for_s = fresh_for_s(settings)
        self._web = WebClient(
            settings.url or _URL, user_agent=user_agent(), ca_file=settings.ca_file, timeout_s=timeout_s
        )

    def credentials_changed(self) -> bool:
        """Return False: there is no key."""
        return False

    def fetch(self, query: ZoneQuery, *, now_s: float) -> IntensitySeries:
        """Return the present half hour, with the next 48 hours if asked for. Raises ``ProviderError``."""
        if query.signal != "average":
            raise ProviderError(_SOURCE, "not_found", f"{_SOURCE} offers the average signal only, not {query.signal}")
        name = asked_zone(self._settings, query.grid_zone, self._place)
        from_s = now_s // _PERIOD_S * _PERIOD_S
        body = get(self._web, _SOURCE, _path(name, from_s, with_forecast=query.with_forecast), now_s=now_s)
        with reading(_SOURCE):
            points = _points(parse_json(body), name)
        present = next((point for point in points if point.from_s == from_s), None)
        if present is None:
            _refuse(points, name, from_s)
        return IntensitySeries(
            grid_zone=query.grid_zone,
            signal="average",
            provider=_SOURCE,
            basis="combustion",
            points=(present,),
            forecast=tuple(point for point in points if point.from_s > from_s) if query.with_forecast else (),
            fresh_until_s=from_s + self._fresh_for_s,
            fetched_s=now_s,
            note="NESO Carbon Intensity API, "
            + ("national" if name == GB_NATIONAL else f"region {name}")
            + ", CC BY 4.0",
        )


def _path(name: str, from_s: float, *, with_forecast: bool) -> str:
    start, span = utc_text(from_s, _TIME), "fw48h" if with_forecast else "fw24h"
    if name != GB_NATIONAL:
        return f"/regional/intensity/{start}/{span}/regionid/{name}"
    return f"/intensity/{start}/{span}" if with_forecast else "/intensity"


def _points(answer: object, name: str) -> Sequence[IntensityPoint]:
    """Return the periods that have a value, in order of time; a later one for the same start counts."""
    data = record_of(answer, "answer").get("data")
    if name != GB_NATIONAL:
        # With a region number the API gives an object where other calls give a list.
        region = record_of(data[0] if isinstance(data, list) and data else data, "data")
        if region.get("regionid") != int(name):
            found = str(region.get("regionid"))[:20]
            raise ProviderError(_SOURCE, "wrong_zone", f"{_SOURCE} was asked for region {name}, answered for {found!r}")
        data = region.get("data")
    points = {}
    for entry in items_of(data, "data"):
        point = _point(record_of(entry, "period"))
        if point is not None:
            points[point.from_s] = point
    return [points[start_s] for start_s in sorted(points)]


def _point(period: Mapping[str, object]) -> IntensityPoint | None:
    """Return one period's value: the actual one, else the forecast, marked so; None if there is neither."""
    from_s, until_s = time_of(period.get("from"), "from"), time_of(period.get("to"), "to")
    if until_s - from_s != _PERIOD_S:
        raise MalformedError(f"expected a period of {_PERIOD_S} seconds, found {until_s - from_s:.0f}")
    intensity = record_of(period.get("intensity"), "intensity")
    is_estimated = intensity.get("actual") is None
    value = intensity.get("forecast" if is_estimated else "actual")
    if value is None and "forecast" in intensity:
        return None
    return IntensityPoint(from_s, until_s, number_of(value, "intensity"), is_estimated)


def _refuse(points: Sequence[IntensityPoint], name: str, from_s: float) -> Never:
    """Say why the wanted period is not among ``points``."""
    if points and points[0].from_s > from_s:
        raise ProviderError(_SOURCE, "future", f"{_SOURCE} answered for a half hour to come; is the clock right?")
    if points and points[-1].from_s < from_s:
        raise ProviderError(_SOURCE, "stale", f"{_SOURCE} answered for a half hour that is over; is the clock right?")
    where = "Great Britain" if name == GB_NATIONAL else f"region {name}"
    raise ProviderError(_SOURCE, "not_found", f"{_SOURCE} has no value for {where} now")
