from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from exporter.cli import main
from exporter.cli.feeds import agent_url
from exporter.host import Roots
from tests.cli.agents import AgentProcess, root_flags
from tests.system.programs import free_port

LEAVES_SCREEN = b"\x1b[?1049l"


def test_once_prints_a_running_agents_node(agent: AgentProcess, capsys: pytest.CaptureFixture[str]) -> None:
    agent.ticks(2)

    assert main(["top", "--once", "--agent", agent.url]) == 0

    shown = capsys.readouterr().out
    assert "measured, rapl" in shown
    assert "slurm_job" in shown
    assert "gCO2e/kWh in DE" in shown


def test_without_an_agent_the_node_is_sampled_here(
    roots: Roots, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It must not touch the state file that an agent may start to use at any moment."""
    state = tmp_path / "state.db"
    flags = [f"--web.listen-address=127.0.0.1:{free_port()}", f"--state.file={state}", "--interval=0.1"]

    assert main(["top", *flags, *root_flags(roots)]) == 0

    assert "no agent, sampled here" in capsys.readouterr().out
    assert not state.exists()


def test_an_agent_that_was_asked_for_and_does_not_answer_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--agent", f"127.0.0.1:{free_port()}"]) == 1

    (line,) = capsys.readouterr().err.splitlines()
    assert "no agent answers" in line


def test_only_http_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--agent", "file:///etc/passwd"]) == 1
    assert "expected http://HOST:PORT" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("address", "url"),
    [
        (":10187", "http://127.0.0.1:10187"),
        ("0.0.0.0:1", "http://127.0.0.1:1"),
        ("[::]:1", "http://[::1]:1"),
        ("[fe80::1]:1", "http://[fe80::1]:1"),
        ("node7:1", "http://node7:1"),
    ],
)
def test_an_agent_is_reached_where_it_listens(address: str, url: str) -> None:
    assert agent_url(address) == url


def _shown_until(terminal: int, wanted: bytes) -> bytes:
    shown = b""
    while wanted not in shown:
        ready, _, _ = select.select([terminal], [], [], 20)
        assert ready, f"waited for {wanted!r}, saw {shown[-500:]!r}"
        shown += os.read(terminal, 65536)
    return shown


@pytest.mark.parametrize(("end", "code"), [("q", 0), (signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_the_live_view_ends_and_leaves_the_terminal_as_it_was(
    agent: AgentProcess, end: str | signal.Signals, code: int
) -> None:
    terminal, end_of_program = pty.openpty()
    before = termios.tcgetattr(terminal)
    command = [sys.executable, "-m", "exporter.cli", "top", "--agent", agent.url]
    environment = {**os.environ, "TERM": "xterm-256color"}
    process = subprocess.Popen(
        command, stdin=end_of_program, stdout=end_of_program, stderr=end_of_program, env=environment
    )
    try:
        _shown_until(terminal, b"unattributed")
        if isinstance(end, str):
            os.write(terminal, b"s" + end.encode())
        else:
            process.send_signal(end)
        _shown_until(terminal, LEAVES_SCREEN)

        assert process.wait(timeout=10) == code
        assert termios.tcgetattr(terminal) == before
    finally:
        process.kill()
        process.wait()
        os.close(terminal)
        os.close(end_of_program)
