"""The files of one cgroup hierarchy: which hierarchy to follow, and how CPU time and memory stand in it.

CPU time: ``cpuacct.usage`` (v1, nanoseconds) or ``usage_usec`` of ``cpu.stat`` (v2, there without the cpu controller).
Both include all descendants and keep what exited processes used. Sources: Documentation/admin-guide/cgroup-v1/
cpuacct.rst and memory.rst, cgroup-v2.rst.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from exporter.errors import SourceFormatError
from exporter.units import MICROSECONDS_PER_SECOND, NANOSECONDS_PER_SECOND

__all__ = ["Hierarchy", "choose_hierarchy", "parse_cpu_set", "parse_resident_bytes", "parse_usage_ns"]

_SOURCE = "cgroups"
_V1_NAMES = ("cpu,cpuacct", "cpuacct,cpu", "cpuacct")
_NS_PER_US = NANOSECONDS_PER_SECOND // MICROSECONDS_PER_SECOND
_USAGE_V2 = b"usage_usec "
_MEMORY_WORDS = {"v1": (b"total_rss ", b"total_shmem "), "v2": (b"anon ", b"shmem ")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Hierarchy:
    """One mounted cgroup hierarchy with CPU accounting.

    Attributes:
        version: v1 or v2.
        root: where it is mounted.
        memory_root, cpuset_root: where the same paths have memory and cpuset files; None where there are none.
    """

    version: Literal["v1", "v2"]
    root: Path
    memory_root: Path | None
    cpuset_root: Path | None

    @property
    def usage_file(self) -> str:
        """Name of the file with a group's CPU time."""
        return "cpuacct.usage" if self.version == "v1" else "cpu.stat"

    def process_path(self, raw: bytes) -> str | None:
        """Return the path of a process in this hierarchy from its /proc/PID/cgroup, or None if it is not in it."""
        for line in raw.split(b"\n"):
            number, _, rest = line.partition(b":")
            controllers, _, path = rest.partition(b":")
            is_ours = (
                number == b"0" and not controllers if self.version == "v2" else b"cpuacct" in controllers.split(b",")
            )
            if is_ours and path:
                return os.fsdecode(path.removesuffix(b" (deleted)"))
        return None


def choose_hierarchy(cgroupfs: Path) -> Hierarchy | None:
    """Return the hierarchy to follow under ``cgroupfs``, or None where there is none.

    Pure v2 wherever it is mounted there. On hybrid hosts v1 if it has groups, else v2 if that has, else v1: an unused
    v2 shows ``0::/`` for every process.
    """
    if _is_v2(cgroupfs):
        return Hierarchy(version="v2", root=cgroupfs, memory_root=cgroupfs, cpuset_root=cgroupfs)
    unified = cgroupfs / "unified"
    v2 = None
    if _is_v2(unified):
        v2 = Hierarchy(version="v2", root=unified, memory_root=unified, cpuset_root=unified)
    for root in (*(cgroupfs / name for name in _V1_NAMES), cgroupfs):
        if (root / "cpuacct.usage").is_file():
            memory, cpuset = cgroupfs / "memory", cgroupfs / "cpuset"
            v1 = Hierarchy(
                version="v1",
                root=root,
                memory_root=memory if memory.is_dir() else None,
                cpuset_root=cpuset if cpuset.is_dir() else None,
            )
            return v2 if v2 and not _has_groups(v1.root) and _has_groups(v2.root) else v1
    return v2


def _is_v2(root: Path) -> bool:
    """Tell by the files: a captured tree may lack the first, version 1 has a ``cpu.stat`` of another kind."""
    if (root / "cgroup.controllers").is_file():
        return True
    return (root / "cpu.stat").is_file() and not (root / "cpuacct.usage").is_file()


def _has_groups(root: Path) -> bool:
    try:
        with os.scandir(root) as entries:
            return any(entry.is_dir(follow_symlinks=False) for entry in entries)
    except OSError:
        return False


def parse_usage_ns(raw: bytes, *, version: Literal["v1", "v2"]) -> int:
    """Return a group's CPU time in nanoseconds.

    Raises:
        SourceFormatError: the number is missing, negative or none.
    """
    if version == "v2":
        start = raw.find(_USAGE_V2)
        digits = raw[start + len(_USAGE_V2) :].split(b"\n", 1)[0].strip() if start >= 0 else b""
    else:
        digits = raw.strip()
    if not digits.isdigit() or len(digits) > 20:  # noqa: PLR2004 - digits of 2^64
        raise SourceFormatError(_SOURCE, f"expected CPU time, read {raw[:40]!r}")
    return int(digits) * (_NS_PER_US if version == "v2" else 1)


def parse_resident_bytes(raw: bytes, *, version: Literal["v1", "v2"]) -> int:
    """Return resident memory without page cache, shared memory included, from ``memory.stat``.

    Raises:
        SourceFormatError: it holds neither of the two numbers.
    """
    text, found = b"\n" + raw, None
    for word in _MEMORY_WORDS[version]:
        start = text.find(b"\n" + word)
        digits = text[start + 1 + len(word) :].split(b"\n", 1)[0].strip() if start >= 0 else b""
        if digits.isdigit() and len(digits) <= 20:  # noqa: PLR2004 - digits of 2^64
            found = (found or 0) + int(digits)
    if found is None:
        raise SourceFormatError(_SOURCE, f"expected memory.stat, read {raw[:40]!r}")
    return found


def parse_cpu_set(raw: bytes) -> int:
    """Return how many CPUs a list such as ``0-3,8`` names; 0 for an empty one. Source: cpuset(7), List format.

    Raises:
        SourceFormatError: it is no such list.
    """
    count = 0
    for part in raw.strip().split(b","):
        first, _, last = part.partition(b"-")
        if not part:
            continue
        if not first.isdigit() or len(first) > 6 or (last and (not last.isdigit() or len(last) > 6)):  # noqa: PLR2004
            raise SourceFormatError(_SOURCE, f"expected a list of CPUs, read {raw[:40]!r}")
        count += max(int(last or first) - int(first) + 1, 0)
    return count
