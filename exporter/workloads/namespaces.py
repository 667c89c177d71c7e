"""From what /proc/PID/cgroup says to a path in the mounted hierarchy, also from inside of a cgroup namespace.

A reader in a namespace of its own sees paths relative to its own group: ``/`` for itself, ``/../other`` for others.
Where its own group is in the mounted tree is found once, by its process id. Source: cgroup_namespaces(7).
"""

from __future__ import annotations

import os
import posixpath
from pathlib import Path

from exporter.host import Roots
from exporter.workloads.bounded_read import read_or_empty
from exporter.workloads.cgroup_tree import CgroupTree

__all__ = ["CgroupPaths"]

_CGROUP_BYTES = 32_768
_PROCS_BYTES = 1 << 16


class CgroupPaths:
    """Resolves the paths that processes show.

    Attributes:
        base: path of this reader's namespace root in the mounted tree; ``/`` without a namespace.
    """

    def __init__(self, roots: Roots, tree: CgroupTree | None) -> None:
        self._tree = tree
        self.base = self._find_base(roots.procfs) if tree else "/"

    def resolve(self, cgroup_raw: bytes) -> str | None:
        """Return the path in the mounted hierarchy, or None if the process is not in it."""
        path = _any_path(cgroup_raw) if self._tree is None else self._tree.hierarchy.process_path(cgroup_raw)
        if path is None or (self.base == "/" and not path.startswith("/..")):
            return path
        if self.base != "/":
            return posixpath.normpath(f"{self.base}/{path}".replace("//", "/"))
        return self._by_ending(path)

    def others(self, cgroup_raw: bytes) -> set[str]:
        """Return the paths in all hierarchies, but for the root."""
        return {path for path in _paths(cgroup_raw) if path != "/"}

    def _by_ending(self, path: str) -> str:
        """Return the only known group whose path ends like this one, else what is left of it without its dots."""
        ending = "/" + "/".join(part for part in path.split("/") if part not in {"", ".."})
        known = [other for other in self._tree.nodes if other.endswith(ending)] if self._tree else []
        return known[0] if len(known) == 1 else ending

    def _find_base(self, procfs: Path) -> str:
        """Return this reader's namespace root: ``/`` unless PID 1 shows that it is somewhere above."""
        assert self._tree is not None  # noqa: S101 - the caller checked; for the type checker
        hierarchy = self._tree.hierarchy
        first = hierarchy.process_path(read_or_empty(f"{procfs}/1/cgroup", _CGROUP_BYTES)) or "/"
        if not first.startswith("/.."):
            return "/"
        try:
            own_pid = str((procfs / "self").readlink()).encode()
        except OSError:
            return "/"
        own = hierarchy.process_path(read_or_empty(f"{procfs}/self/cgroup", _CGROUP_BYTES)) or "/"
        for node in self._tree.nodes.values():
            if own_pid in read_or_empty(f"{node.directory}/cgroup.procs", _PROCS_BYTES).split():
                return node.path.removesuffix(own.rstrip("/")) or "/"
        return "/"


def _any_path(cgroup_raw: bytes) -> str | None:
    """Return the most telling path where nothing is mounted: the longest of all hierarchies."""
    return max(_paths(cgroup_raw), key=len, default=None)


def _paths(cgroup_raw: bytes) -> list[str]:
    return [os.fsdecode(line.split(b":", 2)[2]) for line in cgroup_raw.split(b"\n") if line.count(b":") >= 2]  # noqa: PLR2004
