"""TLS for the server: a context from PEM text, and accepted sockets that speak it without ever blocking.

Client authentication has the names and meanings of Go's ``crypto/tls.ClientAuthType``, as far as OpenSSL through
Python can honour them.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from exporter.errors import ExporterError

__all__ = ["CIPHER_SUITES", "CLIENT_AUTH_TYPES", "VERSIONS", "TlsConfig", "TlsError", "TlsServer", "TlsStream"]

CLIENT_AUTH_TYPES: Mapping[str, ssl.VerifyMode] = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
"""What is asked of clients, by Go's name."""

VERSIONS: Mapping[str, ssl.TLSVersion] = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
"""Versions of the protocol that are safe, oldest first."""

CIPHER_SUITES: Mapping[str, str] = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
}
"""OpenSSL's name of every suite of TLS 1.2 that may be chosen; those of TLS 1.3 are not up for choice."""


_TURN_BYTES = 16_384
"""What is taken from a client or encrypted for it in one call: the data of one record (RFC 8446 §5.1)."""


class TlsError(ExporterError):
    """The certificates cannot be used.

    Attributes:
        key: the key of the web configuration that is to blame, without ``_file``.
    """

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsConfig:
    """How to speak TLS.

    Attributes:
        cert, key, client_ca: PEM text; ``client_ca`` is empty where clients are not asked for certificates.
        client_auth_type: one of ``CLIENT_AUTH_TYPES``.
        allowed_sans: alternative names of which a client's certificate must have one; empty: any.
        min_version, max_version: of ``VERSIONS``.
        cipher_suites: OpenSSL's names; empty: OpenSSL's choice.
        prefer_server_cipher_suites: whether the server's order counts.
    """

    cert: str
    key: str = field(repr=False)
    client_ca: str = ""
    client_auth_type: str = "NoClientCert"
    allowed_sans: Sequence[str] = ()
    min_version: str = "TLS12"
    max_version: str = "TLS13"
    cipher_suites: Sequence[str] = ()
    prefer_server_cipher_suites: bool = True


class TlsServer:
    """Makes TLS of accepted sockets.

    Attributes:
        allowed_sans: see ``TlsConfig``.
        asks_for_certificates: whether clients are to show a certificate.

    Raises:
        TlsError: a certificate or key cannot be used.
    """

    def __init__(self, config: TlsConfig) -> None:
        self.allowed_sans = frozenset(_normal(name) for name in config.allowed_sans)
        self.asks_for_certificates = config.client_auth_type != "NoClientCert"
        context = self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = VERSIONS[config.min_version]
        context.maximum_version = VERSIONS[config.max_version]
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        # Every connection shows its certificate anew, and no session is kept in memory.
        context.num_tickets = 0
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
        if not config.prefer_server_cipher_suites:
            context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
        if config.cipher_suites:
            context.set_ciphers(":".join(config.cipher_suites))
        context.set_alpn_protocols(["http/1.1"])
        _load_chain(context, config)
        if config.client_ca:
            _load_authorities(context, config.client_ca)
        context.verify_mode = CLIENT_AUTH_TYPES[config.client_auth_type]

    def stream(self, client: socket.socket) -> TlsStream:
        """Return ``client`` as a TLS connection whose handshake has not begun; takes the socket over."""
        return TlsStream(client, self._context, self.allowed_sans)


class TlsStream:
    """A non-blocking TLS connection that raises ``BlockingIOError`` where it has to wait.

    OpenSSL never sees the socket: reading from it, OpenSSL would go on for as long as a client sends records without
    data in them, such as updates of its key, and nobody else would be served. It gets at most ``_TURN_BYTES`` a call.
    """

    __slots__ = ("_allowed_sans", "_has_ended", "_incoming", "_is_ending", "_outgoing", "_rest", "_socket", "_tls")

    def __init__(self, client: socket.socket, context: ssl.SSLContext, allowed_sans: frozenset[str]) -> None:
        self._socket = client
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._allowed_sans = allowed_sans
        self._rest = b""
        self._is_ending = self._has_ended = False

    @property
    def wants_write(self) -> bool:
        """Whether encrypted bytes wait for the client to take them; nothing is read from it meanwhile."""
        return bool(self._rest)

    def handshake(self) -> None:
        """Go on with the handshake.

        Raises:
            BlockingIOError: it is not finished; call again when the client takes or has sent bytes.
            OSError: it failed, or the client's certificate is not one of those allowed.
        """
        self.flush()
        try:
            if not self._shake():
                self._pull()
                if not self._shake():
                    raise BlockingIOError
        finally:
            with contextlib.suppress(OSError):
                self.flush()
        if self._allowed_sans and not self._allowed_sans & _names(self._tls):
            raise ConnectionAbortedError("the client's certificate has none of the allowed names")

    def recv(self, size: int) -> bytes:
        """Return decrypted bytes, none at the client's end; ``size`` must be more than two ``_TURN_BYTES``."""
        self.flush()
        try:
            data = self._read(size)
            if data is None:
                self._pull()
                data = self._read(size)
        finally:
            with contextlib.suppress(OSError):
                self.flush()
        if data is None:
            raise BlockingIOError
        return data

    def send(self, parts: Sequence[memoryview]) -> int:
        """Encrypt a beginning of ``parts`` and send what the client takes of it; return its length."""
        self.flush()
        try:
            length = self._tls.write(parts[0][:_TURN_BYTES])
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as exc:
            raise BlockingIOError from exc
        with contextlib.suppress(BlockingIOError):
            self.flush()
        return length

    def flush(self) -> None:
        """Send what is encrypted already.

        Raises:
            BlockingIOError: the client does not take all of it now.
            OSError: the client has left.
        """
        self._rest += self._outgoing.read()
        if self._has_ended:
            self._rest = b""
        while self._rest:
            sent = self._socket.send(self._rest)
            self._rest = self._rest[sent:]
        if self._is_ending and not self._has_ended:
            self._has_ended = True
            self._socket.shutdown(socket.SHUT_WR)

    def end(self) -> None:
        """Say that nothing follows, after what is encrypted already."""
        with contextlib.suppress(OSError, ValueError):
            self._tls.unwrap()
        self._is_ending = True
        with contextlib.suppress(BlockingIOError):
            self.flush()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _shake(self) -> bool:
        """Return whether the handshake is finished."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def _read(self, size: int) -> bytes | None:
        """Return all data of the records at hand, or None where there is none."""
        parts: list[bytes] = []
        while True:
            try:
                data = self._tls.read(size)
            except ssl.SSLWantReadError:
                return b"".join(parts) if parts else None
            except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
                data = b""
            if not data:
                return b"".join(parts)
            parts.append(data)

    def _pull(self) -> None:
        data = self._socket.recv(_TURN_BYTES)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()


def _load_chain(context: ssl.SSLContext, config: TlsConfig) -> None:
    if "-----BEGIN CERTIFICATE-----" not in config.cert:
        raise TlsError("cert", "expected a certificate in PEM form, found none")
    if "PRIVATE KEY-----" not in config.key:
        raise TlsError("key", "expected a private key in PEM form, found none")
    was_asked = False

    def no_password() -> bytes:
        nonlocal was_asked
        was_asked = True
        return b"-"

    # The library only reads files: one in memory, so that a key of the configuration is never written to a disk.
    try:
        descriptor = os.memfd_create("wattribute-tls")
    except OSError as exc:
        raise TlsError("cert", f"expected memory to hand it to OpenSSL in, found {exc.strerror}") from None
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(f"{config.cert}\n{config.key}\n".encode())
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=no_password)
    except ssl.SSLError as exc:
        if was_asked:
            raise TlsError("key", "expected a private key without a password, found an encrypted one") from None
        if exc.reason == "KEY_VALUES_MISMATCH":
            raise TlsError("key", "expected the private key of the certificate, found another one") from None
        reason = exc.reason or "it is not readable"
        raise TlsError("cert", f"expected a certificate and its key that OpenSSL accepts, found {reason}") from None
    except (TypeError, ValueError, OSError) as exc:
        found = type(exc).__name__
        raise TlsError("cert", f"expected a certificate and its key that OpenSSL accepts, found {found}") from None
    finally:
        os.close(descriptor)


def _load_authorities(context: ssl.SSLContext, pem: str) -> None:
    try:
        context.load_verify_locations(cadata=pem)
    except (TypeError, ValueError, OSError):  # a TypeError for characters outside ASCII
        raise TlsError(
            "client_ca", "expected certificates of authorities in PEM form, in ASCII alone, found something else"
        ) from None


def _names(tls: ssl.SSLObject) -> set[str]:
    """Return the alternative names of the client's verified certificate."""
    certificate = tls.getpeercert() or {}
    pairs = certificate.get("subjectAltName", ())
    return {_normal(str(name[1])) for name in pairs if isinstance(name, tuple) and name[0] in _NAME_KINDS}


_NAME_KINDS = ("DNS", "email", "IP Address", "URI")


def _normal(name: str) -> str:
    """Return addresses in one spelling, and anything else as it is."""
    try:
        return str(ipaddress.ip_address(name.strip()))
    except ValueError:
        return name
