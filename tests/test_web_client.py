"""One bounded request: whatever a server does, the caller gets an answer or a reason in time, and no key in it."""

from __future__ import annotations

import gzip
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from exporter.web_client import HttpError, WebClient
from tests.carbon.servers import Question, Reply, serving

KEY = "s3cret-key"


@contextmanager
def raw_server(talk: Callable[[socket.socket], None], context: ssl.SSLContext | None = None) -> Iterator[int]:
    """Let ``talk`` have every connection, after the handshake where there is a context; give the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(target=handle, args=(connection,), daemon=True).start()

        def handle(connection: socket.socket) -> None:
            with (
                suppress(OSError),
                connection,
                context.wrap_socket(connection, server_side=True) if context else connection as sock,
            ):
                sock.recv(65536)
                talk(sock)

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)


def be_silent(sock: socket.socket) -> None:
    """Answer nothing until the other side has given up."""
    with suppress(OSError):
        while sock.recv(65536):
            pass


def drip(sock: socket.socket) -> None:
    """Send a byte now and then, so that no read of a socket ever runs into its own timeout."""
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    with suppress(OSError):
        while True:
            sock.sendall(b"x")
            time.sleep(0.02)


def drip_head(sock: socket.socket) -> None:
    """Never come to the end of the headers."""
    sock.sendall(b"HTTP/1.1 200 OK\r\n")
    with suppress(OSError):
        while True:
            sock.sendall(b"X-More: y\r\n")
            time.sleep(0.05)


def error_of(client: WebClient, **headers: str) -> HttpError:
    with pytest.raises(HttpError) as caught:
        client.get("/v3/latest", {"token": KEY}, headers=headers)
    return caught.value


@pytest.mark.parametrize("talk", [drip, drip_head, be_silent])
def test_a_server_that_drips_ends_at_the_deadline_of_the_whole_request(talk: Callable[[socket.socket], None]) -> None:
    with raw_server(talk) as port:
        started_s = time.monotonic()

        error = error_of(WebClient(f"http://127.0.0.1:{port}", timeout_s=0.2))

        assert error.reason == "timeout"
        assert time.monotonic() - started_s < 5  # or never, without the deadline


def test_a_dripping_server_over_tls_ends_at_the_deadline(tmp_path: Path) -> None:
    ca_file, context = certificates(tmp_path)
    with raw_server(drip, context) as port:
        client = WebClient(f"https://127.0.0.1:{port}", ca_file=str(ca_file), timeout_s=0.4)

        assert error_of(client).reason == "timeout"


def test_a_refused_connection_is_io_and_says_where() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    error = error_of(WebClient(f"http://127.0.0.1:{port}"))

    assert error.reason == "io"
    assert f"127.0.0.1:{port}" in str(error)
    assert "refused" in str(error)


def test_a_body_too_large_is_cut_off() -> None:
    with serving(lambda _: Reply(b"x" * 100_001)) as server:
        error = error_of(WebClient(server.url, max_bytes=100_000))

    assert error.reason == "too_large"


def test_a_packed_body_is_unpacked_and_measured_unpacked() -> None:
    packed = gzip.compress(b"x" * 1_000_000)
    with serving(lambda _: Reply(packed, headers={"Content-Encoding": "gzip"})) as server:
        answer = WebClient(server.url, max_bytes=1_000_000).get("/")
        error = error_of(WebClient(server.url, max_bytes=999_999))

    assert len(answer.body) == 1_000_000
    assert error.reason == "too_large"


def test_a_damaged_packed_body_is_io() -> None:
    with serving(lambda _: Reply(b"no gzip", headers={"Content-Encoding": "gzip"})) as server:
        assert error_of(WebClient(server.url)).reason == "io"


def test_a_redirect_is_an_answer_that_nobody_follows() -> None:
    with serving(lambda _: Reply(status=302, headers={"Location": "http://127.0.0.1:9/elsewhere"})) as server:
        answer = WebClient(server.url).get("/", headers={"auth-token": KEY})

        assert answer.status == 302
        assert len(server.questions) == 1


def test_what_is_asked_arrives(tmp_path: Path) -> None:
    def echo(question: Question) -> Reply:
        return Reply(repr((question.path, dict(question.query))).encode(), headers={"X-Kind": "Echo"})

    with serving(echo) as server:
        answer = WebClient(server.url + "/api/", user_agent="wattribute/9").get(
            "/v4/latest", {"zone": "DE & more"}, headers={"auth-token": KEY}
        )
        [question] = server.questions

    assert answer.body == b"('/api/v4/latest', {'zone': 'DE & more'})"
    assert answer.headers["x-kind"] == "Echo"
    assert (question.headers["auth-token"], question.headers["user-agent"]) == (KEY, "wattribute/9")


def test_a_second_question_uses_the_connection_again_and_has_a_deadline_of_its_own() -> None:
    pause = threading.Event()
    asked = []

    def answer(question: Question) -> Reply:
        asked.append(question)
        if len(asked) > 1:
            pause.wait(2)
        return Reply(b"ok")

    with serving(answer) as server:
        client = WebClient(server.url, timeout_s=0.2)
        assert client.get("/").body == b"ok"

        assert error_of(client).reason == "timeout"
        pause.set()


def certificates(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """Return a private authority's certificate, and a server's context with a key that it signed."""
    names = {name: str(folder / name) for name in ("ca.key", "ca.pem", "key", "csr", "pem", "ext")}
    Path(names["ext"]).write_text("subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
    ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    authority = ["req", "-x509", *ec, "-keyout", names["ca.key"], "-out", names["ca.pem"], "-subj", "/CN=private"]
    usage = ["-addext", "keyUsage=critical,keyCertSign"]
    request = ["req", *ec, "-keyout", names["key"], "-out", names["csr"], "-subj", "/CN=here"]
    sign = ["x509", "-req", "-in", names["csr"], "-CA", names["ca.pem"], "-CAkey", names["ca.key"], "-days", "30"]
    for command in ([*authority, *usage], request, [*sign, "-extfile", names["ext"], "-out", names["pem"]]):
        subprocess.run(["openssl", *command], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(names["pem"], names["key"])
    return folder / "ca.pem", context


def test_a_private_authority_is_trusted_where_it_is_named_and_nowhere_else(tmp_path: Path) -> None:
    ca_file, context = certificates(tmp_path)

    def talk(sock: socket.socket) -> None:
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    with raw_server(talk, context) as port:
        url = f"https://127.0.0.1:{port}"

        assert WebClient(url, ca_file=str(ca_file)).get("/").body == b"ok"
        error = error_of(WebClient(url))

    assert error.reason == "io"
    assert "certificate" in str(error).lower()


def test_a_missing_certificate_file_is_io_and_named(tmp_path: Path) -> None:
    _, context = certificates(tmp_path)
    with raw_server(be_silent, context) as port:
        error = error_of(WebClient(f"https://127.0.0.1:{port}", ca_file=str(tmp_path / "none.pem")))

    assert error.reason == "io"
    assert "none.pem" in str(error)


def test_no_key_gets_into_the_text_of_an_error() -> None:
    error = error_of(WebClient("http://127.0.0.1:1"), auth=KEY)

    assert error.reason == "io"
    assert KEY not in str(error)
    assert KEY not in repr(error.__cause__)
    assert error.__suppress_context__


@pytest.mark.parametrize("url", ["ftp://x", "nothing", "http://", "file:///etc/passwd"])
def test_an_address_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(HttpError, match="expected http"):
        WebClient(url)
