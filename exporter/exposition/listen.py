"""Listening sockets from addresses as operators write them."""

from __future__ import annotations

import errno
import socket

from exporter.errors import ExporterError

__all__ = ["ListenError", "open_listener", "parse_address"]

_BACKLOG = 512
_MAX_PORT = 65_535
_REMEDIES = {
    errno.EADDRINUSE: "another program listens there; stop it or choose another port with --web.listen-address",
    errno.EACCES: "ports below 1024 need root or CAP_NET_BIND_SERVICE; choose a higher one with --web.listen-address",
    errno.EADDRNOTAVAIL: "this machine has no such address; use :PORT for all, or one that `ip address` shows",
    errno.EAFNOSUPPORT: "this kernel has no such address family; use an address of the other one",
}


class ListenError(ExporterError):
    """An address to listen on is malformed or cannot be used; the message holds it and the remedy."""


def parse_address(text: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT``, ``[IPV6]:PORT`` or ``:PORT``; an empty host means all interfaces.

    Raises:
        ListenError: it has another form.
    """
    host, colon, port = text.rpartition(":")
    is_bracketed = host.startswith("[") and host.endswith("]")
    is_port = port.isascii() and port.isdigit() and len(port) <= len("65535")
    if not colon or not is_port or int(port) > _MAX_PORT or (":" in host and not is_bracketed):
        raise ListenError(f"cannot listen on {text!r}: expected HOST:PORT, [IPV6]:PORT or :PORT")
    return (host[1:-1] if is_bracketed else host), int(port)


def open_listener(text: str) -> socket.socket:
    """Return a non-blocking socket that listens on ``text``.

    Raises:
        ListenError: the address is malformed, busy, not allowed or not this machine's.
    """
    host, port = parse_address(text)
    try:
        listener = _open_all(port) if not host else _open_one(host, port)
    except OSError as exc:
        remedy = _REMEDIES.get(exc.errno or 0, "check the address")
        raise ListenError(f"cannot listen on {text!r}: {exc.strerror or exc}; {remedy}") from exc
    listener.setblocking(False)
    return listener


def _open_one(host: str, port: int) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    return socket.create_server((str(address[0]), port), family=family, backlog=_BACKLOG)


def _open_all(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        try:
            return socket.create_server(("", port), family=socket.AF_INET6, backlog=_BACKLOG, dualstack_ipv6=True)
        except OSError as exc:
            # IPv6 switched off by sysctl or kernel parameter: the IPv4 wildcard is all there is.
            if exc.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                raise
    return socket.create_server(("", port), family=socket.AF_INET, backlog=_BACKLOG)
