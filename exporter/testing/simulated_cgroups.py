"""The control groups of a simulated node, as cgroup v1, cgroup v2 or the hybrid of both shows them.

Usage is inclusive up the tree and stays with the parents when a group is removed; a group made again under an old
name starts at zero, with another inode. Sources: Documentation/admin-guide/cgroup-v1/cpuacct.rst and cgroup-v2.rst.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from exporter.testing.kernel_files import create_text, overwrite, remove_tree, wide
from exporter.units import NANOSECONDS_PER_SECOND

__all__ = ["CgroupLayout", "SimulatedCgroups"]

CgroupLayout = Literal["v1", "v2", "hybrid"]

_V1_CONTROLLERS = ("cpu,cpuacct", "memory", "cpuset", "devices", "systemd")
_ALL_DEVICES = "a *:* rwm"
_NS_PER_US = 1000
_NS_PER_TICK = NANOSECONDS_PER_SECOND // 100


class SimulatedCgroups:
    """All groups of one node: their accumulated CPU time and memory, and the files that show them."""

    def __init__(self, cgroupfs: Path, *, layout: CgroupLayout, cpu_count: int) -> None:
        self.layout = layout
        self._cgroupfs = cgroupfs
        self._cpus = f"0-{cpu_count - 1}"
        self._usage_ns: dict[str, int] = {}
        self._resident_bytes: dict[str, int] = {}
        self._dirty: set[str] = set()
        if layout != "v2":
            cgroupfs.mkdir(parents=True)
            for alias in ("cpu", "cpuacct"):
                (cgroupfs / alias).symlink_to("cpu,cpuacct")
        if layout != "v1":
            create_text(self._v2_root / "cgroup.controllers", "cpuset cpu memory pids\n" if layout == "v2" else "\n")
        self._make("/")
        self.write()

    def ensure(self, path: str) -> None:
        """Make the group at ``path`` and those above it, where they do not exist."""
        for group in reversed(list(_upwards(path))):
            if group not in self._usage_ns:
                self._make(group)
                self._write_one(group)

    def exists(self, path: str) -> bool:
        """Return whether there is a group at ``path`` now."""
        return path in self._usage_ns

    def remove(self, path: str) -> None:
        """Remove the group and those below; what they used stays in those above."""
        below = [group for group in self._usage_ns if group == path or group.startswith(f"{path}/")]
        for group in below:
            del self._usage_ns[group]
            self._resident_bytes.pop(group)
        self._dirty.difference_update(below)
        for root in self._roots():
            remove_tree(root / path.lstrip("/"))

    def use(self, path: str, cpu_ns: int) -> None:
        """Account CPU time to the group and all above it; files follow at ``write``."""
        for group in _upwards(path):
            self._usage_ns[group] += cpu_ns
            self._dirty.add(group)

    def hold(self, path: str, resident_bytes: int) -> None:
        """Add to (or, if negative, take from) the memory of the group and all above it."""
        for group in _upwards(path):
            self._resident_bytes[group] += resident_bytes
            self._dirty.add(group)

    def restrict(self, path: str, cpus: str) -> None:
        """Reserve CPUs for the group, in the kernel's list format, for example ``0-3``."""
        root = self._v2_root if self.layout == "v2" else self._cgroupfs / "cpuset"
        create_text(root / path.lstrip("/") / "cpuset.cpus", f"{cpus}\n")

    def allow_devices(self, path: str, *entries: str) -> None:
        """Let the group use only the devices of ``entries``, for example ``c 195:0 rwm``; cgroup v1.

        Raises:
            ValueError: the layout has no devices controller whose list can be read.
        """
        if self.layout == "v2":
            raise ValueError("expected cgroup v1: version 2 shows no list of devices")
        lines = "".join(f"{entry}\n" for entry in entries)
        create_text(self._cgroupfs / "devices" / path.lstrip("/") / "devices.list", lines)

    def usage_s(self, path: str) -> float:
        """Return the CPU seconds that the group shows."""
        return self._usage_ns[path] / NANOSECONDS_PER_SECOND

    def membership(self, path: str) -> str:
        """Return ``/proc/PID/cgroup`` of a process in the group."""
        if self.layout == "v2":
            return f"0::{path}\n"
        lines = [
            f"5:devices:{path}",
            f"4:memory:{path}",
            f"3:cpuset:{path}",
            f"2:cpu,cpuacct:{path}",
            f"1:name=systemd:{path}",
        ]
        return "\n".join([*lines, *(["0::/"] if self.layout == "hybrid" else [])]) + "\n"

    def write(self) -> None:
        """Bring the files of every group that changed up to date, the leaves first, as a reader might see them."""
        for group in sorted(self._dirty, reverse=True):
            self._write_one(group)
        self._dirty.clear()

    @property
    def _v2_root(self) -> Path:
        return self._cgroupfs if self.layout == "v2" else self._cgroupfs / "unified"

    def _roots(self) -> Iterable[Path]:
        if self.layout == "v2":
            return [self._cgroupfs]
        return [self._cgroupfs / controller for controller in _V1_CONTROLLERS]

    def _make(self, group: str) -> None:
        self._usage_ns[group] = 0
        self._resident_bytes[group] = 0
        for root in self._roots():
            create_text(root / group.lstrip("/") / "cgroup.procs", "")
        self.restrict(group, self._cpus)
        if self.layout != "v2":
            self.allow_devices(group, _ALL_DEVICES)
        if self.layout == "hybrid" and group == "/":
            self._write_v2(self._v2_root, 0, 0)

    def _write_one(self, group: str) -> None:
        relative = group.lstrip("/")
        usage_ns, resident_bytes = self._usage_ns[group], self._resident_bytes[group]
        if self.layout == "v2":
            self._write_v2(self._cgroupfs / relative, usage_ns, resident_bytes)
            return
        cpu = self._cgroupfs / "cpu,cpuacct" / relative
        overwrite(cpu / "cpuacct.usage", f"{wide(usage_ns)}\n".encode())
        ticks = usage_ns // _NS_PER_TICK
        overwrite(cpu / "cpuacct.stat", f"user {wide(ticks - ticks // 8)}\nsystem {wide(ticks // 8)}\n".encode())
        overwrite(cpu / "cpu.shares", b"1024\n")
        fields = (("cache", 0), ("rss", resident_bytes), ("shmem", 0))
        lines = [f"{prefix}{name} {wide(value)}\n" for prefix in ("", "total_") for name, value in fields]
        overwrite(self._cgroupfs / "memory" / relative / "memory.stat", "".join(lines).encode())

    @staticmethod
    def _write_v2(path: Path, usage_ns: int, resident_bytes: int) -> None:
        usage_us = usage_ns // _NS_PER_US
        lines = (("usage_usec", usage_us), ("user_usec", usage_us - usage_us // 8), ("system_usec", usage_us // 8))
        overwrite(path / "cpu.stat", "".join(f"{name} {wide(value)}\n" for name, value in lines).encode())
        memory = (("anon", resident_bytes), ("file", 0), ("shmem", 0))
        overwrite(path / "memory.stat", "".join(f"{name} {wide(value)}\n" for name, value in memory).encode())


def _upwards(path: str) -> Iterator[str]:
    """Yield ``path`` and every group above it, the root last."""
    while path not in ("", "/"):
        yield path
        path = path.rpartition("/")[0]
    yield "/"
