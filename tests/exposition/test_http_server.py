from __future__ import annotations

import contextlib
import logging
import socket
import time
from collections.abc import Iterator

import pytest

from exporter.exposition.http_messages import Request, Response, plain
from exporter.exposition.http_server import Server
from exporter.exposition.listen import ListenError, parse_address
from exporter.exposition.web_settings import WebSettings

PAGE = b"x" * 400_000
SETTINGS = WebSettings(max_connections=50, max_requests=4, header_timeout_s=0.5, write_timeout_s=1.0, keep_alive_s=2.0)


def app(request: Request) -> Response:
    if request.path == "/metrics":
        return Response(200, PAGE, "text/plain")
    if request.path == "/broken":
        raise ValueError("a fault in a page")
    return plain(404)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(["127.0.0.1:0"], app, SETTINGS)
    server.start()
    yield server
    server.stop()


def connect(server: Server) -> socket.socket:
    return socket.create_connection(server.addresses[0], timeout=5)


def ask(server: Server, raw: bytes) -> bytes:
    """Send ``raw`` and return everything until the server closes."""
    with connect(server) as client:
        with contextlib.suppress(OSError):  # refused before all was sent: the answer is still there
            client.sendall(raw)
        parts = []
        try:
            while data := client.recv(65536):
                parts.append(data)
        except ConnectionResetError:
            pass
        return b"".join(parts)


def get(path: bytes = b"/metrics", method: bytes = b"GET", headers: bytes = b"") -> bytes:
    return method + b" " + path + b" HTTP/1.1\r\nHost: n\r\nConnection: close\r\n" + headers + b"\r\n"


def status(answer: bytes) -> int:
    return int(answer[9:12])


def test_a_scrape_is_answered_while_many_connections_are_half_open(server: Server) -> None:
    """S-02: newcomers evict the oldest connection that never completed a request."""
    half_open = [connect(server) for _ in range(200)]
    for client in half_open:
        client.sendall(b"GET /metr")

    answer = ask(server, get())
    for client in half_open:
        client.close()

    assert (status(answer), answer.endswith(PAGE)) == (200, True)


def test_headers_that_drip_are_cut_off_in_time(server: Server) -> None:
    """S-02: the time limit is for all headers together, not between bytes."""
    with connect(server) as client:
        client.settimeout(0.05)
        started_s = time.monotonic()
        answer = b""
        for byte in get(headers=b"X-Slow: " + b"a" * 200 + b"\r\n"):
            client.sendall(bytes([byte]))
            try:
                answer = client.recv(100)
                break
            except TimeoutError:
                continue

    assert status(answer) == 408
    assert time.monotonic() - started_s < 2.0


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"GET /" + b"a" * 65536 + b" HTTP/1.1\r\n\r\n", 431),
        (get(headers=b"".join(b"X-%d: %s\r\n" % (i, b"a" * 1000) for i in range(1000))), 431),
        (get(headers=b"".join(b"X-%d: a\r\n" % i for i in range(150))), 431),
        (get(headers=b"X: a\0b\r\n"), 400),
        (b"GET /metrics HTTP/1.1\nHost: n\n\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: n\nX: y\r\n\r\n", 400),
        (get(headers=b"X: a\r\n folded\r\n"), 400),
        (get(headers=b"Content-Length: 0\r\nContent-Length: 5\r\n") + b"hello", 400),
        (get(headers=b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n") + b"0\r\n\r\n", 400),
        (get(headers=b"Content-Length: 5\r\n") + b"hello", 413),
        (b"GET /metrics HTTP/1.1\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    ],
)
def test_malformed_heads_are_refused_and_the_connection_is_closed(server: Server, raw: bytes, expected: int) -> None:
    """S-03."""
    assert status(ask(server, raw)) == expected


@pytest.mark.parametrize("method", [b"POST", b"OPTIONS", b"BREW", b"get"])
def test_other_methods_than_get_and_head_are_not_allowed(server: Server, method: bytes) -> None:
    """S-04."""
    answer = ask(server, get(method=method))

    assert status(answer) == 405
    assert b"Allow: GET, HEAD\r\n" in answer


@pytest.mark.parametrize("path", [b"/..%2fmetrics", b"//metrics", b"http://n/metrics", b"/" + b"a" * 3000, b"/%ff"])
def test_unknown_paths_get_one_constant_answer(server: Server, path: bytes) -> None:
    """S-05."""
    answer = ask(server, get(path))

    assert (status(answer), answer.partition(b"\r\n\r\n")[2]) == (404, b"Not Found\n")


def test_head_has_the_length_of_the_page_and_no_body(server: Server) -> None:
    head, _, body = ask(server, get(method=b"HEAD")).partition(b"\r\n\r\n")

    assert b"Content-Length: 400000" in head
    assert body == b""


def test_pipelined_requests_are_all_answered_in_order(server: Server) -> None:
    many = b"GET /nope HTTP/1.1\r\nHost: n\r\n\r\n" * 20
    answer = ask(server, many + get())

    assert (answer.count(b"HTTP/1.1 404"), answer.count(b"HTTP/1.1 200")) == (20, 1)


def test_requests_beyond_the_limit_get_503_until_stalled_clients_are_dropped(server: Server) -> None:
    """S-07: clients that never read hold neither memory nor places for long."""
    stuck = []
    for _ in range(SETTINGS.max_requests):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(server.addresses[0])
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: n\r\n\r\n" * 40)
        stuck.append(client)
    time.sleep(0.1)

    at_once = status(ask(server, get()))
    time.sleep(0.7)
    later = status(ask(server, get()))
    for client in stuck:
        client.close()

    assert (at_once, later) == (503, 200)


def test_a_page_that_fails_is_a_500_and_the_next_one_is_served(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.CRITICAL):
        failed = status(ask(server, get(b"/broken")))

    assert (failed, status(ask(server, get()))) == (500, 200)


def test_an_idle_connection_is_kept_and_used_again(server: Server) -> None:
    with connect(server) as client:
        for _ in range(3):
            client.sendall(b"HEAD /nope HTTP/1.1\r\nHost: n\r\n\r\n")
            assert status(client.recv(4096)) == 404


def test_a_busy_port_is_named_with_what_to_do(server: Server) -> None:
    """F72."""
    port = server.addresses[0][1]
    second = Server([f"127.0.0.1:{port}"], app, SETTINGS)

    with pytest.raises(ListenError, match=rf"127\.0\.0\.1:{port}.*another program"):
        second.start()


@pytest.mark.parametrize(
    ("text", "expected"),
    [(":9", ("", 9)), ("[::1]:9", ("::1", 9)), ("127.0.0.1:9", ("127.0.0.1", 9)), ("n:9", ("n", 9))],
)
def test_addresses_are_read_as_operators_write_them(text: str, expected: tuple[str, int]) -> None:
    assert expected == parse_address(text)


@pytest.mark.parametrize("text", ["", "9", "::1:9", "n:", "n:65536", "n:-1", "n:٣"])
def test_other_forms_of_addresses_are_refused(text: str) -> None:
    with pytest.raises(ListenError, match="expected HOST:PORT"):
        parse_address(text)


def test_all_interfaces_are_served_where_no_host_is_named() -> None:
    server = Server([":0"], app, SETTINGS)
    server.start()
    port = server.addresses[0][1]

    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(get(b"/nope"))
        answer = client.recv(4096)
    server.stop()

    assert status(answer) == 404
