"""Certificates for tests, made with the ``openssl`` program, and a server guarded with them."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

from exporter.config.web_config import load_web_config
from exporter.exposition.http_messages import Request, Response, plain
from exporter.exposition.http_server import Server
from exporter.exposition.web_config import Access
from exporter.exposition.web_settings import WebSettings

PAGE = b"x" * 400_000
TLS = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n"
MUTUAL = TLS + "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n"
SETTINGS = WebSettings(
    max_connections=50,
    header_timeout_s=0.5,
    write_timeout_s=5.0,
    keep_alive_s=5.0,
    health_address="127.0.0.1:0",
)
_EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Authority:
    """A private authority in a folder of its own: ``ca.pem``, ``ca.key``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        usage = ("-addext", "keyUsage=critical,keyCertSign")
        self._openssl("req", "-x509", *_EC, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=private", *usage)

    def issue(self, name: str, *, sans: str = "IP:127.0.0.1", usage: str = "serverAuth") -> None:
        """Make ``NAME.pem`` and ``NAME.key``, signed by the authority."""
        lines = f"subjectAltName={sans}\nbasicConstraints=CA:FALSE\nextendedKeyUsage={usage}\n"
        (self.folder / "ext").write_text(lines)
        self._openssl("req", *_EC, "-keyout", f"{name}.key", "-out", "csr", "-subj", f"/CN={name}")
        sign = ("-req", "-in", "csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "30")
        self._openssl("x509", *sign, "-extfile", "ext", "-out", f"{name}.pem")

    def encrypt(self, name: str) -> None:
        """Make ``encrypted.key`` of ``NAME.key``."""
        self._openssl("ec", "-in", f"{name}.key", "-aes128", "-passout", "pass:secret", "-out", "encrypted.key")

    def copy_to(self, folder: Path) -> None:
        """Copy everything into ``folder``."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=self.folder)


def app(request: Request) -> Response:
    if request.path == "/metrics":
        return Response(200, PAGE, "text/plain")
    return plain(200, "healthy") if request.path == "/-/healthy" else plain(404)


@contextlib.contextmanager
def serving(config: Path, *, check_s: float = 0.0) -> Iterator[Server]:
    """Serve guarded by the file; it is looked at in every turn unless ``check_s`` says otherwise."""
    access = Access(lambda: load_web_config(config), check_s=check_s)
    server = Server(["127.0.0.1:0"], app, SETTINGS, access=access)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def client_context(folder: Path, name: str = "") -> ssl.SSLContext:
    """Return the context of a client that trusts the authority and shows the certificate ``name``."""
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    if name:
        context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    return context


def get(path: str = "/metrics", headers: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: n\r\nConnection: close\r\n{headers}\r\n".encode()


def ask(address: tuple[str, int], raw: bytes, context: ssl.SSLContext | None = None) -> bytes:
    """Send ``raw`` and return everything until the server closes.

    Raises:
        ssl.SSLError: the handshake failed.
    """
    with socket.create_connection(address, timeout=5) as plain_client:
        client = context.wrap_socket(plain_client, server_hostname="127.0.0.1") if context else plain_client
        with contextlib.closing(client):
            client.sendall(raw)
            parts = []
            while data := client.recv(65536):
                parts.append(data)
            return b"".join(parts)


def status(answer: bytes) -> int:
    return int(answer[9:12])
