"""All control groups of the node, and what each used since the last tick.

Usage is inclusive, so a group whose value did not change has no change below it and its subtree is not read. What a
group used itself is its own value less its children's; that is kept cumulative, so that reads which are not made at
the same instant shift CPU time by a tick but never lose or invent any.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress

from exporter.errors import SourceFormatError
from exporter.workloads.bounded_read import read_bounded
from exporter.workloads.cgroup_files import Hierarchy, parse_usage_ns
from exporter.workloads.facts import CgroupIdentity
from exporter.workloads.records import RunKey
from exporter.workloads.watch import DirectoryWatch

__all__ = ["CgroupNode", "CgroupTree"]

_USAGE_BYTES = 512
_MAX_DEPTH = 64


class CgroupNode:
    """One control group.

    Attributes:
        path: relative to the hierarchy's root, ``/`` for the root itself.
        key: path and inode: equal names made again are different groups.
        identity: whom the path belongs to.
        used_ns: CPU time it used itself, children excluded, since it was first seen.
        requested_cores: CPUs reserved for it, below 0 until asked; resident_bytes: inclusive, read at memory_read_s.
        members: live processes by run, or None for those without; the collector's.
        owner: the run that its processes belonged to, if they all belonged to one; the collector's.
    """

    __slots__ = (
        "children",
        "descriptor",
        "directory",
        "exclusive_ns",
        "identity",
        "inclusive_ns",
        "key",
        "members",
        "memory_read_s",
        "name",
        "owner",
        "parent",
        "path",
        "requested_cores",
        "resident_bytes",
        "retired_ns",
        "used_ns",
        "vanished",
        "watch",
    )

    def __init__(self, path: str, directory: str, parent: CgroupNode | None, identity: CgroupIdentity) -> None:
        self.path = path
        self.name = path.rpartition("/")[2]
        self.directory = directory
        self.parent = parent
        self.identity = identity
        self.key = path
        self.children: dict[str, CgroupNode] = {}
        self.descriptor = -1
        self.watch = -1
        self.inclusive_ns = 0
        self.retired_ns = 0
        self.exclusive_ns = 0
        self.used_ns = 0
        self.vanished: list[CgroupNode] = []
        self.members: dict[RunKey | None, int] = {}
        self.owner: RunKey | None = None
        self.requested_cores = -1.0
        self.resident_bytes = 0
        self.memory_read_s = float("-inf")

    def subtree(self) -> Iterator[CgroupNode]:
        """Yield the group and all below it, parents first."""
        pending = [self]
        while pending:
            node = pending.pop()
            yield node
            pending.extend(node.children.values())


class CgroupTree:
    """The groups of one hierarchy, kept up to date by events and walks. Not thread-safe.

    Attributes:
        nodes: every group that is followed, by path.
        version: grows whenever a group comes or goes.
        is_truncated: whether there are more groups than ``max_cgroups``.
        has_root_usage: whether the root tells the CPU time of the whole node.
        errors: readings that were no numbers since the last ``take_errors``.
    """

    def __init__(
        self,
        hierarchy: Hierarchy,
        *,
        classify: Callable[[str], CgroupIdentity],
        max_cgroups: int,
        max_descriptors: int,
        watch: DirectoryWatch | None = None,
    ) -> None:
        self.hierarchy = hierarchy
        self.nodes: dict[str, CgroupNode] = {}
        self.version = 0
        self.is_truncated = False
        self.has_root_usage = True
        self._errors = 0
        self._bereaved: list[CgroupNode] = []
        self._classify = classify
        self._max_cgroups = max_cgroups
        self._descriptors_left = max_descriptors
        self._watch = watch or DirectoryWatch()
        self._by_watch: dict[int, CgroupNode] = {}
        self._unwatched: set[CgroupNode] = set()
        self._unsettled: set[CgroupNode] = set()
        self.root = CgroupNode("/", str(hierarchy.root), None, classify("/"))
        self._enter(self.root, counts_from_zero=False)
        self._walk_below(self.root, counts_from_zero=False)

    def refresh(self, *, walk: bool) -> None:
        """Take in what came and went since the last call; ``walk`` looks at every directory as well."""
        self._follow_events()
        if walk or not self._watch.is_complete:
            self._watch.is_complete = True
            self.is_truncated = False
            for node in list(self._unwatched):
                self._watch_below(node)
            self._walk(list(self.root.subtree()))
        elif self._unwatched:
            self._walk(list(self._unwatched))

    def _follow_events(self) -> None:
        for event in self._watch.events():
            parent = self._by_watch.get(event.watch)
            known = parent.children.get(event.name) if parent is not None else None
            if parent is None or (event.is_new and known is not None):
                continue  # found by other means before its event was read
            if event.is_new:
                self._add(parent, event.name, counts_from_zero=True)
            elif known is not None:
                self._remove(known)

    def find(self, path: str) -> CgroupNode:
        """Return the group at ``path``, looking for it on disk if it is not known yet, or the nearest one above it."""
        known = self.nodes.get(path)
        if known is not None:
            return known
        self._follow_events()
        node = self.root
        for name in path.split("/"):
            if name:
                child = node.children.get(name) or self._add(node, name, counts_from_zero=False)
                if child is None:
                    break
                node = child
        return node

    def _walk(self, nodes: list[CgroupNode]) -> None:
        for node in nodes:
            if self.nodes.get(node.path) is not node:
                continue
            names = _subdirectories(node.directory)
            if names is None:
                continue
            for name in [name for name in node.children if name not in names]:
                self._remove(node.children[name])
            for name, inode in names.items():
                child = node.children.get(name)
                is_another = child is not None and child.key != f"{child.path}#{inode}"
                if child is not None and is_another:
                    self._remove(child)
                if child is None or is_another:
                    self._add(node, name, counts_from_zero=is_another)

    def _walk_below(self, node: CgroupNode, *, counts_from_zero: bool) -> None:
        if node.path.count("/") >= _MAX_DEPTH:
            return
        for name in _subdirectories(node.directory) or {}:
            if name not in node.children:
                self._add(node, name, counts_from_zero=counts_from_zero)

    def _add(self, parent: CgroupNode, name: str, *, counts_from_zero: bool) -> CgroupNode | None:
        """Follow a group; one that is gone already leaves its name, so that its last use can be told."""
        if len(self.nodes) >= self._max_cgroups:
            self.is_truncated = True
            return None
        path = f"{parent.path.rstrip('/')}/{name}"
        node = CgroupNode(path, f"{parent.directory}/{name}", parent, self._classify(path))
        if not self._enter(node, counts_from_zero=counts_from_zero):
            if counts_from_zero:
                self._mourn(parent, node)
            return None
        parent.children[name] = node
        self._walk_below(node, counts_from_zero=counts_from_zero)
        return node

    def _enter(self, node: CgroupNode, *, counts_from_zero: bool) -> bool:
        try:
            node.key = f"{node.path}#{os.stat(node.directory).st_ino}"  # noqa: PTH116 - one system call
        except OSError:
            return False
        self._watch_below(node)
        if self._descriptors_left > 0:
            with suppress(OSError):
                node.descriptor = os.open(f"{node.directory}/{self.hierarchy.usage_file}", os.O_RDONLY | os.O_CLOEXEC)
                self._descriptors_left -= 1
        usage_ns = 0 if counts_from_zero else self._read(node)
        if usage_ns:
            node.inclusive_ns = usage_ns
            node.exclusive_ns = usage_ns
            if node.parent is not None:
                node.parent.exclusive_ns -= usage_ns
        self.nodes[node.path] = node
        self.version += 1
        return True

    def _watch_below(self, node: CgroupNode) -> None:
        node.watch = self._watch.add(node.directory)
        if node.watch >= 0:
            self._by_watch[node.watch] = node
            self._unwatched.discard(node)
        else:
            self._unwatched.add(node)

    def _remove(self, node: CgroupNode) -> None:
        parent = node.parent
        if parent is None or parent.children.get(node.name) is not node:
            return
        del parent.children[node.name]
        parent.retired_ns += node.inclusive_ns
        self._mourn(parent, node)
        for gone in node.subtree():
            self.nodes.pop(gone.path, None)
            self._by_watch.pop(gone.watch, None)
            self._unwatched.discard(gone)
            self._close(gone)
        self.version += 1

    def _mourn(self, parent: CgroupNode, gone: CgroupNode) -> None:
        """Note a removed group until the next sample: what it used after its last reading is then its own."""
        parent.vanished.append(gone)
        self._bereaved.append(parent)

    def _close(self, node: CgroupNode) -> None:
        if node.descriptor >= 0:
            os.close(node.descriptor)
            node.descriptor = -1
            self._descriptors_left += 1

    def sample(self) -> list[tuple[CgroupNode, int]]:
        """Return the groups that used CPU themselves since the last call, with how much, in nanoseconds.

        A removed group is among them if what it used after its last reading can be told from its parent's.
        """
        changed = self._read_changed()
        used: list[tuple[CgroupNode, int]] = []
        for node in changed:
            if node in self._unsettled:
                continue  # what a child that cannot be read used would count for it now, and again for the child
            exclusive_ns = node.inclusive_ns - node.retired_ns - sum([c.inclusive_ns for c in node.children.values()])
            delta_ns = exclusive_ns - node.exclusive_ns
            if delta_ns > 0:
                node.exclusive_ns = exclusive_ns
                charged = _charged(node)
                charged.used_ns += delta_ns
                used.append((charged, delta_ns))
        for parent in self._bereaved:
            parent.vanished.clear()
        self._bereaved.clear()
        self._unsettled.clear()
        return used

    def _read_changed(self) -> list[CgroupNode]:
        """Read from the root down, leaving out what lies below an unchanged value; return what changed."""
        changed: list[CgroupNode] = []
        pending = [self.root]
        while pending:
            node = pending.pop()
            usage_ns = self._read(node)
            if node.parent is None:
                self.has_root_usage = usage_ns is not None
            if usage_ns is None:
                if node.parent is None:
                    pending.extend(node.children.values())
                else:
                    pending.extend(self._replace(node))
            elif usage_ns != node.inclusive_ns or node.vanished:
                self._errors += usage_ns < node.inclusive_ns
                node.inclusive_ns = max(usage_ns, node.inclusive_ns)
                changed.append(node)
                pending.extend(node.children.values())
        return changed

    def _replace(self, node: CgroupNode) -> list[CgroupNode]:
        """Forget a group that cannot be read because it is gone; return what is there now under its name.

        Where the kernel tells of a group made again, its word is waited for.
        """
        exists = os.path.isdir(node.directory)  # noqa: PTH112 - one system call
        if node.parent is None or (exists and (node.descriptor < 0 or node.parent.watch >= 0)):
            if node.parent is not None:
                self._unsettled.add(node.parent)
            return []
        self._remove(node)
        again = self._add(node.parent, node.name, counts_from_zero=True) if exists else None
        return [again] if again is not None else []

    def _read(self, node: CgroupNode) -> int | None:
        """Return the group's inclusive CPU time, or None where it cannot be read now."""
        try:
            if node.descriptor >= 0:
                raw = os.pread(node.descriptor, _USAGE_BYTES, 0)
            else:
                raw = read_bounded(f"{node.directory}/{self.hierarchy.usage_file}", _USAGE_BYTES)
            return parse_usage_ns(raw, version=self.hierarchy.version) if raw else None
        except OSError:
            return None
        except SourceFormatError:
            self._errors += 1
            return None

    @property
    def has_events(self) -> bool:
        """Whether the kernel tells of new groups, so that the tree need not be walked."""
        return self._watch.is_complete and not self._unwatched

    def take_errors(self) -> int:
        """Return how many readings were no numbers since the previous call."""
        errors, self._errors = self._errors, 0
        return errors

    def close(self) -> None:
        """Release every descriptor."""
        for node in self.nodes.values():
            self._close(node)
        self._watch.close()


def _charged(node: CgroupNode) -> CgroupNode:
    """Return whose the group's own use is: a removed child's if only that can have used it."""
    if len(node.vanished) == 1 and not any(node.members.values()) and node.parent is not None:
        return node.vanished[0]
    return node


def _subdirectories(directory: str) -> dict[str, int] | None:
    """Return names and inodes of the directories below, or None if they cannot be listed."""
    try:
        with os.scandir(directory) as entries:
            return {entry.name: entry.inode() for entry in entries if entry.is_dir(follow_symlinks=False)}
    except OSError:
        return None
