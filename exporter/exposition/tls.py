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
        """Return ``client`` as a TLS connection whose handshake has not begun; takes the socket over.

        Raises:
            OSError: the client has left.
        """
        wrapped = self._context.wrap_socket(client, server_side=True, do_handshake_on_connect=False)
        return TlsStream(wrapped, self.allowed_sans)


class TlsStream:
    """A non-blocking TLS connection that raises ``BlockingIOError`` where it has to wait.

    Attributes:
        wants_write: whether the handshake waits for the client to take bytes, not to send some.
    """

    __slots__ = ("_allowed_sans", "_socket", "wants_write")

    def __init__(self, wrapped: ssl.SSLSocket, allowed_sans: frozenset[str]) -> None:
        self._socket = wrapped
        self._allowed_sans = allowed_sans
        self.wants_write = False

    def handshake(self) -> None:
        """Go on with the handshake.

        Raises:
            BlockingIOError: it is not finished; call again when ``wants_write`` or readable.
            OSError: it failed, or the client's certificate is not one of those allowed.
        """
        try:
            self._socket.do_handshake()
        except ssl.SSLWantReadError as exc:
            self.wants_write = False
            raise BlockingIOError from exc
        except ssl.SSLWantWriteError as exc:
            self.wants_write = True
            raise BlockingIOError from exc
        except ValueError as exc:  # the client left between two calls
            raise ConnectionResetError from exc
        if self._allowed_sans and not self._allowed_sans & _names(self._socket):
            raise ConnectionAbortedError("the client's certificate has none of the allowed names")

    def recv(self, size: int) -> bytes:
        """Return decrypted bytes, none at the client's end."""
        try:
            return self._socket.recv(size)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as exc:
            raise BlockingIOError from exc

    def send(self, parts: Sequence[memoryview]) -> int:
        """Encrypt and send a beginning of ``parts``; return its length."""
        try:
            return self._socket.send(parts[0])
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as exc:
            raise BlockingIOError from exc

    def end(self) -> None:
        """Say that nothing follows."""
        with contextlib.suppress(OSError, ValueError):
            self._socket.unwrap()
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


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


def _names(wrapped: ssl.SSLSocket) -> set[str]:
    """Return the alternative names of the client's verified certificate."""
    certificate = wrapped.getpeercert() or {}
    pairs = certificate.get("subjectAltName", ())
    return {_normal(str(name[1])) for name in pairs if isinstance(name, tuple) and name[0] in _NAME_KINDS}


_NAME_KINDS = ("DNS", "email", "IP Address", "URI")


def _normal(name: str) -> str:
    """Return addresses in one spelling, and anything else as it is."""
    try:
        return str(ipaddress.ip_address(name.strip()))
    except ValueError:
        return name
