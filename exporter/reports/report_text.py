"""A report for people: plain lines, the most important first. Text of users is not cleaned here."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from exporter.exposition.quantities import duration_text, energy_text, mass_text, power_text
from exporter.reports.equivalents import equivalents_text
from exporter.reports.report import Grid, RunReport
from exporter.reports.report_document import hardware_text

__all__ = ["grids_text", "report_lines"]

_LABEL_COLUMNS = 18
_MOST_NODES = 6
_SECONDS_PER_HOUR = 3600
_NOT_COUNTED = {
    "operational": "unknown: no grid zone was set (carbon.grid_zone)",
    "market": "not configured (a provider with signal: market)",
    "embodied": "not counted (embodied.enabled)",
    "water": "not counted (carbon.wue_l_per_kwh)",
    "cost": "not counted (costs.price_per_kwh)",
}
_COMPONENTS = {"gpu": "GPUs", "cpu": "CPUs", "dram": "memory", "other": "rest of the node"}


def report_lines(report: RunReport, *, width: int) -> Sequence[str]:
    """Return the report in lines of at most ``width`` columns, as far as words can be broken."""
    lines: list[str] = []
    for label, text in _rows(report):
        if not label and not text:
            lines.append("")
            continue
        head = f"{label:<{_LABEL_COLUMNS}}" if text else label
        indent = " " * _LABEL_COLUMNS if text else ""
        wrapped = textwrap.wrap(
            head + text, max(width, 2 * _LABEL_COLUMNS), subsequent_indent=indent, break_on_hyphens=False
        )
        lines += wrapped or [head.rstrip()]
    return lines


def _rows(report: RunReport) -> Iterator[tuple[str, str]]:
    yield f"Run {report.name}" + (f" ({report.key})" if report.name != report.key else ""), ""
    for note in report.notes:
        if note.startswith("SIMULATED"):
            yield note, ""
    yield "", ""
    yield from _summary(report)
    yield "", ""
    yield from _energy(report)
    yield "", ""
    yield from _emissions(report)
    yield "", ""
    yield "Not covered", "; ".join(report.not_covered()) + "."
    for note in report.notes:
        if not note.startswith("SIMULATED"):
            yield "Note", note
    yield "Source", f"{report.source}."


def _summary(report: RunReport) -> Iterator[tuple[str, str]]:
    ran = "runs since" if report.is_running else "to"
    started = _minute(report.started_s)
    if report.is_running:
        yield "Time", f"{ran} {started} UTC, {duration_text(report.duration_s)} so far"
    else:
        yield "Time", f"{started} {ran} {_minute(report.seen_s)} UTC, {duration_text(report.duration_s)}"
    who = {"user": report.user, "account": report.account, "namespace": report.namespace, "owner": report.owner}
    told = [f"{label} {text}" for label, text in who.items() if text]
    yield "Who", ", ".join(told) or "unknown"
    identity = f", recognised by {report.identity}" if report.identity else ""
    yield "Launched by", f"{report.framework or 'unknown'}{identity}"
    yield "Nodes", _nodes(report)
    no_gpus = "unknown" if report.gpu_held_s is None else "none held"
    parts = [hardware_text(report) or f"GPUs {no_gpus}", *report.cpu_models]
    yield "Hardware", "; ".join(parts)


def _energy(report: RunReport) -> Iterator[tuple[str, str]]:
    ratio = report.uncertainty_ratio
    sure = "uncertainty unknown" if ratio is None else f"±{ratio:.1%} (95 % band)"
    yield "ENERGY", f"{energy_text(report.total_j)}, {_quality(report)}, {sure}"
    sums_j = report.by_component_j()
    for name in dict.fromkeys((*_COMPONENTS, *sums_j)):
        if joules := sums_j.get(name, 0.0):
            yield f"  {_COMPONENTS.get(name, name)}", f"{energy_text(joules)}, {joules / report.total_j:.0%}"
    modes_j = report.by_mode_j()
    idle_j = modes_j.get("idle", 0.0)
    if report.total_j:
        yield (
            "  active, idle",
            (f"{energy_text(modes_j.get('active', 0.0))}, {energy_text(idle_j)} ({idle_j / report.total_j:.0%} idle)"),
        )
    if report.average_power_w is not None:
        yield "  mean power", power_text(report.average_power_w)
    if report.gpu_held_s:
        unused_s, unused_j = report.gpu_unused_s or 0.0, report.gpu_unused_j or 0.0
        yield (
            "GPU HOURS",
            (
                f"{report.gpu_held_s / _SECONDS_PER_HOUR:.2f} held, {unused_s / report.gpu_held_s:.0%} of them idle, "
                f"which wasted {energy_text(unused_j)}"
            ),
        )


def _quality(report: RunReport) -> str:
    if report.quality == "unknown":
        return "measured or estimated is unknown"
    if report.quality != "partly estimated":
        return report.quality
    parts = [_COMPONENTS.get(name, name) for name, kinds in report.qualities.items() if "estimated" in kinds]
    return f"measured, but {' and '.join(parts)} estimated at times or always"


def _emissions(report: RunReport) -> Iterator[tuple[str, str]]:
    grams = report.operational_g
    if grams is None:
        yield "EMISSIONS", _NOT_COUNTED["operational"]
    else:
        yield "EMISSIONS", f"{mass_text(grams)}, location-based"
        if alike := equivalents_text(grams):
            yield "", f"as much as {alike}"
    intensity = report.intensity_g_per_kwh
    yield "  mean intensity", "unknown" if intensity is None else f"{intensity:.0f} g/kWh, weighted by energy"
    yield "  grid", grids_text(report.grids) or "unknown"
    yield "  PUE", ", ".join(f"{ratio:g}" for ratio in report.pue_ratios) or "unknown"
    yield "  market-based", _NOT_COUNTED["market"] if report.market_g is None else mass_text(report.market_g)
    yield "  embodied", _NOT_COUNTED["embodied"] if report.embodied_g is None else mass_text(report.embodied_g)
    yield "WATER", _NOT_COUNTED["water"] if report.water_l is None else f"{report.water_l:.3g} litres"
    yield "COST", _NOT_COUNTED["cost"] if report.cost is None else f"{report.cost:.2f} {report.cost_currency}"


def grids_text(grids: Sequence[Grid]) -> str:
    """Return zones with their providers and whether values were estimated."""
    texts = []
    for grid in grids:
        facts = [grid.provider, grid.basis, {True: "estimated", False: "not estimated", None: ""}[grid.is_estimated]]
        told = ", ".join(filter(None, facts))
        texts.append(f"{grid.zone} ({told})" if told else grid.zone)
    return "; ".join(texts)


def _nodes(report: RunReport) -> str:
    shown = ", ".join(report.nodes[:_MOST_NODES])
    more = len(report.nodes) - _MOST_NODES
    return f"{len(report.nodes)}: {shown}" + (f" and {more} more" if more > 0 else "")


def _minute(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):
        return "an unknown time"
