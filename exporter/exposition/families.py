"""From a snapshot to rows: for each family of the catalogue, label values and a number.

What is unknown has no row. Two ids that are equal after cleaning become one row with the sum of both, so that a
page never holds a series twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from exporter import __version__
from exporter.exposition.catalogue import CATALOGUE
from exporter.exposition.family import Family
from exporter.exposition.footprint_families import FOOTPRINT_BLOCKS, FOOTPRINT_FILL, intensities
from exporter.exposition.gpu_families import GPU_FILL
from exporter.exposition.labels import clean_label, clean_labels
from exporter.exposition.rows import Block, Column, Row
from exporter.health import EventKind
from exporter.ledger.snapshot import ENERGY_COLUMNS, SCOPES, Snapshot

__all__ = ["Block", "BlockRows", "Column", "FamilyRows", "Row", "family_rows"]


class BlockRows:
    """The rows of a large family, thing by thing, so that a writer can pass over what has not changed.

    Iterating gives plain rows: clean, and without repetition.
    """

    def __init__(self, family: Family, columns: Sequence[Column], blocks: Sequence[Block]) -> None:
        self.family = family
        self.columns = columns
        self.blocks = blocks

    def __len__(self) -> int:
        return len(self.columns) * len(self.blocks)

    def __iter__(self) -> Iterator[Row]:
        rows = [
            (identity + labels, block.values[index])
            for block in self.blocks
            for identity in (clean_labels(block.identity),)
            for index, labels in self.columns
        ]
        return iter(_without_repetition(self.family, rows))


class FamilyRows(NamedTuple):
    """One family with its rows; no two rows have equal labels."""

    family: Family
    rows: Sequence[Row] | BlockRows


def family_rows(snapshot: Snapshot) -> Iterator[FamilyRows]:
    """Yield every family that has rows, in catalogue order, with clean labels."""
    for family in CATALOGUE:
        rows: Sequence[Row] | BlockRows
        if family.name in _BLOCKS:
            rows = BlockRows(family, *_BLOCKS[family.name](snapshot))
        else:
            rows = _without_repetition(family, list(_FILL[family.name](snapshot)))
        if rows:
            yield FamilyRows(family, rows)


def _without_repetition(family: Family, rows: list[Row]) -> list[Row]:
    return rows if len({labels for labels, _ in rows}) == len(rows) else _merged(family, rows)


def _merged(family: Family, rows: Iterable[Row]) -> list[Row]:
    is_fact = family.type == "info" or family.name.endswith("_timestamp_seconds")
    merged: dict[tuple[str, ...], float] = {}
    for labels, value in rows:
        if labels not in merged:
            merged[labels] = value
        else:
            merged[labels] = max(merged[labels], value) if is_fact else merged[labels] + value
    return list(merged.items())


def _clean(*texts: str) -> tuple[str, ...]:
    return clean_labels(texts)


def _flag(*, value: bool) -> str:
    return "true" if value else "false"


def _node_energy(snapshot: Snapshot) -> Iterator[Row]:
    return (((c.value,), t.energy_j) for c, t in snapshot.components.items())


def _node_power(snapshot: Snapshot) -> Iterator[Row]:
    return (((c.value,), t.power_w) for c, t in snapshot.components.items() if t.power_w is not None)


def _idle_power(snapshot: Snapshot) -> Iterator[Row]:
    return (((c.value,), t.idle_power_w) for c, t in snapshot.components.items() if t.idle_power_w is not None)


def _unattributed(snapshot: Snapshot) -> Iterator[Row]:
    return (((c.value, reason.value), energy_j) for (c, reason), energy_j in snapshot.unattributed_j.items())


def _node_emissions(snapshot: Snapshot) -> Iterator[Row]:
    return (((scope,), grams) for scope, grams in snapshot.emissions_g.items())


def _ended(snapshot: Snapshot) -> Iterator[Row]:
    return (((c.value,), energy_j) for c, energy_j in snapshot.ended_j.items())


def _domains(snapshot: Snapshot) -> Iterator[Row]:
    return ((_clean(*domain.key), domain.total_j) for domain in snapshot.domains)


def _uncertainty(snapshot: Snapshot) -> Iterator[Row]:
    return (((c.value,), t.uncertainty_ratio) for c, t in snapshot.components.items())


def _energy_source(snapshot: Snapshot) -> Iterator[Row]:
    for c, t in snapshot.components.items():
        source, baseline = clean_label(t.source), t.baseline_origin or "none"
        yield (c.value, source, t.quality, baseline, _flag(value=t.is_partial)), 1.0


def _view_restricted(snapshot: Snapshot) -> Iterator[Row]:
    return (((), float(f.state != "up")) for f in snapshot.findings if f.source == "pid_view" and not f.item)


def _simulated(snapshot: Snapshot) -> Iterator[Row]:
    if snapshot.agent.simulated:
        yield _clean(snapshot.agent.simulated), 1.0


def _columns(snapshot: Snapshot) -> list[Column]:
    """Return the energy columns whose component this node has."""
    return [(i, (c.value, m.value)) for i, (c, m) in enumerate(ENERGY_COLUMNS) if c in snapshot.components]


def _scopes(snapshot: Snapshot) -> list[Column]:
    return [(i, (scope,)) for i, scope in enumerate(SCOPES) if scope in snapshot.emissions_g]


def _workload_energy(snapshot: Snapshot) -> tuple[list[Column], list[Block]]:
    return _columns(snapshot), [Block(totals.workload, totals.energy_j) for totals in snapshot.workloads]


def _workload_emissions(snapshot: Snapshot) -> tuple[list[Column], list[Block]]:
    return _scopes(snapshot), [Block(totals.workload, totals.emissions_g) for totals in snapshot.workloads]


def _run_energy(snapshot: Snapshot) -> tuple[list[Column], list[Block]]:
    return _columns(snapshot), [Block((totals.facts.key,), totals.energy_j) for totals in snapshot.runs]


def _run_emissions(snapshot: Snapshot) -> tuple[list[Column], list[Block]]:
    return _scopes(snapshot), [Block((totals.facts.key,), totals.emissions_g) for totals in snapshot.runs]


def _process_energy(snapshot: Snapshot) -> tuple[list[Column], list[Block]]:
    blocks = [Block((p.run, p.rank, str(p.pid)), p.energy_j) for p in snapshot.processes]
    return _columns(snapshot), blocks


def _run_info(snapshot: Snapshot) -> Iterator[Row]:
    for totals in snapshot.runs:
        f = totals.facts
        world = "" if f.world_size is None else str(f.world_size)
        yield _clean(f.key, f.name, f.framework, f.namespace, f.owner, f.user, f.account, world, f.identity), 1.0


def _pod_info(snapshot: Snapshot) -> Iterator[Row]:
    for p in snapshot.pods:
        yield _clean(p.namespace, p.name, p.uid, p.owner_kind, p.owner_name, p.queue, p.team), 1.0


def _run_start(snapshot: Snapshot) -> Iterator[Row]:
    return ((_clean(t.facts.key), t.facts.started_s) for t in snapshot.runs if t.facts.started_s > 0)


def _run_last_seen(snapshot: Snapshot) -> Iterator[Row]:
    return ((_clean(t.facts.key), t.last_seen_s) for t in snapshot.runs)


def _run_ranks(snapshot: Snapshot) -> Iterator[Row]:
    return ((_clean(t.facts.key), t.facts.ranks) for t in snapshot.runs)


def _intensity(snapshot: Snapshot) -> Iterator[Row]:
    return ((labels, value.intensity_g_per_kwh) for labels, value in intensities(snapshot))


def _intensity_time(snapshot: Snapshot) -> Iterator[Row]:
    return ((labels, value.observed_s) for labels, value in intensities(snapshot))


def _intensity_info(snapshot: Snapshot) -> Iterator[Row]:
    for labels, value in intensities(snapshot):
        yield labels + _clean(value.provider, value.basis, _flag(value=value.is_estimated)), 1.0


def _source_up(snapshot: Snapshot) -> Iterator[Row]:
    up: dict[tuple[str, ...], float] = {}
    for finding in snapshot.findings:
        if not finding.item:
            labels = _clean(finding.source)
            up[labels] = min(up.get(labels, 1.0), float(finding.state in {"up", "degraded"}))
    return iter(up.items())


def _source_success(snapshot: Snapshot) -> Iterator[Row]:
    for finding in snapshot.findings:
        if not finding.item and finding.last_success_s is not None:
            yield _clean(finding.source), finding.last_success_s


def _events(kind: EventKind) -> Callable[[Snapshot], Iterator[Row]]:
    def fill(snapshot: Snapshot) -> Iterator[Row]:
        counts = snapshot.event_counts.items()
        return ((_clean(source, reason), n) for (of_kind, source, reason), n in counts if of_kind == kind)

    return fill


def _single(value: Callable[[Snapshot], float]) -> Callable[[Snapshot], Iterator[Row]]:
    return lambda snapshot: iter([((), value(snapshot))])


def _config_time(snapshot: Snapshot) -> Iterator[Row]:
    if snapshot.agent.config_loaded_s > 0:
        yield (), snapshot.agent.config_loaded_s


_FILL: dict[str, Callable[[Snapshot], Iterator[Row]]] = {
    "wattribute_node_energy_joules_total": _node_energy,
    "wattribute_node_power_watts": _node_power,
    "wattribute_node_idle_power_watts": _idle_power,
    "wattribute_node_unattributed_energy_joules_total": _unattributed,
    "wattribute_node_emissions_grams_total": _node_emissions,
    "wattribute_ended_energy_joules": _ended,
    "wattribute_domain_energy_joules_total": _domains,
    "wattribute_energy_uncertainty_ratio": _uncertainty,
    "wattribute_energy_source_info": _energy_source,
    **GPU_FILL,
    **FOOTPRINT_FILL,
    "wattribute_process_view_restricted": _view_restricted,
    "wattribute_simulated_info": _simulated,
    "wattribute_pod_info": _pod_info,
    "wattribute_run_info": _run_info,
    "wattribute_run_start_timestamp_seconds": _run_start,
    "wattribute_run_last_seen_timestamp_seconds": _run_last_seen,
    "wattribute_run_ranks": _run_ranks,
    "wattribute_grid_carbon_intensity_grams_per_kilowatt_hour": _intensity,
    "wattribute_grid_carbon_intensity_timestamp_seconds": _intensity_time,
    "wattribute_grid_carbon_intensity_info": _intensity_info,
    "wattribute_pue_ratio": _single(lambda s: s.carbon.pue_ratio),
    "wattribute_source_up": _source_up,
    "wattribute_source_errors_total": _events("error"),
    "wattribute_source_last_success_timestamp_seconds": _source_success,
    "wattribute_source_resets_total": _events("reset"),
    "wattribute_gap_seconds_total": _events("gap_seconds"),
    "wattribute_sample_timestamp_seconds": _single(lambda s: s.taken_s),
    "wattribute_tick_duration_seconds": _single(lambda s: s.agent.tick_duration_s),
    "wattribute_tick_interval_seconds": _single(lambda s: s.agent.interval_s),
    "wattribute_ticks_total": _single(lambda s: s.agent.ticks),
    "wattribute_ticks_late_total": _single(lambda s: s.agent.late_ticks),
    "wattribute_config_last_reload_successful": _single(lambda s: float(s.agent.config_reload_ok)),
    "wattribute_config_last_reload_success_timestamp_seconds": _config_time,
    "wattribute_build_info": lambda _: iter([((__version__,), 1.0)]),
}

_BLOCKS: dict[str, Callable[[Snapshot], tuple[list[Column], list[Block]]]] = {
    "wattribute_workload_energy_joules_total": _workload_energy,
    "wattribute_workload_emissions_grams_total": _workload_emissions,
    "wattribute_run_energy_joules_total": _run_energy,
    "wattribute_run_emissions_grams_total": _run_emissions,
    "wattribute_process_energy_joules_total": _process_energy,
    **FOOTPRINT_BLOCKS,
}
