"""Fake servers of the four public providers of carbon intensity, with every fault they are known for.

They answer in the providers' formats from a curve that the test states, so that what a client makes of an answer can be
compared with the truth::

    clock = FakeClock()
    with ElectricityMapsApi(lambda zone, at_s: 300.0, now_s=clock.wall_s) as api:
        settings = ProviderSettings(kind="electricity_maps", url=api.url, key_file=...)   # a file that holds api.key
        ...
        api.fail("rate_limited", times=1, retry_after="60")   # the next answer only
        api.fail("hang", path="/forecast")                    # until api.repair()
        assert "auth-token" in api.requests[0].headers

Formats: the providers' public documents, as of 2026. ``WattTimeApi`` and ``GbCarbonIntensityApi`` know regions,
``EntsoeApi`` (in ``entsoe_api``) areas; the curve is asked by these names.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone

from exporter.testing.entsoe_api import EntsoeApi
from exporter.testing.grid_api_server import (
    Curve,
    Fault,
    GridApi,
    GridRequest,
    Reply,
    html_reply,
    json_reply,
)

__all__ = [
    "ElectricityMapsApi",
    "EntsoeApi",
    "Fault",
    "GbCarbonIntensityApi",
    "GridApi",
    "GridRequest",
    "WattTimeApi",
]

_GRAMS_PER_POUND = 453.59237
_KWH_PER_MWH = 1000
_HOUR_S = 3600
_HALF_HOUR_S = 1800
_FAULTY_VALUES: Mapping[str, object] = {
    "null_value": None,
    "nan": float("nan"),
    "negative": -5,
    "text_value": "312",
    "bool_value": True,
}


def _value(fault: Fault | None, intensity: float) -> object:
    return _FAULTY_VALUES.get(fault or "", intensity)


def _shown(zone: str, fault: Fault | None) -> str:
    return "XX" if fault == "wrong_zone" else zone


def _iso(at_s: float, form: str = "%Y-%m-%dT%H:%M:%S.000Z") -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=at_s)).strftime(form)


class ElectricityMapsApi(GridApi):
    """Electricity Maps, version 4: latest, history and forecast of carbon intensity.

    Attributes:
        key: the one that is accepted.
        has_forecast: whether the plan includes the forecast.
        has_estimates: whether values are estimates.
        lag_s: seconds by which the latest value is late.
        zones: those that exist; None: all.
    """

    base_path = "/v4"

    def __init__(self, curve: Curve, *, now_s: Callable[[], float], zones: frozenset[str] | None = None) -> None:
        self.key = "em-key-4711"
        self.has_forecast = True
        self.has_estimates = True
        self.lag_s = 0.0
        self.zones = zones
        super().__init__(curve, now_s=now_s)

    def answer(self, request: GridRequest, headers: Mapping[str, str], fault: Fault | None) -> Reply:
        """Answer one request."""
        if headers.get("auth-token") != self.key or "user-agent" not in headers:
            return json_reply({"error": "Invalid auth-token"}, 401)
        query = request.query
        # Without a place the provider takes that of the caller's address.
        zone = query.get("zone") or ("" if query.get("disableCallerLookup") == "true" else "FR")
        if not zone or (self.zones is not None and zone not in self.zones):
            return json_reply({"status": "error", "message": f'No recent data for zone "{zone}"'}, 404)
        start_s = (self.time_s(fault) - self.lag_s) // _HOUR_S * _HOUR_S
        match request.path.removeprefix("/v4/carbon-intensity/"):
            case "latest":
                return self._latest(zone, start_s, query, fault)
            case "history":
                return self._history(zone, start_s, query, fault)
            case "forecast" if self.has_forecast:
                return self._forecast(zone, query, fault)
            case _:
                return json_reply({"message": "Endpoint not available"}, 401)

    def _latest(self, zone: str, start_s: float, query: Mapping[str, str], fault: Fault | None) -> Reply:
        if self.has_estimates and query.get("disableEstimations") == "true":
            return json_reply({"status": "error", "message": f'No recent data for zone "{zone}"'}, 404)
        return json_reply(self._point(zone, start_s, query, fault))

    def _history(self, zone: str, start_s: float, query: Mapping[str, str], fault: Fault | None) -> Reply:
        hours = [] if fault == "empty_list" else range(23, -1, -1)
        points = [self._point(zone, start_s - hour * _HOUR_S, query, fault) for hour in hours]
        return json_reply({"zone": _shown(zone, fault), "history": points, "temporalGranularity": "hourly"})

    def _point(self, zone: str, start_s: float, query: Mapping[str, str], fault: Fault | None) -> dict[str, object]:
        point: dict[str, object] = {
            "zone": _shown(zone, fault),
            "carbonIntensity": _value(fault, self.value(zone, start_s)),
            "datetime": _iso(start_s),
            "updatedAt": _iso(start_s + 2467),
            "createdAt": _iso(start_s - 255_600),
            "emissionFactorType": query.get("emissionFactorType", "lifecycle"),
            "isEstimated": self.has_estimates,
            "estimationMethod": "TIME_SLICER_AVERAGE" if self.has_estimates else None,
            "temporalGranularity": "hourly",
            "flowTraced": True,
        }
        if fault == "sandbox":
            point["estimationMethod"] = "SANDBOX_MODE_DATA"
            point["_disclaimer"] = "This data is invented: your key is in SANDBOX MODE."
        return point

    def _forecast(self, zone: str, query: Mapping[str, str], fault: Fault | None) -> Reply:
        now_s = self.time_s(fault) // _HOUR_S * _HOUR_S
        hours = 0 if fault == "empty_list" else int(query.get("horizonHours", "24"))
        starts = [now_s + hour * _HOUR_S for hour in range(hours)]
        points = [{"carbonIntensity": _value(fault, self.value(zone, at)), "datetime": _iso(at)} for at in starts]
        envelope = {"zone": _shown(zone, fault), "updatedAt": _iso(now_s), "temporalGranularity": "hourly"}
        return json_reply({**envelope, "forecast": points})


class WattTimeApi(GridApi):
    """WattTime, version 3: login and forecast.

    Attributes:
        username: the account's.
        password: the account's.
        regions: those that the plan covers; None: all.
        period_s: seconds between points by signal.
        offset: of the times in answers; any is allowed by the format.
        expired_as_html: whether an expired token gives 403 and a page instead of 401 and JSON.
    """

    token_life_s = 1800.0

    def __init__(self, curve: Curve, *, now_s: Callable[[], float], regions: frozenset[str] | None = None) -> None:
        self.username = "wt-user"
        self.password = "wt-pass-0815"  # noqa: S105 - of a fake account
        self.regions = regions
        self.period_s = {"co2_moer": 300, "co2_aoer": 3600}
        self.offset = timedelta(0)
        self.expired_as_html = False
        self._tokens: dict[str, float] = {}
        super().__init__(curve, now_s=now_s)

    def expire_tokens(self) -> None:
        """Forget all tokens given out so far."""
        self._tokens.clear()

    @property
    def logins(self) -> int:
        """How often somebody tried to log in."""
        return sum(request.path == "/login" for request in self.requests)

    def answer(self, request: GridRequest, headers: Mapping[str, str], fault: Fault | None) -> Reply:
        """Answer one request."""
        sent = headers.get("authorization", "")
        if request.path == "/login":
            wanted = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
            if sent != f"Basic {wanted}":
                return html_reply(403)
            token = f"token.{len(self.requests)}.secret"
            self._tokens[token] = self._now_s() + self.token_life_s
            return json_reply({"token": token} if fault != "null_value" else {"token": None})
        if self._tokens.get(sent.removeprefix("Bearer "), 0.0) <= self._now_s():
            return html_reply(403) if self.expired_as_html else json_reply({"error": "Invalid token"}, 401)
        if request.path != "/v3/forecast":
            return json_reply({"error": "Not found"}, 404)
        return self._forecast(request.query, fault)

    def _forecast(self, query: Mapping[str, str], fault: Fault | None) -> Reply:
        region, signal = query.get("region", ""), query.get("signal_type", "")
        hours = int(query.get("horizon_hours", "24"))
        if signal not in self.period_s or not 0 <= hours <= 72:  # noqa: PLR2004 - the format's own limit
            return json_reply({"error": "Bad request", "message": "signal_type or horizon_hours is not valid"}, 400)
        if self.regions is not None and region not in self.regions:
            return json_reply({"error": "Invalid scope", "message": f"No coverage available for {region}"}, 403)
        period_s = self.period_s[signal]
        now_s = self.time_s(fault) // period_s * period_s
        points = (
            []
            if fault == "empty_list"
            else [self._point(region, now_s + at, fault) for at in range(0, hours * _HOUR_S + 1, period_s)]
        )
        meta = {
            "data_point_period_seconds": period_s,
            "region": "ELSEWHERE" if fault == "wrong_zone" else region,
            "warnings": [],
            "signal_type": signal,
            "model": {"date": "2026-03-01"},
            "units": "lbs_co2_per_mwh",
            "generated_at_period_seconds": 300,
            "generated_at": self._time(now_s),
        }
        return json_reply({"data": points, "meta": meta})

    def _point(self, region: str, at_s: float, fault: Fault | None) -> dict[str, object]:
        pounds_per_mwh = self.value(region, at_s) * _KWH_PER_MWH / _GRAMS_PER_POUND
        return {"point_time": self._time(at_s), "value": _value(fault, pounds_per_mwh)}

    def _time(self, at_s: float) -> str:
        return datetime.fromtimestamp(at_s, timezone(self.offset)).isoformat()


class GbCarbonIntensityApi(GridApi):
    """The Carbon Intensity API of Great Britain: national and regional, half-hourly, whole grams.

    The curve is asked for ``GB`` and, by region number, for ``GB-13``.

    Attributes:
        regional_as_list: whether a region's data come as a list of one instead of an object.
    """

    def __init__(self, curve: Curve, *, now_s: Callable[[], float]) -> None:
        self.regional_as_list = False
        super().__init__(curve, now_s=now_s)

    def answer(self, request: GridRequest, headers: Mapping[str, str], fault: Fault | None) -> Reply:  # noqa: ARG002
        """Answer one request."""
        match request.path.strip("/").split("/"):
            case ["intensity"]:
                start_s = self.time_s(fault) // _HALF_HOUR_S * _HALF_HOUR_S
                return json_reply({"data": self._periods("GB", [start_s], fault)})
            case ["intensity", start, span]:
                return self._range(start, span, fault, None)
            case ["regional", "intensity", start, span, "regionid", number] if number in map(str, range(1, 18)):
                return self._range(start, span, fault, int(number))
            case _:
                return json_reply({"error": {"code": "400 Bad Request", "message": "Please enter a valid path"}}, 400)

    def _range(self, start: str, span: str, fault: Fault | None, region: int | None) -> Reply:
        hours = {"fw24h": 24, "fw48h": 48, "pt24h": -24}.get(span)
        try:
            from_s = datetime.strptime(start, "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC).timestamp()
        except ValueError:
            hours = None
        if hours is None:
            return json_reply({"error": {"code": "400 Bad Request", "message": "Please enter a valid date"}}, 400)
        ahead_s = self.time_s(fault) - self.time_s(None)
        first_s = from_s // _HALF_HOUR_S * _HALF_HOUR_S + min(hours, 0) * _HOUR_S + ahead_s
        # A range begins with the period that ends where it starts.
        starts = [first_s + at for at in range(-_HALF_HOUR_S, abs(hours) * _HOUR_S, _HALF_HOUR_S)]
        if region is None:
            return json_reply({"data": self._periods("GB", starts, fault)})
        periods = self._periods(f"GB-{region}", starts, fault)
        for period in periods:
            period["generationmix"] = [{"fuel": "gas", "perc": 31.5}, {"fuel": "wind", "perc": 68.5}]
        data = {
            "regionid": 99 if fault == "wrong_zone" else region,
            "dnoregion": f"Network {region}",
            "shortname": f"Region {region}",
            "data": periods,
        }
        return json_reply({"data": [data] if self.regional_as_list else data})

    def _periods(self, place: str, starts_s: list[float], fault: Fault | None) -> list[dict[str, object]]:
        return [] if fault == "empty_list" else [self._period(place, start_s, fault) for start_s in starts_s]

    def _period(self, place: str, start_s: float, fault: Fault | None) -> dict[str, object]:
        value = _value(fault, round(self.value(place, start_s)))
        intensity: dict[str, object] = {"forecast": value}
        if place == "GB":
            is_over = start_s + _HALF_HOUR_S <= self.time_s(fault)
            intensity["actual"] = value if is_over else None
        intensity["index"] = "moderate"
        form = "%Y-%m-%dT%H:%MZ"
        return {"from": _iso(start_s, form), "to": _iso(start_s + _HALF_HOUR_S, form), "intensity": intensity}
