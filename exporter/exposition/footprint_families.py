"""From a snapshot to the rows of the grid, of market-based grams, water, cost, embodied hardware, and of budgets."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from exporter.carbon.records import GreenWindow, Intensity
from exporter.exposition.labels import clean_label, clean_labels
from exporter.exposition.rows import Block, Column, Row
from exporter.ledger.snapshot import FOOTPRINT_COLUMNS, BudgetTotals, Snapshot

__all__ = ["FOOTPRINT_BLOCKS", "FOOTPRINT_FILL", "duration_label", "green_windows", "intensities"]

_SECONDS_PER_MINUTE, _SECONDS_PER_HOUR = 60, 3600
_COST = "cost"
_NAMES = {"market_g": "market_emissions_grams_total", "water_l": "water_liters_total", _COST: "electricity_cost_total"}
_BlockFill = Callable[[Snapshot], tuple[list[Column], list[Block]]]


def _of_node(column: str) -> Callable[[Snapshot], Iterator[Row]]:
    def fill(snapshot: Snapshot) -> Iterator[Row]:
        if column in snapshot.footprint:
            yield _extra(column, snapshot), snapshot.footprint[column]

    return fill


def _extra(column: str, snapshot: Snapshot) -> tuple[str, ...]:
    return clean_labels((snapshot.currency,)) if column == _COST else ()


def _of_workloads(column: str) -> _BlockFill:
    def fill(snapshot: Snapshot) -> tuple[list[Column], list[Block]]:
        blocks = [Block(totals.workload, totals.footprint) for totals in snapshot.workloads]
        return _columns(column, snapshot), blocks

    return fill


def _of_runs(column: str) -> _BlockFill:
    def fill(snapshot: Snapshot) -> tuple[list[Column], list[Block]]:
        blocks = [Block((totals.facts.key,), totals.footprint) for totals in snapshot.runs]
        return _columns(column, snapshot), blocks

    return fill


def _columns(column: str, snapshot: Snapshot) -> list[Column]:
    """Return the one column, or none where it is not counted on this node."""
    if column not in snapshot.footprint:
        return []
    return [(FOOTPRINT_COLUMNS.index(column), _extra(column, snapshot))]


def _hardware(snapshot: Snapshot) -> Iterator[Row]:
    for figure in snapshot.hardware:
        item = clean_label(figure.item)
        for bound, grams in (("value", figure.value_g), ("low", figure.low_g), ("high", figure.high_g)):
            yield (item, bound), grams


def _hardware_info(snapshot: Snapshot) -> Iterator[Row]:
    return ((clean_labels((figure.item, figure.model, figure.source)), 1.0) for figure in snapshot.hardware)


def _of_budgets(value: Callable[[BudgetTotals], float | None]) -> Callable[[Snapshot], Iterator[Row]]:
    """Return what fills a family with one value per budget, where it has one."""

    def fill(snapshot: Snapshot) -> Iterator[Row]:
        values = ((budget.name, value(budget)) for budget in snapshot.budgets)
        return ((clean_labels((name,)), number) for name, number in values if number is not None)

    return fill


def _budget_runs(snapshot: Snapshot) -> Iterator[Row]:
    return (
        (clean_labels((budget.name, run, scope)), 1.0)
        for budget in snapshot.budgets
        for run in budget.runs
        for scope in budget.scopes
    )


def intensities(snapshot: Snapshot) -> Iterator[tuple[tuple[str, ...], Intensity]]:
    """Yield clean zone and signal with the intensity, one per pair: what enters an account wins."""
    seen: set[tuple[str, ...]] = set()
    carbon = snapshot.carbon
    for value in (carbon.average, carbon.market, *carbon.others):
        if value is None:
            continue
        labels = clean_labels((value.grid_zone, value.signal))
        if labels not in seen:
            seen.add(labels)
            yield labels, value


def _fresh_until(snapshot: Snapshot) -> Iterator[Row]:
    for labels, value in intensities(snapshot):
        if value.fresh_until_s is not None:
            yield labels, value.fresh_until_s


def _fallback(snapshot: Snapshot) -> Iterator[Row]:
    if snapshot.carbon.is_fallback is not None:
        yield (), float(snapshot.carbon.is_fallback)


def duration_label(duration_s: float) -> str:
    """Return a duration as Prometheus writes it, in one unit: ``4h``, ``90m``, ``45s``."""
    for unit_s, unit in ((_SECONDS_PER_HOUR, "h"), (_SECONDS_PER_MINUTE, "m")):
        if duration_s % unit_s == 0:
            return f"{duration_s / unit_s:.0f}{unit}"
    return f"{duration_s:.12g}s"


def green_windows(snapshot: Snapshot) -> Iterator[tuple[tuple[str, ...], GreenWindow]]:
    """Yield clean zone and duration with the window, one per pair."""
    seen: set[tuple[str, ...]] = set()
    for window in snapshot.carbon.green_windows:
        labels = (clean_label(window.grid_zone), duration_label(window.duration_s))
        if labels not in seen:
            seen.add(labels)
            yield labels, window


def _greenest_start(snapshot: Snapshot) -> Iterator[Row]:
    return ((labels, window.starts_s) for labels, window in green_windows(snapshot))


def _greenest_mean(snapshot: Snapshot) -> Iterator[Row]:
    return ((labels, window.mean_g_per_kwh) for labels, window in green_windows(snapshot))


def _price(snapshot: Snapshot) -> Iterator[Row]:
    carbon = snapshot.carbon
    if carbon.price_per_kwh is not None:
        yield clean_labels((carbon.currency,)), carbon.price_per_kwh


def _wue(snapshot: Snapshot) -> Iterator[Row]:
    if snapshot.carbon.wue_l_per_kwh is not None:
        yield (), snapshot.carbon.wue_l_per_kwh


FOOTPRINT_FILL: dict[str, Callable[[Snapshot], Iterator[Row]]] = {
    **{f"wattribute_node_{name}": _of_node(column) for column, name in _NAMES.items()},
    "wattribute_embodied_hardware_grams": _hardware,
    "wattribute_embodied_hardware_info": _hardware_info,
    "wattribute_budget_emissions_grams_total": _of_budgets(lambda budget: budget.emissions_g),
    "wattribute_budget_limit_grams": _of_budgets(lambda budget: budget.limit_g),
    "wattribute_budget_period_seconds": _of_budgets(lambda budget: budget.period_s),
    "wattribute_budget_selected_workloads": _of_budgets(lambda budget: budget.matched),
    "wattribute_budget_run_info": _budget_runs,
    "wattribute_grid_carbon_intensity_fresh_until_timestamp_seconds": _fresh_until,
    "wattribute_grid_carbon_fallback": _fallback,
    "wattribute_grid_greenest_start_timestamp_seconds": _greenest_start,
    "wattribute_grid_greenest_mean_grams_per_kilowatt_hour": _greenest_mean,
    "wattribute_electricity_price_per_kilowatt_hour": _price,
    "wattribute_wue_liters_per_kilowatt_hour": _wue,
}

FOOTPRINT_BLOCKS: dict[str, _BlockFill] = {
    **{f"wattribute_workload_{name}": _of_workloads(column) for column, name in _NAMES.items()},
    **{f"wattribute_run_{name}": _of_runs(column) for column, name in _NAMES.items()},
}
