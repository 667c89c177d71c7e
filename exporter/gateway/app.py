"""The gateway's routes: which path is answered with what. Documented in docs/how-to/gateway.md."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Protocol, get_args
from urllib.parse import parse_qsl

from exporter.carbon.live import encode_series, point_at
from exporter.carbon.records import IntensitySeries, Signal
from exporter.exposition.http_messages import Request, Response, plain
from exporter.exposition.negotiate import accepts_gzip, choose_format
from exporter.exposition.pages import CONTENT_TYPES
from exporter.gateway.metrics import GatewayPage, PageContent
from exporter.gateway.page import page_html
from exporter.gateway.records import Demand, ZoneState
from exporter.gateway.zone_book import LONGEST_ZONE, normal_zone

__all__ = ["GatewayApp", "Stock"]

_JSON_TYPE = "application/json"
_NOT_CACHED = ("Cache-Control", "no-store")
_HTML_HEADERS = (
    _NOT_CACHED,
    (
        "Content-Security-Policy",
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("Referrer-Policy", "no-referrer"),
    ("X-Frame-Options", "DENY"),
)
_COUNTED_FROM_THE_START = (200, 400, 404, 503)
_LONGEST_CACHED_S = 60
_MOST_BODIES = 2000
_SHORTEST_RETRY_S, _LONGEST_RETRY_S = 10, 600
_SIGNALS: tuple[Signal, ...] = get_args(Signal)


class Stock(Protocol):
    """What the pages are made of. Answers from memory, from any thread."""

    def ask(self, demand: Demand) -> str:
        """Note the question; return why it is not served, else nothing."""
        ...

    def series(self, demand: Demand) -> IntensitySeries | None:
        """Return what is served, or None where there is nothing yet."""
        ...

    def due_in_s(self, demand: Demand) -> float:
        """Return seconds until a provider is asked for it next."""
        ...

    def content(self) -> PageContent:
        """Return everything that the pages for people and for Prometheus show, but for the answers counted here."""
        ...

    def complaint(self) -> str:
        """Return what keeps it from working, else nothing."""
        ...


class _Query(NamedTuple):
    demand: Demand
    with_forecast: bool


class _BadQueryError(Exception):
    """A query that is answered with 400; the text says what was expected."""


class GatewayApp:
    """Answers requests from memory, in the server's thread; keeps nothing of who asks."""

    def __init__(self, stock: Stock, *, telemetry_path: str, procfs: Path | None) -> None:
        self._stock = stock
        self._page = GatewayPage(procfs)
        self._bodies: dict[_Query, tuple[IntensitySeries, bytes]] = {}
        self._requests = dict.fromkeys(_COUNTED_FROM_THE_START, 0)
        self._routes: dict[str, Callable[[Request], Response]] = {
            "/api/v1/zones": self._zones,
            "/-/healthy": self._healthy,
            "/-/ready": self._ready,
            "/": self._html,
            telemetry_path: self._metrics,
        }

    def __call__(self, request: Request) -> Response:
        """Answer ``request``: unknown paths with 404, queries that are not understood with 400."""
        response = self._answer(request)
        self._requests[response.status] = self._requests.get(response.status, 0) + 1
        return response

    def _answer(self, request: Request) -> Response:
        if request.path == "/api/v1/intensity":
            return self._intensity(request)
        route = self._routes.get(request.path)
        if route is None:
            return plain(404)
        if request.query:
            return plain(400, "no query parameters are supported here")
        return route(request)

    def _intensity(self, request: Request) -> Response:
        try:
            query = _parse(request.query)
        except _BadQueryError as exc:
            return plain(400, str(exc))
        refusal = self._stock.ask(query.demand)
        if refusal:
            return plain(404, refusal)
        series = self._stock.series(query.demand)
        due_in_s = self._stock.due_in_s(query.demand)
        if series is None:
            wait_s = int(min(max(due_in_s, _SHORTEST_RETRY_S), _LONGEST_RETRY_S))
            text = f"there is no value for zone {query.demand.grid_zone} yet; ask again in {wait_s} s"
            return plain(503, text, (("Retry-After", str(wait_s)), _NOT_CACHED))
        age = ("Cache-Control", f"public, max-age={int(min(max(due_in_s, 0.0), _LONGEST_CACHED_S))}")
        return Response(200, self._body(query, series), _JSON_TYPE, (age,))

    def _body(self, query: _Query, series: IntensitySeries) -> bytes:
        """Return the answer, made once per series."""
        known = self._bodies.get(query)
        if known is None or known[0] is not series:
            if len(self._bodies) >= _MOST_BODIES:
                self._bodies.clear()
            shown = series if query.with_forecast else replace(series, forecast=())
            text = json.dumps(encode_series(shown), separators=(",", ":"), allow_nan=False)
            known = self._bodies[query] = series, text.encode("ascii")
        return known[1]

    def _zones(self, _: Request) -> Response:
        content = self._stock.content()
        zones = [_zone_json(zone, content.now_s) for zone in content.zones]
        document = {"version": 1, "now_s": content.now_s, "max_zones": content.max_zones, "zones": zones}
        body = json.dumps(document, separators=(",", ":"), allow_nan=False).encode("ascii")
        return Response(200, body, _JSON_TYPE, (_NOT_CACHED,))

    def _metrics(self, request: Request) -> Response:
        page_format = choose_format(request.headers.get("accept", ""))
        body = self._page.write(replace(self._stock.content(), requests=dict(self._requests)), page_format)
        headers: tuple[tuple[str, str], ...] = (("Vary", "Accept, Accept-Encoding"), _NOT_CACHED)
        if accepts_gzip(request.headers.get("accept-encoding", "")):
            import gzip

            body, headers = gzip.compress(body, 1, mtime=0), (*headers, ("Content-Encoding", "gzip"))
        return Response(200, body, CONTENT_TYPES[page_format], headers)

    def _html(self, _: Request) -> Response:
        return Response(200, page_html(self._stock.content()).encode(), "text/html; charset=utf-8", _HTML_HEADERS)

    def _healthy(self, _: Request) -> Response:
        complaint = self._stock.complaint()
        return plain(503, complaint) if complaint else plain(200, "healthy")

    def _ready(self, _: Request) -> Response:
        # Learned zones do not count: an agent that asks for a nonsensical one must not close the gateway to others.
        configured = [zone for zone in self._stock.content().zones if not zone.is_learned]
        if configured and not any(zone.series for zone in configured):
            return plain(503, "no provider has answered yet", (("Retry-After", str(_SHORTEST_RETRY_S)),))
        return plain(200, "ready")


def _parse(text: str) -> _Query:
    """Return what a query asks for.

    Raises:
        _BadQueryError: it is not understood.
    """
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), errors="strict", max_num_fields=3)
    except ValueError:
        raise _BadQueryError("expected zone=ZONE, signal=SIGNAL and forecast=1 at most once each") from None
    given = dict(pairs)
    if len(given) != len(pairs) or not given.keys() <= {"zone", "signal", "forecast"}:
        raise _BadQueryError("expected zone, signal and forecast at most once each, and nothing else")
    zone = given.get("zone", "")
    if not (zone.strip() and len(zone) <= LONGEST_ZONE and zone.isprintable()):
        raise _BadQueryError(f"expected zone to be 1 to {LONGEST_ZONE} printable characters, for example zone=DE")
    signal = next((one for one in _SIGNALS if one == given.get("signal", "average")), None)
    if signal is None:
        raise _BadQueryError(f"expected signal to be one of {', '.join(_SIGNALS)}")
    forecast = given.get("forecast", "0")
    if forecast not in ("0", "1"):
        raise _BadQueryError("expected forecast to be 0 or 1")
    return _Query(Demand(normal_zone(zone), signal), forecast == "1")


def _zone_json(zone: ZoneState, now_s: float) -> dict[str, object]:
    series = zone.series
    point = point_at(series.points, now_s) if series else None
    return {
        "grid_zone": zone.demand.grid_zone,
        "signal": zone.demand.signal,
        "origin": "learned" if zone.is_learned else "configured",
        "state": "none" if series is None else "fresh" if now_s < series.fresh_until_s else "stale",
        "intensity_g_per_kwh": point.intensity_g_per_kwh if point else None,
        "is_estimated": point.is_estimated if point else None,
        "observed_s": point.from_s if point else None,
        "fresh_until_s": series.fresh_until_s if series and math.isfinite(series.fresh_until_s) else None,
        "fetched_s": series.fetched_s if series else None,
        "provider": series.provider if series else None,
        "basis": series.basis if series else None,
        "last_success_s": zone.last_success_s,
        "providers": [{"provider": f.source, "state": f.state, "detail": f.detail} for f in zone.findings],
    }
