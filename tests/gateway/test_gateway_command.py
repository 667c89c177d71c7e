"""``wattribute gateway`` as a process: flags, files, signals, exit codes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from exporter.cli.gateway_command import with_gateway_state_path
from exporter.config import Settings
from tests.cli.agents import environment
from tests.system.programs import free_port, wait_for

CONFIG = """\
carbon:
  providers: [{kind: file, path: FILE}]
gateway:
  zones: [DE]
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "exporter.cli", "gateway", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False, env=environment())


class Process:
    def __init__(self, process: subprocess.Popen[bytes], url: str, log: Path) -> None:
        self.process = process
        self.url = url
        self._log = log

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=5) as answer:
            return str(answer.read().decode())

    def log(self) -> str:
        return self._log.read_text()


@contextmanager
def gateway_process(directory: Path, config: Path) -> Iterator[Process]:
    port, log = free_port(), directory / "log"
    command = [sys.executable, "-m", "exporter.cli", "gateway", f"--config.file={config}"]
    command += [f"--gateway.listen-address=127.0.0.1:{port}", f"--gateway.state-file={directory / 'gateway.json'}"]
    with log.open("ab") as output:
        process = subprocess.Popen(command, stderr=output, env=environment())
    gateway = Process(process, f"http://127.0.0.1:{port}", log)
    try:
        wait_for("readiness", lambda: process.poll() if process.poll() is not None else gateway.get("/-/ready"))
        yield gateway
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    values = tmp_path / "values.yaml"
    values.write_text("321\n")
    path = tmp_path / "gateway.yaml"
    path.write_text(CONFIG.replace("FILE", str(values)))
    return path


def test_it_serves_saves_and_ends_on_a_signal(config: Path, tmp_path: Path) -> None:
    with gateway_process(tmp_path, config) as gateway:
        document = json.loads(gateway.get("/api/v1/intensity?zone=DE"))
        gateway.process.send_signal(signal.SIGTERM)
        code = gateway.process.wait(timeout=10)

    assert (code, document["points"][0][2]) == (0, 321)
    assert json.loads((tmp_path / "gateway.json").read_text())["entries"][0]["series"]["grid_zone"] == "DE"


def test_a_hangup_reads_the_configuration_again(config: Path, tmp_path: Path) -> None:
    with gateway_process(tmp_path, config) as gateway:
        config.write_text(config.read_text().replace("[DE]", "[DE, XX]"))
        gateway.process.send_signal(signal.SIGHUP)
        wait_for("the complaint", lambda: "no grid zone 'XX' is known" in gateway.log() or None)
        config.write_text(config.read_text().replace("[DE, XX]", "[DE, FR]"))
        gateway.process.send_signal(signal.SIGHUP)
        wait_for("the new zone", lambda: '"FR"' in gateway.get("/api/v1/zones") or None)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], "carbon.providers: expected at least one provider"),
        (["--web.listen-address=:1"], "the gateway's is --gateway.listen-address"),
        (["--state.file=x"], "the gateway's is --gateway.state-file"),
        (["--gateway.listen-address=nowhere"], "gateway.listen_addresses[0]"),
    ],
)
def test_a_mistake_ends_with_2_and_a_remedy(flags: list[str], expected: str) -> None:
    done = run(*flags)

    assert done.returncode == 2
    assert expected in done.stderr


def test_an_address_in_use_ends_with_1(config: Path, tmp_path: Path) -> None:
    with gateway_process(tmp_path, config) as gateway:
        address = gateway.url.removeprefix("http://")
        done = run(f"--config.file={config}", f"--gateway.listen-address={address}", "--gateway.state-file=")

    assert done.returncode == 1
    assert "another program listens there" in done.stderr


def test_state_is_kept_where_the_system_says_unless_told_otherwise(tmp_path: Path) -> None:
    def path(settings: Settings, environ: dict[str, str]) -> str | None:
        return with_gateway_state_path(settings, environ, tmp_path).gateway.state_path

    assert path(Settings(), {"STATE_DIRECTORY": "/run/a:/run/b"}) == "/run/a/gateway.json"
    assert path(Settings(), {}) == str(tmp_path / "gateway.json")
