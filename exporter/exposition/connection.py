"""One client's connection: bytes in, whole requests out, answers written as the client takes them.

Never blocks. The bytes go through a ``Stream``: the socket itself or TLS over it, whose handshake is a state before the
first request, under the same deadline as its headers.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Protocol

import h11

from exporter.exposition.http_messages import REASONS, BadRequestError, Request, Response, checked_request, plain
from exporter.exposition.web_settings import WebSettings

__all__ = ["Connection", "Stream"]

_READ_BYTES = 65_536
_SERVER_NAME = "wattribute"
_LINGER_S = 1.0
_TLS_HANDSHAKE = b"\x16"
"""The first byte of every TLS connection (RFC 8446 §5.1)."""


class Stream(Protocol):
    """Non-blocking bytes both ways; raises ``BlockingIOError`` where it would have to wait, OSError where it failed."""

    @property
    def wants_write(self) -> bool:
        """Whether bytes that were sent wait for the client to take them."""
        ...

    def handshake(self) -> None:
        """Go on with what comes before the first byte."""
        ...

    def recv(self, size: int) -> bytes:
        """Return at most ``size`` bytes, none at the client's end."""
        ...

    def send(self, parts: Sequence[memoryview]) -> int:
        """Send a beginning of ``parts``, or hold it for ``flush``; return its length."""
        ...

    def flush(self) -> None:
        """Send what is held."""
        ...

    def end(self) -> None:
        """Say that nothing follows."""
        ...

    def close(self) -> None:
        """Close the socket."""
        ...


class _PlainStream:
    """The socket itself."""

    __slots__ = ("_socket", "wants_write")

    def __init__(self, client: socket.socket) -> None:
        self._socket = client
        self.wants_write = False

    def handshake(self) -> None:
        """Do nothing."""

    def recv(self, size: int) -> bytes:
        return self._socket.recv(size)

    def send(self, parts: Sequence[memoryview]) -> int:
        return self._socket.sendmsg(parts)

    def flush(self) -> None:
        """Do nothing."""

    def end(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._socket.close()


class Connection:
    """The state of one accepted socket.

    ``start_tls`` makes TLS of the socket once its first byte is there; None: plain HTTP. ``headers`` are added to every
    answer, in place of the server's own of that name.

    Attributes:
        descriptor: the socket's number, also after it was closed.
        peer: the client's address.
        is_probe: whether it came in by the listener for probes.
        is_waiting: whether a request is with the password check; nothing is read or written meanwhile.
        is_handshaking: whether TLS is not yet agreed upon.
        deadline_s: monotonic time at which it is closed unless something good happens before.
        has_completed: whether it ever sent a whole request, which protects it from eviction.
        is_writing: whether an answer waits to be taken.
        progress_s: monotonic time at which the client last took a part of an answer.
        is_closed: whether the socket is closed.
    """

    __slots__ = (
        "_buffer", "_close_after", "_head_start", "_headers", "_is_draining", "_out", "_parser", "_settings",
        "_socket", "_start_tls", "_stream", "deadline_s", "descriptor", "has_completed", "is_closed", "is_handshaking",
        "is_probe", "is_waiting", "is_writing", "peer", "progress_s",
    )  # fmt: skip

    def __init__(
        self,
        client: socket.socket,
        peer: str,
        settings: WebSettings,
        now_s: float,
        *,
        start_tls: Callable[[socket.socket], Stream] | None = None,
        headers: tuple[tuple[str, str], ...] = (),
        is_probe: bool = False,
    ) -> None:
        self._socket = client
        self._stream: Stream = _PlainStream(client)
        self._start_tls = start_tls
        self._headers = headers
        self.is_handshaking = start_tls is not None
        self.is_probe = is_probe
        self.is_waiting = False
        self.descriptor = client.fileno()
        self.progress_s = now_s
        self.peer = peer
        self._settings = settings
        self._parser = h11.Connection(h11.SERVER)
        self._buffer = bytearray()
        self._head_start = 0
        self._out: list[memoryview] = []
        self._close_after = False
        self._is_draining = False
        self.deadline_s = now_s + settings.header_timeout_s
        self.has_completed = False
        self.is_writing = False
        self.is_closed = False

    @property
    def wants_write(self) -> bool:
        """Whether it waits for the client to take bytes, not to send some."""
        return self.is_writing or self._stream.wants_write

    def shake_hands(self, now_s: float) -> None:
        """Go on with the TLS handshake; plain HTTP is answered with 400 and closed."""
        try:
            if self._start_tls is not None:
                first = self._socket.recv(1, socket.MSG_PEEK)
                if first and first != _TLS_HANDSHAKE:
                    self.is_handshaking = False
                    self.refuse(400, now_s, "this port expects HTTPS")
                    return
                start, self._start_tls = self._start_tls, None
                self._stream = start(self._socket)
            self._stream.handshake()
        except (BlockingIOError, InterruptedError):
            return
        except (OSError, ValueError):
            self.is_handshaking = False
            self._drain(now_s)  # so that the client can read the alert that says why
            return
        self.is_handshaking = False
        self.receive(now_s)

    def receive(self, now_s: float) -> None:
        """Take what the client has sent; closes when it has left."""
        try:
            data = self._stream.recv(_READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self.close()
        elif not self._is_draining:
            if self.has_completed and not self._buffer:
                self.deadline_s = now_s + self._settings.header_timeout_s
            self._buffer += data

    def next_request(self) -> Request | None:
        """Return the next whole request, or None while there is none.

        Raises:
            BadRequestError: the request is refused; answer with ``refuse``.
        """
        if self.is_closed or self.is_writing or self.is_waiting or self.is_handshaking or self._is_draining:
            return None
        self._skip_empty_lines()
        end = self._buffer.find(b"\r\n\r\n", self._head_start)
        limit = self._settings.max_header_bytes
        if end > limit or (end < 0 and len(self._buffer) > limit):
            raise BadRequestError(431)
        if end < 0:
            self._refuse_bare_line_feeds()
            self._head_start = max(0, len(self._buffer) - 3)
            return None
        head = bytes(self._buffer[: end + 4])
        del self._buffer[: end + 4]
        self._head_start = 0
        request = checked_request(head, self._parser, self.peer)
        self.has_completed = True
        return request

    def _skip_empty_lines(self) -> None:
        while self._buffer.startswith(b"\r\n"):
            del self._buffer[:2]

    def _refuse_bare_line_feeds(self) -> None:
        at = self._buffer.find(b"\n", self._head_start)
        if at >= 0 and (at == 0 or self._buffer[at - 1 : at] != b"\r"):
            raise BadRequestError(400)

    def answer(self, response: Response, *, is_head: bool, now_s: float) -> None:
        """Start writing the answer to the request just returned."""
        self.is_waiting = False
        self._parser.next_event()  # the end of the bodiless request
        if self._parser.their_state is h11.MUST_CLOSE:
            self._close_after = True
        head = self._parser.send(_head(response, self._headers, close=self._close_after)) or b""
        self._parser.send(h11.Data(data=b"" if is_head else response.body))
        self._parser.send(h11.EndOfMessage())
        self._write([head] if is_head else [head, response.body], now_s)

    def wait(self, now_s: float) -> None:
        """Hold the request just returned until ``answer``, for as long as an answer may take."""
        self.is_waiting = True
        self.deadline_s = now_s + self._settings.write_timeout_s

    def refuse(self, status: int, now_s: float, text: str = "") -> None:
        """Answer a request that cannot be served with ``status`` and close."""
        response = plain(status, text, (("Allow", "GET, HEAD"),) if status == 405 else ())  # noqa: PLR2004
        self._close_after = True
        writer = h11.Connection(h11.SERVER)
        head = writer.send(_head(response, self._headers, close=True)) or b""
        self._write([head, response.body], now_s)

    def _write(self, parts: list[bytes], now_s: float) -> None:
        self._out = [memoryview(part) for part in parts if part]
        self.is_writing = True
        self.progress_s = now_s
        self.deadline_s = now_s + self._settings.write_timeout_s
        self.send(now_s)

    def send(self, now_s: float) -> None:
        """Write as much of the answer as the client takes now."""
        try:
            while self._out:
                sent = self._stream.send(self._out)
                self._drop_sent(sent)
                self.progress_s = now_s
            self._stream.flush()
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()
            return
        if self.is_writing:  # else TLS alone had something to say
            self._finish(now_s)

    def _drop_sent(self, sent: int) -> None:
        while self._out and sent >= len(self._out[0]):
            sent -= len(self._out.pop(0))
        if sent:
            self._out[0] = self._out[0][sent:]

    def _finish(self, now_s: float) -> None:
        self.is_writing = False
        if not self._close_after:
            self._parser.start_next_cycle()
            wait_s = self._settings.header_timeout_s if self._buffer else self._settings.keep_alive_s
            self.deadline_s = now_s + wait_s
            return
        self._drain(now_s)

    def _drain(self, now_s: float) -> None:
        # Half-close and read on for a moment: closing with unread bytes would reset the answer away (RFC 9112 §9.6).
        self._is_draining = True
        self._buffer.clear()
        self.deadline_s = now_s + _LINGER_S
        try:
            self._stream.end()
        except OSError:
            self.close()

    def expire(self, now_s: float) -> None:
        """Give up on the client at its deadline: say 408 if it began a request, then close."""
        began = bool(self._buffer) and not self.is_writing and not self.is_waiting
        if began and not self._is_draining:
            self.refuse(408, now_s)
        else:
            self.close()

    def finish_and_close(self) -> None:
        """Close after the answer in hand, or at once if there is none."""
        self._close_after = True
        if not self.is_writing:
            self.close()

    def close(self) -> None:
        """Close the socket. Idempotent."""
        self.is_closed = True
        self.is_writing = False
        self.is_waiting = False
        self._out = []
        self._stream.close()


def _head(response: Response, added: tuple[tuple[str, str], ...], *, close: bool) -> h11.Response:
    headers = [
        ("Server", _SERVER_NAME),
        ("Content-Type", response.content_type),
        ("Content-Length", str(len(response.body))),
        ("X-Content-Type-Options", "nosniff"),
        *response.headers,
    ]
    if close:
        headers.append(("Connection", "close"))
    replaced = {name.lower() for name, _ in added}
    headers = [*(pair for pair in headers if pair[0].lower() not in replaced), *added]
    return h11.Response(status_code=response.status, headers=headers, reason=REASONS[response.status].encode())
