"""Agents as processes of their own, for what only a process can show: signals, exit codes, limits, users."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from exporter.host import Roots
from tests.system.programs import free_port, wait_for

__all__ = ["AgentProcess", "agent_process", "environment", "python_for", "root_flags"]


def root_flags(roots: Roots) -> list[str]:
    """Return the flags that point a command at ``roots``."""
    return [f"--path.procfs={roots.procfs}", f"--path.sysfs={roots.sysfs}", f"--path.cgroupfs={roots.cgroupfs}"]


class AgentProcess:
    """A started agent.

    Attributes:
        process: the process.
        url: where it listens.
    """

    def __init__(self, process: subprocess.Popen[bytes], url: str, log: Path) -> None:
        self.process = process
        self.url = url
        self._log = log

    def get(self, path: str) -> str:
        """Return a page; raises OSError."""
        with urllib.request.urlopen(self.url + path, timeout=5) as answer:
            return str(answer.read().decode())

    def metric(self, name: str) -> float | None:
        """Return the value of the one series of a family without labels, or None."""
        lines = [line for line in self.get("/metrics").splitlines() if line.startswith(f"{name} ")]
        return float(lines[0].split()[1]) if lines else None

    def log(self) -> str:
        """Return what it wrote to standard error."""
        return self._log.read_text("utf-8")

    def ticks(self, at_least: int) -> None:
        """Wait until it has taken so many samples."""
        wait_for(f"{at_least} ticks", lambda: (self.metric("wattribute_ticks_total") or 0) >= at_least or None)


def python_for(user: int) -> str | None:
    """Return a Python that ``user`` can run this package with, or None: root's own may be closed to others."""
    for python in (sys.executable, "/usr/bin/python3"):
        command = [python, "-c", "import exporter.cli.agent_command, yaml"]
        with suppress(OSError):
            done = subprocess.run(command, user=user, extra_groups=[], env=environment(), check=False)
            if done.returncode == 0:
                return python
    return None


def environment() -> dict[str, str]:
    """Return this environment, with this package in reach of any Python."""
    paths = [str(Path(__file__).parents[2]), sysconfig.get_path("purelib")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}


@contextmanager
def agent_process(
    directory: Path,
    roots: Roots,
    *flags: str,
    prefix: Sequence[str] = (),
    user: int | None = None,
    python: str = sys.executable,
    log: Path | None = None,
) -> Iterator[AgentProcess]:
    """Start an agent that samples every second, wait until it has a first sample, and kill it afterwards."""
    port, log = free_port(), log or directory / "agent.log"
    command = [*prefix, python, "-m", "exporter.cli", "agent", *root_flags(roots), "--sampling.interval=1"]
    command += [f"--web.listen-address=127.0.0.1:{port}", f"--state.file={directory / 'state.db'}", *flags]
    groups: list[int] | None = None if user is None else []
    with log.open("ab") as output:
        process = subprocess.Popen(command, stderr=output, user=user, extra_groups=groups, env=environment())
    agent = AgentProcess(process, f"http://127.0.0.1:{port}", log)
    try:
        wait_for(
            "the agent to be ready", lambda: process.poll() if process.poll() is not None else agent.get("/-/ready")
        )
        yield agent
    finally:
        process.kill()
        process.wait()
