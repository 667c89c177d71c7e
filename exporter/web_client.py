"""HTTP to other programs: one bounded request with a deadline for all of it. Wraps urllib3, which is imported late.

Never in the sampling path: a request blocks its caller for up to ``timeout_s``.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlencode, urlsplit

from exporter.errors import ExporterError

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager

__all__ = ["Answer", "HttpError", "WebClient"]

_CHUNK_BYTES = 65_536


class HttpError(ExporterError):
    """No answer could be had. ``reason``: timeout (the deadline passed), io (no connection, name, TLS), too_large."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Answer(NamedTuple):
    """An answer, whatever its status. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class WebClient:
    """Asks one server. Thread-safe; proxies are those of the environment (``https_proxy``, ``no_proxy``).

    Args:
        base_url: scheme, host, port and path before every request's.
        user_agent: who asks; some servers refuse anonymous programs.
        ca_file: certificates that may sign the server's; empty: the system's.
        timeout_s: seconds for a request as a whole, however slowly the server drips; looking up the name is the
            system's affair and has its own limit.
        max_bytes: of a body, unpacked; more is an error.
        verify: whether the server's certificate is checked; only an operator's explicit word may make this False.
    """

    def __init__(
        self,
        base_url: str,
        *,
        user_agent: str = "wattribute",
        ca_file: str = "",
        timeout_s: float = 10.0,
        max_bytes: int = 4 << 20,
        verify: bool = True,
    ) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise HttpError("io", f"expected http://HOST or https://HOST, found {base_url[:80]!r}")
        self.base_url = base_url.rstrip("/")
        self._where = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
        self._user_agent = user_agent
        self._ca_file = ca_file
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        self._verify = verify
        self._lock = threading.Lock()
        self._manager: PoolManager | None = None

    def get(
        self, path: str, query: Mapping[str, str] | None = None, *, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Return the answer to GET ``base_url + path``; redirects are answers like others.

        Raises:
            HttpError: there is none. Its text holds neither the query nor a header: both may carry keys.
        """
        return self._request("GET", path, query or {}, None, headers or {})

    def post_form(self, path: str, form: Mapping[str, str], *, headers: Mapping[str, str] | None = None) -> Answer:
        """Return the answer to POST ``base_url + path`` with ``form`` as its body. Raises as ``get`` does."""
        return self._request("POST", path, {}, form, headers or {})

    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        form: Mapping[str, str] | None,
        headers: Mapping[str, str],
    ) -> Answer:
        from urllib3.exceptions import HTTPError, LocationValueError

        url = self.base_url + path + (f"?{urlencode(query)}" if query else "")
        sent = {"User-Agent": self._user_agent, "Accept-Encoding": "gzip", **headers}
        body = None
        if form is not None:
            body = urlencode(form)
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        deadline = _Deadline(self._timeout_s)
        try:
            with deadline:
                answer = self._open().request(
                    method,
                    url,
                    body=body,
                    headers=sent,
                    timeout=self._timeout_s,
                    retries=False,
                    redirect=False,
                    preload_content=False,
                )
                return Answer(
                    answer.status, {k.lower(): v for k, v in answer.headers.items()}, self._body(answer, deadline)
                )
        except (HTTPError, LocationValueError, OSError, ValueError) as exc:
            if deadline.is_over or "timed out" in str(exc):
                raise HttpError("timeout", f"no answer from {self._where} within {self._timeout_s:g} s") from None
            raise HttpError("io", f"no answer from {self._where}: {_cause(exc)}") from None

    def _open(self) -> PoolManager:
        with self._lock:
            if self._manager is None:
                _check_readable(self._ca_file)
                self._manager = _make_manager(self.base_url, self._ca_file, verify=self._verify)
            return self._manager

    def _body(self, answer: BaseHTTPResponse, deadline: _Deadline) -> bytes:
        try:
            body = b"".join(self._parts(answer))
            if deadline.is_over:
                # A connection that the deadline shut looks like one that the server closed, at the end of an answer.
                raise TimeoutError("timed out")  # noqa: TRY301 - closed below like every other failure
        except BaseException:
            answer.close()
            raise
        answer.release_conn()
        return body

    def _parts(self, answer: BaseHTTPResponse) -> Iterator[bytes]:
        size = 0
        while part := answer.read(_CHUNK_BYTES, decode_content=True):
            size += len(part)
            if size > self._max_bytes:
                raise HttpError("too_large", f"{self._where} answered more than {self._max_bytes} bytes")
            yield part


class _Deadline:
    """Shuts the connections that this thread opens, or uses again, when the time is over.

    A timeout on a socket is per read: it does not end with a server that sends a byte now and then.
    """

    _of_thread = threading.local()

    def __init__(self, timeout_s: float) -> None:
        self._ends_s = time.monotonic() + timeout_s
        self._timer = threading.Timer(timeout_s, self._shut)
        self._timer.daemon = True
        self._sockets: list[socket.socket] = []

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._ends_s

    @classmethod
    def watch(cls, sock: object) -> None:
        """Put ``sock`` under the deadline of this thread, if there is one."""
        current: _Deadline | None = getattr(cls._of_thread, "current", None)
        if current is not None and isinstance(sock, socket.socket):
            current.add(sock)

    def add(self, sock: socket.socket) -> None:
        """Shut ``sock``, too, when the time is over; at once if it is."""
        self._sockets.append(sock)
        if self.is_over:
            self._shut()

    def __enter__(self) -> None:
        _Deadline._of_thread.current = self
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        _Deadline._of_thread.current = None
        self._timer.cancel()

    def _shut(self) -> None:
        for sock in self._sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


def _check_readable(ca_file: str) -> None:
    """Raise ``HttpError`` if the certificates cannot be read; urllib3's error does not name the file."""
    try:
        if ca_file:
            Path(ca_file).open("rb").close()
    except OSError as exc:
        raise HttpError("io", f"ca_file {ca_file} cannot be read: {exc.strerror}") from None


def _make_manager(base_url: str, ca_file: str, *, verify: bool) -> PoolManager:
    """Return urllib3's manager, through the environment's proxy if there is one, with connections under a deadline."""
    from urllib.request import getproxies, proxy_bypass

    import urllib3
    from urllib3 import connection

    class Http(connection.HTTPConnection):
        def request(self, *args: object, **kwargs: object) -> None:
            super().request(*args, **kwargs)  # type: ignore[arg-type]
            _Deadline.watch(self.sock)

        def connect(self) -> None:
            super().connect()
            _Deadline.watch(self.sock)

    class Https(connection.HTTPSConnection):
        def request(self, *args: object, **kwargs: object) -> None:
            super().request(*args, **kwargs)  # type: ignore[arg-type]
            _Deadline.watch(self.sock)

        def connect(self) -> None:
            super().connect()
            _Deadline.watch(self.sock)

    class HttpPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Http

    class HttpsPool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Https

    parts = urlsplit(base_url)
    proxy = None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)
    options = {"ca_certs": ca_file} if ca_file else {}
    if not verify:
        options = {"cert_reqs": "CERT_NONE"}
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    manager = _proxy(proxy, options) if proxy else urllib3.PoolManager(**options)  # type: ignore[arg-type]
    manager.pool_classes_by_scheme = {"http": HttpPool, "https": HttpsPool}
    return manager


def _proxy(address: str, options: Mapping[str, str]) -> PoolManager:
    """Return a manager that goes through ``address``; user and password in it become a header and nothing else."""
    import urllib3

    scheme, _, rest = address.rpartition("://")
    user, _, host = rest.rpartition("@")
    headers = urllib3.make_headers(proxy_basic_auth=unquote(user)) if user else None
    return urllib3.ProxyManager(f"{scheme or 'http'}://{host}", proxy_headers=headers, **options)  # type: ignore[arg-type]


def _cause(exc: BaseException) -> str:
    """Return the innermost reason in words; urllib3's own texts hold the whole address, query included."""
    from http.client import HTTPException

    if any(isinstance(part, HTTPException) for part in (exc, *exc.args, exc.__cause__)):
        return "the answer is not HTTP"  # its text would hold what the server said, which may be a key of ours
    reason = getattr(exc, "reason", None)
    while isinstance(reason, BaseException):
        exc, reason = reason, getattr(reason, "reason", None)
    if isinstance(exc, OSError) and exc.strerror:
        return exc.strerror
    text = str(exc).rpartition(": ")[2] or type(exc).__name__
    return text.split("?", 1)[0][:160]
