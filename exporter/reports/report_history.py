"""Reports of runs from the embedded history: one node's part of each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from exporter.ledger.history import History, PastRun
from exporter.ledger.snapshot import ENERGY_COLUMNS
from exporter.reports.report import Grid, Hardware, RunReport, chosen

__all__ = ["history_reports"]

_LOST_AFTER_S = 300.0
"""An agent saves its runs twice a minute; a run that was not saved for this long has no agent."""


def history_reports(
    path: Path, *, since_s: float, until_s: float, now_s: float, wanted: str = ""
) -> Sequence[RunReport]:
    """Return the runs of a state file that were alive between the two times and match, last seen first.

    Args:
        path: the state file.
        since_s: Unix time after which it was alive.
        until_s: Unix time before which it was alive.
        now_s: the present.
        wanted: key, name or shell pattern, as ``chosen`` takes it; empty: all.

    Raises:
        StateError: the file is missing or is no state file.
    """
    by_key: dict[str, list[PastRun]] = {}
    for run in History(path).runs():
        by_key.setdefault(run.facts.key, []).append(run)
    reports = [
        _report(parts, path, now_s)
        for parts in by_key.values()
        if max(part.seen_s for part in parts) >= since_s and min(part.started_s for part in parts) <= until_s
    ]
    return chosen(reports, wanted) if wanted else reports


def _report(parts: Sequence[PastRun], path: Path, now_s: float) -> RunReport:
    """Return the report of one run; it has a part for each boot of this node on which it ran, the newest first."""
    facts = parts[0].facts
    seen_s = max(part.seen_s for part in parts)
    emissions_g: dict[str, float] = {
        scope: math.fsum(part.emissions_by_scope_g().get(scope, 0.0) for part in parts)
        for scope in sorted({scope for part in parts for scope in part.emissions_by_scope_g()})
    }
    market_g, water_l, cost = (math.fsum(column) for column in zip(*(part.footprint for part in parts), strict=True))
    held_s, unused_s, unused_j = (math.fsum(column) for column in zip(*(part.gpu for part in parts), strict=True))
    currencies = sorted({part.place.currency for part in parts if part.place.currency})
    has_cost = len(currencies) == 1 and all(part.place.is_cost_whole for part in parts)
    return RunReport(
        key=facts.key,
        name=facts.name or facts.key,
        framework=facts.framework,
        namespace=facts.namespace,
        owner=facts.owner,
        user=facts.user,
        account=facts.account,
        identity=facts.identity,
        world_size=facts.world_size,
        ranks=max(part.facts.ranks for part in parts),
        source=f"state file {path} of this node",
        started_s=min(part.started_s for part in parts),
        seen_s=max((part.ended_s for part in parts if part.ended_s is not None), default=seen_s)
        if parts[0].ended_s is not None
        else seen_s,
        is_running=parts[0].ended_s is None and now_s - seen_s < _LOST_AFTER_S,
        nodes=("this node",),
        hardware=_hardware(parts),
        cpu_models=sorted({part.place.cpu_model for part in parts if part.place.cpu_model}),
        energy_j={
            (component.value, mode.value): math.fsum(part.energy_j[column] for part in parts)
            for column, (component, mode) in enumerate(ENERGY_COLUMNS)
        },
        emissions_g=emissions_g,
        market_g=market_g if market_g or any(part.place.is_market_counted for part in parts) else None,
        water_l=water_l if water_l or any(part.place.is_water_counted for part in parts) else None,
        cost=cost if has_cost else None,
        cost_currency=currencies[0] if has_cost else "",
        gpu_held_s=held_s or None,
        gpu_unused_s=unused_s if held_s else None,
        gpu_unused_j=unused_j if held_s else None,
        grids=[Grid(zone) for zone in sorted({part.place.grid_zone for part in parts if part.place.grid_zone})],
        pue_ratios=sorted({part.place.pue_ratio for part in parts if part.place.pue_ratio is not None}),
        facility_j=_facility_j(parts),
        notes=list(_notes(parts, currencies)),
    )


def _hardware(parts: Sequence[PastRun]) -> Sequence[Hardware]:
    models = sorted({model for part in parts for model in part.gpus})
    known = [Hardware(max(part.gpus.get(model, 0) for part in parts), model) for model in models]
    return known or ([Hardware(None, "unknown GPU")] if any(part.gpu[0] > 0 for part in parts) else [])


def _facility_j(parts: Sequence[PastRun]) -> float | None:
    if not all(part.place.is_pue_constant for part in parts):
        return None
    known = [part.place.pue_ratio * sum(part.energy_j) for part in parts if part.place.pue_ratio is not None]
    return math.fsum(known) if len(known) == len(parts) else None


def _notes(parts: Sequence[PastRun], currencies: Sequence[str]) -> Iterator[str]:
    world_size, ranks = parts[0].facts.world_size, max(part.facts.ranks for part in parts)
    if world_size is not None and world_size > ranks:
        yield (
            f"This is the part of this node only: {ranks} of the run's {world_size} ranks ran here. For the whole run "
            "ask a Prometheus that scrapes all nodes: --prometheus.url=URL."
        )
    else:
        yield "A state file knows this node only; for a run on several nodes give --prometheus.url=URL."
    if len(parts) > 1:
        yield f"The run was seen in {len(parts)} parts (the node was started, or the run paused); they are added."
    if not all(part.place.is_pue_constant for part in parts):
        yield "The PUE was changed while the run lasted: no mean intensity can be told."
    if len(currencies) > 1:
        yield f"Cost was counted in several currencies ({', '.join(currencies)}), which cannot be added."
    elif not all(part.place.is_cost_whole for part in parts):
        yield "The currency was changed while the run lasted: what it cost before is not known any more."
