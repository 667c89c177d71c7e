"""The readable page at ``/``: one HTML document, made on the server, without scripts.

It has to answer three questions at a glance: what does the node draw, who draws it, can the numbers be trusted.
"""

from __future__ import annotations

from html import escape
from itertools import starmap

from exporter import __version__
from exporter.exposition.page_emissions import budget_section, emissions_section
from exporter.exposition.page_gpus import gpu_section
from exporter.exposition.page_parts import UNKNOWN, grams_text, left_out, row, stack, table, text, watts_text
from exporter.exposition.page_style import STYLE
from exporter.exposition.quantities import duration_text, energy_text, power_text
from exporter.ledger.snapshot import GPU_COLUMNS, ComponentTotals, RunTotals, Snapshot, WorkloadTotals
from exporter.sensors.records import Component

__all__ = ["page_html"]

_REFRESH_S = 5
_TOP_WORKLOADS = 15
_MAX_RUNS = 50
_RUN_NUMERIC = (2, 3, 4, 5, 6, 7)


def page_html(snapshot: Snapshot, *, age_s: float, telemetry_path: str) -> str:
    """Return the page for ``snapshot``, which was published ``age_s`` seconds ago."""
    sections = [
        _node(snapshot),
        gpu_section(snapshot),
        emissions_section(snapshot),
        budget_section(snapshot),
        _runs(snapshot),
        _workloads(snapshot),
        _sources(snapshot),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="refresh" content="{_REFRESH_S}"><meta name="color-scheme" content="light dark">'
        f"<title>Wattribute</title><style>{STYLE}</style></head><body>"
        f"{_header(snapshot, age_s)}<main>{''.join(sections)}</main>{_footer(telemetry_path)}</body></html>\n"
    )


def _header(snapshot: Snapshot, age_s: float) -> str:
    is_late = age_s > 3 * snapshot.agent.interval_s
    state = f"sampled {duration_text(age_s)} ago, every {snapshot.agent.interval_s:g} s"
    badge = f'<span class="badge bad">stale</span> {state}' if is_late else state
    words = text(snapshot.agent.simulated)
    simulated = f'<p role="note"><span class="badge estimated">simulated</span> {words}</p>' if words else ""
    return f'<header><h1>Wattribute</h1>{simulated}<p class="dim">{badge}</p></header>'


def _footer(telemetry_path: str) -> str:
    links = [(telemetry_path, "Metrics"), ("/api/v1/runs", "Runs (JSON)"), ("/api/v1/snapshot", "Snapshot (JSON)")]
    links += [("/-/healthy", "Health"), ("/-/ready", "Readiness")]
    items = "".join(f'<li><a href="{escape(path)}">{name}</a></li>' for path, name in links)
    version = f'<p class="dim">Version {escape(__version__)}</p>'
    return f'<footer><nav aria-label="Data"><ul>{items}</ul></nav>{version}</footer>'


def _node(snapshot: Snapshot) -> str:
    if not snapshot.components:
        return (
            '<section><h2>Power</h2><p class="empty">No energy source works here. See the sources below.</p></section>'
        )
    known = {c: t for c, t in snapshot.components.items() if t.power_w is not None}
    total_w = sum(t.power_w or 0.0 for t in known.values())
    figure = power_text(total_w) if known else UNKNOWN
    attributed_w = sum(w.power_w for w in snapshot.workloads)
    share = f"{power_text(min(attributed_w, total_w))} attributed, " if known else ""
    rest = f"{power_text(max(0.0, total_w - attributed_w))} unattributed" if known else ""
    rows = "".join(starmap(_component_row, snapshot.components.items()))
    return (
        f'<section><h2>Power</h2><p class="figure">{figure}</p><p class="dim">{share}{rest}</p>'
        f"{_bar(known, total_w)}{_split_bar(attributed_w, total_w)}"
        f"{table(('Component', 'Power', 'Idle power', 'Energy', 'Origin'), rows, numeric=(1, 2, 3))}</section>"
    )


def _bar(known: dict[Component, ComponentTotals], total_w: float) -> str:
    """Return the power by component as a stacked bar with a legend; widths are SVG attributes, not styles."""
    parts = [(c.value, t.power_w or 0.0, f"c-{c.value}") for c, t in known.items()]
    return stack("Power by component", parts, total_w)


def _split_bar(attributed_w: float, total_w: float) -> str:
    attributed_w = min(attributed_w, total_w)
    parts = [("attributed", attributed_w, "c-attributed"), ("unattributed", total_w - attributed_w, "c-unattributed")]
    return stack("Attributed and unattributed power", parts, total_w)


def _component_row(component: Component, totals: ComponentTotals) -> str:
    percent = f"±{100 * totals.uncertainty_ratio:.0f} %"
    partial = ' <span class="badge warn">incomplete</span>' if totals.is_partial else ""
    origin = f'<span class="badge {totals.quality}">{totals.quality}</span> {percent} · {text(totals.source)}{partial}'
    idle = UNKNOWN if totals.idle_power_w is None else power_text(totals.idle_power_w)
    return row(
        component.value, watts_text(totals.power_w), idle, energy_text(totals.energy_j), origin, numeric=(1, 2, 3)
    )


def _runs(snapshot: Snapshot) -> str:
    shown = sorted(snapshot.runs, key=lambda r: (not r.facts.is_alive, -r.power_w))[:_MAX_RUNS]
    if not shown:
        return '<section><h2>Training runs</h2><p class="empty">No training run was seen lately.</p></section>'
    heads = ("Run", "Launched by", "Ranks here", "GPUs here", "Power", "Energy", "CO2e", "Duration", "State")
    rows = "".join(_run_row(run, snapshot) for run in shown)
    more = left_out(len(snapshot.runs) - len(shown))
    return f"<section><h2>Training runs</h2>{table(heads, rows, numeric=_RUN_NUMERIC)}{more}</section>"


def _run_row(run: RunTotals, snapshot: Snapshot) -> str:
    facts = run.facts
    world = "" if facts.world_size is None else f" of {facts.world_size}"
    duration = duration_text(max(0.0, run.last_seen_s - facts.started_s)) if facts.started_s > 0 else UNKNOWN
    state = '<span class="badge good">running</span>' if facts.is_alive else '<span class="badge">ended</span>'
    name = f'{text(facts.name)}<br><span class="dim">{text(facts.key)}</span>'
    ranks = f"{facts.ranks}{world}"
    energy, grams = energy_text(sum(run.energy_j)), grams_text(run.emissions_g, snapshot)
    cells = (
        name,
        text(facts.framework),
        ranks,
        _run_gpus(run),
        power_text(run.power_w),
        energy,
        grams,
        duration,
        state,
    )
    return row(*cells, numeric=_RUN_NUMERIC)


def _run_gpus(run: RunTotals) -> str:
    """Return how many GPUs the run holds, and what it was charged for those that did nothing."""
    if run.gpu is None:
        return UNKNOWN if run.facts.is_alive else ""
    idle = f' <span class="badge warn">{run.unused_gpus} idle</span>' if run.unused_gpus else ""
    wasted_j = run.gpu[GPU_COLUMNS.index("gpu_unused_j")]
    wasted = f'<br><span class="dim">{energy_text(wasted_j)} unused</span>' if wasted_j > 0 else ""
    return f"{UNKNOWN if run.gpus is None else run.gpus}{idle}{wasted}"


def _workloads(snapshot: Snapshot) -> str:
    shown = sorted(snapshot.workloads, key=lambda w: (-w.power_w, -sum(w.energy_j)))[:_TOP_WORKLOADS]
    if not shown:
        return '<section><h2>Workloads</h2><p class="empty">No workload was charged yet.</p></section>'
    rows = "".join(_workload_row(workload, snapshot) for workload in shown)
    shown_table = table(("Workload", "Kind", "Power", "Energy", "CO2e"), rows, numeric=(2, 3, 4))
    return f"<section><h2>Workloads</h2>{shown_table}{left_out(len(snapshot.workloads) - len(shown))}</section>"


def _workload_row(totals: WorkloadTotals, snapshot: Snapshot) -> str:
    identity = totals.workload
    place = " / ".join(text(part) for part in (identity.namespace, identity.name, identity.container) if part)
    energy, grams = energy_text(sum(totals.energy_j)), grams_text(totals.emissions_g, snapshot)
    return row(place, text(identity.kind), power_text(totals.power_w), energy, grams, numeric=(2, 3, 4))


def _sources(snapshot: Snapshot) -> str:
    order = {"down": 0, "degraded": 1, "up": 2, "absent": 3}
    css = {"down": "bad", "degraded": "warn", "up": "good", "absent": ""}
    rows = "".join(
        row(
            f"{text(f.source)} {text(f.item)}",
            f'<span class="badge {css[f.state]}">{f.state}</span>',
            escape(f.detail),
            escape(f.remedy),
            numeric=(),
        )
        for f in sorted(snapshot.findings, key=lambda f: order[f.state])
    )
    if not rows:
        return ""
    return f"<section><h2>Sources</h2>{table(('Source', 'State', 'What was found', 'What to do'), rows)}</section>"
