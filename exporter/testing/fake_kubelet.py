"""A kubelet, or an API server, that serves a list of pods over HTTPS with a certificate of a private authority.

Real sockets and real TLS; certificates are made by the ``openssl`` program when the first server starts.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import ClassVar, Self
from urllib.parse import parse_qs, urlsplit

from exporter.testing.pod_documents import FakePod, pod_list
from exporter.testing.tls_server import TlsServer

__all__ = ["CertificateAuthority", "FakeKubelet", "NoOpensslError"]


class NoOpensslError(Exception):
    """The ``openssl`` program is not installed, so no certificate can be made."""


class CertificateAuthority:
    """A private authority in a directory.

    Attributes:
        ca_file: its certificate.
        server_file: certificate and key of a server on 127.0.0.1.
    """

    def __init__(self, directory: Path) -> None:
        openssl = shutil.which("openssl")
        if openssl is None:
            raise NoOpensslError("no openssl program to make certificates with: install openssl")
        directory.mkdir(parents=True, exist_ok=True)
        self.ca_file = directory / "ca.crt"
        self.server_file = directory / "server.pem"
        ca_key, key, request = directory / "ca.key", directory / "server.key", directory / "server.csr"
        names = directory / "names.cnf"
        names.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n", encoding="ascii")
        usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
        new = (openssl, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        _run(*new, "-x509", "-days", "30", "-subj", "/CN=test-ca", *usage, "-keyout", ca_key, "-out", self.ca_file)
        _run(*new, "-subj", "/CN=node-1", "-keyout", key, "-out", request)
        signed = directory / "server.crt"
        by = ("-CA", self.ca_file, "-CAkey", ca_key, "-CAcreateserial", "-days", "30", "-extfile", names)
        _run(openssl, "x509", "-req", "-in", request, *by, "-out", signed)
        self.server_file.write_text(signed.read_text("ascii") + key.read_text("ascii"), encoding="ascii")


def _run(*arguments: str | Path) -> None:
    subprocess.run([str(argument) for argument in arguments], check=True, capture_output=True)  # noqa: S603 - our own


class FakeKubelet:
    """Serves ``/pods``; a context manager.

    Attributes:
        pods: what is served; changes show at once.
        token: the token that is accepted.
        status: answered instead of 200, or 0.
        body: answered instead of the pods, or None.
        delay_s: how long an answer takes.
        calls: requests by path, refused ones too.
    """

    of_api_server: ClassVar[bool] = False

    def __init__(self, authority: CertificateAuthority, *, token: str = "token-1", port: int = 0) -> None:  # noqa: S107
        self.pods: list[FakePod] = []
        self.token = token
        self.status = 0
        self.body: bytes | None = None
        self.delay_s = 0.0
        self.calls: Counter[str] = Counter()
        self._server = TlsServer(_handler(self), authority.server_file, port=port)
        self.port = self._server.port

    @property
    def url(self) -> str:
        """Where it listens."""
        return self._server.url

    def answer(self, target: str, authorization: str) -> tuple[int, bytes]:
        """Return status and body for a request."""
        parts = urlsplit(target)
        self.calls[parts.path] += 1
        time.sleep(self.delay_s)
        if authorization != f"Bearer {self.token}":
            return 401, b"Unauthorized"
        if self.status:
            return self.status, b"refused"
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        return (200, self.body) if self.body is not None else self.page(parts.path, query)

    def page(self, path: str, query: dict[str, str]) -> tuple[int, bytes]:
        """Return status and body for an authorised request."""
        if path != "/pods" or query:
            return 404, b"404 page not found"
        return 200, json.dumps(pod_list(self.pods)).encode()

    def close(self) -> None:
        """Stop listening."""
        self._server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def _handler(kubelet: FakeKubelet) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, body = kubelet.answer(self.path, self.headers.get("Authorization", ""))
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            """Keep quiet."""

    return Handler
