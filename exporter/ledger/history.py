"""Reading the history of runs from the state file, while an agent writes it or after."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from exporter.errors import StateError
from exporter.ledger.places import NO_PLACE, RunPlace, place_from_json
from exporter.ledger.schema import ENERGY_NAMES, GRAM_NAMES, TOTALS
from exporter.ledger.snapshot import ENERGY_COLUMNS, FOOTPRINT_COLUMNS, GPU_COLUMNS, NO_FOOTPRINT, SCOPES, Scope
from exporter.sensors.records import Component
from exporter.workloads.records import RunFacts

__all__ = ["History", "PastRun"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRun:
    """One run on this node, finished or not.

    Attributes:
        facts: as last seen.
        started_s: wall-clock start of its oldest process here.
        seen_s: wall-clock time at which it was last alive.
        ended_s: wall-clock end, or None while it runs.
        energy_j: joules by ``ENERGY_COLUMNS``.
        emissions_g: grams by ``SCOPES``.
        gpu: GPUs held, by ``GPU_COLUMNS``; zeros for a run that never held one, or was saved before they were counted.
        footprint: by ``FOOTPRINT_COLUMNS``: market-based grams, litres of water, cost; zeros likewise.
        place: CPU model, grid zone, PUE and currency of the node when the run was last alive; unknown for a run that
            was saved before they were noted.
        gpus: by model, the most GPUs it held at once; empty likewise.
    """

    facts: RunFacts
    started_s: float
    seen_s: float
    ended_s: float | None
    energy_j: tuple[float, ...]
    emissions_g: tuple[float, ...]
    gpu: tuple[float, ...]
    footprint: tuple[float, ...] = NO_FOOTPRINT
    place: RunPlace = NO_PLACE
    gpus: Mapping[str, int] = field(default_factory=dict)

    def energy_by_component_j(self) -> Mapping[Component, float]:
        """Return joules, active and idle, of every component that has any."""
        sums: dict[Component, float] = {}
        for (component, _), joules in zip(ENERGY_COLUMNS, self.energy_j, strict=True):
            sums[component] = sums.get(component, 0.0) + joules
        return {component: joules for component, joules in sums.items() if joules > 0}

    def emissions_by_scope_g(self) -> Mapping[Scope, float]:
        """Return grams of every scope that has any; operational ones, even if 0, where the grid was known."""
        counted = {"operational"} if self.place.grid_zone else set()
        grams_of = zip(SCOPES, self.emissions_g, strict=True)
        return {scope: grams for scope, grams in grams_of if grams > 0 or scope in counted}


class History:
    """The runs in a state file. Opens it for each call, read-only."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def runs(self, *, since_s: float = 0.0, name: str = "", limit: int | None = None) -> Sequence[PastRun]:
        """Return runs last alive after ``since_s`` (wall clock), newest first.

        ``name`` is a glob (sqlite's GLOB) on the run's name or key; empty matches all.

        Raises:
            StateError: the file is missing or is no state file.
        """
        try:
            if not self._path.is_file():
                raise StateError(
                    f"state file {self._path} does not exist; has an agent run here with this --state.file?"
                )
            rows = self._rows((since_s, name, name, name, -1 if limit is None else limit))
            return [_past_run(row) for row in rows]
        except PermissionError as exc:
            raise StateError(f"state file {self._path} cannot be read: {exc.strerror}; try as root") from exc
        except (OSError, sqlite3.Error, ValueError, TypeError) as exc:
            raise StateError(f"state file {self._path} cannot be read: {exc}") from exc

    def _rows(self, values: tuple[float | str, ...]) -> Sequence[tuple[object, ...]]:
        address = f"{self._path.absolute().as_uri()}?mode=ro"
        try:
            return _all_rows(address, values)
        except sqlite3.OperationalError:
            # A log that must be created first, and no right to: without a log the file is complete as it is.
            # Source: https://www.sqlite.org/wal.html#read_only_databases
            if Path(f"{self._path}-wal").exists():
                raise
            return _all_rows(f"{address}&immutable=1", values)


def _all_rows(address: str, values: tuple[float | str, ...]) -> Sequence[tuple[object, ...]]:
    with closing(sqlite3.connect(address, uri=True, timeout=2.0)) as db:
        return db.execute(_query(db), values).fetchall()


def _query(db: sqlite3.Connection) -> str:
    """Return the query for runs; what a file of an older version, which only an agent may change, lacks counts as 0."""
    present = {name for (name,) in db.execute("SELECT name FROM pragma_table_info('run')")}
    columns = ", ".join(name if name in present else f"0 AS {name}" for name in TOTALS)
    place = "place" if "place" in present else "'' AS place"
    return (
        f"SELECT facts, started_s, seen_s, ended_s, {place}, {columns} FROM run WHERE facts IS NOT NULL AND seen_s >= ?"  # noqa: S608
        " AND (? = '' OR key GLOB ? OR json_extract(facts, '$.name') GLOB ?) ORDER BY seen_s DESC, id DESC LIMIT ?"
    )


def _past_run(row: tuple[object, ...]) -> PastRun:
    facts, started_s, seen_s, ended_s, place_text, *totals = row
    place, gpus = place_from_json(str(place_text))
    numbers = iter([float(str(total)) for total in totals])
    return PastRun(
        facts=RunFacts(**json.loads(str(facts))),
        started_s=float(str(started_s)),
        seen_s=float(str(seen_s)),
        ended_s=None if ended_s is None else float(str(ended_s)),
        energy_j=tuple(islice(numbers, len(ENERGY_NAMES))),
        emissions_g=tuple(islice(numbers, len(GRAM_NAMES))),
        gpu=tuple(islice(numbers, len(GPU_COLUMNS))),
        footprint=tuple(islice(numbers, len(FOOTPRINT_COLUMNS))),
        place=place,
        gpus=gpus,
    )
