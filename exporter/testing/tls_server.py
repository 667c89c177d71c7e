"""An HTTPS server for the fakes: every client has a thread, which shakes hands and closes what it opened."""

from __future__ import annotations

import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

__all__ = ["TlsServer"]


class TlsServer:
    """Serves on loopback from the moment it is made until ``close``.

    Args:
        handler: answers requests.
        certificate_file: certificate and key, PEM.
        port: where; 0: any free one.
    """

    def __init__(self, handler: type[BaseHTTPRequestHandler], certificate_file: Path | str, *, port: int = 0) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate_file)
        self._server = _Server(("127.0.0.1", port), handler)
        self._server.context = context
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"https://127.0.0.1:{self.port}"

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    context: ssl.SSLContext
    block_on_close = False

    def finish_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - the base's
        """Shake hands in the client's own thread, and close what was opened whatever the client does."""
        with self.context.wrap_socket(request, server_side=True) as secured:
            super().finish_request(secured, client_address)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that do not trust the certificate, or that went away."""
