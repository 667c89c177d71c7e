"""The totals of the node itself, of which leaves are charged a part, and when each of them first appeared."""

from __future__ import annotations

import math
from collections.abc import Iterable

from exporter.attribution.records import ComponentShares, Reason
from exporter.health import EventKind, SourceEvent
from exporter.ledger.rates import Rates
from exporter.ledger.saved import SavedState, StateChanges
from exporter.ledger.snapshot import FOOTPRINT_COLUMNS, ComponentTotals, Scope
from exporter.sensors.records import Component, ComponentEnergy

__all__ = ["NodeTotals"]

_COST = FOOTPRINT_COLUMNS.index("cost")


class NodeTotals:
    """Running totals of the node.

    Attributes:
        components: by component that ever had a source on this boot.
        unattributed_j: joules nobody is charged for; every reason of every component is present.
        emissions_g: grams by scope that was ever accounted.
        footprint: by the columns that were ever counted.
        currency: what the cost is in; empty before the first price.
        event_counts: errors, resets and gap seconds by (kind, source, reason).
    """

    def __init__(self) -> None:
        self.components: dict[Component, ComponentTotals] = {}
        self.unattributed_j: dict[tuple[Component, Reason], float] = {}
        self.emissions_g: dict[Scope, float] = {}
        self.footprint: dict[str, float] = {}
        self.currency = ""
        self.event_counts: dict[tuple[EventKind, str, str], float] = {}
        self._born_s: dict[str, float] = {}
        self._shown_s = self._shown_before_s = -math.inf

    def restore(self, saved: SavedState) -> None:
        """Take over the totals of an earlier process on this boot."""
        self.components = dict(saved.components)
        self.unattributed_j = dict(saved.unattributed_j)
        self.emissions_g = dict(saved.emissions_g)
        self.footprint = dict(saved.footprint)
        self.currency = saved.currency
        self.event_counts = dict(saved.event_counts)

    def fill(self, changes: StateChanges) -> None:
        """Say what is to be written: all of it, it is little."""
        changes.components = self.components
        changes.unattributed_j = self.unattributed_j
        changes.emissions_g = self.emissions_g
        changes.footprint = self.footprint
        changes.currency = self.currency
        changes.event_counts = self.event_counts

    def count(self, events: Iterable[SourceEvent]) -> None:
        """Add events to the counters of errors, resets and gaps."""
        for event in events:
            key = (event.kind, event.source, event.reason)
            self.event_counts[key] = self.event_counts.get(key, 0.0) + event.amount

    def appear(self, rates: Rates, *, now_s: float) -> None:
        """Let the totals of all rates that are known appear, at zero."""
        if rates.operational_g is not None:
            self.appear_scope("operational", now_s=now_s)
        for name, rate in zip(FOOTPRINT_COLUMNS, rates.footprint, strict=True):
            if rate is not None and name not in self.footprint:
                self.footprint[name] = 0.0
                self._born_s[name] = now_s

    def appear_scope(self, scope: Scope, *, now_s: float) -> None:
        """Let the grams of a scope appear, at zero."""
        if scope not in self.emissions_g:
            self.emissions_g[scope] = 0.0
            self._born_s[scope] = now_s

    def restart_cost(self, currency: str) -> None:
        """Let the cost appear anew, in ``currency``."""
        self.footprint.pop(FOOTPRINT_COLUMNS[_COST], None)
        self.currency = currency

    def book(self, energy: ComponentEnergy, share: ComponentShares | None, *, now_s: float) -> None:
        """Add one interval of a component; without a ``share`` it was not split."""
        before = self.components.get(energy.component)
        if before is None:
            self._born_s[energy.component] = now_s
            for reason in Reason:
                self.unattributed_j.setdefault((energy.component, reason), 0.0)
        idle_power_w, origin = (share.idle_power_w, share.baseline_origin) if share else (None, None)
        self.components[energy.component] = ComponentTotals(
            energy_j=(before.energy_j if before else 0.0) + energy.energy_j,
            power_w=energy.energy_j / energy.interval_s if energy.interval_s > 0 and share else None,
            source=energy.source,
            quality=energy.quality,
            uncertainty_ratio=energy.uncertainty_ratio,
            is_partial=energy.is_partial,
            idle_power_w=idle_power_w,
            baseline_origin=origin,
        )

    def book_rates(self, energy_j: float, rates: Rates) -> None:
        """Add what ``energy_j`` caused beside grams."""
        for name, rate in zip(FOOTPRINT_COLUMNS, rates.footprint, strict=True):
            if rate is not None:
                self.footprint[name] += energy_j * rate

    def add_unattributed(self, component: Component, reason: Reason, joules: float) -> None:
        """Add joules nobody is charged for; they are in the component's total already."""
        key = (component, reason)
        self.unattributed_j[key] = self.unattributed_j.get(key, 0.0) + joules

    def forget_power(self, component: Component) -> None:
        """Note that nothing was read of ``component`` in this interval."""
        self.components[component] = self.components[component]._replace(power_w=None)

    def newborn(self, *, now_s: float) -> set[str]:
        """Return the components, scopes and footprint columns that the page of ``now_s`` is the first to show."""
        if now_s != self._shown_s:
            self._shown_before_s, self._shown_s = self._shown_s, now_s
        return {name for name, born_s in self._born_s.items() if born_s > self._shown_before_s}
