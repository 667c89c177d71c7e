from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.agent import Agent
from exporter.clock import SystemClock
from exporter.config import Settings, load_settings
from exporter.config.web_config import load_web_config
from exporter.errors import ConfigError
from exporter.exposition.web_config import Access, WebConfig
from exporter.exposition.web_settings import WebSettings
from exporter.host import Roots
from exporter.ledger.settings import LedgerSettings
from exporter.sensors.gpu.gpu_set import GpuSet
from tests.exposition.pki import MUTUAL, TLS

CASES = Path(__file__).parents[1] / "fixtures/web_config"
HASH = "$2y$10$vbC9WO7gvU2DRc2x08UaY.Kvk2jfM2v9w6sgzvkGA8G0beHZuc69m"


def put(case: Path, folder: Path) -> Path:
    """Write the case beside certificates, with those it wants as text in place."""
    text = case.read_text("utf-8")
    for word, name in (("@cert", "server.pem"), ("@key", "server.key")):
        text = text.replace(word, textwrap.indent((folder / name).read_text("ascii"), "    ").strip())
    path = folder / "web.yml"
    path.write_text(text)
    return path


def problems_of(path: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_web_config(path)
    return caught.value.problems


@pytest.mark.parametrize("case", sorted((CASES / "good").iterdir()), ids=lambda case: case.stem)
def test_what_can_be_honoured_is_taken(case: Path, folder: Path) -> None:
    config = load_web_config(put(case, folder))

    assert (config.tls is not None) == ("tls_server_config" in case.read_text("utf-8"))
    assert bool(config.users) == ("basic_auth_users" in case.read_text("utf-8"))


@pytest.mark.parametrize("case", sorted((CASES / "bad").iterdir()), ids=lambda case: case.stem)
def test_every_mistake_is_told_with_its_line_and_nothing_else_is(case: Path, folder: Path) -> None:
    """The comments of the file say what is expected, on the line where it is."""
    path = put(case, folder)
    expected = [
        (number, text.strip())
        for number, line in enumerate(case.read_text("utf-8").splitlines(), 1)
        for text in re.findall(r"expect: (.*?)(?:; (?=expect)|$)", line)
    ]

    found = problems_of(path)

    assert len(found) == len(expected) > 0
    for problem, (number, text) in zip(found, expected, strict=True):
        assert problem.startswith(f"{path}:{number}: ")
        assert text in problem
        assert "correct horse" not in problem


def test_only_the_headers_that_are_set_are_added(folder: Path) -> None:
    headers = dict(load_web_config(put(CASES / "good/headers.yml", folder)).headers)

    assert headers.pop("X-Frame-Options") == "sameorigin"
    assert sorted(headers) == ["Content-Security-Policy", "Strict-Transport-Security", "X-Content-Type-Options"]


def test_what_has_no_effect_is_said(folder: Path) -> None:
    assert "http2 has no effect" in load_web_config(put(CASES / "good/http2.yml", folder)).notes[0]


def test_a_pipe_in_place_of_a_file_keeps_nobody_waiting(folder: Path) -> None:
    """S-14."""
    os.mkfifo(folder / "pipe")
    (folder / "web.yml").write_text("tls_server_config:\n  cert_file: pipe\n  key_file: server.key\n")

    assert "expected a regular file" in problems_of(folder / "pipe")[0]
    assert "expected a regular file" in problems_of(folder / "web.yml")[0]


@given(text=st.text(max_size=200))
def test_no_text_of_a_hash_gets_into_a_message(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """S-01: whoever puts a password there must not find it in the log."""
    path = tmp_path_factory.getbasetemp() / "hashes.yml"
    secret = f"canary-{text}".encode("ascii", "backslashreplace").decode().replace("'", "")
    path.write_text(f"basic_auth_users:\n  alice: 'canary{re.sub('[^ -~]', '', secret)}'\n")

    assert "canary" not in "".join(problems_of(path))


def test_users_without_the_library_for_their_hashes_are_a_mistake(folder: Path) -> None:
    path = put(CASES / "good/users.yml", folder)
    program = "import sys; sys.modules['bcrypt'] = None; from exporter.cli import main; sys.exit(main(sys.argv[1:]))"

    done = subprocess.run(
        [sys.executable, "-c", program, "config", f"--web.config.file={path}"],
        check=False,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 2
    assert "basic_auth_users: expected the Python package bcrypt" in done.stderr
    assert "install wattribute[auth]" in done.stderr


def test_the_settings_tell_mistakes_of_the_file_too(folder: Path) -> None:
    path = put(CASES / "bad/several.yml", folder)

    with pytest.raises(ConfigError) as caught:
        load_settings(None, {"web.config_file": ("--web.config.file", str(path))})

    assert len(caught.value.problems) == 3
    assert caught.value.problems[0].startswith(f"--web.config.file: web.config_file: {path}:2: ")


@pytest.mark.parametrize(
    ("before", "after", "key"),
    [
        (TLS, "", "tls_server_config"),
        (f"basic_auth_users:\n  alice: {HASH}\n", "", "basic_auth_users"),
        (
            TLS + "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n",
            TLS,
            "tls_server_config.client_auth_type",
        ),
    ],
)
def test_a_guard_that_is_gone_from_the_file_stays_in_force(folder: Path, before: str, after: str, key: str) -> None:
    """A file caught half written must not open the page."""
    path = folder / "web.yml"
    path.write_text(before)
    access = Access(lambda: load_web_config(path))
    old = access.config
    path.write_text(after)

    is_changed = access.refresh(1.0)

    assert (is_changed, access.config is old) == (False, True)
    assert f"{key}: expected to stay" in access.finding().detail


def test_files_are_looked_at_once_a_second_and_a_bad_one_is_logged_once(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = folder / "web.yml"
    path.write_text(TLS)
    access = Access(lambda: load_web_config(path))
    assert access.refresh(100.0) is False
    path.write_text("tls_server_config:\n  cert_file: later.pem\n  key_file: server.key\n")

    results = [access.refresh(100.0 + tenths / 10) for tenths in range(1, 35)]
    state = access.finding().state
    (folder / "later.pem").write_bytes((folder / "server.pem").read_bytes())

    assert (any(results), state) == (False, "down")
    assert [record.getMessage() for record in caplog.records].count("web configuration kept") == 1
    assert access.refresh(104.0) is True
    assert access.finding().state == "up"


@pytest.mark.parametrize(
    ("broken", "key"),
    [
        (MUTUAL.replace("_ca_file: ca.pem", '_ca: "# Köln\\n"'), "client_ca"),
        (TLS.replace("cert_file: server.pem", 'cert: "-----BEGIN CERTIFICATE----- \\ud800"'), "cert"),
    ],
)
def test_text_that_cannot_be_encoded_in_place_of_pem_is_a_mistake_at_the_start_and_at_a_reload(
    folder: Path, broken: str, key: str
) -> None:
    path = folder / "web.yml"
    path.write_text(MUTUAL)
    access = Access(lambda: load_web_config(path))
    old = access.config
    path.write_text(broken)

    is_changed = access.refresh(1.0)

    assert (is_changed, access.config is old) == (False, True)
    assert f"tls_server_config.{key}: expected" in access.finding().detail
    assert f"tls_server_config.{key}: expected" in problems_of(path)[0]


def test_a_fault_while_reading_keeps_the_configuration_and_is_logged_once_without_its_text(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = folder / "web.yml"
    path.write_text(TLS)

    def load() -> WebConfig:
        if "canary" in path.read_text():
            raise RuntimeError(path.read_text())
        return load_web_config(path)

    access = Access(load)
    path.write_text("canary")
    results = [access.refresh(float(second)) for second in range(1, 4)]
    found = access.finding()
    path.write_text(TLS)

    assert (results, found.state) == ([False] * 3, "down")
    assert f"{path}: expected a usable file, found a fault (RuntimeError)" in found.detail
    assert [record.getMessage() for record in caplog.records].count("web configuration kept") == 1
    assert "canary" not in caplog.text + found.detail
    assert access.refresh(4.0) is True
    assert access.finding().state == "up"


def test_an_agent_serves_guarded_and_says_whether_its_file_is_in_force(folder: Path) -> None:
    path = put(CASES / "good/tls.yml", folder)
    settings = Settings(
        web=WebSettings(listen_addresses=("127.0.0.1:0",), config_file=str(path)), ledger=LedgerSettings(state_path="")
    )
    roots = Roots(procfs=Path("/proc"), sysfs=folder, cgroupfs=folder)
    agent = Agent(
        settings, roots=roots, clock=SystemClock(), make_gpus=lambda given, _, clock: GpuSet([], clock, given.gpus)
    )
    thread = threading.Thread(target=agent.run)
    thread.start()
    while agent.board.latest() is None and thread.is_alive():
        time.sleep(0.01)
    agent.stop()
    thread.join(10)
    snapshot = agent.board.latest()

    assert snapshot is not None
    assert [found.state for found in snapshot.findings if found.source == "web_config"] == ["up"]
