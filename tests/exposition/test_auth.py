from __future__ import annotations

import base64
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.exposition.auth import Authenticator, Verdict
from tests.exposition.pki import ask, get, serving, status

PASSPHRASE = "correct horse: battery"  # noqa: S105 - of this test
HASH = bcrypt.hashpw(PASSPHRASE.encode(), bcrypt.gensalt(4))
PEER = "192.0.2.1"
USERS = {"alice": HASH, "zoë": HASH.replace(b"$2b$", b"$2y$")}


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def header(user: str = "alice", password: str = PASSPHRASE) -> str:
    return f"Authorization: {basic(user, password)}\r\n"


def verdict(authenticator: Authenticator, woken: threading.Event, value: str) -> Verdict:
    while (found := authenticator.check(value, USERS, PEER)) == "pending":
        assert woken.wait(10)
        woken.clear()
        authenticator.collect()
    return found


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "web.yml"
    path.write_text(f"basic_auth_users:\n  alice: {HASH.decode()}\n  zoë: {HASH.decode().replace('2b', '2a')}\n")
    return path


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (header(), 200),
        (header("zoë"), 200),
        (header().replace("Basic", "bAsIc"), 200),
        (header("alice", "wrong"), 401),
        (header("bob"), 401),
        (header("alice:correct horse", "battery"), 401),
        (header(password=""), 401),
        (header(password="a" * 73), 401),
        (header(password=PASSPHRASE + "\0x"), 401),
        ("", 401),
        ("Authorization: Basic !!!\r\n", 401),
        ("Authorization: Basic /w==\r\n", 401),
        ("Authorization: Bearer x\r\n", 401),
        (header() + header("bob"), 401),
        (f"Authorization: Basic {'A' * 8000}\r\n", 401),
    ],
)
def test_only_a_user_with_the_right_password_is_served(config: Path, headers: str, expected: int) -> None:
    """S-09."""
    with serving(config) as server:
        answers = [ask(server.addresses[0], get(headers=headers)) for _ in range(2)]

    assert [status(answer) for answer in answers] == [expected, expected]
    assert (b'WWW-Authenticate: Basic realm="wattribute"' in answers[0]) == (expected == 401)


@pytest.mark.parametrize(("path", "expected"), [("/-/healthy", 200), ("/nope", 401), ("/", 401), ("//-/healthy", 401)])
def test_health_needs_no_password_and_all_else_does(config: Path, path: str, expected: int) -> None:
    with serving(config) as server:
        assert status(ask(server.addresses[0], get(path))) == expected


def test_pipelined_requests_wait_their_turn(config: Path) -> None:
    one = f"GET /nope HTTP/1.1\r\nHost: n\r\n{header()}\r\n".encode()
    with serving(config) as server:
        answer = ask(server.addresses[0], one * 9 + get("/-/healthy"))

    assert (answer.count(b"HTTP/1.1 404"), answer.count(b"HTTP/1.1 200")) == (9, 1)


def test_a_slow_check_keeps_nobody_else_waiting(tmp_path: Path) -> None:
    slow = bcrypt.hashpw(b"x", bcrypt.gensalt(4)).replace(b"$04$", b"$12$").decode()
    path = tmp_path / "web.yml"
    path.write_text(f"basic_auth_users:\n  alice: {HASH.decode()}\n  slow: {slow}\n")
    with serving(path) as server:
        assert status(ask(server.addresses[0], get(headers=header()))) == 200
        with socket.create_connection(server.addresses[0], timeout=30) as waiting:
            waiting.sendall(get(headers=header("slow", "x")))
            started_s = time.monotonic()
            answers = [status(ask(server.addresses[0], get(headers=header()))) for _ in range(5)]
            took_s = time.monotonic() - started_s
            late = status(waiting.recv(4096))
            whole_s = time.monotonic() - started_s

    assert answers == [200] * 5
    assert late == 401
    assert took_s < whole_s / 2


def test_more_wrong_passwords_than_can_wait_are_turned_away_and_the_known_one_is_served(tmp_path: Path) -> None:
    slow = HASH.replace(b"$04$", b"$12$")
    authenticator = Authenticator(lambda: None)
    users = {"alice": slow}

    found = [authenticator.check(basic("alice", str(number)), users, str(number)) for number in range(40)]
    authenticator.close()

    assert found[0] == "pending"
    assert 16 <= found.count("pending") <= 17
    assert found[-1] == "busy"


def test_wrong_passwords_of_one_address_leave_room_for_the_right_one_of_another() -> None:
    woken = threading.Event()
    authenticator = Authenticator(woken.set)
    users = {"alice": HASH.replace(b"$04$", b"$10$")}

    flood = [authenticator.check(basic("alice", str(number)), users, PEER) for number in range(40)]
    other = authenticator.check(basic("alice", PASSPHRASE), users, "192.0.2.2")
    while authenticator._in_hand:
        assert woken.wait(10)
        woken.clear()
        authenticator.collect()
    later = authenticator.check(basic("alice", "new"), users, PEER)
    authenticator.close()

    assert flood == ["pending"] * 2 + ["busy"] * 38
    assert (other, later) == ("pending", "pending")


def test_one_check_serves_all_who_ask_the_same() -> None:
    woken = threading.Event()
    authenticator = Authenticator(woken.set)

    first = [authenticator.check(basic("alice", PASSPHRASE), USERS, PEER) for _ in range(40)]
    last = verdict(authenticator, woken, basic("alice", PASSPHRASE))
    authenticator.close()

    assert (set(first), last) == ({"pending"}, "accepted")


def test_a_flood_of_wrong_passwords_does_not_push_the_right_one_out() -> None:
    woken = threading.Event()
    authenticator = Authenticator(woken.set)
    verdict(authenticator, woken, basic("alice", PASSPHRASE))
    for number in range(250):
        assert verdict(authenticator, woken, basic("alice", str(number))) == "refused"

    at_once = authenticator.check(basic("alice", PASSPHRASE), USERS, PEER)
    remembered = len(authenticator._refused)
    authenticator.close()

    assert (at_once, remembered) == ("accepted", 100)


def test_a_changed_hash_forgets_the_old_password() -> None:
    woken = threading.Event()
    authenticator = Authenticator(woken.set)
    verdict(authenticator, woken, basic("alice", PASSPHRASE))
    changed = {"alice": bcrypt.hashpw(b"another", bcrypt.gensalt(4))}

    found = authenticator.check(basic("alice", PASSPHRASE), changed, PEER)
    authenticator.close()

    assert found == "pending"


def test_an_unknown_user_takes_as_long_as_a_known_one() -> None:
    """S-09: medians of ten checks each; without a check they would differ a hundredfold."""
    woken = threading.Event()
    authenticator = Authenticator(woken.set)
    users = {"alice": HASH.replace(b"$04$", b"$08$")}
    medians = []
    for name in ("alice", "nobody"):
        times = []
        for number in range(10):
            started_s = time.monotonic()
            while authenticator.check(basic(name, f"wrong {number}"), users, PEER) == "pending":
                assert woken.wait(10)
                woken.clear()
                authenticator.collect()
            times.append(time.monotonic() - started_s)
        medians.append(sorted(times)[5])
    authenticator.close()

    assert 0.2 < medians[0] / medians[1] < 5


@given(name=st.text(max_size=90), password=st.text(max_size=90), split=st.integers(0, 90))
def test_no_other_pair_shares_the_key_of_a_known_one(name: str, password: str, split: int) -> None:
    """CVE-2022-46146: the boundary between name, password and hash is part of the key."""
    authenticator = Authenticator(lambda: None)
    raw, secret, hashed = name.encode("utf-8", "replace"), password.encode("utf-8", "replace"), HASH
    whole = raw + secret + hashed
    other = (whole[:split], whole[split : split + 5], whole[split + 5 :])

    is_same = authenticator._key(raw, secret, hashed) == authenticator._key(*other)

    assert is_same == (other == (raw, secret, hashed))


def test_passwords_are_nowhere_in_the_log(config: Path, caplog: pytest.LogCaptureFixture) -> None:
    """S-01."""
    with caplog.at_level(logging.DEBUG), serving(config) as server:
        ask(server.addresses[0], get(headers=header()))
        config.write_text("basic_auth_users:\n  alice: canary-password\n")
        ask(server.addresses[0], get(headers=header("alice", "canary-password")))

    assert "canary" not in caplog.text
    assert HASH.decode() not in caplog.text


def test_a_library_that_is_found_and_cannot_be_imported_is_a_mistake_of_the_file(config: Path, tmp_path: Path) -> None:
    broken = tmp_path / "packages/bcrypt"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('of another machine')\n")
    program = "import sys; from exporter.cli import main; sys.exit(main(sys.argv[1:]))"
    places = os.pathsep.join([str(broken.parent), str(Path(__file__).parents[2])])

    done = subprocess.run(
        [sys.executable, "-c", program, "config", f"--web.config.file={config}"],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": places},
    )

    assert done.returncode == 2
    assert "basic_auth_users: expected the Python package bcrypt" in done.stderr
    assert "one that cannot be imported (ImportError), install wattribute[auth]" in done.stderr


def test_a_library_that_breaks_while_serving_is_answered_with_503_and_not_with_silence(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(config) as server:
        monkeypatch.setitem(sys.modules, "bcrypt", None)
        answers = [ask(server.addresses[0], get(headers=header(password=str(number)))) for number in range(3)]
        healthy = ask(server.addresses[0], get("/-/healthy"))

    assert [status(answer) for answer in answers] == [503] * 3
    assert answers[0].endswith(b"passwords cannot be checked\n")
    assert status(healthy) == 200


def test_a_new_password_counts_at_once(config: Path) -> None:
    with serving(config) as server:
        before = status(ask(server.addresses[0], get(headers=header())))
        config.write_text(f"basic_auth_users:\n  alice: {bcrypt.hashpw(b'new', bcrypt.gensalt(4)).decode()}\n")
        old = status(ask(server.addresses[0], get(headers=header())))
        new = status(ask(server.addresses[0], get(headers=header("alice", "new"))))

    assert (before, old, new) == (200, 401, 200)
