"""From groups and processes to leaves: which part of a group's CPU time is which run's. Pure over the two tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from exporter.units import NANOSECONDS_PER_SECOND
from exporter.workloads.cgroup_tree import CgroupNode
from exporter.workloads.process import Process
from exporter.workloads.records import RunKey, WorkloadId
from exporter.workloads.splitting import split_usage

__all__ = ["Leaf", "LeafSeconds", "UsageSplitter", "leaf_of", "split_without_groups"]


class Leaf(NamedTuple):
    """The part of a workload that belongs to one run, or to none."""

    workload: WorkloadId
    run: RunKey | None


class LeafSeconds(NamedTuple):
    """CPU seconds by leaf, and those of the kernel itself."""

    leaves_s: dict[Leaf, float]
    system_s: float


def leaf_of(process: Process) -> Leaf:
    """Return the leaf of a process: its group's workload, or what another hierarchy says of it, else its command.

    A batch job may only show in a hierarchy without CPU accounting. A process in the root group that nothing tells
    more of is grouped with those of its name.
    """
    said = process.facts.cgroup if process.facts is not None else None
    node = process.node
    if node is not None and node.parent is not None and not (said and said.job_system):
        return Leaf(node.identity.workload, process.run)
    if said is not None and not said.is_root:
        return Leaf(said.workload, process.run)
    return Leaf(WorkloadId("command", "", process.command), process.run)


class UsageSplitter:
    """Splits the groups' CPU time among leaves; remembers what was claimed beyond a group's time."""

    def __init__(self) -> None:
        self._excess_s: dict[CgroupNode, dict[Leaf, float]] = {}

    def split(self, used: Iterable[tuple[CgroupNode, int]], tracked: Iterable[tuple[Process, float]]) -> LeafSeconds:
        """Return the leaves' CPU seconds: Σ leaves + system = Σ used, exactly as the groups count it."""
        fresh, carried = _claims(tracked), self._excess_s
        leaves_s: dict[Leaf, float] = defaultdict(float)
        system_s = 0.0
        excess_s: dict[CgroupNode, dict[Leaf, float]] = {}
        for node, used_ns in used:
            used_s = used_ns / NANOSECONDS_PER_SECOND
            fresh_s = fresh.pop(node, {})
            claimed_s = _added(fresh_s, carried.pop(node, {}))
            leaf = None if node.parent is None or _has_guests(node, claimed_s) else _sole_leaf(node)
            if leaf is not None:
                leaves_s[leaf] += used_s
                continue
            split = split_usage(used_s, claimed_s)
            for part, part_s in split.parts_s.items():
                leaves_s[part] += part_s
            if node.parent is None:
                system_s += split.rest_s
            else:
                leaves_s[Leaf(node.identity.workload, None)] += split.rest_s
            if split.excess_s:  # claimed once more, by who goes on: the total of a run that ended stands still
                excess_s[node] = {part: part_s for part, part_s in split.excess_s.items() if part in fresh_s}
        for node in fresh.keys() | carried.keys():
            rest_s = _added(fresh.get(node, {}), carried.get(node, {}))
            excess_s.setdefault(node, {leaf: claim_s / 2 for leaf, claim_s in rest_s.items() if claim_s > 1e-3})  # noqa: PLR2004
        self._excess_s = {node: parts_s for node, parts_s in excess_s.items() if parts_s}
        return LeafSeconds(leaves_s, system_s)


def _claims(tracked: Iterable[tuple[Process, float]]) -> dict[CgroupNode, dict[Leaf, float]]:
    """Return what processes used in groups that must be split, by group and leaf."""
    claims: dict[CgroupNode, dict[Leaf, float]] = {}
    for process, cpu_s in tracked:
        node = process.node
        if node is None or (node.parent is not None and process.run is None):
            continue  # without groups nothing is split; without a run the rest of the group is its leaf
        parts_s = claims.setdefault(node, {})
        leaf = leaf_of(process)
        parts_s[leaf] = parts_s.get(leaf, 0.0) + cpu_s
    return claims


def _added(some_s: Mapping[Leaf, float], more_s: Mapping[Leaf, float]) -> dict[Leaf, float]:
    return {leaf: some_s.get(leaf, 0.0) + more_s.get(leaf, 0.0) for leaf in (*more_s, *some_s)}


def _has_guests(node: CgroupNode, claimed_s: Mapping[Leaf, float]) -> bool:
    """Return whether processes claim the group's use for a workload that only another hierarchy knows."""
    return any(leaf.workload != node.identity.workload for leaf in claimed_s)


def _sole_leaf(node: CgroupNode) -> Leaf | None:
    """Return the leaf that all of a group's use belongs to, or None for a group that must be split.

    A group whose live processes all belong to one run is the run's, with all that exited; one without processes is
    what it was while it had some.
    """
    members = node.members
    if not members:
        return Leaf(node.identity.workload, node.owner)
    if len(members) == 1:
        return Leaf(node.identity.workload, next(iter(members)))
    return None


def split_without_groups(tracked: Iterable[tuple[Process, float]], *, busy_s: float) -> LeafSeconds:
    """Return the leaves' CPU seconds where no group is accounted: what no process shows is the system's."""
    leaves_s: dict[Leaf, float] = defaultdict(float)
    for process, cpu_s in tracked:
        leaves_s[leaf_of(process)] += cpu_s
    return LeafSeconds(leaves_s, max(busy_s - sum(leaves_s.values()), 0.0))
