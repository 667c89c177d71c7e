from __future__ import annotations

import contextlib
import ctypes.util
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest

from exporter.exposition.http_server import Server
from tests.exposition.pki import MUTUAL, PAGE, TLS, Authority, ask, client_context, get, serving, status


@pytest.fixture
def config(folder: Path) -> Path:
    path = folder / "web.yml"
    path.write_text(TLS)
    return path


def hello(server: Server) -> bytes:
    """Return the first bytes of a client that is about to speak TLS."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).wrap_bio(incoming, outgoing, server_hostname="n")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def test_a_large_page_comes_whole_and_ends_properly(config: Path) -> None:
    """A missing end of TLS would raise: ragged ends are only suppressed for the ends of sockets."""
    context = client_context(config.parent)
    with serving(config) as server:
        assert server.urls[0].startswith("https://127.0.0.1:")
        with socket.create_connection(server.addresses[0], timeout=5) as raw:
            client = context.wrap_socket(raw, server_hostname="127.0.0.1", suppress_ragged_eofs=False)
            client.sendall(get())
            answer = b""
            while data := client.recv(65536):
                answer += data
            version = client.version()
            client.close()

    assert (status(answer), answer.endswith(PAGE), version) == (200, True, "TLSv1.3")


def test_a_connection_is_used_again(config: Path) -> None:
    context = client_context(config.parent)
    with serving(config) as server, socket.create_connection(server.addresses[0], timeout=5) as raw:
        client = context.wrap_socket(raw, server_hostname="127.0.0.1")
        for _ in range(3):
            client.sendall(b"HEAD /nope HTTP/1.1\r\nHost: n\r\n\r\n")
            assert status(client.recv(4096)) == 404
        client.sendall(b"HEAD /nope HTTP/1.1\r\nHost: n\r\n\r\n" * 20)
        answer = b""
        while answer.count(b"404") < 20:
            answer += client.recv(65536)
        client.close()


def test_clients_that_say_nothing_or_stop_half_way_delay_nobody_and_are_closed_in_time(config: Path) -> None:
    """S-02 with TLS: the handshake is under the header's time limit and the limit of connections."""
    context = client_context(config.parent)
    with serving(config) as server:
        silent = [socket.create_connection(server.addresses[0], timeout=5) for _ in range(100)]
        for client in silent[::2]:
            client.sendall(hello(server)[:40])
        started_s = time.monotonic()
        answer = ask(server.addresses[0], get(), context)
        took_s = time.monotonic() - started_s
        ends = []
        for client in silent:
            with contextlib.suppress(ConnectionResetError):
                ends.append(client.recv(100))
            client.close()

    assert status(answer) == 200
    assert took_s < 0.5
    assert set(ends) <= {b""}
    assert time.monotonic() - started_s < 3.0


def test_a_slow_reader_gets_everything_and_the_end(config: Path) -> None:
    context = client_context(config.parent)
    with serving(config) as server, socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.settimeout(5)
        raw.connect(server.addresses[0])
        client = context.wrap_socket(raw, server_hostname="127.0.0.1", suppress_ragged_eofs=False)
        client.sendall(get("/nope").replace(b"close", b"keep-alive") + get())
        answer = b""
        while data := client.recv(4096):
            answer += data
            time.sleep(0.001)
        client.close()

    assert answer.count(b"HTTP/1.1 404") == 1
    assert answer.endswith(b"\r\n\r\n" + PAGE)


FLOOD = """
import ctypes, sys, socket, time
lib = ctypes.CDLL(sys.argv[2])
pointer = ctypes.c_void_p
for name in ("TLS_client_method", "SSL_CTX_new", "SSL_new"):
    getattr(lib, name).restype = pointer
lib.SSL_CTX_new.argtypes = lib.SSL_new.argtypes = lib.SSL_connect.argtypes = lib.SSL_do_handshake.argtypes = [pointer]
lib.SSL_set_fd.argtypes = lib.SSL_key_update.argtypes = [pointer, ctypes.c_int]
client = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
tls = lib.SSL_new(lib.SSL_CTX_new(lib.TLS_client_method()))
lib.SSL_set_fd(tls, client.fileno())
print("connected", lib.SSL_connect(tls), flush=True)
end_s = time.monotonic() + 4
wants_answers = int(sys.argv[3])
while time.monotonic() < end_s and lib.SSL_key_update(tls, wants_answers) == 1 and lib.SSL_do_handshake(tls) == 1:
    pass
"""


@pytest.mark.parametrize("wants_answers", [0, 1])
def test_a_flood_of_new_keys_keeps_nobody_else_waiting(config: Path, wants_answers: int) -> None:
    """Records without data in them: the client sends them as fast as it can, for four seconds unless it is closed."""
    library = ctypes.util.find_library("ssl")
    if library is None:
        pytest.skip("no libssl on this machine")
    context = client_context(config.parent)
    with serving(config, check_s=1.0) as server:
        arguments = (str(server.addresses[0][1]), library, str(wants_answers))
        with subprocess.Popen([sys.executable, "-c", FLOOD, *arguments], stdout=subprocess.PIPE) as flooder:
            assert flooder.stdout is not None
            assert flooder.stdout.readline() == b"connected 1\n"
            times = []
            for _ in range(5):
                started_s = time.monotonic()
                assert status(ask(server.addresses[0], get(), context)) == 200
                times.append(time.monotonic() - started_s)
                time.sleep(0.05)
            flooder.wait(10)

    assert max(times) < 1.0


def test_plain_http_is_told_what_is_expected(config: Path) -> None:
    with serving(config) as server:
        answer = ask(server.addresses[0], get())

    assert status(answer) == 400
    assert answer.endswith(b"this port expects HTTPS\n")


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01\xff\xff" + b"a" * 70_000, b"\x16", b"\x16\x03\x01\x00\x01\x01"])
def test_garbage_in_place_of_a_handshake_ends_only_its_own_connection(config: Path, garbage: bytes) -> None:
    with serving(config) as server:
        with contextlib.suppress(OSError):
            ask(server.addresses[0], garbage)

        assert status(ask(server.addresses[0], get(), client_context(config.parent))) == 200


def test_tls_1_1_is_not_spoken(config: Path) -> None:
    context = client_context(config.parent)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1

    with serving(config) as server, pytest.raises(ssl.SSLError):
        ask(server.addresses[0], get(), context)


def test_the_suite_is_the_one_that_was_chosen(config: Path) -> None:
    config.write_text(TLS + "  max_version: TLS12\n  cipher_suites: [TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256]\n")
    with serving(config) as server, socket.create_connection(server.addresses[0], timeout=5) as raw:
        client = client_context(config.parent).wrap_socket(raw, server_hostname="127.0.0.1")
        cipher = client.cipher()
        client.close()

    assert cipher is not None
    assert cipher[:2] == ("ECDHE-ECDSA-CHACHA20-POLY1305", "TLSv1.2")


@pytest.mark.parametrize(
    ("sans", "client", "is_served"),
    [
        ("", "scraper", True),
        ("", "", False),
        ("", "server", False),  # not made for clients
        ("[scraper.example]", "scraper", True),
        ("[spiffe://cluster/scraper]", "scraper", True),
        ("[scraper.example]", "other", False),
    ],
)
def test_client_certificates(config: Path, sans: str, client: str, is_served: bool) -> None:
    """S-09."""
    config.write_text(MUTUAL + (f"  client_allowed_sans: {sans}\n" if sans else ""))
    context = client_context(config.parent, client)

    with serving(config) as server:
        try:
            answer = ask(server.addresses[0], get(), context)
        except (ssl.SSLError, ConnectionError):
            answer = b""

    assert (answer.endswith(PAGE), answer == b"") == (is_served, not is_served)


def test_a_certificate_of_another_authority_is_refused(config: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    stranger = Authority(tmp_path_factory.mktemp("stranger"))
    stranger.issue("scraper", usage="clientAuth")
    config.write_text(MUTUAL)
    context = client_context(config.parent)
    context.load_cert_chain(stranger.folder / "scraper.pem", stranger.folder / "scraper.key")

    with serving(config) as server, pytest.raises((ssl.SSLError, ConnectionError)):
        ask(server.addresses[0], get(), context)


def test_who_shows_no_certificate_is_told_so(config: Path) -> None:
    config.write_text(MUTUAL)
    with serving(config) as server, pytest.raises(ssl.SSLError, match=r"(?i)certificate.required"):
        ask(server.addresses[0], get(headers="X: y\r\n" * 50), client_context(config.parent))


def test_probes_need_no_certificate_at_their_own_address_and_get_nothing_else_there(config: Path) -> None:
    config.write_text(MUTUAL)
    with serving(config) as server:
        address = server.health_address
        assert address is not None
        assert address not in server.addresses
        answers = [status(ask(address, get(path))) for path in ("/-/healthy", "/metrics", "/")]

    assert answers == [200, 404, 404]


def test_a_new_certificate_is_shown_without_a_restart_and_old_connections_end(config: Path) -> None:
    """S-09."""
    folder = config.parent
    context = client_context(folder)

    def serial(server: Server) -> object:
        with socket.create_connection(server.addresses[0], timeout=5) as raw:
            client = context.wrap_socket(raw, server_hostname="127.0.0.1")
            found = (client.getpeercert() or {})["serialNumber"]
            client.close()
        return found

    with serving(config) as server, socket.create_connection(server.addresses[0], timeout=5) as raw:
        idle = context.wrap_socket(raw, server_hostname="127.0.0.1")
        idle.sendall(b"HEAD /nope HTTP/1.1\r\nHost: n\r\n\r\n")
        assert status(idle.recv(4096)) == 404
        before = serial(server)
        (folder / "server.pem").write_text("half of it")
        kept = serial(server)
        Authority.issue(_like(folder), "server")
        after = serial(server)
        rest = idle.recv(4096)
        idle.close()

    assert kept == before != after
    assert rest == b""


def _like(folder: Path) -> Authority:
    """Return the authority whose files lie in ``folder``."""
    authority = Authority.__new__(Authority)
    authority.folder = folder
    return authority
