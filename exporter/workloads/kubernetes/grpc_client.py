"""One unary call over gRPC to a server on a Unix socket: a connection per call, so that none can go stale.

Sources: gRPC, "gRPC over HTTP2" (PROTOCOL-HTTP2.md) and its status codes; RFC 9113. HTTP/2 itself is the h2 library's,
which is imported with the first call. Replies are bounded, and a call as a whole has a deadline.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote

from exporter.errors import SourceError

if TYPE_CHECKING:
    from h2.connection import H2Connection

__all__ = ["GrpcError", "call_unary"]

_T = TypeVar("_T")
_RECEIVE_BYTES = 65_536
_WINDOW_BYTES = 1 << 20
_HEAD_BYTES = 5
_STATUS_REASONS = {
    "4": "timeout",
    "5": "unsupported",
    "7": "permission",
    "8": "exhausted",
    "12": "unsupported",
    "14": "unavailable",
    "16": "permission",
}
_ERRNO_REASONS = {
    errno.ENOENT: "missing",
    errno.ENOTDIR: "missing",
    errno.ECONNREFUSED: "refused",
    errno.EACCES: "permission",
    errno.EPERM: "permission",
}


class GrpcError(SourceError):
    """A call gave no usable reply.

    Attributes:
        reason: missing (no socket), refused, permission, io, timeout, unavailable, exhausted, unsupported (no such
            method), server (any other status), format, too_large, library (h2 is not installed).
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__("pod_resources", message)
        self.reason = reason


class _Reply:
    """What came of the reply so far."""

    def __init__(self, max_bytes: int) -> None:
        self.body = bytearray()
        self.headers: dict[str, str] = {}
        self.is_complete = False
        self._max_bytes = max_bytes

    def add(self, data: bytes) -> None:
        self.body += data
        if len(self.body) > self._max_bytes + _HEAD_BYTES:
            raise GrpcError("too_large", f"the reply is longer than {self._max_bytes} bytes")

    def message(self) -> bytes:
        """Return the one message of a complete reply, or raise what the server said instead."""
        http_status, status = self.headers.get(":status", ""), self.headers.get("grpc-status", "")
        if http_status != "200":
            raise GrpcError("server", f"the server answered HTTP status {http_status[:8]!r}")
        if status != "0":
            said = unquote(self.headers.get("grpc-message", ""))[:200]
            reason = _STATUS_REASONS.get(status, "server")
            raise GrpcError(reason, f"the server answered gRPC status {status[:8]!r}: {said!r}")
        if len(self.body) < _HEAD_BYTES:
            raise GrpcError("format", f"expected a message, found {len(self.body)} bytes")
        length = int.from_bytes(self.body[1:_HEAD_BYTES], "big")
        if self.body[0] or length != len(self.body) - _HEAD_BYTES:
            raise GrpcError("format", f"expected one plain message of {length} bytes, found {len(self.body)} bytes")
        return bytes(memoryview(self.body)[_HEAD_BYTES:])


def call_unary(path: str, method: str, request: bytes, *, timeout_s: float, max_bytes: int) -> bytes:
    """Return the reply to ``request`` of ``method`` (``/package.Service/Method``) at the socket ``path``.

    Raises:
        GrpcError: there is none.
    """
    deadline_s = time.monotonic() + timeout_s
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
            stream.settimeout(timeout_s)
            stream.connect(path)
            return _exchange(stream, method, request, deadline_s=deadline_s, max_bytes=max_bytes)
    except GrpcError as exc:
        raise GrpcError(exc.reason, f"{path}: {exc}") from None
    except TimeoutError:
        raise GrpcError("timeout", f"{path}: no reply within {timeout_s:g} s") from None
    except OSError as exc:
        reason = _ERRNO_REASONS.get(exc.errno or 0, "io")
        raise GrpcError(reason, f"{path}: {exc.strerror or exc}") from None


def _exchange(stream: socket.socket, method: str, request: bytes, *, deadline_s: float, max_bytes: int) -> bytes:
    try:
        from h2.config import H2Configuration
        from h2.connection import H2Connection
        from h2.exceptions import H2Error
    except ImportError:
        raise GrpcError("library", "the Python package h2 is not installed") from None
    connection = H2Connection(H2Configuration(client_side=True, header_encoding=None))
    reply = _Reply(max_bytes)
    try:
        _send_request(connection, method, request)
        while not reply.is_complete:
            _flush(stream, connection, deadline_s)
            data = _within(stream, deadline_s, lambda: stream.recv(_RECEIVE_BYTES))
            if not data:
                raise GrpcError("unavailable", "the server hung up")
            _take(connection, reply, connection.receive_data(data))
        connection.close_connection()
        _flush(stream, connection, deadline_s)
    except H2Error as exc:
        raise GrpcError("format", f"expected HTTP/2: {type(exc).__name__}: {str(exc)[:100]}") from None
    except (BrokenPipeError, ConnectionResetError) as exc:
        if not reply.is_complete:
            raise GrpcError("unavailable", f"the server hung up: {exc.strerror}") from None
    return reply.message()


def _send_request(connection: H2Connection, method: str, request: bytes) -> None:
    """Queue preface, headers and the request, which must fit the window that every server begins with."""
    connection.initiate_connection()
    connection.increment_flow_control_window(_WINDOW_BYTES)
    headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", method),
        (":authority", "localhost"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("user-agent", "wattribute"),
    ]
    stream_id = connection.get_next_available_stream_id()
    connection.send_headers(stream_id, headers)
    connection.increment_flow_control_window(_WINDOW_BYTES, stream_id)
    connection.send_data(stream_id, b"\0" + len(request).to_bytes(4, "big") + request, end_stream=True)


def _take(connection: H2Connection, reply: _Reply, events: Iterable[object]) -> None:
    """Take in what the server sent, and give it back the window that its data took."""
    from h2 import events as h2

    for event in events:
        if isinstance(event, h2.ResponseReceived | h2.TrailersReceived):
            for name, value in event.headers or ():
                reply.headers[_ascii(name)] = _ascii(value)
        elif isinstance(event, h2.DataReceived):
            reply.add(event.data or b"")
            if event.flow_controlled_length and event.stream_id is not None:
                connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.StreamEnded):
            reply.is_complete = True
        elif isinstance(event, h2.StreamReset):
            raise GrpcError("unavailable", f"the server gave the call up with code {event.error_code}")
        elif isinstance(event, h2.ConnectionTerminated) and not reply.is_complete:
            raise GrpcError("unavailable", "the server is going away")


def _ascii(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("ascii", "replace")


def _flush(stream: socket.socket, connection: H2Connection, deadline_s: float) -> None:
    data = connection.data_to_send()
    if data:
        _within(stream, deadline_s, lambda: stream.sendall(data))


def _within(stream: socket.socket, deadline_s: float, act: Callable[[], _T]) -> _T:
    left_s = deadline_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    stream.settimeout(left_s)
    return act()
