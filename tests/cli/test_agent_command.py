"""The agent as a process: how it starts, what it does on signals, how it ends."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import pytest

from exporter.host import Roots
from exporter.ledger.store import Store
from tests.cli.agents import AgentProcess, agent_process, environment, python_for, root_flags
from tests.system.programs import free_port, wait_for

RELOADED = "wattribute_config_last_reload_successful"
NOBODY = 65534


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "exporter.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


def saved_ticks(state: Path) -> int:
    with closing(sqlite3.connect(state)) as db:
        return int(db.execute("SELECT value FROM meta WHERE key = 'ticks'").fetchone()[0])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_a_last_sample_saved(roots: Roots, tmp_path: Path, number: signal.Signals) -> None:
    """F66: exit 0 in less than 5 s; without the last save only the start's would be on disk."""
    config = tmp_path / "w.yaml"
    config.write_text("ledger: {checkpoint_interval_s: 1h}")
    with agent_process(tmp_path, roots, f"--config.file={config}") as agent:
        agent.ticks(2)
        shown = agent.metric("wattribute_ticks_total") or 0
        asked_s = time.monotonic()
        agent.process.send_signal(number)
        code = agent.process.wait(timeout=10)

    assert (code, time.monotonic() - asked_s < 5) == (0, True)
    assert saved_ticks(tmp_path / "state.db") > shown


def test_a_second_signal_ends_it_at_once(roots: Roots, tmp_path: Path) -> None:
    """F66: both wait while the process is stopped, so that neither comes after the orderly end."""
    with agent_process(tmp_path, roots) as agent:
        for number in (signal.SIGSTOP, signal.SIGINT, signal.SIGTERM, signal.SIGCONT):
            agent.process.send_signal(number)
        code = agent.process.wait(timeout=10)

    assert code in (128 + signal.SIGTERM, 128 + signal.SIGINT)


def test_a_bad_file_on_reload_changes_nothing_and_shows(roots: Roots, tmp_path: Path) -> None:
    """F69."""
    config = tmp_path / "w.yaml"
    config.write_text("carbon: {grid_zone: DE}")
    with agent_process(tmp_path, roots, f"--config.file={config}") as agent:
        config.write_text("carbon: {grid_zone: FR}\nlog: {level: loud}\nweb: {nonsense: 1}\n")
        agent.process.send_signal(signal.SIGHUP)
        wait_for("the metric", lambda: agent.metric(RELOADED) == 0 or None)

        assert 'grid_zone="DE"' in agent.get("/metrics")
        log = agent.log()
        assert f"{config}:2: log.level: expected one of" in log
        assert f"{config}:3: web.nonsense: expected one of" in log

        config.write_text("carbon: {grid_zone: FR}")
        agent.process.send_signal(signal.SIGHUP)
        wait_for("the metric", lambda: agent.metric(RELOADED) == 1 or None)
        wait_for("the new zone", lambda: 'grid_zone="FR"' in agent.get("/metrics") or None)


def test_a_reload_without_a_file_is_survived(roots: Roots, tmp_path: Path) -> None:
    with agent_process(tmp_path, roots) as agent:
        agent.process.send_signal(signal.SIGHUP)
        wait_for("the log", lambda: "nothing to reload" in agent.log() or None)

        assert agent.get("/-/healthy").strip() == "healthy"


def test_a_busy_port_is_one_clear_line_and_exit_1(agent: AgentProcess, roots: Roots) -> None:
    """F72."""
    address = agent.url.removeprefix("http://")

    done = run("agent", f"--web.listen-address={address}", "--state.file=", *root_flags(roots))

    assert done.returncode == 1
    assert [address in line and "--web.listen-address" in line for line in done.stderr.splitlines()] == [True]


def test_mistakes_in_the_configuration_are_all_told_and_exit_2(tmp_path: Path) -> None:
    """F69: nothing is started."""
    config = tmp_path / "w.yaml"
    config.write_text("sampling: {interval_s: 0.1}\nweb: {listen_addresses: [nonsense]}\nrun: {}\n")

    done = run(f"--config.file={config}", "--log.level=loud")

    assert done.returncode == 2
    assert [line.split(": ")[0] for line in done.stderr.splitlines()] == [f"{config}:1", f"{config}:3", "--log.level"]


def test_it_serves_with_64_descriptors(roots: Roots, tmp_path: Path) -> None:
    """F71."""
    with agent_process(tmp_path, roots, prefix=("sh", "-c", 'ulimit -n 64; exec "$@"', "sh")) as agent:
        agent.ticks(2)

        assert "wattribute_node_energy_joules_total" in agent.get("/metrics")


def test_it_serves_when_nothing_can_be_logged(roots: Roots, tmp_path: Path) -> None:
    """F71: no space left behind standard error."""
    with agent_process(tmp_path, roots, log=Path("/dev/full")) as agent:
        agent.ticks(2)

        assert agent.get("/-/healthy").strip() == "healthy"


def test_it_serves_without_root() -> None:
    """Degraded, and it says so: the one thing that fails for certain is the state file of another user."""
    user = NOBODY if os.geteuid() == 0 else None
    python = sys.executable if user is None else python_for(user)
    if python is None:
        pytest.skip("the user nobody can run no Python here")
    with tempfile.TemporaryDirectory(prefix="wattribute-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        (directory / "state.db").touch(mode=0o600)
        with agent_process(directory, Roots(), user=user, python=python) as agent:
            agent.ticks(2)

            assert agent.get("/-/healthy").strip() == "healthy"
            assert user is None or "source=state_file state=down" in agent.log()


def test_an_address_that_is_none_is_told_before_anything_starts() -> None:
    done = run("agent", f"--web.listen-address={free_port()}")

    assert done.returncode == 2
    assert "expected HOST:PORT" in done.stderr


def test_a_signal_while_it_starts_waits_until_it_can_be_obeyed(roots: Roots, tmp_path: Path) -> None:
    """A supervisor may reload or stop a service that it has just started; saved is what there is."""
    state = tmp_path / "state.db"
    command = [sys.executable, "-m", "exporter.cli", *root_flags(roots), f"--state.file={state}"]
    process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{free_port()}"], stderr=subprocess.DEVNULL)
    wait_for("signals to be held back", lambda: _blocks(process.pid, signal.SIGTERM) or None)
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)

    assert process.wait(timeout=10) == 0
    assert saved_ticks(state) >= 0


def _blocks(pid: int, number: signal.Signals) -> bool:
    """Tell whether the process holds the signal back. Source: proc_pid_status(5)."""
    lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    mask = next(line.split()[1] for line in lines if line.startswith("SigBlk:"))
    return bool(int(mask, 16) >> (number - 1) & 1)


def test_commands_work_for_a_user_whose_home_is_closed(tmp_path: Path) -> None:
    """Such as `sudo -u nobody`: no state file then, but no failure; a readable one can be listed."""
    user = NOBODY if os.geteuid() == 0 else None
    python = sys.executable if user is None else python_for(user)
    if python is None:
        pytest.skip("the user nobody can run no Python here")
    with tempfile.TemporaryDirectory(prefix="wattribute-") as name:
        Path(name).chmod(0o755)
        Store(Path(name) / "state.db", boot_id="boot").close()
        (Path(name) / "state.db").chmod(0o644)
        check = ["check", "--output=json", "--wait=0.1", f"--web.listen-address=127.0.0.1:{free_port()}"]
        checked = run_as(user, python, *check, home=tmp_path)
        listed = run_as(user, python, "runs", f"--state.file={name}/state.db", home=tmp_path)

    found = [f["state"] for f in json.loads(checked.stdout)["findings"] if f["source"] == "state_file"]
    assert (checked.returncode, found) == (0, ["absent"] if user else ["up"])
    assert (listed.returncode, listed.stderr) == (0, "")


def run_as(user: int | None, python: str, *arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, "-m", "exporter.cli", *arguments],
        user=user,
        group=user,
        extra_groups=None if user is None else [],
        env=environment() | {"HOME": str(home / "below")},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
