"""The immutable set of totals that every reader sees until the next tick.

On every snapshot: a component's ``energy_j`` = Σ workloads + ended + unattributed, to floating-point error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from exporter.attribution.records import BaselineOrigin, Mode, Reason
from exporter.carbon.records import CarbonState
from exporter.health import EventKind, Finding
from exporter.sensors.records import Component, DomainTotal, Quality
from exporter.workloads.records import RunFacts, RunKey, WorkloadId

__all__ = [
    "ENERGY_COLUMNS",
    "SCOPES",
    "AgentStats",
    "ComponentTotals",
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
    """One workload: joules by ``ENERGY_COLUMNS``, grams by ``SCOPES``, watts over the last interval."""

    workload: WorkloadId
    energy_j: tuple[float, ...]
    emissions_g: tuple[float, ...]
    power_w: float


class RunTotals(NamedTuple):
    """One run on this node: joules by ``ENERGY_COLUMNS``, grams by ``SCOPES``, watts over the last interval."""

    facts: RunFacts
    energy_j: tuple[float, ...]
    emissions_g: tuple[float, ...]
    power_w: float
    last_seen_s: float


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
    """

    ticks: int = 0
    late_ticks: int = 0
    tick_duration_s: float = 0.0
    interval_s: float = 5.0
    config_reload_ok: bool = True
    config_loaded_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All totals at one moment.

    Attributes:
        taken_s: wall-clock time of the sample.
        components: one entry per component that ever had a source on this boot.
        unattributed_j: joules nobody is charged for; every reason is present for every component.
        ended_j: joules of workloads whose series have expired, by component.
        emissions_g: the node's grams by scope; a scope that is not accounted is absent.
        workloads: workloads alive or within retention.
        runs: runs alive or within retention.
        processes: training processes alive or within retention.
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
    findings: Sequence[Finding] = ()
    event_counts: Mapping[tuple[EventKind, str, str], float] = field(default_factory=dict)
    agent: AgentStats = field(default_factory=AgentStats)
