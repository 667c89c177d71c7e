"""The web server: one thread, one selector, bounds on everything a client could hold.

Why not a ready-made server: docs/explanation/web-server.md.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable, Sequence

from exporter.exposition.connection import Connection
from exporter.exposition.http_messages import BadRequestError, Request, Response, plain
from exporter.exposition.listen import open_listener
from exporter.exposition.web_settings import WebSettings

__all__ = ["Server"]

_log = logging.getLogger(__name__)
_ACCEPTS_PER_TURN = 64
_PIPELINED_PER_TURN = 4
_SWEEP_S = 0.25
_IDLE_S = 5.0
_STALLED_S = 0.5


class Server:
    """Serves ``app`` on every address of ``listen`` from one thread of its own.

    ``app`` must answer from memory: it runs in the server's thread. ``start`` and ``stop`` are called once each.
    """

    def __init__(self, listen: Sequence[str], app: Callable[[Request], Response], settings: WebSettings) -> None:
        self._listen = listen
        self._app = app
        self._settings = settings
        self._listeners: list[socket.socket] = []
        self._connections: dict[int, Connection] = {}
        self._unfinished: list[Connection] = []
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = socket.socketpair()
        self._is_stopping = False
        self._stop_by_s = 0.0
        self._next_sweep_s = 0.0
        self._app_is_failing = False
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of every listener, with the port the kernel chose where 0 was asked for."""
        return [listener.getsockname()[:2] for listener in self._listeners]

    def start(self) -> None:
        """Open all listeners, then serve.

        Raises:
            ListenError: an address cannot be used; none is open then.
        """
        try:
            for address in self._listen:
                self._listeners.append(open_listener(address))
        except BaseException:
            self._close_all()
            raise
        for listener in self._listeners:
            self._selector.register(listener, selectors.EVENT_READ)
        self._wake_read.setblocking(False)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Stop accepting, let answers in hand finish for at most ``timeout_s``, close everything."""
        if self._thread.is_alive():
            self._stop_by_s = time.monotonic() + timeout_s
            self._is_stopping = True
            with contextlib.suppress(OSError):  # a busy thread has seen the flag by now, and closed everything
                self._wake_write.send(b"x")
            self._thread.join(timeout_s + 1.0)
        else:
            self._close_all()

    def _run(self) -> None:
        try:
            while not self._has_finished():
                self._turn()
        finally:
            self._close_all()

    def _has_finished(self) -> bool:
        if not self._is_stopping:
            return False
        for listener in self._listeners:
            self._selector.unregister(listener)
            listener.close()
        self._listeners.clear()
        for connection in list(self._connections.values()):
            connection.finish_and_close()
            self._settle(connection)
        return not self._connections or time.monotonic() >= self._stop_by_s

    def _turn(self) -> None:
        unfinished, self._unfinished = self._unfinished, []
        events = self._selector.select(0 if unfinished else _SWEEP_S if self._connections else _IDLE_S)
        now_s = time.monotonic()
        for connection in unfinished:
            self._serve(connection, 0, now_s)
        listeners = []
        for key, mask in events:
            if isinstance(key.data, Connection):
                self._serve(key.data, mask, now_s)
            elif key.fileobj is self._wake_read:
                self._wake_read.recv(16)
            else:
                listeners.append(key.fileobj)
        # After the clients already here: a complete request must not lose its place to a newcomer.
        for listener in listeners:
            if isinstance(listener, socket.socket):
                self._accept(listener, now_s)
        if now_s >= self._next_sweep_s:
            self._next_sweep_s = now_s + _SWEEP_S
            self._sweep(now_s)

    def _accept(self, listener: socket.socket, now_s: float) -> None:
        for _ in range(_ACCEPTS_PER_TURN):
            try:
                client, peer = listener.accept()
            except OSError:  # nobody waits any more, the client has left, or descriptors ran out
                return
            if not self._make_room(now_s):
                client.close()
                continue
            client.setblocking(False)
            with contextlib.suppress(OSError):
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(client, str(peer[0]), self._settings, now_s)
            self._connections[connection.descriptor] = connection
            self._selector.register(connection.descriptor, selectors.EVENT_READ, connection)
            self._serve(connection, selectors.EVENT_READ, now_s)

    def _make_room(self, now_s: float) -> bool:
        """Evict the oldest connection without a whole request, else an idle one, else a stalled one."""
        if len(self._connections) < self._settings.max_connections:
            return True
        quiet = [c for c in self._connections.values() if not c.is_writing]
        newcomer = next((c for c in quiet if not c.has_completed), None)
        return self._evict(newcomer or next(iter(quiet), None)) or self._evict(self._stalled(now_s))

    def _stalled(self, now_s: float) -> Connection | None:
        writers = [c for c in self._connections.values() if c.is_writing]
        slowest = min(writers, key=lambda c: c.progress_s, default=None)
        return slowest if slowest and now_s - slowest.progress_s >= _STALLED_S else None

    def _evict(self, connection: Connection | None) -> bool:
        if connection is None:
            return False
        connection.close()
        self._settle(connection)
        return True

    def _serve(self, connection: Connection, mask: int, now_s: float) -> None:
        if connection.is_closed:
            return
        if mask & selectors.EVENT_WRITE:
            connection.send(now_s)
        if mask & selectors.EVENT_READ:
            connection.receive(now_s)
        for _ in range(_PIPELINED_PER_TURN):
            if not self._answer_next(connection, now_s):
                break
        else:
            self._unfinished.append(connection)
        self._settle(connection)

    def _answer_next(self, connection: Connection, now_s: float) -> bool:
        try:
            request = connection.next_request()
        except BadRequestError as exc:
            connection.refuse(exc.status, now_s)
            return False
        if request is None:
            return False
        connection.answer(self._respond(request, now_s), is_head=request.method == "HEAD", now_s=now_s)
        return True

    def _respond(self, request: Request, now_s: float) -> Response:
        in_flight = sum(c.is_writing for c in self._connections.values())
        if in_flight >= self._settings.max_requests and not self._evict(self._stalled(now_s)):
            return plain(503, "too many requests in flight", (("Retry-After", "1"),))
        try:
            response = self._app(request)
        except Exception:  # noqa: BLE001 - the isolation line: one page's fault must not end the thread serving all
            if not self._app_is_failing:
                _log.exception("the page could not be made path=%r", request.path[:80])
            self._app_is_failing = True
            return plain(500)
        self._app_is_failing = False
        return response

    def _settle(self, connection: Connection) -> None:
        """Bring the selector in line with what the connection waits for, right after every change of it."""
        descriptor = connection.descriptor
        if connection.is_closed:
            # At once, before the kernel gives the number to a new connection.
            self._selector.unregister(descriptor)
            del self._connections[descriptor]
            return
        wanted = selectors.EVENT_WRITE if connection.is_writing else selectors.EVENT_READ
        if self._selector.get_key(descriptor).events != wanted:
            self._selector.modify(descriptor, wanted, connection)

    def _sweep(self, now_s: float) -> None:
        for connection in [c for c in self._connections.values() if c.deadline_s <= now_s]:
            connection.expire(now_s)
            self._settle(connection)

    def _close_all(self) -> None:
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        self._selector.close()
        self._wake_read.close()
        self._wake_write.close()
