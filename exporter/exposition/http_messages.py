"""Requests and responses as plain records, and the check of a request's head before it is parsed.

Parsing proper is h11's. What h11 tolerates for old clients' sake and attackers use (bare line feeds, folded lines,
bodies nobody reads) is refused here. Source: RFC 9110 and RFC 9112.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import h11

__all__ = ["REASONS", "BadRequestError", "Request", "Response", "checked_request", "plain"]

REASONS: Mapping[int, str] = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    413: "Content Too Large",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
"""Reason phrases of every status this server answers."""

_PRINTABLE_HEAD = re.compile(rb"(?:[\t\x20-\x7e\x80-\xff]|\r\n(?![\t ]))*\Z")
_MAX_TARGET_BYTES = 4096
_MAX_HEADERS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request without a body.

    Attributes:
        method: GET or HEAD.
        path: the path as sent, not decoded; begins with a slash.
        query: what follows the question mark, not decoded; empty where there is none.
        headers: by lower-case name; values of equal names joined with a comma.
        peer: the client's address.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    peer: str = ""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer: status, whole body, media type, and further headers."""

    status: int
    body: bytes
    content_type: str
    headers: tuple[tuple[str, str], ...] = ()


class BadRequestError(Exception):
    """A request that is answered with ``status`` and closes its connection."""

    def __init__(self, status: int) -> None:
        super().__init__(REASONS[status])
        self.status = status


def plain(status: int, text: str = "", headers: tuple[tuple[str, str], ...] = ()) -> Response:
    """Return a short text answer, by default the reason phrase of ``status``."""
    return Response(status, f"{text or REASONS[status]}\n".encode(), "text/plain; charset=utf-8", headers)


def checked_request(head: bytes, parser: h11.Connection, peer: str) -> Request:
    """Parse a complete head (request line to empty line) with ``parser``.

    Raises:
        BadRequestError: with the status to answer; the connection cannot be used any further.
    """
    if not _PRINTABLE_HEAD.match(head):
        raise BadRequestError(400)
    try:
        parser.receive_data(head)
        event = parser.next_event()
    except h11.RemoteProtocolError as exc:
        raise BadRequestError(exc.error_status_hint if exc.error_status_hint in REASONS else 400) from exc
    if not isinstance(event, h11.Request):
        raise BadRequestError(400)
    return _request(event, peer)


def _request(event: h11.Request, peer: str) -> Request:
    headers: dict[str, str] = {}
    if len(event.headers) > _MAX_HEADERS or len(event.target) > _MAX_TARGET_BYTES:
        raise BadRequestError(431)
    for raw_name, raw_value in event.headers:
        name, value = raw_name.decode("ascii"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    if "transfer-encoding" in headers:
        raise BadRequestError(400)
    method = event.method.decode("ascii")
    if method not in ("GET", "HEAD"):
        raise BadRequestError(405)
    if headers.get("content-length", "0") != "0":
        raise BadRequestError(413)
    path, _, query = event.target.decode("latin-1").partition("?")
    return Request(method=method, path=path, query=query, headers=headers, peer=peer)
