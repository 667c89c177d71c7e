"""The first page of a component or of emissions: everything at zero, so that a rate sees its first interval."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TypeVar

from exporter.ledger.accounts import COLUMNS_OF
from exporter.ledger.snapshot import (
    FOOTPRINT_COLUMNS,
    NO_GPU_USE,
    SCOPES,
    ProcessTotals,
    RunTotals,
    Snapshot,
    WorkloadTotals,
)
from exporter.sensors.records import Component

__all__ = ["without_newborn"]

_Totals = TypeVar("_Totals", WorkloadTotals, RunTotals, ProcessTotals)


def without_newborn(snapshot: Snapshot, newborn: Collection[str]) -> Snapshot:
    """Return ``snapshot`` with all totals of ``newborn`` components, scopes and columns at zero; watts stay."""
    components = [component for component in Component if component.value in newborn]
    hidden = {column for component in components for column in COLUMNS_OF[component]}

    def withheld(totals: _Totals) -> _Totals:
        energy_j = tuple(0.0 if i in hidden else joules for i, joules in enumerate(totals.energy_j))
        totals = totals._replace(energy_j=energy_j)
        if isinstance(totals, ProcessTotals):
            return totals
        if Component.GPU in components:
            totals = totals._replace(gpu=None if totals.gpu is None else NO_GPU_USE)
        return totals._replace(
            emissions_g=_hidden(totals.emissions_g, SCOPES, newborn),
            footprint=_hidden(totals.footprint, FOOTPRINT_COLUMNS, newborn),
        )

    return replace(
        snapshot,
        components={
            name: totals._replace(energy_j=0.0) if name in components else totals
            for name, totals in snapshot.components.items()
        },
        unattributed_j={
            key: 0.0 if key[0] in components else joules for key, joules in snapshot.unattributed_j.items()
        },
        ended_j={name: 0.0 if name in components else joules for name, joules in snapshot.ended_j.items()},
        emissions_g={scope: 0.0 if scope in newborn else grams for scope, grams in snapshot.emissions_g.items()},
        footprint={name: 0.0 if name in newborn else amount for name, amount in snapshot.footprint.items()},
        workloads=[withheld(totals) for totals in snapshot.workloads],
        runs=[withheld(totals) for totals in snapshot.runs],
        processes=[withheld(totals) for totals in snapshot.processes],
    )


def _hidden(values: tuple[float, ...], names: Sequence[str], newborn: Collection[str]) -> tuple[float, ...]:
    return tuple(0.0 if name in newborn else value for name, value in zip(names, values, strict=True))
