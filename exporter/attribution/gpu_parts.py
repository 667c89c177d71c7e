"""Who is on a GPU: its partitions with the processes and the allotments on each, joined with the workloads."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from exporter.attribution.gpu_records import GpuMemory, Holder, ProcessId
from exporter.sensors.gpu.interval import GpuInterval
from exporter.sensors.gpu.records import GpuInstance, GpuReading
from exporter.workloads.records import UsageSample

__all__ = ["Part", "User", "holder_of", "parts_of"]

_MPS_SERVER = "nvidia-cuda-mps"
"""How the kernel shortens ``nvidia-cuda-mps-server``: it works for its clients and is charged nothing."""
_OWNER_OF_MINORS = "NVIDIA"
"""Whose device files are numbered as schedulers' device lists number them: ``/dev/nvidia3`` is 195:3."""
_WHOLE = GpuInstance("", "", "", 1.0, None)


class User(NamedTuple):
    """A process on a GPU whose leaf is known."""

    process: ProcessId
    leaf: int
    is_mps_client: bool
    mps_share_ratio: float | None


@dataclass(slots=True, kw_only=True)
class Part:
    """A partition of a GPU, or all of it.

    Attributes:
        name: of the partition; empty for all of the GPU, and for what is no partition.
        share: of the GPU, 0–1.
        activity_ratio: how busy it was, or None where that is not told.
        is_partition: whether it is one of several.
        users: processes with a context on it whose leaf is known.
        unknown: processes with a context on it that nobody knows.
        strangers: others that took part in a long gap, and nobody knows how.
        departed: processes that were on it lately and have gone.
        allotted: leaves it was allotted to, in the whole interval as far as is known.
        allotted_now: leaves it is allotted to at its end.
        servers: pids of MPS servers, which work for their clients.
    """

    name: str
    share: float
    activity_ratio: float | None = None
    is_partition: bool = False
    users: list[User] = field(default_factory=list)
    unknown: int = 0
    strangers: int = 0
    departed: list[User] = field(default_factory=list)
    allotted: frozenset[int] = frozenset()
    allotted_now: frozenset[int] = frozenset()
    servers: set[int] = field(default_factory=set)

    @property
    def has_context(self) -> bool:
        """Whether some process has a context on it."""
        return bool(self.users) or self.unknown > 0

    @property
    def outsiders(self) -> int:
        """How many take part of whom nobody knows more than that."""
        return self.unknown + self.strangers

    @property
    def leaves(self) -> frozenset[int]:
        """The leaves of those with a context."""
        return frozenset(user.leaf for user in self.users)

    @property
    def holders(self) -> frozenset[int]:
        """The leaves that hold it: those it was allotted to, else those with a context."""
        return self.allotted or self.leaves

    @property
    def holds_unknown(self) -> bool:
        """Whether somebody unknown holds it too."""
        return self.strangers > 0 or (self.unknown > 0 and not self.allotted)


def parts_of(gpu: GpuInterval, usage: UsageSample, memory: GpuMemory, *, is_gap: bool) -> list[Part]:
    """Return the partitions of ``gpu`` and what is no partition, which add up to all of it.

    ``is_gap``: the interval is too long to know who came and went in it; then only those count who were there at both
    ends, and if there were others, somebody unknown takes part too.
    """
    reading, facts = gpu.reading, gpu.facts
    instances = reading.instances if reading else ()
    device = {facts.uuid, f"index:{facts.index}"}
    if facts.minor is not None and facts.vendor == _OWNER_OF_MINORS:
        device.add(f"minor:{facts.minor}")
    if facts.pci_bus_id:
        device.add(f"pci:{facts.pci_bus_id}")
    parts: dict[str, Part] = {}
    for instance in instances or (_WHOLE,):
        parts[instance.name] = Part(
            name=instance.name,
            share=instance.share,
            activity_ratio=instance.activity_ratio,
            is_partition=bool(instances),
            allotted=_allotted(device | _names_of(instance, device), usage),
        )
    rest = 1.0 - sum(part.share for part in parts.values())
    if instances and rest > 1e-9:  # noqa: PLR2004 - rounding of sevenths
        allotted = _allotted(device, usage)
        parts[""] = Part(name="", share=rest, activity_ratio=0.0, is_partition=True, allotted=allotted)
    for part in parts.values():
        part.allotted_now = part.allotted
    if is_gap:
        _forget_newcomers(parts, usage, memory)
    if reading is not None:
        _place(reading, gpu, usage, parts, memory, is_gap=is_gap)
    return list(parts.values())


def _names_of(instance: GpuInstance, device: Collection[str]) -> set[str]:
    """Return what claims call a partition: its UUID, and its GPU with its GPU instance (``minor:0/gi1``)."""
    return {instance.uuid, *(f"{name}/{instance.name.partition('/')[0]}" for name in device)}


def _allotted(names: set[str], usage: UsageSample) -> frozenset[int]:
    return frozenset(claim.leaf for claim in usage.gpu_claims if claim.device in names)


def holder_of(leaf: int, usage: UsageSample) -> Holder:
    """Return the leaf in a form that outlives the tick."""
    return Holder(usage.leaves[leaf].workload, usage.leaves[leaf].run)


def _forget_newcomers(parts: Mapping[str, Part], usage: UsageSample, memory: GpuMemory) -> None:
    """Let only those allotments count that were there before the gap; if others were, somebody unknown held it too."""
    for part in parts.values():
        holders = {holder_of(leaf, usage): leaf for leaf in part.allotted}
        kept = holders.keys() & memory.allotted
        part.allotted = frozenset(holders[holder] for holder in kept)
        part.strangers += len(kept) < len(holders)
    here = {holder_of(leaf, usage) for part in parts.values() for leaf in part.allotted}
    if memory.allotted - here:
        next(iter(parts.values())).strangers += 1


def _place(
    reading: GpuReading,
    gpu: GpuInterval,
    usage: UsageSample,
    parts: Mapping[str, Part],
    memory: GpuMemory,
    *,
    is_gap: bool,
) -> None:
    """Put every process where it is, or was at the last reading if it has gone since."""
    first = next(iter(parts.values()))
    here: set[int] = set()
    for process in reading.processes:
        here.add(process.pid)
        part = parts.get(process.instance) or parts.get("") or first
        user = usage.gpu_users.get(process.pid)
        if user is not None and user.command.startswith(_MPS_SERVER):
            first.servers.add(process.pid)
        elif user is None or not user.is_alive or (is_gap and process.pid not in gpu.pids_before):
            part.unknown += 1
        else:
            identity = ProcessId(process.pid, user.start_ticks)
            part.users.append(User(identity, user.leaf, process.is_mps_client, user.mps_share_ratio))
    before = {process.pid: (process, instance) for process, instance in memory.residents.items()}
    for pid in sorted((reading.samples.keys() | gpu.pids_before) - here):
        user = usage.gpu_users.get(pid)
        if user is not None and user.command.startswith(_MPS_SERVER):
            first.servers.add(pid)
        elif is_gap:
            first.strangers += not first.strangers
        elif user is not None:
            identity = ProcessId(pid, user.start_ticks)
            resident, instance = before.get(pid, (identity, ""))
            if resident == identity:  # else the pid is another's by now
                where = parts.get(instance) or first
                where.departed.append(User(identity, user.leaf, is_mps_client=False, mps_share_ratio=None))
