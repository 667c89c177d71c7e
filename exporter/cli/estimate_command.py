"""``wattribute estimate``: what a run will use and emit, before it runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from exporter.cli.arguments import Options
from exporter.cli.csv_output import Cell, print_csv
from exporter.cli.estimate_arguments import add_estimate_flags, flag_cells, plan_of_flags, read_plans
from exporter.cli.screen import Column, open_console, printable, prose, show, table, words
from exporter.config import Settings
from exporter.errors import ConfigError
from exporter.exposition.quantities import duration_text, energy_text, mass_text, power_text
from exporter.reports.equivalents import equivalents, equivalents_text
from exporter.reports.estimate import Estimate, Estimator, RunPlan
from exporter.reports.ranges import Range
from exporter.units import JOULES_PER_KILOWATT_HOUR

__all__ = ["add_estimate_flags", "range_text", "run_estimate"]

_UNKNOWN = "–"
_SECONDS_PER_HOUR = 3600.0
_WIDE, _MEDIUM = 110, 80
_EMPTY = RunPlan()


def run_estimate(options: Options, settings: Settings) -> int:
    """Print the estimate of the plan that the flags state, or of every row of ``--input``.

    Raises:
        ConfigError: with every mistake in the flags or in the file, or what a single plan lacks.
    """
    values = options.values
    estimator = Estimator(settings.carbon, settings.costs, settings.embodied)
    plans = _plans(options, settings)
    estimates = [estimator.estimate(plan) for plan in plans]
    if not values.input and estimates[0].missing:
        raise ConfigError(list(estimates[0].missing))
    _warn(estimates)
    if values.output == "json":
        print(json.dumps({"estimates": [_record(one) for one in estimates]}, indent=2, ensure_ascii=False))
    elif values.output == "csv":
        print_csv(tuple(_row(Estimate(plan=_EMPTY))), [_row(one) for one in estimates])
    elif values.input:
        _print_table(estimates)
    else:
        _print_one(estimates[0])
    return 0


def _plans(options: Options, settings: Settings) -> Sequence[RunPlan]:
    values = options.values
    plan, problems = plan_of_flags(values, with_embodied=settings.embodied.enabled)
    if problems:
        raise ConfigError(problems)
    if not values.input:
        return (plan,)
    return read_plans(Path(values.input), flag_cells(values), with_embodied=settings.embodied.enabled)


def _warn(estimates: Sequence[Estimate]) -> None:
    for estimate in estimates:
        name = f"{printable(estimate.plan.name)}: " if estimate.plan.name else ""
        for problem in estimate.implausible:
            print(f"wattribute: implausible: {name}{problem}", file=sys.stderr)
    incomplete = sum(bool(one.missing) for one in estimates)
    if incomplete:
        print(f"wattribute: {incomplete} of {len(estimates)} rows lack what an estimate needs", file=sys.stderr)


def _print_one(estimate: Estimate) -> None:
    console = open_console()
    lines = _lines(estimate)
    place = 2 + max((len(value) for _, value, note in lines if note), default=0)
    for name, value, note in lines:
        show(console, prose(f"{name:13} {value:{place}}{note}".rstrip()))
    print("\nassumed")
    for line in estimate.assumptions:
        show(console, prose(f"  - {line}"))
    for line in estimate.implausible:
        show(console, prose(f"\nimplausible: {line}", "red"))


def _lines(estimate: Estimate) -> Sequence[tuple[str, str, str]]:
    """Return name, value and remark of each quantity that is known."""
    plan, grid = estimate.plan, estimate.grid
    lines = [("run", _what(plan), "")]
    if estimate.power:
        watts = estimate.power.power_w
        lines.append(("power", power_text(watts.value), f"{range_text(watts, power_text)} each, {estimate.power.kind}"))
    if estimate.energy_j and estimate.pue_ratio:
        pue = f"of the facility, PUE {estimate.pue_ratio.value:g}"
        lines.append(_line("energy", estimate.energy_j, energy_text, pue))
    if estimate.emissions_g and grid:
        intensity = f"{grid.grid_zone or 'grid'} at {grid.intensity_g_per_kwh.value:.0f} g/kWh"
        lines.append(_line("emissions", estimate.emissions_g, mass_text, intensity))
    if estimate.market_g:
        lines.append(_line("market-based", estimate.market_g, mass_text, "a second account, not instead of emissions"))
    if estimate.embodied_g:
        lines.append(_line("embodied", estimate.embodied_g, mass_text, "of making the hardware, not in emissions"))
    if estimate.water_l:
        lines.append(_line("water", estimate.water_l, _litres_text, "on site"))
    if estimate.cost:
        lines.append(
            _line("cost", estimate.cost, lambda cost: f"{_three_figures(cost)} {estimate.currency}", "of electricity")
        )
    if estimate.emissions_g and equivalents_text(estimate.emissions_g.value):
        lines.append(("as much as", equivalents_text(estimate.emissions_g.value), ""))
    return lines


def _line(name: str, amount: Range, text: Callable[[float], str], note: str) -> tuple[str, str, str]:
    span = range_text(amount, text)
    return name, text(amount.value), f"{span}; {note}" if span else note


def range_text(amount: Range, text: Callable[[float], str]) -> str:
    """Return the low and high end as words, empty where there is no range."""
    return "" if amount.is_exact else f"{text(amount.low)} to {text(amount.high)}"


def _litres_text(litres: float) -> str:
    return f"{_three_figures(litres)} l"


def _three_figures(value: float) -> str:
    """Return the number without a unit to scale it by: ``129,000``, ``12.3``, ``0.05``."""
    if abs(value) < _HUNDRED:
        return f"{value:.2f}" if abs(value) < _TEN else f"{value:.1f}"
    digits = len(str(int(abs(value)))) - 3
    return f"{round(value, -digits):,.0f}"


_TEN, _HUNDRED = 10, 100


def _what(plan: RunPlan) -> str:
    parts = [printable(part) for part in (plan.name, plan.accelerator) if part]
    if plan.accelerator_s is not None:
        parts.append(f"{plan.accelerator_s / _SECONDS_PER_HOUR:,.0f} accelerator-hours")
    if plan.duration_s is not None:
        parts.append(duration_text(plan.duration_s))
    return ", ".join(parts) or "metered energy"


def _print_table(estimates: Sequence[Estimate]) -> None:
    console = open_console()
    columns = (
        Column("RUN", is_flexible=True),
        Column("ENERGY", is_number=True),
        Column("LOW TO HIGH", needs_columns=_WIDE),
        Column("EMISSIONS", is_number=True),
        Column("LOW TO HIGH", needs_columns=_WIDE),
        Column("PUBLISHED", is_number=True, needs_columns=_MEDIUM),
        Column("OFF BY", is_number=True, needs_columns=_MEDIUM),
        Column("REMARK", is_flexible=True),
    )
    rows = [[words(text) for text in _texts(one)] for one in estimates]
    show(console, table(columns, rows, width=console.width))


def _texts(estimate: Estimate) -> Sequence[str]:
    published = estimate.plan.published
    energy, grams = estimate.energy_j, estimate.emissions_g
    by_grams = published.emissions_g is not None
    shown = mass_text(published.emissions_g) if published.emissions_g is not None else _UNKNOWN
    if not by_grams and published.energy_j is not None:
        shown = energy_text(published.energy_j)
    residual = _residual(grams, published.emissions_g) if by_grams else _residual(energy, published.energy_j)
    return (
        estimate.plan.name or estimate.plan.accelerator or _UNKNOWN,
        energy_text(energy.value) if energy else _UNKNOWN,
        range_text(energy, energy_text) if energy else "",
        mass_text(grams.value) if grams else _UNKNOWN,
        range_text(grams, mass_text) if grams else "",
        shown,
        _UNKNOWN if residual is None else f"{residual:+.1%}",
        _remark(estimate),
    )


def _remark(estimate: Estimate) -> str:
    if estimate.missing:
        return f"incomplete: {'; '.join(estimate.missing)}"
    if estimate.implausible:
        return f"implausible: {'; '.join(estimate.implausible)}"
    return estimate.power.kind if estimate.power else "metered"


def _residual(ours: Range | None, published: float | None) -> float | None:
    """Return how far our value lies above the published one, as a ratio."""
    return ours.value / published - 1 if ours and published else None


def _record(estimate: Estimate) -> Mapping[str, object]:
    """Return the estimate for JSON: the flat row, then what lists need."""
    grams = estimate.emissions_g
    grid = estimate.grid
    return {
        **_row(estimate),
        "equivalents": {one.key: one.amount for one in equivalents(grams.value)} if grams else None,
        "intensity_note": grid.note if grid else None,
        "assumptions": list(estimate.assumptions),
        "missing": list(estimate.missing),
        "implausible": bool(estimate.implausible),
        "implausible_because": list(estimate.implausible),
    }


def _row(estimate: Estimate) -> dict[str, Cell]:
    """Return the estimate as one flat row, in full precision. Energy in kWh, mass in grams, ratios as such."""
    plan, published, grid = estimate.plan, estimate.plan.published, estimate.grid
    hours = None if plan.accelerator_s is None else plan.accelerator_s / _SECONDS_PER_HOUR
    return {
        "name": plan.name,
        "accelerator": plan.accelerator,
        "status": "incomplete" if estimate.missing else "complete",
        "power_kind": estimate.power.kind if estimate.power else "metered" if estimate.it_energy_j else None,
        **_ends("power_w", estimate.power.power_w if estimate.power else None),
        "accelerator_hours": hours,
        "duration_s": plan.duration_s,
        **_ends("it_energy_kwh", _kwh(estimate.it_energy_j)),
        **_ends("pue_ratio", estimate.pue_ratio),
        **_ends("energy_kwh", _kwh(estimate.energy_j)),
        "grid_zone": grid.grid_zone if grid else None,
        "intensity_basis": grid.basis if grid else None,
        "intensity_provider": grid.provider if grid else None,
        **_ends("intensity_g_per_kwh", grid.intensity_g_per_kwh if grid else None),
        **_ends("emissions_g", estimate.emissions_g),
        **_ends("market_g", estimate.market_g),
        **_ends("embodied_g", estimate.embodied_g),
        **_ends("water_l", estimate.water_l),
        **_ends("cost", estimate.cost),
        "currency": estimate.currency,
        "published_energy_kwh": None if published.energy_j is None else published.energy_j / JOULES_PER_KILOWATT_HOUR,
        "energy_residual_ratio": _residual(estimate.energy_j, published.energy_j),
        "published_emissions_g": published.emissions_g,
        "emissions_residual_ratio": _residual(estimate.emissions_g, published.emissions_g),
        "published_market_g": published.market_g,
        "market_residual_ratio": _residual(estimate.market_g, published.market_g),
        "implied_g_per_kwh": estimate.implied_g_per_kwh,
        "implausible": "; ".join(estimate.implausible),
        "missing": "; ".join(estimate.missing),
    }


def _ends(name: str, amount: Range | None) -> Mapping[str, Cell]:
    return {
        name: amount.value if amount else None,
        f"{name}_low": amount.low if amount else None,
        f"{name}_high": amount.high if amount else None,
    }


def _kwh(energy_j: Range | None) -> Range | None:
    return energy_j.over(JOULES_PER_KILOWATT_HOUR) if energy_j else None
