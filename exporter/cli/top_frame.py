"""One screen of ``wattribute top``: what the node draws, which run draws it, which workload, and what nobody does.

The workloads, what ended and what is unattributed add up to the node, as in the metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from exporter.cli.node_view import Consumer, Gpu, NodeView, Part
from exporter.cli.screen import STATE_STYLES, Column, table, words
from exporter.exposition.quantities import energy_text, mass_text, power_text

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.text import Text

__all__ = ["SORTS", "frame"]

_MIN_ROWS = 3
_FIXED_LINES = 5
"""Two blank lines, the heads of components and workloads, the node's row."""
_RUN_LINES = 2
_MORE_LINES = 2
_MAX_PROBLEMS = 3
_BAR_CELLS = 12
_WIDE, _MEDIUM, _NARROW = 90, 70, 50
_UNKNOWN = "–"
_ESTIMATED_STYLE = "yellow"
_DIM = "dim"

SORTS: Mapping[str, Callable[[Consumer], tuple[bool, float, float, str]]] = {
    "power": lambda c: (c.is_over, -c.power_w, -c.energy_j, c.name),
    "energy": lambda c: (c.is_over, -c.energy_j, 0.0, c.name),
    "emissions": lambda c: (c.is_over, -(c.emissions_g or 0.0), -c.energy_j, c.name),
    "name": lambda c: (c.is_over, 0.0, 0.0, c.name),
}
"""The orders of runs and workloads by name; what is over comes last in all."""

_PARTS = (
    Column("COMPONENT"),
    Column("POWER", is_number=True),
    Column("ENERGY", is_number=True),
    Column("UNATTRIBUTED", is_number=True, needs_columns=_MEDIUM),
    Column("SOURCE", is_flexible=True, needs_columns=_NARROW),
)
_GPUS = (
    Column("GPU"),
    Column("POWER", is_number=True),
    Column("BUSY", is_number=True),
    Column("", needs_columns=_MEDIUM),
    Column("HELD BY", is_flexible=True, needs_columns=_NARROW),
)
_RUNS = (
    Column("RUN", is_flexible=True),
    Column("LAUNCHED BY", needs_columns=_WIDE),
    Column("RANKS", is_number=True, needs_columns=_NARROW),
    Column("GPUS", is_number=True, needs_columns=_MEDIUM),
    Column("POWER", is_number=True),
    Column("ENERGY", is_number=True),
    Column("EMISSIONS", is_number=True, needs_columns=_MEDIUM),
)
_WORKLOADS = (
    Column("WORKLOAD", is_flexible=True),
    Column("KIND", needs_columns=_NARROW),
    Column("POWER", is_number=True),
    Column("ENERGY", is_number=True),
    Column("EMISSIONS", is_number=True, needs_columns=_MEDIUM),
)


def frame(
    view: NodeView, *, feed: str, sort: str = "power", width: int = 80, height: int | None = None, note: str = ""
) -> Group:
    """Return the screen for a terminal of ``width`` columns and ``height`` lines; None: as many as it takes.

    ``feed`` says where the data comes from; ``note`` is what went wrong since.
    """
    from rich.console import Group

    head: list[RenderableType] = [_headline(view, feed)]
    head += [words(note, STATE_STYLES["down"])] if note else []
    head += _problems(view.problems)
    tail = _legend(view)
    runs, workloads = (sorted(consumers, key=SORTS[sort]) for consumers in (view.runs, view.workloads))
    nobody = _nobody_rows(view)
    taken = len(head) + len(tail) + len(view.parts) + len(nobody) + _FIXED_LINES + (_RUN_LINES if runs else 0)
    for_gpus = _shown_gpus(len(view.gpus), None if height is None else height - taken)
    taken += for_gpus + _RUN_LINES + (for_gpus < len(view.gpus)) if for_gpus else 0
    for_runs, for_workloads = _shown_rows(len(runs), len(workloads), None if height is None else height - taken)
    body: list[RenderableType] = ["", table(_PARTS, _part_rows(view), width=width), ""]
    if for_gpus:
        body += [table(_GPUS, [_gpu_row(gpu) for gpu in view.gpus[:for_gpus]], width=width)]
        body += [*_more(len(view.gpus) - for_gpus, "GPU(s)"), ""]
    if runs:
        body += [table(_RUNS, [_run_row(run) for run in runs[:for_runs]], width=width)]
        body += [*_more(len(runs) - for_runs, "run(s)"), ""]
    rows = [_workload_row(workload) for workload in workloads[:for_workloads]]
    body += [table(_WORKLOADS, [*rows, *nobody], width=width)]
    body += _more(len(workloads) - for_workloads, "workload(s)")
    return Group(*head, *body, *tail)


def _shown_gpus(gpus: int, lines: int | None) -> int:
    """Return how many GPUs fit into ``lines`` beside a few runs and workloads: none on a terminal that is very low."""
    if lines is None:
        return gpus
    left = lines - 2 * _MIN_ROWS - _MORE_LINES - _RUN_LINES
    return gpus if gpus <= left else max(left - 1, 0)


def _shown_rows(runs: int, workloads: int, lines: int | None) -> tuple[int, int]:
    """Return how many runs and workloads fit into ``lines``: at most half for the runs, some of both in any case."""
    if lines is None or runs + workloads <= lines:
        return runs, workloads
    lines -= _MORE_LINES
    for_runs = min(runs, max(lines // 2, lines - workloads, _MIN_ROWS))
    return for_runs, max(lines - for_runs, _MIN_ROWS)


def _headline(view: NodeView, feed: str) -> Text:
    power_w = view.power_w
    is_estimated = any(part.is_estimated for part in view.parts)
    draws = "no energy source" if power_w is None else _marked(power_text(power_w), is_estimated=is_estimated)
    moment = view.taken_at.strftime("%H:%M:%S UTC")
    line = words(draws, "bold")
    line.append(f"  at {moment}  {feed}", style=_DIM)
    if view.simulated:
        line.append("  SIMULATED", style=f"bold {_ESTIMATED_STYLE}")
    return line


def _problems(problems: Sequence[str]) -> list[RenderableType]:
    shown: list[RenderableType] = [words(problem, STATE_STYLES["degraded"]) for problem in problems[:_MAX_PROBLEMS]]
    left = len(problems) - len(shown)
    if shown:
        shown.append(words(f"{f'{left} more; ' if left else ''}`wattribute check` says what to do", _DIM))
    return shown


def _legend(view: NodeView) -> list[RenderableType]:
    lines = [view.grid or "emissions are not accounted: set carbon.grid_zone"]
    if any(part.is_estimated for part in view.parts):
        lines.insert(0, "~ estimated by a model, not measured")
    return ["", *(words(line, _DIM) for line in lines)]


def _marked(text: str, *, is_estimated: bool) -> str:
    return f"~{text}" if is_estimated else text


def _quantity(text: str, *, is_estimated: bool) -> Text:
    return words(_marked(text, is_estimated=is_estimated), _ESTIMATED_STYLE if is_estimated else "")


def _part_rows(view: NodeView) -> list[list[Text]]:
    rows = [_part_row(part) for part in view.parts]
    if len(rows) > 1:
        is_estimated = any(part.is_estimated for part in view.parts)
        power_w, energy_j = view.power_w, sum(part.energy_j for part in view.parts)
        nobody_j = sum(part.unattributed_j for part in view.parts)
        rows.append(
            [
                words("node"),
                _power(power_w, is_estimated=is_estimated),
                _quantity(energy_text(energy_j), is_estimated=is_estimated),
                words(_share(nobody_j, energy_j)),
                words(""),
            ]
        )
    return rows


def _part_row(part: Part) -> list[Text]:
    quality = "estimated" if part.is_estimated else "measured"
    return [
        words(part.name),
        _power(part.power_w, is_estimated=part.is_estimated),
        _quantity(energy_text(part.energy_j), is_estimated=part.is_estimated),
        words(_share(part.unattributed_j, part.energy_j)),
        words(f"{quality}, {part.source} ±{part.uncertainty_ratio:.0%}", _ESTIMATED_STYLE if part.is_estimated else ""),
    ]


def _power(power_w: float | None, *, is_estimated: bool) -> Text:
    return words(_UNKNOWN) if power_w is None else _quantity(power_text(power_w), is_estimated=is_estimated)


def _share(part_j: float, whole_j: float) -> str:
    return f"{part_j / whole_j:.0%}" if whole_j > 0 else _UNKNOWN


def _gpu_row(gpu: Gpu) -> list[Text]:
    """Return a row whose bar is power over limit; a GPU that is held and idle is marked in words, not just colour."""
    is_unused = gpu.unused_share > 0
    style = STATE_STYLES["degraded"] if is_unused or gpu.state != "up" else ""
    busy = _UNKNOWN if gpu.utilization_ratio is None else f"{gpu.utilization_ratio:.0%}"
    held = ", ".join(gpu.holders) or ("nobody" if gpu.state != "down" else _UNKNOWN)
    mark = " (idle)" if is_unused else ""
    return [
        words(f"{gpu.number} {gpu.model}" if gpu.state == "up" else f"{gpu.number} {gpu.model} {gpu.state}", style),
        _power(gpu.power_w, is_estimated=False),
        words(busy),
        words(_bar(gpu.power_w, gpu.limit_w)),
        words(f"{held}{mark}", style),
    ]


def _bar(power_w: float | None, limit_w: float | None) -> str:
    if power_w is None or not limit_w:
        return ""
    filled = round(min(power_w / limit_w, 1.0) * _BAR_CELLS)
    return "█" * filled + "░" * (_BAR_CELLS - filled)


def _run_row(run: Consumer) -> list[Text]:
    name = words(f"{run.name} (ended)", _DIM) if run.is_over else words(run.name)
    gpus = words(f"{run.gpus}" if run.gpus else "")
    if run.unused_gpus:
        gpus = words(f"{run.gpus}, {run.unused_gpus} idle", STATE_STYLES["degraded"])
    return [name, words(run.kind), words(run.ranks), gpus, *_amounts(run)]


def _workload_row(workload: Consumer) -> list[Text]:
    return [words(workload.name), words(workload.kind), *_amounts(workload)]


def _amounts(consumer: Consumer) -> list[Text]:
    is_estimated = consumer.is_estimated
    grams = _UNKNOWN if consumer.emissions_g is None else mass_text(consumer.emissions_g)
    return [
        _quantity(power_text(consumer.power_w), is_estimated=is_estimated),
        _quantity(energy_text(consumer.energy_j), is_estimated=is_estimated),
        _quantity(grams, is_estimated=is_estimated and consumer.emissions_g is not None),
    ]


def _nobody_rows(view: NodeView) -> list[list[Text]]:
    """Return what is left of the node: workloads that have gone, and what nobody is charged for."""
    is_estimated = any(part.is_estimated for part in view.parts)
    ended_j = sum(part.ended_j for part in view.parts)
    nobody_j = sum(part.unattributed_j for part in view.parts)
    rows = []
    if ended_j > 0:
        rows.append(("ended", _UNKNOWN, energy_text(ended_j)))
    if view.parts:
        power_w = view.unattributed_w
        rows.append(("unattributed", _UNKNOWN if power_w is None else power_text(power_w), energy_text(nobody_j)))
    return [
        [
            words(name, _DIM),
            words(""),
            *(words(text if text == _UNKNOWN else _marked(text, is_estimated=is_estimated), _DIM) for text in texts),
            words(""),
        ]
        for name, *texts in rows
    ]


def _more(count: int, what: str) -> list[RenderableType]:
    return [words(f"and {count} more {what}", _DIM)] if count > 0 else []
