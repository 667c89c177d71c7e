"""Programs that put load on the GPU, and how the checks talk to them.

A load program is started as ``PROGRAM MODE``, prints ``ready`` when the load is on, answers each line ``work`` on its
standard input with ``work N`` (N: what it has done so far, in any unit common to all modes), and ends when its input
does. Modes: probe (exit 0 if it can run, else one line that says why and exit 1), context, steady, square, train,
train_half.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

from bench.validation.report import Skipped

__all__ = ["Load", "Loads", "Mode"]

Mode = Literal["context", "steady", "square", "train", "train_half"]
_PROBE_TIMEOUT_S = 120.0
_END_TIMEOUT_S = 30.0


class Load:
    """A load that is running."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        """The process's id, as this process sees it."""
        return self._process.pid

    def work(self) -> float:
        """Return what it has done so far."""
        if self._process.stdin:
            self._process.stdin.write("work\n")
            self._process.stdin.flush()
        return float(self.expect("work"))

    def expect(self, word: str) -> str:
        """Read a line that begins with ``word`` and return the rest.

        Raises:
            RuntimeError: it says something else, or has ended.
        """
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line.startswith(word):
            raise RuntimeError(f"expected {word!r} from the load, read {line[:200]!r}")
        return line.removeprefix(word).strip()


class Loads:
    """Starts loads on one GPU.

    Attributes:
        command: the program and its first arguments.
    """

    def __init__(self, command: Sequence[str], *, gpu_uuid: str) -> None:
        self.command = tuple(command)
        self._environment = {**os.environ, "CUDA_VISIBLE_DEVICES": gpu_uuid, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
        self._reason: str | None = None

    def require(self) -> None:
        """Find out whether the program can run here.

        Raises:
            Skipped: it cannot.
        """
        if self._reason is None:
            self._reason = self._probed()
        if self._reason:
            raise Skipped(self._reason)

    def can_run(self) -> bool:
        """Tell whether the program can run here."""
        try:
            self.require()
        except Skipped:
            return False
        return True

    def _probed(self) -> str:
        done = subprocess.run(
            [*self.command, "probe"],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PROBE_TIMEOUT_S,
            check=False,
        )
        if done.returncode == 0:
            return ""
        said = (done.stdout.strip() or done.stderr.strip() or f"exit code {done.returncode}").splitlines()
        return f"no load can be put on the GPU: {said[-1]}"

    @contextmanager
    def running(self, mode: Mode, environment: Mapping[str, str] | None = None) -> Iterator[Load]:
        """Keep a load on the GPU meanwhile.

        Raises:
            Skipped: the program cannot run here.
            RuntimeError: it does not begin.
        """
        self.require()
        process = subprocess.Popen(
            [*self.command, mode],
            env={**self._environment, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            load = Load(process)
            load.expect("ready")
            yield load
        finally:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    try:
        process.communicate(timeout=_END_TIMEOUT_S)
    except (subprocess.TimeoutExpired, BrokenPipeError):
        process.kill()
        process.wait()
