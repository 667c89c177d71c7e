"""The running totals of budgets: what the leaves that each selects have emitted here since it was configured.

A total only grows. It is fed leaf by leaf in the tick in which the grams are booked, by the leaf's own identity, so
neither folding nor the overflow account can move anything out of it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from exporter.ledger.budget_settings import BudgetSettings
from exporter.ledger.budgets import limit_g, period_s, selects
from exporter.ledger.snapshot import BudgetTotals, Scope
from exporter.workloads.records import LeafUsage, RunKey, UsageSample, WorkloadId

__all__ = ["BudgetBook"]

_Leaf = tuple[WorkloadId, RunKey | None]
_SLACK = 256
"""Leaves that are gone may stay remembered up to this number beyond those that are here."""


class _Who(NamedTuple):
    """What selectors read of a run."""

    name: str
    user: str
    account: str


class _Budget:
    """One configured budget: what was said of it, and what it selects now."""

    def __init__(self, settings: BudgetSettings, *, born_s: float | None) -> None:
        self.settings = settings
        self.is_operational = "operational" in settings.scopes
        self.is_embodied = "embodied" in settings.scopes
        self.is_per_run = settings.period == "run"
        self.born_s = born_s
        self.matched = 0
        self.runs: set[RunKey] = set()


class BudgetBook:
    """All budgets of this node.

    Attributes:
        totals_g: grams by the name of every budget that was ever configured on this boot.
    """

    def __init__(self, settings: Sequence[BudgetSettings] = ()) -> None:
        self.totals_g: dict[str, float] = {}
        self._budgets: list[_Budget] = []
        self._everything: list[_Budget] = []
        self._selecting: list[_Budget] = []
        self._matches: dict[_Leaf, tuple[_Budget, ...]] = {}
        self._who: Mapping[RunKey, _Who] = {}
        self._labels: Mapping[WorkloadId, Mapping[str, str]] = {}
        self.configure(settings)

    def restore(self, totals_g: Mapping[str, float]) -> None:
        """Take over the totals of an earlier process on this boot."""
        for name, grams in totals_g.items():
            self.totals_g[name] = self.totals_g.get(name, 0.0) + grams
        for budget in self._budgets:
            if budget.settings.name in totals_g:
                budget.born_s = float("-inf")

    def configure(self, settings: Sequence[BudgetSettings]) -> None:
        """Go on with other budgets: a known name keeps its total, whatever else was changed of it."""
        born_s = {budget.settings.name: budget.born_s for budget in self._budgets}
        known = born_s | {name: float("-inf") for name in self.totals_g if name not in born_s}
        self._budgets = [_Budget(one, born_s=known.get(one.name)) for one in settings]
        self._everything = [budget for budget in self._budgets if budget.settings.select.everything]
        self._selecting = [budget for budget in self._budgets if not budget.settings.select.everything]
        self._matches.clear()
        for budget in self._budgets:
            self.totals_g.setdefault(budget.settings.name, 0.0)

    def book_node(self, scope: Scope, grams: float) -> None:
        """Add grams of the whole node, whoever is charged for them."""
        for budget in self._everything:
            if budget.is_operational if scope == "operational" else budget.is_embodied:
                self.totals_g[budget.settings.name] += grams

    def book(
        self, usage: UsageSample, operational_g: Sequence[float], embodied_g: Sequence[float], *, now_s: float
    ) -> None:
        """Add what each leaf of ``usage`` is charged in this interval; an empty sequence is zero for all."""
        for budget in self._budgets:
            budget.matched = 0
            if budget.born_s is None:
                budget.born_s = now_s
        for budget in self._everything:
            budget.matched = len(usage.leaves)
            if budget.is_per_run:
                budget.runs.update(usage.runs)
        if not self._selecting:
            return
        self._forget_changed(usage)
        matches = self._matches
        for i, leaf in enumerate(usage.leaves):
            chosen = matches.get((leaf.workload, leaf.run))
            if chosen is None:
                chosen = self._choose(leaf, usage)
            for budget in chosen:
                budget.matched += 1
                grams = operational_g[i] if budget.is_operational and operational_g else 0.0
                if budget.is_embodied and embodied_g:
                    grams += embodied_g[i]
                self.totals_g[budget.settings.name] += grams

    def _choose(self, leaf: LeafUsage, usage: UsageSample) -> tuple[_Budget, ...]:
        """Return the budgets that select ``leaf``, each once, and remember them."""
        chosen = tuple(b for b in self._selecting if selects(b.settings.select, leaf.workload, leaf.run, usage))
        self._matches[leaf.workload, leaf.run] = chosen
        if leaf.run is not None:
            for budget in chosen:
                budget.runs.add(leaf.run)
        return chosen

    def _forget_changed(self, usage: UsageSample) -> None:
        """Forget the matches of leaves of which something was learned since, and of most that are gone."""
        who = {key: _Who(facts.name, facts.user, facts.account) for key, facts in usage.runs.items()}
        if who != self._who:
            self._forget({key for key, facts in who.items() if self._who.get(key) != facts}, set())
            self._who = who
        if usage.labels is not self._labels and usage.labels != self._labels:
            labels, before = usage.labels, self._labels
            self._forget(
                set(), {pod[:3] for pod in labels.keys() | before.keys() if labels.get(pod) != before.get(pod)}
            )
            self._labels = labels
        if len(self._matches) > len(usage.leaves) + _SLACK:
            present = {(leaf.workload, leaf.run) for leaf in usage.leaves}
            self._matches = {leaf: chosen for leaf, chosen in self._matches.items() if leaf in present}

    def _forget(self, runs: set[RunKey], pods: set[tuple[str, ...]]) -> None:
        """Forget what ``runs``, and all runs in ``pods``, were matched with: every leaf of theirs is looked at anew."""
        runs = runs | {run for workload, run in self._matches if run is not None and workload[:3] in pods}
        self._matches = {
            leaf: chosen for leaf, chosen in self._matches.items() if leaf[1] not in runs and leaf[0][:3] not in pods
        }
        for budget in self._selecting:
            budget.runs -= runs

    def shown(self, runs: Collection[RunKey], *, now_s: float) -> list[BudgetTotals]:
        """Return every budget's totals, at zero in the tick in which it was first seen; ``runs`` have series now."""
        return [self._shown(budget, runs, now_s) for budget in self._budgets]

    def _shown(self, budget: _Budget, runs: Collection[RunKey], now_s: float) -> BudgetTotals:
        settings = budget.settings
        budget.runs.intersection_update(runs)
        return BudgetTotals(
            name=settings.name,
            emissions_g=0.0 if budget.born_s in {None, now_s} else self.totals_g[settings.name],
            limit_g=limit_g(settings),
            period_s=period_s(settings),
            matched=budget.matched,
            runs=sorted(budget.runs) if budget.is_per_run else (),
            scopes=settings.scopes,
        )
