"""The part of the readable page about emissions: how much, by which grid, how old that is, and the budgets."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.carbon.records import CarbonState, GreenWindow, Intensity
from exporter.exposition.page_parts import UNKNOWN, row, table, text
from exporter.exposition.quantities import duration_text, mass_text
from exporter.ledger.snapshot import BudgetTotals, Snapshot

__all__ = ["budget_section", "emissions_section"]

_ZONE_YAML = "carbon:\n  grid_zone: DE"
_SHOWN_ZONES = 10


def emissions_section(snapshot: Snapshot) -> str:
    """Return what the node emitted, and the intensity in force with its provenance."""
    carbon = snapshot.carbon
    grams = snapshot.emissions_g.get("operational")
    if carbon.average is None and grams is None:
        return (
            "<section><h2>Emissions</h2><p>No carbon intensity is known, so emissions are not accounted. "
            f"Set the grid zone in the configuration file:</p><pre>{_ZONE_YAML}</pre></section>"
        )
    figure = UNKNOWN if grams is None else mass_text(grams)
    return (
        f'<section><h2>Emissions</h2><p class="figure">{figure}</p>{_intensity(snapshot)}'
        f"{_further(snapshot)}{_windows(snapshot)}{_zones(snapshot)}</section>"
    )


def _intensity(snapshot: Snapshot) -> str:
    average, carbon = snapshot.carbon.average, snapshot.carbon
    if average is None:
        return '<p><span class="badge bad">stopped</span> No carbon intensity is known now: emissions do not grow.</p>'
    pue = f"PUE {carbon.pue_ratio:g}"
    line = f'<p class="dim">{_value(average)} · {_origin(average, snapshot.taken_s)} · {pue}</p>'
    note = f'<p class="dim">{text(average.note)}</p>' if average.note else ""
    return line + _fallback(carbon) + note


def _value(value: Intensity) -> str:
    return f"{value.intensity_g_per_kwh:.0f} gCO2e/kWh in {text(value.grid_zone)}"


def _origin(value: Intensity, now_s: float) -> str:
    kind, label = ("estimated", "estimated") if value.is_estimated else ("measured", "from the provider")
    is_stale = value.fresh_until_s is not None and now_s > value.fresh_until_s
    stale = (
        f' <span class="badge warn">{duration_text(max(now_s - value.observed_s, 0.0))} old</span>' if is_stale else ""
    )
    return f'<span class="badge {kind}">{label}</span> {text(value.provider)}, {text(value.basis)}{stale}'


def _fallback(carbon: CarbonState) -> str:
    if not carbon.is_fallback:
        return ""
    return '<p><span class="badge warn">fallback</span> Not from the preferred provider; see the sources below.</p>'


def _further(snapshot: Snapshot) -> str:
    """Return what is counted beside operational grams, each for itself: no sum of them makes sense."""
    carbon, footprint = snapshot.carbon, snapshot.footprint
    parts = []
    if "embodied" in snapshot.emissions_g:
        parts.append(f"{mass_text(snapshot.emissions_g['embodied'])} embodied")
    if "market_g" in footprint:
        rate = "" if carbon.market is None else f" at {carbon.market.intensity_g_per_kwh:.0f} g/kWh"
        parts.append(f"{mass_text(footprint['market_g'])} market-based{rate}")
    if "water_l" in footprint:
        parts.append(f"{footprint['water_l']:.3g} litres of water")
    if "cost" in footprint:
        price = "" if carbon.price_per_kwh is None else f" at {carbon.price_per_kwh:g} per kWh"
        parts.append(f"{footprint['cost']:.2f} {text(snapshot.currency)}{price}")
    return f'<p class="dim">Beside it: {" · ".join(parts)}</p>' if parts else ""


def _windows(snapshot: Snapshot) -> str:
    average = snapshot.carbon.average
    own = [w for w in snapshot.carbon.green_windows if average is not None and w.grid_zone == average.grid_zone]
    words = "; ".join(_window(window, snapshot.taken_s) for window in own)
    return f'<p class="dim">Greenest start here: {words}</p>' if words else ""


def _window(window: GreenWindow, now_s: float) -> str:
    wait_s = max(window.starts_s - now_s, 0.0)
    if wait_s < 1 or window.mean_g_per_kwh >= window.now_g_per_kwh:
        return f"for {duration_text(window.duration_s)} now"
    saved = 1 - window.mean_g_per_kwh / window.now_g_per_kwh
    return f"for {duration_text(window.duration_s)} in {duration_text(wait_s)} ({saved:.0%} less than now)"


def _zones(snapshot: Snapshot) -> str:
    shown = snapshot.carbon.others[:_SHOWN_ZONES]
    if not shown:
        return ""
    rows = "".join(
        row(text(v.grid_zone), v.signal, f"{v.intensity_g_per_kwh:.0f}", _origin(v, snapshot.taken_s), numeric=(2,))
        for v in shown
    )
    return table(("Zone", "Signal", "gCO2e/kWh", "Origin"), rows, numeric=(2,))


def budget_section(snapshot: Snapshot) -> str:
    """Return the budgets this node counts for; how much the cluster has used is Prometheus's to say."""
    if not snapshot.budgets:
        return ""
    rows = "".join(row(*cells, numeric=(1, 2, 4)) for cells in map(_budget, snapshot.budgets))
    heads = ("Budget", "Emitted here", "Limit of the cluster", "Per", "Selected here")
    note = '<p class="dim">Since the boot of this node. What the cluster has used in the period: Prometheus.</p>'
    return f"<section><h2>Budgets</h2>{table(heads, rows, numeric=(1, 2, 4))}{note}</section>"


def _budget(budget: BudgetTotals) -> Iterator[str]:
    yield text(budget.name)
    yield mass_text(budget.emissions_g)
    yield mass_text(budget.limit_g)
    yield "run" if budget.period_s is None else duration_text(budget.period_s).replace(" 0 h", "")
    yield str(budget.matched) if budget.matched else '<span class="badge warn">nothing</span>'
