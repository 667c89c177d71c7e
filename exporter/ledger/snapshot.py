"""The immutable set of totals that every reader sees until the next tick.

On every snapshot: a component's ``energy_j`` = Σ workloads + ended + unattributed, to floating-point error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from exporter.attribution.gpu_records import SplitMethod
from exporter.attribution.records import BaselineOrigin, Mode, Reason
from exporter.carbon.embodied import HardwareFigure
from exporter.carbon.records import CarbonState
from exporter.health import EventKind, Finding, State
from exporter.sensors.gpu.energy import EnergyMethod
from exporter.sensors.gpu.records import GpuFacts, GpuReading
from exporter.sensors.records import Component, DomainTotal, Quality
from exporter.workloads.records import PodFacts, RunFacts, RunKey, WorkloadId

__all__ = [
    "ENERGY_COLUMNS",
    "FOOTPRINT_COLUMNS",
    "GPU_COLUMNS",
    "NO_FOOTPRINT",
    "NO_GPU_USE",
    "SCOPES",
    "AgentStats",
    "BudgetTotals",
    "ComponentTotals",
    "GpuHolder",
    "GpuTotals",
    "ProcessTotals",
    "RunTotals",
    "Scope",
    "Snapshot",
    "WorkloadTotals",
]

Scope = Literal["operational", "embodied"]
SCOPES: tuple[Scope, ...] = ("operational", "embodied")

ENERGY_COLUMNS: tuple[tuple[Component, Mode], ...] = (
    (Component.CPU, Mode.ACTIVE),
    (Component.CPU, Mode.IDLE),
    (Component.DRAM, Mode.ACTIVE),
    (Component.DRAM, Mode.IDLE),
    (Component.GPU, Mode.ACTIVE),
    (Component.GPU, Mode.IDLE),
    (Component.OTHER, Mode.IDLE),
)
"""What the entries of every ``energy_j`` tuple below mean. The platform's rest has no active part."""

GPU_COLUMNS = ("gpu_held_s", "gpu_unused_s", "gpu_unused_j")
"""What the entries of every ``gpu`` tuple below mean: seconds times GPUs held, of these those in which nothing ran on
them, and the idle joules charged for the latter, which are contained in the energy. None: it never held a GPU."""
NO_GPU_USE = (0.0,) * len(GPU_COLUMNS)

FOOTPRINT_COLUMNS = ("market_g", "water_l", "cost")
"""What the entries of every ``footprint`` tuple below mean: grams by the market-based intensity, litres of water, and
the price of the electricity in the currency of ``Snapshot.currency``. Each is integrated tick by tick and zero where
its rate is not known; ``Snapshot.footprint`` has the columns that are counted."""
NO_FOOTPRINT = (0.0,) * len(FOOTPRINT_COLUMNS)


class BudgetTotals(NamedTuple):
    """One budget, as far as this node counts for it.

    Attributes:
        name: its name.
        emissions_g: grams that what it selects has emitted here on this boot, never decreasing.
        limit_g: its limit for the whole cluster.
        period_s: the rolling time the limit is for; None: the limit of each single run.
        matched: leaves it selects now.
        runs: where the limit is per run, the runs it selects.
        scopes: which emissions count.
    """

    name: str
    emissions_g: float
    limit_g: float
    period_s: float | None
    matched: int
    runs: Sequence[RunKey] = ()
    scopes: Sequence[Scope] = ("operational",)


class ComponentTotals(NamedTuple):
    """One component of the node.

    Attributes:
        energy_j: joules since the first start of the agent on this boot, never decreasing.
        power_w: mean power over the last interval, or None where nothing was read in it.
        source: source in force.
        quality: measured or estimated.
        uncertainty_ratio: half-width of the 95 % band.
        is_partial: a domain of the component could not be read.
        idle_power_w: the baseline in force in watts, or None before the first split.
        baseline_origin: where the baseline came from.
    """

    energy_j: float
    power_w: float | None
    source: str
    quality: Quality
    uncertainty_ratio: float
    is_partial: bool
    idle_power_w: float | None
    baseline_origin: BaselineOrigin | None


class WorkloadTotals(NamedTuple):
    """One workload: joules by ``ENERGY_COLUMNS``, grams by ``SCOPES``, watts over the last interval.

    ``footprint`` is by ``FOOTPRINT_COLUMNS``.
    """

    workload: WorkloadId
    energy_j: tuple[float, ...]
    emissions_g: tuple[float, ...]
    power_w: float
    gpu: tuple[float, ...] | None = None
    footprint: tuple[float, ...] = NO_FOOTPRINT


class RunTotals(NamedTuple):
    """One run on this node: joules by ``ENERGY_COLUMNS``, grams by ``SCOPES``, watts over the last interval.

    ``gpu`` is by ``GPU_COLUMNS``; ``gpus`` and ``unused_gpus`` are how many it holds now, all or part of them, and of
    these how many are idle; None where no GPU was read in this tick.
    """

    facts: RunFacts
    energy_j: tuple[float, ...]
    emissions_g: tuple[float, ...]
    power_w: float
    last_seen_s: float
    gpu: tuple[float, ...] | None = None
    gpus: int | None = None
    unused_gpus: int | None = None
    footprint: tuple[float, ...] = NO_FOOTPRINT


class GpuHolder(NamedTuple):
    """Who holds a GPU, or part of it: share of the GPU, and of that the share on which nothing ran."""

    workload: WorkloadId
    run: RunKey | None
    share: float
    unused_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuTotals:
    """One GPU.

    Attributes:
        facts: what it is.
        state: up, degraded or down.
        energy_j: joules since it was first read on this boot, never decreasing.
        power_w: mean power over the last interval, or None where nothing was read in it.
        method: what the joules come from: counter, power, none.
        reading: the driver's other readings of the last tick, or None.
        split: how its active energy was split in the last tick, or empty before the first.
        attributed_ratio: how much of its energy somebody was charged for in the last tick, or None.
        bare_idle_w, context_idle_w: idle power in force: bare, and with a context resident; None before the first.
        baseline_origin: where they come from.
        is_idle: whether nothing ran on it in the last interval.
        holders: who holds it.
    """

    facts: GpuFacts
    state: State
    energy_j: float
    power_w: float | None
    method: EnergyMethod
    reading: GpuReading | None = None
    split: SplitMethod | Literal[""] = ""
    attributed_ratio: float | None = None
    bare_idle_w: float | None = None
    context_idle_w: float | None = None
    baseline_origin: BaselineOrigin | None = None
    is_idle: bool = False
    holders: Sequence[GpuHolder] = ()


class ProcessTotals(NamedTuple):
    """One training process: joules by ``ENERGY_COLUMNS``; contained in its run."""

    run: RunKey
    rank: str
    pid: int
    energy_j: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentStats:
    """The agent's account of itself.

    Attributes:
        ticks: samples taken on this boot.
        late_ticks: of these, begun more than half an interval late.
        tick_duration_s: wall time of the last tick.
        interval_s: the configured interval.
        config_reload_ok: whether the configuration in force is the one on disk, as far as tried.
        config_loaded_s: wall-clock time of the last successful load.
        simulated: what of all this is simulated, in words; empty: nothing.
    """

    ticks: int = 0
    late_ticks: int = 0
    tick_duration_s: float = 0.0
    interval_s: float = 5.0
    config_reload_ok: bool = True
    config_loaded_s: float = 0.0
    simulated: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All totals at one moment.

    Attributes:
        taken_s: wall-clock time of the sample.
        components: one entry per component that ever had a source on this boot.
        unattributed_j: joules nobody is charged for; every reason is present for every component.
        ended_j: joules of workloads whose series have expired, by component.
        emissions_g: the node's grams by scope; a scope that is not accounted is absent.
        footprint: the node's ``FOOTPRINT_COLUMNS``; what is not accounted is absent.
        currency: what costs are in; empty without a price.
        budgets: every configured budget.
        pods: the pods on this node that have a name.
        hardware: what making each piece of hardware emitted; empty where that is not accounted.
        workloads: workloads alive or within retention.
        runs: runs alive or within retention.
        processes: training processes alive or within retention.
        gpus: every GPU that is there, or was until lately.
        domains: raw domains, unwrapped; overlapping.
        carbon: the intensity in force.
        findings: the state of every source.
        event_counts: errors, resets and gap seconds by (kind, source, reason), on this boot.
        agent: the agent's account of itself.
    """

    taken_s: float
    components: Mapping[Component, ComponentTotals]
    unattributed_j: Mapping[tuple[Component, Reason], float]
    ended_j: Mapping[Component, float]
    emissions_g: Mapping[Scope, float]
    workloads: Sequence[WorkloadTotals]
    runs: Sequence[RunTotals]
    processes: Sequence[ProcessTotals]
    domains: Sequence[DomainTotal]
    carbon: CarbonState
    footprint: Mapping[str, float] = field(default_factory=dict)
    currency: str = ""
    budgets: Sequence[BudgetTotals] = ()
    pods: Sequence[PodFacts] = ()
    hardware: Sequence[HardwareFigure] = ()
    gpus: Sequence[GpuTotals] = ()
    findings: Sequence[Finding] = ()
    event_counts: Mapping[tuple[EventKind, str, str], float] = field(default_factory=dict)
    agent: AgentStats = field(default_factory=AgentStats)
