"""The routes: which path is answered with what. Documented in docs/reference/http.md."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from exporter.exposition.api import runs_document, snapshot_document
from exporter.exposition.board import SnapshotBoard
from exporter.exposition.http_messages import Request, Response, plain
from exporter.exposition.negotiate import accepts_gzip, choose_format
from exporter.exposition.page import page_html
from exporter.exposition.pages import CONTENT_TYPES, MetricsPages
from exporter.exposition.web_settings import WebSettings
from exporter.ledger.snapshot import Snapshot

__all__ = ["WebApp"]

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
_JSON_TYPE = "application/json"


class WebApp:
    """Answers requests from the board's last snapshot; reads no hardware.

    ``procfs`` is the proc file system of this process, for its own metrics. Calls may come from any thread.
    """

    def __init__(self, board: SnapshotBoard, settings: WebSettings, *, procfs: Path = Path("/proc")) -> None:
        self._board = board
        self._settings = settings
        self._pages = MetricsPages(board.latest, procfs=procfs if settings.process_metrics else None)
        self._routes: dict[str, Callable[[Request], Response]] = {
            "/-/healthy": self._healthy,
            "/-/ready": self._ready,
            "/": self._page,
            "/api/v1/runs": lambda _: self._json(runs_document),
            "/api/v1/snapshot": lambda _: self._json(snapshot_document),
            settings.telemetry_path: self._metrics,
        }

    def __call__(self, request: Request) -> Response:
        """Answer ``request``: unknown paths with 404, unknown query keys with 400."""
        route = self._routes.get(request.path)
        if route is None:
            return plain(404)
        if request.query:
            return plain(400, "no query parameters are supported here")
        return route(request)

    def prepare(self) -> None:
        """Make the metrics pages that were asked for lately; called by the loop after it has published."""
        self._pages.prepare()

    def _metrics(self, request: Request) -> Response:
        page_format = choose_format(request.headers.get("accept", ""))
        is_gzipped = accepts_gzip(request.headers.get("accept-encoding", ""))
        body = self._pages.page(page_format, is_gzipped=is_gzipped)
        if body is None:
            return _too_early()
        headers: tuple[tuple[str, str], ...] = (("Vary", "Accept, Accept-Encoding"), _NOT_CACHED)
        encoding = (("Content-Encoding", "gzip"),) if is_gzipped else ()
        return Response(200, body, CONTENT_TYPES[page_format], headers + encoding)

    def _healthy(self, _: Request) -> Response:
        snapshot, age_s = self._board.latest(), self._board.age_s()
        if snapshot is None or age_s is None:
            return plain(200, "starting")
        limit_s = self._settings.healthy_within_ticks * snapshot.agent.interval_s
        if age_s > limit_s:
            return plain(503, f"no tick for {age_s:.0f} s, expected one every {snapshot.agent.interval_s:g} s")
        return plain(200, "healthy")

    def _ready(self, _: Request) -> Response:
        return plain(200, "ready") if self._board.has_sample else _too_early()

    def _page(self, _: Request) -> Response:
        snapshot = self._board.latest()
        if snapshot is None:
            return _too_early()
        html = page_html(snapshot, age_s=self._board.age_s() or 0.0, telemetry_path=self._settings.telemetry_path)
        return Response(200, html.encode(), "text/html; charset=utf-8", _HTML_HEADERS)

    def _json(self, document: Callable[[Snapshot], bytes]) -> Response:
        snapshot = self._board.latest()
        if snapshot is None:
            return _too_early()
        return Response(200, document(snapshot), _JSON_TYPE, (_NOT_CACHED,))


def _too_early() -> Response:
    return plain(503, "the first sample is not taken yet", (("Retry-After", "1"),))
