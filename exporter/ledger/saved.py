"""What passes between the ledger and its file: the totals to go on from, and what has changed since the last save."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from exporter.attribution.baseline import LearnedPower
from exporter.attribution.gpu_floors import Floors
from exporter.attribution.records import Reason
from exporter.health import EventKind
from exporter.ledger.accounts import Account, LeafKey, ProcessKey, RunRecord
from exporter.ledger.snapshot import ComponentTotals, Scope
from exporter.sensors.records import Component, CounterState, DomainKey
from exporter.workloads.records import RunKey

__all__ = ["SavedState", "StateChanges"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedState:
    """The state of an earlier process. Everything but what was learned is empty if it is of another boot.

    Attributes:
        saved_at_s: boot-clock time of the save, or 0 if there is nothing to go on from.
        ticks, late_ticks: the agent's own counters.
        components, unattributed_j, emissions_g, event_counts, accounts, processes, runs: see ``Ledger``.
        footprint, currency: the node's, see ``Snapshot``.
        is_embodied_counted: whether emissions of making the hardware were being counted.
        budgets: grams by the name of every budget that was ever configured on this boot.
        domains: the hardware counters at the save.
        learned: what was learned of each component's idle power, on this or an earlier boot.
        gpu_floors: the same of each GPU, by UUID.
    """

    saved_at_s: float = 0.0
    ticks: int = 0
    late_ticks: int = 0
    components: Mapping[Component, ComponentTotals] = field(default_factory=dict)
    unattributed_j: Mapping[tuple[Component, Reason], float] = field(default_factory=dict)
    emissions_g: Mapping[Scope, float] = field(default_factory=dict)
    event_counts: Mapping[tuple[EventKind, str, str], float] = field(default_factory=dict)
    accounts: Mapping[LeafKey, Account] = field(default_factory=dict)
    footprint: Mapping[str, float] = field(default_factory=dict)
    currency: str = ""
    is_embodied_counted: bool = False
    budgets: Mapping[str, float] = field(default_factory=dict)
    processes: Mapping[ProcessKey, Account] = field(default_factory=dict)
    runs: Sequence[RunRecord] = ()
    domains: Mapping[DomainKey, CounterState] = field(default_factory=dict)
    learned: Mapping[Component, LearnedPower] = field(default_factory=dict)
    gpu_floors: Mapping[str, Floors] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class StateChanges:
    """What to write: the keys that changed, and views of the totals to read their values from.

    Attributes:
        leaves, processes, runs: keys whose totals or facts changed.
        dropped_leaves, dropped_processes, dropped_runs: keys that are gone; removed before the others are written.
        is_full: everything is to be written anew, whatever the keys say.
        The rest are the ledger's own tables, valid until it books again.
    """

    leaves: set[LeafKey] = field(default_factory=set)
    processes: set[ProcessKey] = field(default_factory=set)
    runs: set[RunKey] = field(default_factory=set)
    dropped_leaves: set[LeafKey] = field(default_factory=set)
    dropped_processes: set[ProcessKey] = field(default_factory=set)
    dropped_runs: set[RunKey] = field(default_factory=set)
    is_full: bool = False
    now_s: float = 0.0
    components: Mapping[Component, ComponentTotals] = field(default_factory=dict)
    unattributed_j: Mapping[tuple[Component, Reason], float] = field(default_factory=dict)
    emissions_g: Mapping[Scope, float] = field(default_factory=dict)
    event_counts: Mapping[tuple[EventKind, str, str], float] = field(default_factory=dict)
    accounts: Mapping[LeafKey, Account] = field(default_factory=dict)
    footprint: Mapping[str, float] = field(default_factory=dict)
    currency: str = ""
    is_embodied_counted: bool = False
    budgets: Mapping[str, float] = field(default_factory=dict)
    process_accounts: Mapping[ProcessKey, Account] = field(default_factory=dict)
    run_records: Mapping[RunKey, RunRecord] = field(default_factory=dict)
