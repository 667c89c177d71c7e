"""Who is on a GPU: its partitions with the processes and the allotments on each, joined with the workloads."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from exporter.attribution.gpu_records import ProcessId
from exporter.sensors.gpu.interval import GpuInterval
from exporter.sensors.gpu.records import GpuInstance, GpuReading
from exporter.workloads.records import UsageSample

__all__ = ["Part", "User", "parts_of"]

_MPS_SERVER = "nvidia-cuda-mps"
"""How the kernel shortens ``nvidia-cuda-mps-server``: it works for its clients and is charged nothing."""
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
        share: of the GPU, 0–1.
        activity_ratio: how busy it was, or None where that is not told.
        is_partition: whether it is one of several.
        users: processes with a context on it whose leaf is known.
        unknown: processes with a context on it that nobody knows.
        departed: processes that were on it lately and have gone.
        allotted: leaves it was allotted to.
        servers: pids of MPS servers, which work for their clients.
    """

    share: float
    activity_ratio: float | None = None
    is_partition: bool = False
    users: list[User] = field(default_factory=list)
    unknown: int = 0
    departed: list[User] = field(default_factory=list)
    allotted: frozenset[int] = frozenset()
    servers: set[int] = field(default_factory=set)

    @property
    def has_context(self) -> bool:
        """Whether some process has a context on it."""
        return bool(self.users) or self.unknown > 0

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
        return self.unknown > 0 and not self.allotted


def parts_of(gpu: GpuInterval, usage: UsageSample, *, is_gap: bool) -> list[Part]:
    """Return the partitions of ``gpu``, which add up to all of it.

    ``is_gap``: the interval is too long to know who came and went in it; then only those count who were there at both
    ends, and if there were others, somebody unknown takes part too.
    """
    reading = gpu.reading
    instances = reading.instances if reading else ()
    facts = gpu.facts
    device = {facts.uuid, f"index:{facts.index}", *([] if facts.minor is None else [f"minor:{facts.minor}"])}
    parts: dict[str, Part] = {}
    for instance in instances or (_WHOLE,):
        names = device | {instance.uuid}
        parts[instance.name] = Part(
            share=instance.share,
            activity_ratio=instance.activity_ratio,
            is_partition=bool(instances),
            allotted=frozenset(claim.leaf for claim in usage.gpu_claims if claim.device in names),
        )
    rest = 1.0 - sum(part.share for part in parts.values())
    if instances and rest > 1e-9:  # noqa: PLR2004 - rounding of sevenths
        on_all = frozenset(claim.leaf for claim in usage.gpu_claims if claim.device in device)
        parts[""] = Part(share=rest, activity_ratio=0.0, is_partition=True, allotted=on_all)
    if reading is not None:
        _place(reading, gpu, usage, parts, is_gap=is_gap)
    return list(parts.values())


def _place(reading: GpuReading, gpu: GpuInterval, usage: UsageSample, parts: dict[str, Part], *, is_gap: bool) -> None:
    first = next(iter(parts.values()))
    here: set[int] = set()
    for process in reading.processes:
        here.add(process.pid)
        part = parts.get(process.instance) or parts.get("") or first
        user = usage.gpu_users.get(process.pid)
        if user is not None and user.command.startswith(_MPS_SERVER):
            first.servers.add(process.pid)
            continue
        if user is None or not user.is_alive or (is_gap and process.pid not in gpu.pids_before):
            part.unknown += 1
            continue
        identity = ProcessId(process.pid, user.start_ticks)
        part.users.append(User(identity, user.leaf, process.is_mps_client, user.mps_share_ratio))
    for pid in sorted((reading.samples.keys() | gpu.pids_before) - here):
        user = usage.gpu_users.get(pid)
        if user is None:
            continue
        if user.command.startswith(_MPS_SERVER):
            first.servers.add(pid)
            continue
        if is_gap:
            first.unknown += not first.unknown
            continue
        departed = User(ProcessId(pid, user.start_ticks), user.leaf, is_mps_client=False, mps_share_ratio=None)
        first.departed.append(departed)
