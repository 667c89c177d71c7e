"""A machine's load for the benchmark: real processes in real control groups, or a simulated tree where not root."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from exporter.host import Roots
from exporter.testing import SimulatedNode

__all__ = ["Load", "Population", "populated"]

_CGROUPFS = Path("/sys/fs/cgroup")
_NAME = "wattribute-bench"
_FORKS_PER_CHURN = 20


class Load(Protocol):
    """What can be asked of the processes."""

    def busy(self, cgroups: int) -> None:
        """Let one process in each of the first ``cgroups`` groups use some CPU from now on; the others sleep."""
        ...

    def churn(self) -> None:
        """Start a few processes that end at once."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """Where the load is, and how to read it.

    Attributes:
        roots: mount points for the agent.
        cpu_root: the directory below which every group has ``cpu_file``.
        cpu_file: the name of the file with a group's CPU time.
        origin: ``real`` or ``simulated``, with the cgroup version.
        load: the processes.
    """

    roots: Roots
    cpu_root: Path
    cpu_file: str
    origin: str
    load: Load


@contextmanager
def populated(processes: int, cgroups: int, *, build: Path) -> Iterator[Population]:
    """Yield a machine with this many processes more, in this many groups more; ``build`` holds compiled programs."""
    place = _writable_hierarchy()
    if place is None:
        yield _simulated(processes, cgroups, build / f"tree-{processes}-{cgroups}")
        return
    root, cpu_file, version = place
    groups = [root / _NAME / f"pod{number // 10}.slice" / f"{number}.scope" for number in range(cgroups)]
    _remove(root / _NAME)
    try:
        for group in groups:
            group.mkdir(parents=True)
        with _sleepers(build, processes, [group / "cgroup.procs" for group in groups]) as load:
            yield Population(
                roots=Roots(), cpu_root=root, cpu_file=cpu_file, origin=f"real, cgroup {version}", load=load
            )
    finally:
        _remove(root / _NAME)


def _writable_hierarchy() -> tuple[Path, str, str] | None:
    if (_CGROUPFS / "cpuacct/cpuacct.usage").exists():
        place = _CGROUPFS / "cpuacct", "cpuacct.usage", "v1"
    elif (_CGROUPFS / "cgroup.controllers").exists():
        place = _CGROUPFS, "cpu.stat", "v2"
    else:
        return None
    return place if os.access(place[0], os.W_OK) and os.geteuid() == 0 else None


def _remove(path: Path) -> None:
    """Remove the groups; a group whose last process has just died is busy for a moment."""
    for directory, _, _ in os.walk(path, topdown=False):
        for attempt in range(50):
            try:
                Path(directory).rmdir()
                break
            except OSError:
                if attempt == 49:
                    raise
                time.sleep(0.1)


class _Sleepers:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def expect(self, word: str) -> None:
        answer = self._process.stdout.readline().strip() if self._process.stdout else ""
        if answer != word:
            raise RuntimeError(f"expected {word!r} from the load, read {answer!r}")

    def busy(self, cgroups: int) -> None:
        self._tell(f"busy {cgroups}")

    def churn(self) -> None:
        self._tell(f"churn {_FORKS_PER_CHURN}")

    def _tell(self, line: str) -> None:
        if self._process.stdin:
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()
        self.expect("done")


@contextmanager
def _sleepers(build: Path, count: int, files: Sequence[Path]) -> Iterator[_Sleepers]:
    process = subprocess.Popen(
        [build / "sleepers", str(count), *map(str, files)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        load = _Sleepers(process)
        load.expect("ready")
        yield load
        if process.stdin:
            process.stdin.close()


class _SimulatedLoad:
    def __init__(self, node: SimulatedNode, cgroups: int) -> None:
        self._node = node
        self._cgroups = cgroups
        self._busy = 0

    def busy(self, cgroups: int) -> None:
        self._busy = cgroups
        first = [process for process in self._node.processes.values() if process.parent_pid == 1]
        for number, process in enumerate(first[: self._cgroups]):
            process.demand_cpus = 0.02 if number < cgroups else 0.0

    def churn(self) -> None:
        self._node.run_and_exit(cgroup=_simulated_group(0), cpu_s=0.001, count=_FORKS_PER_CHURN)
        self._node.advance(1.0)


def _simulated(processes: int, cgroups: int, directory: Path) -> Population:
    node = SimulatedNode(directory, cpu_count=64)
    for number in range(processes):
        node.spawn("sleeper", cgroup=_simulated_group(number % cgroups))
    load = _SimulatedLoad(node, cgroups)
    node.advance(1.0)
    return Population(
        roots=node.roots,
        cpu_root=node.roots.cgroupfs,
        cpu_file="cpu.stat",
        origin="simulated: regular files cost less than the kernel's",
        load=load,
    )


def _simulated_group(number: int) -> str:
    return f"/{_NAME}/pod{number // 10}.slice/{number}.scope"
