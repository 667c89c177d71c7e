"""Read the CPU time of every cgroup, at a cost that grows with what changed.

The kernel's value includes all descendants (v1 ``cpuacct.usage``, ns; v2 ``cpu.stat`` ``usage_usec``), so below a
directory whose value stands still nothing is read.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from exporter.errors import SourceFormatError
from exporter.host import Roots

__all__ = ["CgroupTree", "parse_cpu_usage"]


def parse_cpu_usage(raw: bytes) -> int:
    """Return nanoseconds of CPU time from v1 ``cpuacct.usage`` or v2 ``cpu.stat``.

    Raises:
        SourceFormatError: the text is neither.
    """
    try:
        if raw.startswith(b"usage_usec "):
            return int(raw[11:].split(b"\n", 1)[0]) * 1000
        return int(raw)
    except ValueError as error:
        raise SourceFormatError("cgroups", f"CPU usage: {error}") from error


@dataclass(slots=True, eq=False)
class _Node:
    path: str
    inode: int
    fd: int = -1
    last_ns: int = -1
    carry_ns: int = 0
    children: dict[str, _Node] = field(default_factory=dict)


class CgroupTree:
    """The cgroups of one hierarchy; one thread. Keys are ``path#inode``, so a re-created cgroup is a new one."""

    def __init__(self, roots: Roots, *, max_cgroups: int, max_descriptors: int) -> None:
        """Find the hierarchy; what is beyond ``max_cgroups`` stays in its nearest kept ancestor."""
        v1 = roots.cgroupfs / "cpuacct"
        self._is_v1 = (v1 / "cpuacct.usage").exists()
        self._file = "/cpuacct.usage" if self._is_v1 else "/cpu.stat"
        self._top = v1 if self._is_v1 else roots.cgroupfs
        self._max_cgroups, self._max_descriptors = max_cgroups, max_descriptors
        self._count = self._open = 0
        self._was_scanned = False
        self._root = _Node(str(self._top), _inode(self._top))
        self.truncated = False
        """Whether the last scan met more than ``max_cgroups``."""

    def sample(self, *, scan: bool) -> dict[str, int]:
        """Return exclusive CPU nanoseconds by key since the previous call, of the cgroups that used any.

        ``scan`` looks for new directories. A cgroup found by two scans in consecutive calls counts from its
        creation, any other from now: until then its use was its parent's.
        """
        used: dict[str, int] = {}
        if scan:
            self.truncated = False
            self._scan(self._root, is_new=self._was_scanned)
        self._was_scanned = scan
        self._read(self._root, used)
        return used

    def close(self) -> None:
        """Release descriptors."""
        self._forget(self._root)

    def _scan(self, node: _Node, *, is_new: bool) -> None:
        stack = [node]
        while stack:
            parent = stack.pop()
            for name, inode in _directories(parent.path):
                child = parent.children.get(name)
                if child is not None and child.inode != inode:
                    self._forget(child)
                    child = None
                if child is None:
                    if self._count >= self._max_cgroups:
                        self.truncated = True
                        continue
                    self._count += 1
                    child = _Node(f"{parent.path}/{name}", inode, last_ns=0 if is_new else -1)
                    parent.children[name] = child
                stack.append(child)

    def _value(self, node: _Node) -> int:
        if node.fd >= 0:
            return parse_cpu_usage(os.pread(node.fd, 64, 0))
        fd = os.open(node.path + self._file, os.O_RDONLY | os.O_CLOEXEC)
        if self._open < self._max_descriptors:
            node.fd = fd
            self._open += 1
            return parse_cpu_usage(os.pread(fd, 64, 0))
        try:
            return parse_cpu_usage(os.pread(fd, 64, 0))
        finally:
            os.close(fd)

    def _read(self, node: _Node, used: dict[str, int]) -> int:
        value = self._value(node)
        delta = value - node.last_ns if node.last_ns >= 0 else 0
        is_first = node.last_ns < 0
        node.last_ns = value
        if delta == 0 and not is_first:
            return 0
        below, vanished = self._read_children(node, used)
        own = delta - below + node.carry_ns
        node.carry_ns = min(own, 0)
        if own > 0:
            taker = vanished[0] if len(vanished) == 1 else node
            key = f"{taker.path}#{taker.inode}"
            used[key] = used.get(key, 0) + own
        return max(delta, 0)

    def _read_children(self, node: _Node, used: dict[str, int]) -> tuple[int, list[_Node]]:
        below, vanished = 0, []
        for name, child in list(node.children.items()):
            try:
                below += self._read(child, used)
            except OSError:
                vanished.append(child)
                self._forget(child)
                del node.children[name]
        return below, vanished

    def _forget(self, node: _Node) -> None:
        for child in node.children.values():
            self._forget(child)
        node.children.clear()
        if node.fd >= 0:
            os.close(node.fd)
            node.fd = -1
            self._open -= 1
        self._count -= node is not self._root


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return 0


def _directories(path: str) -> list[tuple[str, int]]:
    try:
        with os.scandir(path) as entries:
            return [(entry.name, entry.inode()) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
