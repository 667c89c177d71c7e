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
from typing import TYPE_CHECKING

from exporter.exposition.connection import Connection
from exporter.exposition.http_messages import BadRequestError, Request, Response, plain
from exporter.exposition.listen import open_listener
from exporter.exposition.web_settings import HEALTH_ROUTES, WebSettings

if TYPE_CHECKING:
    from exporter.exposition.auth import Authenticator
    from exporter.exposition.web_config import Access

__all__ = ["Server"]

_log = logging.getLogger(__name__)
_ACCEPTS_PER_TURN = 64
_PIPELINED_PER_TURN = 4
_SWEEP_S = 0.25
_IDLE_S = 5.0
_FOLLOW_S = 1.0
_STALLED_S = 0.5
_PASSWORD_WANTED = ("WWW-Authenticate", 'Basic realm="wattribute", charset="UTF-8"')


class Server:
    """Serves ``app`` on every address of ``listen``, and its health on ``settings.health_address``, from one thread.

    ``app`` must answer from memory: it runs in the server's thread. ``start`` and ``stop`` are called once each.
    ``access`` guards ``listen``; None: everybody who reaches it is served.
    """

    def __init__(
        self,
        listen: Sequence[str],
        app: Callable[[Request], Response],
        settings: WebSettings,
        *,
        access: Access | None = None,
    ) -> None:
        self._listen = listen
        self._app = app
        self._settings = settings
        self._access = access
        self._auth = self._authenticator() if access else None
        self._waiting: list[tuple[Connection, Request]] = []
        self._listeners: list[socket.socket] = []
        self._probe_listener: socket.socket | None = None
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
        """Host and port of every listener of ``listen``, with the port the kernel chose where 0 was asked for."""
        return [listener.getsockname()[:2] for listener in self._listeners if listener is not self._probe_listener]

    @property
    def urls(self) -> list[str]:
        """Addresses of the page, as a browser takes them."""
        scheme = "https" if self._access and self._access.config.tls else "http"
        return [f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/" for host, port in self.addresses]

    @property
    def health_address(self) -> tuple[str, int] | None:
        """Host and port of the listener for probes, if there is one."""
        name: tuple[str, int] | None = self._probe_listener.getsockname()[:2] if self._probe_listener else None
        return name

    def start(self) -> None:
        """Open all listeners, then serve.

        Raises:
            ListenError: an address cannot be used; none is open then.
        """
        try:
            for address in self._listen:
                self._listeners.append(open_listener(address))
            if self._settings.health_address:
                self._probe_listener = open_listener(self._settings.health_address)
                self._listeners.append(self._probe_listener)
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
            self._wake()
            self._thread.join(timeout_s + 1.0)
        else:
            self._close_all()

    def _authenticator(self) -> Authenticator:
        from exporter.exposition.auth import Authenticator

        return Authenticator(self._wake)

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # a busy thread has seen the reason by now, and closed everything
            self._wake_write.send(b"x")

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
        idle_s = _IDLE_S if self._access is None else _FOLLOW_S
        events = self._selector.select(0 if unfinished else _SWEEP_S if self._connections else idle_s)
        now_s = time.monotonic()
        if self._access is not None and self._access.refresh(now_s):
            self._drop_all()
        for connection in unfinished:
            self._serve(connection, 0, now_s)
        listeners = []
        for key, mask in events:
            if isinstance(key.data, Connection):
                self._serve(key.data, mask, now_s)
            elif key.fileobj is self._wake_read:
                self._wake_read.recv(16)
                self._answer_checked(now_s)
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
            is_probe = listener is self._probe_listener
            config = self._access.config if self._access and not is_probe else None
            connection = Connection(
                client,
                str(peer[0]),
                self._settings,
                now_s,
                start_tls=config.tls.stream if config and config.tls else None,
                headers=config.headers if config else (),
                is_probe=is_probe,
            )
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
        if connection.is_handshaking:
            connection.shake_hands(now_s)
        elif mask & selectors.EVENT_WRITE:
            connection.send(now_s)
        elif mask & selectors.EVENT_READ:
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
        response = self._guarded(connection, request, now_s)
        if response is None:
            connection.wait(now_s)
            self._waiting.append((connection, request))
            return False
        connection.answer(response, is_head=request.method == "HEAD", now_s=now_s)
        return True

    def _guarded(self, connection: Connection, request: Request, now_s: float) -> Response | None:
        """Return the answer as far as the client may have it, or None while its password is being checked."""
        is_health = request.path in HEALTH_ROUTES
        if connection.is_probe and not is_health:
            return plain(404)
        if self._access is None or self._auth is None or not self._access.config.users or is_health:
            return self._respond(request, now_s)
        authorization = request.headers.get("authorization", "")
        verdict = self._auth.check(authorization, self._access.config.users, connection.peer)
        if verdict == "accepted":
            return self._respond(request, now_s)
        if verdict == "refused":
            return plain(401, headers=(_PASSWORD_WANTED,))
        if verdict == "failed":
            return plain(503, "passwords cannot be checked", (("Retry-After", "60"),))
        return None if verdict == "pending" else plain(503, "too many passwords to check", (("Retry-After", "1"),))

    def _answer_checked(self, now_s: float) -> None:
        """Answer those whose passwords have been checked."""
        if self._auth is None:
            return
        self._auth.collect()
        waiting, self._waiting = self._waiting, []
        for connection, request in waiting:
            if connection.is_closed:
                continue
            response = self._guarded(connection, request, now_s)
            if response is None:
                self._waiting.append((connection, request))
                continue
            connection.answer(response, is_head=request.method == "HEAD", now_s=now_s)
            self._settle(connection)
            self._unfinished.append(connection)  # what else it has sent meanwhile

    def _drop_all(self) -> None:
        """End every connection that was let in under other rules, after the answer in hand."""
        for connection in list(self._connections.values()):
            if not connection.is_probe:
                connection.finish_and_close()
                self._settle(connection)

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
        key = self._selector.get_map().get(descriptor)
        if connection.is_closed or connection.is_waiting:
            if key is not None:
                # At once, before the kernel gives the number to a new connection.
                self._selector.unregister(descriptor)
            if connection.is_closed:
                del self._connections[descriptor]
            return
        wanted = selectors.EVENT_WRITE if connection.wants_write else selectors.EVENT_READ
        if key is None:
            self._selector.register(descriptor, wanted, connection)
        elif key.events != wanted:
            self._selector.modify(descriptor, wanted, connection)

    def _sweep(self, now_s: float) -> None:
        for connection in [c for c in self._connections.values() if c.deadline_s <= now_s]:
            connection.expire(now_s)
            self._settle(connection)

    def _close_all(self) -> None:
        if self._auth is not None:
            self._auth.close()
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        self._selector.close()
        self._wake_read.close()
        self._wake_write.close()
