"""What the four fake grid APIs share: a real HTTP server on loopback, faults to order, and a record of requests."""

from __future__ import annotations

import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal, NamedTuple, Self
from urllib.parse import parse_qsl, urlsplit

__all__ = ["Curve", "Fault", "GridApi", "GridRequest", "Reply", "html_reply", "json_reply"]

Curve = Callable[[str, float], float]
"""The truth: grams of CO2e per kilowatt-hour of a place, by the API's own name of it, at a wall-clock time."""

Fault = Literal[
    "unauthorized",  # 401, JSON
    "forbidden_html",  # 403, an HTML page
    "forbidden_json",  # 403, JSON: no plan
    "not_found",  # 404
    "bad_request",  # 400
    "rate_limited",  # 429, with Retry-After if the order says one
    "server_error",  # 500
    "unavailable",  # 503, HTML, with Retry-After if the order says one
    "redirect",  # 302 to a login page
    "hang",  # no answer until the server stops
    "drip",  # an answer of a byte now and then
    "truncated",  # half of the body, said to be whole
    "empty_body",
    "html",  # 200, an HTML page of a proxy
    "wrong_type",  # 200, JSON of another shape
    "nan",  # NaN instead of the value
    "negative",
    "text_value",  # the value as a string
    "bool_value",
    "null_value",
    "wrong_zone",  # another place than asked for
    "sandbox",  # invented numbers, marked so
    "future",  # the server's clock is six hours ahead
    "empty_list",
    "acknowledgement",  # ENTSO-E: 200 and no matching data
    "acknowledgement_error",  # ENTSO-E: 200 and another reason
    "doctype",  # ENTSO-E: a document with entities that grow
]

_SKEW_S = 6 * 3600.0
_HANG_S = 30.0
_DRIP_S = 0.02
_PAGE = b"<!DOCTYPE html><html><head><title>Gateway</title></head><body><h1>Please sign in</h1></body></html>"


class GridRequest(NamedTuple):
    """What somebody asked. Names of headers are lower case; their values are not kept."""

    path: str
    query: Mapping[str, str]
    headers: frozenset[str]


class Reply(NamedTuple):
    """An answer."""

    status: int
    content_type: str
    body: bytes
    headers: Mapping[str, str] = {}


def json_reply(content: object, status: int = 200) -> Reply:
    """Return ``content`` as JSON."""
    return Reply(status, "application/json; charset=utf-8", json.dumps(content).encode())


def html_reply(status: int) -> Reply:
    """Return a page for people."""
    return Reply(status, "text/html", _PAGE)


@dataclass(slots=True, kw_only=True)
class _Order:
    fault: Fault
    path: str
    left: int | None
    retry_after: str


class GridApi(ABC):
    """A fake API: serves from its making to ``stop``; a context manager. Subclasses know one provider's format.

    Args:
        curve: the truth.
        now_s: the server's wall clock; a ``FakeClock``'s ``wall_s`` will do.

    Attributes:
        url: base address for the client's settings.
        requests: everything asked so far, in order.
        last_body: what was answered last.
    """

    base_path = ""

    def __init__(self, curve: Curve, *, now_s: Callable[[], float]) -> None:
        self.curve = curve
        self.requests: list[GridRequest] = []
        self.last_body = b""
        self._said: Reply | None = None
        self._now_s = now_s
        self._revised: dict[tuple[str, float], float] = {}
        self._orders: list[_Order] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._server = _Server(self)
        self.url = f"http://127.0.0.1:{self._server.server_port}{self.base_path}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop serving: from now on nobody listens."""
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def fail(self, fault: Fault, *, times: int | None = None, path: str = "", retry_after: str = "") -> None:
        """From now on answer with ``fault``.

        Args:
            fault: what goes wrong.
            times: how often; None: until ``repair``.
            path: only requests whose path holds this.
            retry_after: value of the header of that name, for rate_limited and unavailable.
        """
        with self._lock:
            self._orders.append(_Order(fault=fault, path=path, left=times, retry_after=retry_after))

    def say(self, reply: Reply) -> None:
        """From now on answer everything with ``reply``, until ``repair``."""
        self._said = reply

    def repair(self) -> None:
        """Answer as it should be again."""
        with self._lock:
            self._orders.clear()
            self._said = None

    def revise(self, place: str, from_s: float, intensity_g_per_kwh: float) -> None:
        """Publish another value for the interval of ``place`` that starts at ``from_s``."""
        self._revised[place, from_s] = intensity_g_per_kwh

    def value(self, place: str, from_s: float) -> float:
        """Return the published value of the interval that starts at ``from_s``: the revised one or the truth."""
        return self._revised.get((place, from_s), self.curve(place, from_s))

    def time_s(self, fault: Fault | None) -> float:
        """Return what the server believes to be the time."""
        return self._now_s() + (_SKEW_S if fault == "future" else 0.0)

    @abstractmethod
    def answer(self, request: GridRequest, headers: Mapping[str, str], fault: Fault | None) -> Reply:
        """Return the provider's answer; faults of content are the subclass's."""

    def respond(self, request: GridRequest, headers: Mapping[str, str]) -> tuple[Reply, Fault | None]:
        """Note a request and return the answer to it with the fault in force."""
        with self._lock:
            self.requests.append(request)
            order = self._take(request.path)
        if self._said is not None:
            return self._said, None
        fault = order.fault if order else None
        extra = {"Retry-After": order.retry_after} if order and order.retry_after else {}
        reply = _FAULTY.get(fault) if fault else None
        if reply is not None:
            return reply._replace(headers={**reply.headers, **extra}), fault
        reply = self.answer(request, headers, fault)
        if fault == "truncated":
            reply = reply._replace(body=reply.body[: len(reply.body) // 2])
        self.last_body = reply.body
        return reply, fault

    def _take(self, path: str) -> _Order | None:
        """Return the first order that fits ``path``, and count it down. The caller holds the lock."""
        for order in self._orders:
            if order.path in path:
                if order.left is not None:
                    order.left -= 1
                    if order.left <= 0:
                        self._orders.remove(order)
                return order
        return None

    def wait_until_stopped(self, timeout_s: float) -> bool:
        """Wait at most ``timeout_s``; return whether the server is stopping."""
        return self._stopping.wait(timeout_s)


_FAULTY: Mapping[Fault, Reply] = {
    "unauthorized": json_reply({"error": "Invalid auth-token"}, 401),
    "forbidden_html": html_reply(403),
    "forbidden_json": json_reply({"error": "Invalid scope", "message": "No coverage available"}, 403),
    "not_found": json_reply({"status": "error", "message": 'No recent data for zone "XX"'}, 404),
    "bad_request": json_reply({"error": {"code": "400 Bad Request", "message": "Please enter a valid region"}}, 400),
    "rate_limited": json_reply({"message": "Too many requests"}, 429),
    "server_error": json_reply({"error": {"code": "500 Internal Server Error", "message": "Something broke"}}, 500),
    "unavailable": html_reply(503),
    "redirect": html_reply(302)._replace(headers={"Location": "/sign-in"}),
    "html": html_reply(200),
    "empty_body": Reply(200, "application/json", b""),
    "wrong_type": json_reply([1, {"data": [{"meta": 7}]}, None]),
}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, api: GridApi) -> None:
        self.api = api
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        api = self.server.api
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = GridRequest(parts.path, dict(parse_qsl(parts.query, keep_blank_values=True)), frozenset(headers))
        reply, fault = api.respond(request, headers)
        self.close_connection = True
        if fault == "hang":
            api.wait_until_stopped(_HANG_S)
            return
        with suppress(OSError):  # the client gave up waiting
            self._send(reply, drips=fault == "drip")

    def _send(self, reply: Reply, *, drips: bool) -> None:
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.content_type)
        self.send_header("Content-Length", str(len(reply.body)))
        self.send_header("Connection", "close")
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if not drips:
            self.wfile.write(reply.body)
            return
        for at in range(len(reply.body)):
            if self.server.api.wait_until_stopped(_DRIP_S):
                return
            self.wfile.write(reply.body[at : at + 1])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the standard library
        """Say nothing."""
