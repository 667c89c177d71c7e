"""Resident memory and reserved CPUs of control groups: read rarely, because both change slowly and cost reads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress

from exporter.errors import SourceFormatError
from exporter.units import BYTES_PER_KIBIBYTE
from exporter.workloads.bounded_read import read_or_empty
from exporter.workloads.cgroup_files import Hierarchy, parse_cpu_set, parse_resident_bytes
from exporter.workloads.cgroup_tree import CgroupNode
from exporter.workloads.usage import Leaf

__all__ = ["memory_total_bytes", "refresh_memory", "requested_cores", "resident_by_leaf"]

_MEMORY_BYTES = 8192
_SMALL_BYTES = 4096
_SHARES_PER_CORE = 1024
_MEMINFO_TOTAL = b"MemTotal:"


def memory_total_bytes(procfs: str) -> float:
    """Return installed memory from /proc/meminfo, or 0 where it cannot be told. Source: proc_meminfo(5)."""
    for line in read_or_empty(f"{procfs}/meminfo", _SMALL_BYTES).split(b"\n"):
        if line.startswith(_MEMINFO_TOTAL):
            digits = line[len(_MEMINFO_TOTAL) :].split()[:1]
            if digits and digits[0].isdigit():
                return float(int(digits[0]) * BYTES_PER_KIBIBYTE)
    return 0.0


def refresh_memory(
    hierarchy: Hierarchy, nodes: Iterable[CgroupNode], *, now_s: float, interval_s: float, most: int
) -> None:
    """Read the resident memory of at most ``most`` groups whose last reading is older than ``interval_s``."""
    root = hierarchy.memory_root
    if root is None:
        return
    for node in nodes:
        if now_s - node.memory_read_s < interval_s or node.parent is None:
            continue
        if most <= 0:
            return
        most -= 1
        node.memory_read_s = now_s
        raw = read_or_empty(f"{root}{node.path}/memory.stat", _MEMORY_BYTES)
        if raw:
            with suppress(SourceFormatError):
                node.resident_bytes = parse_resident_bytes(raw, version=hierarchy.version)


def resident_by_leaf(nodes: Iterable[CgroupNode]) -> Mapping[Leaf, float]:
    """Return each leaf's resident bytes; of a group shared by several, all is with the part without a run."""
    resident: dict[Leaf, float] = defaultdict(float)
    for node in nodes:
        own = node.resident_bytes - sum([child.resident_bytes for child in node.children.values()])
        if own > 0 and node.parent is not None:
            run = next(iter(node.members)) if len(node.members) == 1 else None
            resident[Leaf(node.identity.workload, run if node.members else node.owner)] += own
    return resident


def requested_cores(hierarchy: Hierarchy, node: CgroupNode, *, cpu_count: int) -> float:
    """Return how many CPUs a scheduler reserved for a group, or 0 where it does not say.

    A batch job's CPU set, where it is smaller than the node; a v1 pod container's CPU shares, which the kubelet makes
    from its request. Version 2's weights are not used: how requests become weights differs between runtimes.
    """
    identity = node.identity
    if identity.job_system and hierarchy.cpuset_root is not None:
        raw = read_or_empty(f"{hierarchy.cpuset_root}{node.path}/cpuset.cpus", _SMALL_BYTES)
        with suppress(SourceFormatError):
            count = parse_cpu_set(raw)
            return float(count) if 0 < count < cpu_count else 0.0
    if identity.pod_uid and identity.container_id and hierarchy.version == "v1":
        raw = read_or_empty(f"{node.directory}/cpu.shares", _SMALL_BYTES).strip()
        return min(int(raw) / _SHARES_PER_CORE, float(cpu_count)) if raw.isdigit() and len(raw) < 10 else 0.0  # noqa: PLR2004
    return 0.0
