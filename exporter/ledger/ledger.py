"""The only mutable accounting state: what every leaf has been charged so far on this boot.

Invariants (DESIGN.md §1): per component, Σ leaves + unattributed = what was booked; no total ever falls.
A workload or run that has ended is folded: its accounts move to the ended workload or lose their run, so that the
sums over the remaining accounts stay what they were.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from exporter.attribution.gpu_records import GpuShares
from exporter.attribution.records import ComponentShares, Reason
from exporter.carbon.records import NO_CARBON, CarbonState
from exporter.health import EventKind, Finding, SourceEvent
from exporter.ledger.accounts import (
    ACTIVE_COLUMN,
    COLUMNS_OF,
    ENDED,
    IDLE_COLUMN,
    OVERFLOW_RUN,
    OVERFLOW_WORKLOAD,
    Account,
    LeafKey,
    RunRecord,
    added_up,
    totals_by_run,
)
from exporter.ledger.holdings import HeldGpus, book_holdings
from exporter.ledger.newborn import without_newborn
from exporter.ledger.processes import ProcessAccounts
from exporter.ledger.saved import SavedState, StateChanges
from exporter.ledger.settings import LedgerSettings
from exporter.ledger.shown import shown_run, shown_workload
from exporter.ledger.snapshot import (
    SCOPES,
    AgentStats,
    ComponentTotals,
    GpuTotals,
    Scope,
    Snapshot,
)
from exporter.sensors.records import Component, ComponentEnergy, DomainTotal, EnergySample
from exporter.units import emissions_g
from exporter.workloads.records import RunFacts, RunKey, UsageSample, WorkloadId

__all__ = ["Ledger"]

_OPERATIONAL = SCOPES.index("operational")


class Ledger:
    """Running totals of the node, its workloads, runs and training processes.

    Not thread-safe: one loop books and takes snapshots; snapshots are immutable and may be shared.
    """

    def __init__(self, settings: LedgerSettings) -> None:
        self.settings = settings
        self._accounts: dict[LeafKey, Account] = {}
        self._drawing: list[Account] = []
        self._born_s: dict[WorkloadId, float] = {}
        self._seen_s: dict[WorkloadId, float] = {}
        self._runs: dict[RunKey, RunRecord] = {}
        self._overflow_seen_s: dict[WorkloadId | RunKey, float] = {}
        self._processes = ProcessAccounts()
        self._components: dict[Component, ComponentTotals] = {}
        self._unattributed_j: dict[tuple[Component, Reason], float] = {}
        self._component_born_s: dict[Component, float] = {}
        self._emissions_g: dict[Scope, float] = {}
        self._emissions_born_s: float | None = None
        self._event_counts: dict[tuple[EventKind, str, str], float] = {}
        self._next_expiry_s = 0.0
        self._now_s = 0.0
        self._wall_s = 0.0
        self._gpus_held: HeldGpus | None = None
        self._changes = StateChanges()

    @property
    def components(self) -> Collection[Component]:
        """The components that ever had a source on this boot."""
        return self._components.keys()

    def book_down_time(self, energy: EnergySample, carbon: CarbonState, *, now_s: float, wall_s: float) -> None:
        """Book what the hardware counted while no agent looked: to nobody, reason ``agent_down``.

        Also makes every component's series appear, at what was restored or at zero.
        """
        self._now_s, self._wall_s = now_s, wall_s
        self._next_expiry_s = now_s
        g_per_j = self._g_per_j(carbon)
        for component in energy.components.values():
            self._book_node(component, None, g_per_j)
            self._add_unattributed(component.component, Reason.AGENT_DOWN, component.energy_j)
            self._components[component.component] = self._components[component.component]._replace(power_w=None)
        self.count(energy.events)

    def book(
        self,
        energy: EnergySample,
        shares: Sequence[ComponentShares],
        usage: UsageSample,
        carbon: CarbonState,
        *,
        now_s: float,
        wall_s: float,
        gpus: Collection[GpuShares] = (),
    ) -> None:
        """Book one interval: the split of every component, and who was seen alive at its end.

        ``shares`` holds one entry per component of ``energy`` and is aligned with ``usage.leaves``; ``gpus`` says who
        holds which GPU, by the same leaves.
        """
        self._now_s, self._wall_s = now_s, wall_s
        accounts = self._see(usage)
        g_per_j = self._g_per_j(carbon)
        for component in self._components.keys() - energy.components.keys():
            self._components[component] = self._components[component]._replace(power_w=None)
        for account in self._drawing:
            account.power_w, account.shown = 0.0, None
        self._drawing.clear()
        for share in shares:
            self._book_node(energy.components[share.component], share, g_per_j)
            for reason, joules in share.unattributed_j.items():
                self._add_unattributed(share.component, reason, joules)
            self._book_leaves(share, accounts, g_per_j)
        self._gpus_held = book_holdings(gpus, accounts, self._touch, now_s=now_s)
        limit = self.settings.max_processes
        self._processes.book(shares, usage, runs=self._runs.keys(), limit=limit, now_s=now_s)
        self.count(energy.events)
        self.count(usage.events)
        self.count(carbon.events)
        if now_s >= self._next_expiry_s:
            self._expire()

    def count(self, events: Iterable[SourceEvent]) -> None:
        """Add events to the counters of errors, resets and gaps."""
        for event in events:
            key = (event.kind, event.source, event.reason)
            self._event_counts[key] = self._event_counts.get(key, 0.0) + event.amount

    def _g_per_j(self, carbon: CarbonState) -> float | None:
        """Return grams per joule now, or None where no intensity is known; makes the node's grams appear."""
        if carbon.average is None:
            return None
        if not self._emissions_g:
            self._emissions_g["operational"] = 0.0
            self._emissions_born_s = self._now_s
        intensity = carbon.average.intensity_g_per_kwh
        return emissions_g(1.0, pue_ratio=carbon.pue_ratio, intensity_g_per_kwh=intensity)

    def _book_node(self, energy: ComponentEnergy, share: ComponentShares | None, g_per_j: float | None) -> None:
        before = self._components.get(energy.component)
        if before is None:
            self._component_born_s[energy.component] = self._now_s
            for reason in Reason:
                self._unattributed_j.setdefault((energy.component, reason), 0.0)
        idle_power_w, origin = (share.idle_power_w, share.baseline_origin) if share else (None, None)
        self._components[energy.component] = ComponentTotals(
            energy_j=(before.energy_j if before else 0.0) + energy.energy_j,
            power_w=energy.energy_j / energy.interval_s if energy.interval_s > 0 else None,
            source=energy.source,
            quality=energy.quality,
            uncertainty_ratio=energy.uncertainty_ratio,
            is_partial=energy.is_partial,
            idle_power_w=idle_power_w,
            baseline_origin=origin,
        )
        if g_per_j is not None:
            self._emissions_g["operational"] += energy.energy_j * g_per_j

    def _add_unattributed(self, component: Component, reason: Reason, joules: float) -> None:
        key = (component, reason)
        self._unattributed_j[key] = self._unattributed_j.get(key, 0.0) + joules

    def _book_leaves(self, share: ComponentShares, accounts: Sequence[Account], g_per_j: float | None) -> None:
        active_column, idle_column = ACTIVE_COLUMN.get(share.component), IDLE_COLUMN[share.component]
        per_s = 1 / share.interval_s if share.interval_s > 0 else 0.0
        for account, active_j, idle_j in zip(accounts, share.active_j, share.idle_j, strict=True):
            joules = active_j + idle_j
            if not joules:
                continue
            self._touch(account)
            if active_column is not None:
                account.energy_j[active_column] += active_j
            account.energy_j[idle_column] += idle_j
            account.power_w += joules * per_s
            if g_per_j is not None:
                account.emissions_g[_OPERATIONAL] += joules * g_per_j

    def _touch(self, account: Account) -> None:
        """Note that an account is about to change: it is to be shown and saved anew."""
        account.shown = None
        self._drawing.append(account)
        if account.key is not None:
            self._changes.leaves.add(account.key)

    def _see(self, usage: UsageSample) -> list[Account]:
        """Note who is alive, admit newcomers, and return each leaf's account in the sample's order."""
        for gone in self._runs.keys() - usage.runs.keys():
            self._mark_ended(gone)
        for facts in usage.runs.values():
            self._see_run(facts)
        found = []
        accounts, seen_s, now_s = self._accounts, self._seen_s, self._now_s
        for leaf in usage.leaves:
            workload = leaf.workload
            if workload not in seen_s:
                workload = self._admit_workload(workload)
            seen_s[workload] = now_s
            run = None if leaf.run is None else self._known_run(leaf.run)
            # A plain tuple is equal to the LeafKey and costs a tenth of it.
            found.append(accounts.get((workload, run)) or self._open(LeafKey(workload, run)))  # type: ignore[call-overload]
        return found

    def _open(self, key: LeafKey) -> Account:
        """Return the account of ``key``, a new one where there is none."""
        account = self._accounts.get(key)
        if account is None:
            account = self._accounts[key] = Account(key=key)
            self._changes.leaves.add(key)
        return account

    def _admit_workload(self, workload: WorkloadId) -> WorkloadId:
        if len(self._seen_s) >= self.settings.max_workloads or workload in self._overflow_seen_s:
            self._overflow_seen_s[workload] = self._now_s
            workload = OVERFLOW_WORKLOAD
        self._born_s.setdefault(workload, self._now_s)
        return workload

    def _see_run(self, facts: RunFacts) -> None:
        key = facts.key
        record = self._runs.get(key)
        if record is None and (len(self._runs) >= self.settings.max_runs or key in self._overflow_seen_s):
            self._overflow_seen_s[key] = self._now_s
            facts = RunFacts(key=OVERFLOW_RUN, name=OVERFLOW_RUN, framework="", started_s=self._wall_s)
            record = self._runs.get(OVERFLOW_RUN)
        if record is None:
            record = RunRecord(facts, born_s=self._now_s, seen_s=self._now_s, seen_wall_s=self._wall_s)
            self._runs[facts.key] = record
            self._changes.runs.add(facts.key)
        if facts.is_alive:
            record.seen_s, record.seen_wall_s = self._now_s, self._wall_s
        if facts.started_s > record.facts.started_s > 0:
            facts = replace(facts, started_s=record.facts.started_s)
        if facts != record.facts:
            record.facts = facts
            self._changes.runs.add(facts.key)

    def _mark_ended(self, key: RunKey) -> None:
        record = self._runs[key]
        if key != OVERFLOW_RUN and record.facts.is_alive:
            record.facts = replace(record.facts, is_alive=False, ranks=0)
            self._changes.runs.add(key)

    def _known_run(self, key: RunKey) -> RunKey:
        """Return the key under which the run is booked; a run without facts gets bare ones."""
        if key in self._runs:
            return key
        if key not in self._overflow_seen_s:
            self._see_run(RunFacts(key=key, name=key, framework="", started_s=self._wall_s))
        return key if key in self._runs else OVERFLOW_RUN

    def _expire(self) -> None:
        """Fold what ended longer ago than the retention. Runs by the clock, never because somebody scraped."""
        self._next_expiry_s = self._now_s + min(self.settings.retention_s / 10, 10.0)
        limit_s = self._now_s - self.settings.retention_s
        old_runs = {key for key, run in self._runs.items() if run.seen_s < limit_s and key != OVERFLOW_RUN}
        old_workloads = {w for w, seen_s in self._seen_s.items() if seen_s < limit_s and w != OVERFLOW_WORKLOAD}
        self._processes.expire(before_s=limit_s, runs=old_runs)
        for newcomer in [key for key, seen_s in self._overflow_seen_s.items() if seen_s < limit_s]:
            del self._overflow_seen_s[newcomer]
        if old_runs or old_workloads:
            self._fold(old_workloads, old_runs)

    def _fold(self, workloads: set[WorkloadId], runs: set[RunKey]) -> None:
        for key in [key for key in self._accounts if key.workload in workloads or key.run in runs]:
            workload = ENDED if key.workload in workloads else key.workload
            run = None if key.run in runs else key.run
            account = self._accounts.pop(key)
            account.power_w = 0.0
            target = LeafKey(workload, run)
            self._open(target).absorb(account)
            self._changes.leaves.add(target)
            self._changes.leaves.discard(key)
            self._changes.dropped_leaves.add(key)
        for gone in workloads:
            del self._seen_s[gone], self._born_s[gone]
        for run_key in runs:
            del self._runs[run_key]
            self._changes.dropped_runs.add(run_key)

    def snapshot(
        self,
        domains: Sequence[DomainTotal] = (),
        carbon: CarbonState = NO_CARBON,
        findings: Sequence[Finding] = (),
        agent: AgentStats | None = None,
        gpus: Sequence[GpuTotals] = (),
    ) -> Snapshot:
        """Return the immutable totals of this moment.

        What was first seen in this very interval is shown at zero, so that a rate sees its first joules on the next
        page; until then they are shown as ended, which keeps the page adding up.
        """
        workloads: dict[WorkloadId, list[Account]] = {}
        ended = Account()
        for key, account in self._accounts.items():
            if key.workload == ENDED or self._born_s[key.workload] == self._now_s:
                ended.absorb(account)
            if key.workload != ENDED:
                workloads.setdefault(key.workload, []).append(account)
        runs = self.run_totals()
        newborn = [component for component, born_s in self._component_born_s.items() if born_s == self._now_s]
        is_first_gram = self._emissions_born_s == self._now_s
        snapshot = Snapshot(
            taken_s=self._wall_s,
            components=dict(self._components),
            unattributed_j=dict(self._unattributed_j),
            ended_j={c: sum(ended.energy_j[i] for i in COLUMNS_OF[c]) for c in self._components},
            emissions_g=dict(self._emissions_g),
            workloads=[
                shown_workload(key, added_up(parts), born_s=self._born_s[key], now_s=self._now_s)
                for key, parts in workloads.items()
            ],
            runs=[
                shown_run(record, runs[key], self._held_by(key), now_s=self._now_s)
                for key, record in self._runs.items()
            ],
            processes=self._processes.totals(now_s=self._now_s),
            domains=tuple(domains),
            carbon=carbon,
            gpus=tuple(gpus),
            findings=tuple(findings),
            event_counts=dict(self._event_counts),
            agent=agent or AgentStats(),
        )
        return without_newborn(snapshot, newborn, emissions=is_first_gram) if newborn or is_first_gram else snapshot

    def _held_by(self, run: RunKey) -> Mapping[str, bool] | None:
        return None if self._gpus_held is None else self._gpus_held.get(run, {})

    def restore(self, saved: SavedState) -> None:
        """Take over the totals of an earlier process on this boot. Called once, before anything is booked."""
        self._now_s = saved.saved_at_s
        self._components = dict(saved.components)
        self._unattributed_j = dict(saved.unattributed_j)
        self._emissions_g = dict(saved.emissions_g)
        self._event_counts = dict(saved.event_counts)
        for record in saved.runs:
            self._runs[record.facts.key] = record
        for key, account in saved.accounts.items():
            account.key = key
            self._accounts[key] = account
            if key.workload != ENDED:
                self._seen_s[key.workload] = saved.saved_at_s
                self._born_s[key.workload] = float("-inf")
            if key.run is not None and key.run not in self._runs:
                facts = RunFacts(key=key.run, name=key.run, framework="", is_alive=False)
                seen_s = saved.saved_at_s
                self._runs[key.run] = RunRecord(facts, born_s=float("-inf"), seen_s=seen_s, seen_wall_s=0.0)
        self._processes.restore(saved.processes, seen_s=saved.saved_at_s)

    def take_changes(self, *, full: bool) -> StateChanges:
        """Return what must be written so that ``restore`` finds the present totals, and start a new account of it.

        With ``full`` everything is to be written: the first time, the last time, and after a failed write.
        """
        changes, self._changes = self._changes, StateChanges()
        changes.is_full = full
        processes = self._processes
        changes.processes = set(processes.accounts) if full else processes.changed
        changes.dropped_processes = processes.dropped
        processes.changed, processes.dropped = set(), set()
        changes.now_s = self._now_s
        changes.components = self._components
        changes.unattributed_j = self._unattributed_j
        changes.emissions_g = self._emissions_g
        changes.event_counts = self._event_counts
        changes.accounts = self._accounts
        changes.process_accounts = processes.accounts
        changes.run_records = self._runs
        return changes

    def run_totals(self) -> Mapping[RunKey, Account]:
        """Return every known run's totals over all its leaves."""
        return totals_by_run(self._accounts, self._runs)
