"""The only mutable accounting state: what every leaf has been charged so far on this boot.

Invariants (DESIGN.md §1): per component, Σ leaves + unattributed = what was booked; no total ever falls.
A workload or run that has ended is folded: its accounts move to the ended workload or lose their run, so that the
sums over the remaining accounts stay what they were.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from exporter.attribution.gpu_records import GpuShares
from exporter.attribution.records import ComponentShares, Reason
from exporter.carbon.records import NO_CARBON, CarbonState
from exporter.carbon.settings import EmbodiedSettings
from exporter.health import Finding, SourceEvent
from exporter.ledger.accounts import (
    COLUMNS_OF,
    ENDED,
    OVERFLOW_RUN,
    OVERFLOW_WORKLOAD,
    Account,
    LeafKey,
    RunRecord,
    added_up,
    totals_by_run,
)
from exporter.ledger.booking import book_embodied, book_energy, book_footprint
from exporter.ledger.budget_book import BudgetBook
from exporter.ledger.budget_settings import BudgetSettings
from exporter.ledger.hardware import Hardware, held_of
from exporter.ledger.holdings import HeldGpus, book_holdings, note_most_held
from exporter.ledger.newborn import without_newborn
from exporter.ledger.node_totals import NodeTotals
from exporter.ledger.places import RunPlace, moved, place_now
from exporter.ledger.processes import ProcessAccounts
from exporter.ledger.rates import Rates, rates_of
from exporter.ledger.saved import SavedState, StateChanges
from exporter.ledger.settings import LedgerSettings
from exporter.ledger.shown import shown_run, shown_workload
from exporter.ledger.snapshot import FOOTPRINT_COLUMNS, AgentStats, GpuTotals, Scope, Snapshot
from exporter.sensors.records import Component, DomainTotal, EnergySample
from exporter.workloads.records import RunFacts, RunKey, UsageSample, WorkloadId

__all__ = ["Ledger"]

_COST = FOOTPRINT_COLUMNS.index("cost")


class Ledger:
    """Running totals of the node, its workloads, runs and training processes.

    Not thread-safe: one loop books and takes snapshots; snapshots are immutable and may be shared.
    """

    def __init__(
        self,
        settings: LedgerSettings,
        *,
        embodied: EmbodiedSettings | None = None,
        budgets: Sequence[BudgetSettings] = (),
        cpu_model: str = "",
    ) -> None:
        self.settings = settings
        self._node = NodeTotals()
        self._hardware = Hardware(embodied or EmbodiedSettings())
        self._budgets = BudgetBook(budgets)
        self._place = RunPlace(cpu_model=cpu_model)
        self._accounts: dict[LeafKey, Account] = {}
        self._drawing: list[Account] = []
        self._born_s: dict[WorkloadId, float] = {}
        self._seen_s: dict[WorkloadId, float] = {}
        self._runs: dict[RunKey, RunRecord] = {}
        self._overflow_seen_s: dict[WorkloadId | RunKey, float] = {}
        self._processes = ProcessAccounts()
        self._next_expiry_s = 0.0
        self._now_s = 0.0
        self._wall_s = 0.0
        self._gpus_held: HeldGpus | None = None
        self._changes = StateChanges()
        self._must_save_all = False

    @property
    def components(self) -> Collection[Component]:
        """The components that ever had a source on this boot."""
        return self._node.components.keys()

    def configure(
        self, settings: LedgerSettings, *, embodied: EmbodiedSettings, budgets: Sequence[BudgetSettings]
    ) -> None:
        """Go on by other settings; totals stay what they are."""
        self.settings = settings
        self._hardware.configure(embodied)
        self._budgets.configure(budgets)

    def book_down_time(
        self,
        energy: EnergySample,
        carbon: CarbonState,
        *,
        now_s: float,
        wall_s: float,
        gpu_models: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Book what the hardware counted while no agent looked: to nobody, reason ``agent_down``.

        Also makes every component's series appear, at what was restored or at zero. ``gpu_models``: see ``book``.
        """
        self._now_s, self._wall_s = now_s, wall_s
        self._next_expiry_s = now_s
        rates = self._rates(carbon)
        for component in energy.components.values():
            self._node.book(component, None, now_s=now_s)
            self._book_rates(component.energy_j, rates)
            self._node.add_unattributed(component.component, Reason.AGENT_DOWN, component.energy_j)
        self._take_due(gpu_models)
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
        gpu_models: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Book one interval: the split of every component, and who was seen alive at its end.

        ``shares`` holds one entry per component of ``energy`` and is aligned with ``usage.leaves``; ``gpus`` says who
        holds which GPU, by the same leaves; ``gpu_models`` which GPUs there are, by UUID (empty: no news).
        """
        self._now_s, self._wall_s = now_s, wall_s
        rates = self._rates(carbon)
        accounts = self._see(usage)
        for component in self._node.components.keys() - energy.components.keys():
            self._node.forget_power(component)
        for account in self._drawing:
            account.power_w, account.shown = 0.0, None
        self._drawing.clear()
        drawn_j = [0.0] * len(accounts)
        for share in shares:
            self._node.book(energy.components[share.component], share, now_s=now_s)
            self._book_rates(energy.components[share.component].energy_j, rates)
            for reason, joules in share.unattributed_j.items():
                self._node.add_unattributed(share.component, reason, joules)
            book_energy(share, accounts, drawn_j, self._touch)
        operational_g = book_footprint(accounts, drawn_j, rates)
        embodied_g = held_of(self._take_due(gpu_models), usage, gpus)
        book_embodied(accounts, embodied_g, self._touch)
        self._budgets.book(usage, operational_g, embodied_g, now_s=now_s)
        self._gpus_held = book_holdings(gpus, accounts, self._touch, now_s=now_s)
        note_most_held(self._gpus_held, gpu_models, self._runs)
        limit = self.settings.max_processes
        self._processes.book(shares, usage, runs=self._runs.keys(), limit=limit, now_s=now_s)
        self.count((*energy.events, *usage.events, *carbon.events))
        if now_s >= self._next_expiry_s:
            self._expire()

    def count(self, events: Iterable[SourceEvent]) -> None:
        """Add events to the counters of errors, resets and gaps."""
        self._node.count(events)

    def _rates(self, carbon: CarbonState) -> Rates:
        """Return the amounts per joule now; makes what is known for the first time appear."""
        rates = rates_of(carbon)
        if rates.footprint[_COST] is not None and carbon.currency != self._node.currency:
            self._restart_cost(carbon.currency)
        self._node.appear(rates, now_s=self._now_s)
        self._place = place_now(self._place, carbon, currency=self._node.currency)
        return rates

    def _restart_cost(self, currency: str) -> None:
        """Start every cost at zero in another currency: amounts of two currencies have no sum."""
        if self._node.currency:
            for account in self._accounts.values():
                account.footprint[_COST], account.shown = 0.0, None
            for record in self._runs.values():
                record.place = record.place._replace(currency=currency, is_cost_whole=False)
            self._must_save_all = True
        self._node.restart_cost(currency)

    def _book_rates(self, energy_j: float, rates: Rates) -> None:
        """Add what a component's joules caused to the node's totals."""
        if rates.operational_g is not None:
            self._emit("operational", energy_j * rates.operational_g)
        self._node.book_rates(energy_j, rates)

    def _emit(self, scope: Scope, grams: float) -> None:
        self._node.emissions_g[scope] += grams
        self._budgets.book_node(scope, grams)

    def _take_due(self, gpu_models: Mapping[str, str]) -> Mapping[str, float]:
        """Return the grams of making the hardware that have fallen due, by item, and book them to the node."""
        self._hardware.see(gpu_models)
        due_g = self._hardware.take_due_g(now_s=self._now_s)
        if due_g:
            self._node.appear_scope("embodied", now_s=self._now_s)
            self._emit("embodied", sum(due_g.values()))
        return due_g

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
            record.place = moved(record.place, self._place)
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
        node, newborn = self._node, self._node.newborn(now_s=self._now_s)
        snapshot = Snapshot(
            taken_s=self._wall_s,
            components=dict(node.components),
            unattributed_j=dict(node.unattributed_j),
            ended_j={c: sum(ended.energy_j[i] for i in COLUMNS_OF[c]) for c in node.components},
            emissions_g=dict(node.emissions_g),
            footprint=dict(node.footprint),
            currency=node.currency,
            budgets=self._budgets.shown(self._runs.keys(), now_s=self._now_s),
            hardware=tuple(self._hardware.figures),
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
            event_counts=dict(node.event_counts),
            agent=agent or AgentStats(),
        )
        return without_newborn(snapshot, newborn) if newborn else snapshot

    def _held_by(self, run: RunKey) -> Mapping[str, bool] | None:
        return None if self._gpus_held is None else self._gpus_held.get(run, {})

    def restore(self, saved: SavedState) -> None:
        """Take over the totals of an earlier process on this boot. Called once, before anything is booked."""
        self._now_s = saved.saved_at_s
        self._node.restore(saved)
        self._budgets.restore(saved.budgets)
        if saved.is_embodied_counted:
            self._hardware.restore(saved_at_s=saved.saved_at_s)
        self._runs.update((record.facts.key, record) for record in saved.runs)
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
        changes.is_full = full or self._must_save_all
        self._must_save_all = False
        self._processes.fill(changes)
        self._node.fill(changes)
        changes.now_s, changes.is_embodied_counted = self._now_s, self._hardware.is_counted
        changes.budgets = self._budgets.totals_g
        changes.accounts, changes.run_records = self._accounts, self._runs
        return changes

    def run_totals(self) -> Mapping[RunKey, Account]:
        """Return every known run's totals over all its leaves."""
        return totals_by_run(self._accounts, self._runs)
