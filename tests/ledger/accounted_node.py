"""A ledger and its state file, driven by hand, beside an independent account of all that was booked."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from exporter.attribution import Baseline, attribute
from exporter.attribution.embodied import held_grams
from exporter.attribution.gpu_floors import GpuBaseline
from exporter.attribution.gpu_records import GpuShares, Holding
from exporter.carbon.records import NO_CARBON, CarbonState, Intensity, Signal
from exporter.carbon.settings import EmbodiedSettings
from exporter.ledger import Ledger, LedgerSettings, Snapshot
from exporter.ledger.accounts import Account
from exporter.ledger.budget_settings import BudgetSettings
from exporter.ledger.snapshot import FOOTPRINT_COLUMNS
from exporter.ledger.store import Store
from exporter.sensors.records import EnergySample
from exporter.units import JOULES_PER_KILOWATT_HOUR
from exporter.workloads.records import RunKey, UsageSample, WorkloadId
from tests.attribution.samples import component_energy, energy_sample

BASELINE = Baseline(10.0, "configured")
GPUS = {"GPU-0": "NVIDIA H100 80GB HBM3", "GPU-1": "NVIDIA H100 80GB HBM3"}
NO_EMBODIED = EmbodiedSettings()
EMBODIED = EmbodiedSettings(enabled=True, server_kg=1000.0, accelerator_kg=200.0, lifetime_years=4.0)
_YEAR_S = 365.25 * 86_400
Leaf = tuple[WorkloadId, RunKey | None]


def intensity(g_per_kwh: float, signal: Signal = "average") -> Intensity:
    return Intensity(
        grid_zone="DE",
        signal=signal,
        intensity_g_per_kwh=g_per_kwh,
        provider="fixed",
        basis="test",
        is_estimated=False,
        observed_s=0.0,
    )


class AccountedNode:
    """One call is one tick.

    Attributes:
        leaf_amounts: by leaf as it was seen, never folded: operational and embodied grams, then the footprint.
        node_amounts: the same of the node.
    """

    def __init__(
        self,
        path: Path,
        *,
        settings: LedgerSettings | None = None,
        budgets: Sequence[BudgetSettings] = (),
        embodied: EmbodiedSettings = NO_EMBODIED,
    ) -> None:
        self.now_s = 1000.0
        self.leaf_amounts: dict[Leaf, list[float]] = {}
        self.node_amounts = [0.0] * 5
        self._path, self._settings = path, settings or LedgerSettings()
        self._budgets, self._embodied = budgets, embodied
        self._since_s: float | None = None
        self._start()

    def _start(self) -> None:
        self.ledger = Ledger(self._settings, embodied=self._embodied, budgets=self._budgets)
        self._store = Store(self._path, boot_id="boot")
        self.ledger.restore(self._store.load(now_s=self.now_s))

    def tick(
        self,
        usage: UsageSample,
        energy: EnergySample | None = None,
        *,
        state: CarbonState = NO_CARBON,
        held: Mapping[str, Mapping[int, float]] | None = None,
        after_s: float = 5.0,
    ) -> Snapshot:
        """Book one interval; ``held`` are the shares of GPUs by leaf."""
        energy = energy if energy is not None else energy_sample(component_energy(3600.0))
        self.now_s += after_s
        shares = [attribute(component, usage, BASELINE) for component in energy.components.values()]
        gpus = [_shares(uuid, holders) for uuid, holders in (held or {}).items()]
        self.ledger.book(energy, shares, usage, state, now_s=self.now_s, wall_s=self.now_s, gpus=gpus, gpu_models=GPUS)
        rates = _rates(state)
        joules = [0.0] * len(usage.leaves)
        for share in shares:
            for i in range(len(joules)):
                joules[i] += share.active_j[i] + share.idle_j[i]
        held_s = self._elapsed_s()
        accelerator_g = held_s * self._g_per_s(self._embodied.accelerator_kg)
        server_g = held_s * self._g_per_s(self._embodied.server_kg)
        held_g = held_grams(usage, gpus, server_g=server_g, accelerators_g=dict.fromkeys(GPUS, accelerator_g))
        for i, leaf in enumerate(usage.leaves):
            amounts = self.leaf_amounts.setdefault((leaf.workload, leaf.run), [0.0] * 5)
            for column, rate in rates.items():
                amounts[column] += joules[i] * rate
            amounts[1] += held_g[i]
        self._count_node(energy, rates, held_s)
        self._save(full=False)
        return self.ledger.snapshot()

    def restart(
        self,
        *,
        killed: bool = False,
        down_s: float = 3.0,
        down_j: float = 7.0,
        state: CarbonState = NO_CARBON,
        budgets: Sequence[BudgetSettings] | None = None,
        embodied: EmbodiedSettings | None = None,
    ) -> Snapshot:
        if not killed:
            self._save(full=True)
        self._store.close()
        self.now_s += down_s
        self._budgets = self._budgets if budgets is None else budgets
        self._embodied = self._embodied if embodied is None else embodied
        self._start()
        return self._down_time(state, down_j)

    def reload(
        self,
        *,
        budgets: Sequence[BudgetSettings] | None = None,
        embodied: EmbodiedSettings | None = None,
        state: CarbonState = NO_CARBON,
    ) -> None:
        self._budgets = self._budgets if budgets is None else budgets
        self._embodied = self._embodied if embodied is None else embodied
        self.ledger.configure(self._settings, embodied=self._embodied, budgets=self._budgets)
        self.now_s += 1.0
        self._down_time(state, 0.0)

    def _down_time(self, state: CarbonState, down_j: float) -> Snapshot:
        energy = energy_sample(component_energy(down_j))
        self.ledger.book_down_time(energy, state, now_s=self.now_s, wall_s=self.now_s, gpu_models=GPUS)
        self._count_node(energy, _rates(state), self._elapsed_s())
        self._save(full=True)
        return self.ledger.snapshot()

    def accounts(self) -> Sequence[Account]:
        return list(self.ledger.take_changes(full=True).accounts.values())

    def close(self) -> None:
        self._store.close()

    def _save(self, *, full: bool) -> None:
        changes = self.ledger.take_changes(full=full)
        totals = self.ledger.run_totals() if self._store.runs_are_due(changes) else {}
        self._store.save(changes, run_totals=totals, domains={}, learned={}, meta={})

    def _elapsed_s(self) -> float:
        if not self._embodied.enabled:
            self._since_s = None
            return 0.0
        since_s, self._since_s = self._since_s, self.now_s
        return 0.0 if since_s is None else self.now_s - since_s

    def _g_per_s(self, kilograms: float | None) -> float:
        return (kilograms or 0.0) * 1000 / (self._embodied.lifetime_years * _YEAR_S)

    def _count_node(self, energy: EnergySample, rates: Mapping[int, float], held_s: float) -> None:
        joules = math.fsum(component.energy_j for component in energy.components.values())
        for column, rate in rates.items():
            self.node_amounts[column] += joules * rate
        hardware = self._g_per_s(self._embodied.server_kg) + len(GPUS) * self._g_per_s(self._embodied.accelerator_kg)
        self.node_amounts[1] += held_s * hardware


def _rates(state: CarbonState) -> dict[int, float]:
    """Amounts per joule by column, written out as the documentation has them."""
    rates: dict[int, float] = {}
    for column, now, over in (
        (0, state.average, state.interval_average_g_per_kwh),
        (2, state.market, state.interval_market_g_per_kwh),
    ):
        g_per_kwh = over if over is not None else now.intensity_g_per_kwh if now is not None else None
        if g_per_kwh is not None:
            rates[column] = g_per_kwh * state.pue_ratio / JOULES_PER_KILOWATT_HOUR
    if state.wue_l_per_kwh is not None:
        rates[3] = state.wue_l_per_kwh / JOULES_PER_KILOWATT_HOUR
    if state.price_per_kwh is not None:
        rates[4] = max(state.price_per_kwh, 0.0) * state.pue_ratio / JOULES_PER_KILOWATT_HOUR
    return rates


def _shares(uuid: str, holders: Mapping[int, float]) -> GpuShares:
    return GpuShares(
        uuid=uuid,
        energy_j=0.0,
        interval_s=5.0,
        holdings={leaf: Holding(share) for leaf, share in holders.items()},
        method="exclusive",
        baseline=GpuBaseline(50.0, 10.0, "configured"),
        is_idle=False,
    )


def with_facts(usage: UsageSample, **facts: Mapping[RunKey, str]) -> UsageSample:
    """Return ``usage`` with ``name``, ``user`` or ``account`` of its runs as given."""
    runs = {
        key: replace(known, **{field: of[key] for field, of in facts.items() if key in of})  # type: ignore[arg-type]
        for key, known in usage.runs.items()
    }
    return replace(usage, runs=runs)


def counters(snapshot: Snapshot) -> Iterator[tuple[object, float]]:
    """Every total beside energy that is exposed as a counter, with a key that names its series."""
    yield from snapshot.emissions_g.items()
    yield from (((name, snapshot.currency), amount) for name, amount in snapshot.footprint.items())
    for budget in snapshot.budgets:
        yield ("budget", budget.name), budget.emissions_g
    for workload in snapshot.workloads:
        for i, amount in enumerate(workload.emissions_g + workload.footprint):
            yield (workload.workload, i, snapshot.currency), amount
    for run in snapshot.runs:
        for i, amount in enumerate(run.emissions_g + run.footprint):
            yield (run.facts.key, i, snapshot.currency), amount


COLUMNS = {name: 2 + i for i, name in enumerate(FOOTPRINT_COLUMNS)}
"""Where the columns of the footprint are in ``leaf_amounts`` and ``node_amounts``."""
