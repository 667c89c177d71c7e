"""``wattribute runs``: the runs in the state file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from exporter.cli.arguments import Options
from exporter.cli.csv_output import print_csv
from exporter.cli.screen import Column, open_console, show, table, words
from exporter.cli.state_path import with_state_path
from exporter.clock import Clock, SystemClock
from exporter.config import Settings
from exporter.errors import StateError
from exporter.exposition.quantities import duration_text, energy_text, mass_text
from exporter.ledger.history import History, PastRun
from exporter.ledger.snapshot import ENERGY_COLUMNS, GPU_COLUMNS
from exporter.sensors.records import Component

__all__ = ["run_runs"]

_UNKNOWN = "–"
_WIDE, _MEDIUM, _NARROW = 100, 70, 60
_GPU_PLACE = 30
"""How much wider the terminal must be for the other columns where GPUs are shown."""
_SECONDS_PER_HOUR = 3600
_LOST_AFTER_S = 300.0
"""An agent saves its runs twice a minute; a run that was not saved for this long has no agent."""


def run_runs(
    options: Options, settings: Settings, *, clock: Clock | None = None, environ: Mapping[str, str] | None = None
) -> int:
    """Print the runs that match, newest first.

    Raises:
        StateError: there is no readable state file.
    """
    path = with_state_path(settings, os.environ if environ is None else environ).ledger.state_path
    if not path:
        raise StateError("there is no state file: give one with --state.file")
    now_s = (clock or SystemClock()).wall_s()
    runs = list(_matching(options, History(Path(path)), now_s))
    output = options.values.output
    if output == "text":
        _print_text(runs, now_s)
    else:
        rows = [_row(run) for run in runs]
        print(json.dumps(rows, indent=2)) if output == "json" else print_csv(_CSV_NAMES, rows)
    return 0


def _matching(options: Options, history: History, now_s: float) -> Iterator[PastRun]:
    values = options.values
    since_s = 0.0 if values.since is None else now_s - values.since
    wanted = [False] if values.running else [True] if values.finished else [True, False]
    found = history.runs(since_s=since_s, name=values.name, limit=values.limit if len(wanted) > 1 else None)
    return islice((run for run in found if (run.ended_s is not None) in wanted), values.limit)


def _row(run: PastRun) -> dict[str, str | float | None]:
    facts = run.facts
    sums_j = dict.fromkeys(Component, 0.0) | dict(run.energy_by_component_j())
    return {
        "run": facts.key,
        "name": facts.name,
        "framework": facts.framework,
        "namespace": facts.namespace,
        "owner": facts.owner,
        "user": facts.user,
        "identity": facts.identity,
        "world_size": facts.world_size,
        "ranks": facts.ranks,
        "started": _moment(run.started_s),
        "last_seen": _moment(run.seen_s),
        "ended": None if run.ended_s is None else _moment(run.ended_s),
        "energy_j": sum(run.energy_j),
        **{f"{component.value}_energy_j": joules for component, joules in sums_j.items()},
        "emissions_g": _grams(run),
        **dict(zip(GPU_COLUMNS, run.gpu, strict=True)),
    }


def _grams(run: PastRun) -> float | None:
    """Return grams; none at all means that no grid zone was set, as energy without emissions does not exist."""
    return sum(run.emissions_g) or None


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


_CSV_NAMES = (
    *("run", "name", "framework", "namespace", "owner", "user", "identity", "world_size", "ranks"),
    *("started", "last_seen", "ended", "energy_j"),
    *(f"{component.value}_energy_j" for component in dict.fromkeys(component for component, _ in ENERGY_COLUMNS)),
    "emissions_g",
    *GPU_COLUMNS,
)


def _print_text(runs: Sequence[PastRun], now_s: float) -> None:
    if not runs:
        print("no runs match, or none was seen yet")
        return
    console = open_console()
    has_gpus = any(_held_gpus(run) for run in runs)
    place = _GPU_PLACE if has_gpus else 0
    columns = (
        Column("RUN", is_flexible=True),
        Column("KEY", needs_columns=_WIDE + place),
        Column("LAUNCHED BY", needs_columns=_WIDE + place),
        Column("USER", needs_columns=_WIDE + place),
        Column("STARTED (UTC)", needs_columns=_MEDIUM + place),
        Column("RAN FOR", is_number=True),
        *(_GPU_HEADS if has_gpus else ()),
        Column("ENERGY", is_number=True),
        Column("EMISSIONS", is_number=True, needs_columns=_MEDIUM + place),
        Column("STATE", is_flexible=True),
    )
    rows = [
        [words(text, "dim" if run.ended_s is not None else "") for text in _texts(run, now_s, has_gpus=has_gpus)]
        for run in runs
    ]
    show(console, table(columns, rows, width=console.width))


_GPU_HEADS = (
    Column("GPU HOURS", is_number=True, needs_columns=_NARROW),
    Column("IDLE", is_number=True, needs_columns=_NARROW),
    Column("WASTED", is_number=True, needs_columns=_MEDIUM),
)


def _texts(run: PastRun, now_s: float, *, has_gpus: bool) -> Sequence[str]:
    facts, grams = run.facts, _grams(run)
    return (
        facts.name or facts.key,
        facts.key,
        facts.framework or _UNKNOWN,
        facts.user or _UNKNOWN,
        datetime.fromtimestamp(run.started_s, UTC).strftime("%Y-%m-%d %H:%M"),
        duration_text(max((run.ended_s or run.seen_s) - run.started_s, 0.0)),
        *(_gpu_texts(run) if has_gpus else ()),
        energy_text(sum(run.energy_j)),
        _UNKNOWN if grams is None else mass_text(grams),
        _state(run, now_s),
    )


def _held_gpus(run: PastRun) -> bool:
    held_s, _, _ = run.gpu
    return held_s > 0


def _gpu_texts(run: PastRun) -> Sequence[str]:
    """Return GPU hours held, the share of them in which nothing ran, and the energy charged for that share."""
    if not _held_gpus(run):
        return (_UNKNOWN,) * len(_GPU_HEADS)
    held_s, unused_s, unused_j = run.gpu
    return f"{held_s / _SECONDS_PER_HOUR:.2f}", f"{unused_s / held_s:.0%}", energy_text(unused_j)


def _state(run: PastRun, now_s: float) -> str:
    if run.ended_s is not None:
        return "ended"
    unseen_s = now_s - run.seen_s
    return "running" if unseen_s < _LOST_AFTER_S else f"not seen for {duration_text(unseen_s)}"
