"""What readers see of an account: its totals, or zeros in the interval in which it first appears."""

from __future__ import annotations

from collections.abc import Mapping

from exporter.ledger.accounts import Account, RunRecord
from exporter.ledger.snapshot import ENERGY_COLUMNS, NO_FOOTPRINT, SCOPES, RunTotals, WorkloadTotals
from exporter.workloads.records import WorkloadId

__all__ = ["shown_run", "shown_workload"]

_ZERO_ENERGY = (0.0,) * len(ENERGY_COLUMNS)
_ZERO_EMISSIONS = (0.0,) * len(SCOPES)


def shown_workload(workload: WorkloadId, account: Account, *, born_s: float, now_s: float) -> WorkloadTotals:
    """Return a workload's totals; the same object until they change."""
    if born_s == now_s:
        return WorkloadTotals(workload, _ZERO_ENERGY, _ZERO_EMISSIONS, account.power_w, account.gpu_use(now_s))
    if account.shown is None:
        energy_j, grams = tuple(account.energy_j), tuple(account.emissions_g)
        account.shown = WorkloadTotals(
            workload, energy_j, grams, account.power_w, account.gpu_use(now_s), tuple(account.footprint)
        )
    return account.shown


def shown_run(record: RunRecord, account: Account, held: Mapping[str, bool] | None, *, now_s: float) -> RunTotals:
    """Return a run's totals; ``held`` are the GPUs it holds, and whether nothing runs on them; None: not known."""
    is_newborn = record.born_s == now_s
    return RunTotals(
        record.facts,
        _ZERO_ENERGY if is_newborn else tuple(account.energy_j),
        _ZERO_EMISSIONS if is_newborn else tuple(account.emissions_g),
        account.power_w,
        record.seen_wall_s,
        account.gpu_use(now_s),
        None if held is None else len(held),
        None if held is None else sum(held.values()),
        NO_FOOTPRINT if is_newborn else tuple(account.footprint),
    )
