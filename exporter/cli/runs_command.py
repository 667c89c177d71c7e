"""``wattribute runs``: the runs in the state file."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from exporter.cli.arguments import Options
from exporter.cli.state_path import with_state_path
from exporter.clock import Clock, SystemClock
from exporter.config import Settings
from exporter.config.build import parse_duration_s
from exporter.errors import ConfigError, StateError
from exporter.ledger.history import History, PastRun
from exporter.units import JOULES_PER_KILOWATT_HOUR

__all__ = ["run_runs"]

_Row = dict[str, str | float | None]


def run_runs(options: Options, settings: Settings, clock: Clock | None = None) -> int:
    """Print the runs that match, newest first.

    Raises:
        ConfigError: ``--since`` is no duration.
        StateError: there is no readable state file.
    """
    values = options.values
    since_s = parse_duration_s(values.since) if values.since else None
    if values.since and since_s is None:
        raise ConfigError([f"--since: expected a duration such as 24h or 7d, found {values.since[:40]!r}"])
    path = with_state_path(settings, os.environ).ledger.state_path
    if not path:
        raise StateError("there is no state file: give one with --state.file")
    from_s = (clock or SystemClock()).wall_s() - since_s if since_s is not None else 0.0
    rows = [_row(run) for run in History(Path(path)).runs(since_s=from_s, name=values.name, limit=values.limit)]
    {"json": _print_json, "csv": _print_csv, "text": _print_text}[values.output](rows)
    return 0


def _row(run: PastRun) -> _Row:
    return {
        "run": run.facts.key,
        "name": run.facts.name,
        "framework": run.facts.framework,
        "user": run.facts.user,
        "started": _moment(run.started_s),
        "ended": None if run.ended_s is None else _moment(run.ended_s),
        "energy_j": sum(run.energy_j),
        "emissions_g": sum(run.emissions_by_scope_g().values()) or None,
    }


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _print_json(rows: Sequence[_Row]) -> None:
    print(json.dumps(rows, indent=2))


def _print_csv(rows: Sequence[_Row]) -> None:
    names = ["run", "name", "framework", "user", "started", "ended", "energy_j", "emissions_g"]
    writer = csv.DictWriter(sys.stdout, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _print_text(rows: Sequence[_Row]) -> None:
    if not rows:
        print("no runs")
    for row in rows:
        kwh = float(row["energy_j"] or 0) / JOULES_PER_KILOWATT_HOUR
        grams = "-" if row["emissions_g"] is None else f"{row['emissions_g']:.1f} g"
        print(f"{row['started']}  {row['ended'] or 'running':20}  {kwh:10.4f} kWh  {grams:>12}  {row['name']}")
