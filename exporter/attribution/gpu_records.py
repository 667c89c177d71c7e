"""What the split of one GPU takes along from tick to tick, and what it gives."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from exporter.attribution.gpu_floors import Floors, GpuBaseline
from exporter.attribution.records import Reason
from exporter.workloads.records import RunKey, WorkloadId

__all__ = ["GpuMemory", "GpuShares", "Holder", "Holding", "ProcessId", "SplitMethod", "held_leaves"]

SplitMethod = Literal[
    "exclusive", "time_sliced", "carried", "equal", "mps_declared", "mps_equal", "mig", "none", "device"
]
"""How the active energy of a GPU was split: one leaf had it to itself; by utilisation samples; by the last samples that
are known; equally for want of samples; under MPS by declared share, or equally; by MIG slices; among nobody; not at
all."""


class ProcessId(NamedTuple):
    """A process, told apart from others that had its pid before: pid and start time in clock ticks."""

    pid: int
    start_ticks: int


class Holder(NamedTuple):
    """A leaf by what it is of; its place in the usage sample changes from tick to tick."""

    workload: WorkloadId
    run: RunKey | None


class Holding(NamedTuple):
    """What one leaf has of one GPU in one interval.

    Attributes:
        share: how much of the GPU it holds, 0–1.
        unused_share: of this, the part on which nothing ran in the whole interval.
        unused_j: idle joules it is charged for that part.
    """

    share: float = 0.0
    unused_share: float = 0.0
    unused_j: float = 0.0


class GpuMemory(NamedTuple):
    """What is remembered of one GPU between two ticks.

    Attributes:
        floors: its idle power, as far as learned.
        weights: who used it when that was last known.
        weights_age_s: seconds since then.
        residents: who had a context on it at the end of the last interval, and on which partition.
        allotted: who it was allotted to then, all or part of it.
        utilization_ratio: what the driver said of its utilisation then.
    """

    floors: Floors = Floors()
    weights: Mapping[ProcessId, float] = {}
    weights_age_s: float = 0.0
    residents: Mapping[ProcessId, str] = {}
    allotted: frozenset[Holder] = frozenset()
    utilization_ratio: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuShares:
    """One GPU's energy of one interval, split. ``energy_j`` = Σ active + Σ idle + Σ unattributed, to rounding.

    Attributes:
        uuid: the GPU.
        energy_j: joules measured.
        interval_s: seconds they cover.
        active_j, idle_j: joules by leaf (index into ``UsageSample.leaves``).
        processes_j: (leaf, active, idle) by process; contained in the leaves', which may have more.
        unattributed_j: joules nobody is charged for; reasons without energy are absent.
        holdings: who holds it.
        method: how the active part was split.
        baseline: idle power in force.
        is_idle: whether nothing ran on it in the whole interval, as far as can be told.
        is_known: whether it was read in this tick, so that ``holdings`` is all there is.
    """

    uuid: str
    energy_j: float
    interval_s: float
    active_j: Mapping[int, float] = field(default_factory=dict)
    idle_j: Mapping[int, float] = field(default_factory=dict)
    processes_j: Mapping[ProcessId, tuple[int, float, float]] = field(default_factory=dict)
    unattributed_j: Mapping[Reason, float] = field(default_factory=dict)
    holdings: Mapping[int, Holding] = field(default_factory=dict)
    method: SplitMethod
    baseline: GpuBaseline
    is_idle: bool
    is_known: bool = True

    @property
    def attributed_ratio(self) -> float:
        """How much of the energy somebody is charged for, 0–1; 1 where there is none."""
        left_j = sum(self.unattributed_j.values())
        return 1.0 if self.energy_j <= 0 else min(max(1 - left_j / self.energy_j, 0.0), 1.0)


def held_leaves(shares: Collection[GpuShares]) -> Mapping[int, float]:
    """Return how many GPUs each leaf holds, partitions as fractions."""
    held: dict[int, float] = {}
    for one in shares:
        for leaf, holding in one.holdings.items():
            held[leaf] = held.get(leaf, 0.0) + holding.share
    return held
