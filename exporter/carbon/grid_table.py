"""Yearly mean carbon intensity by grid zone, from a table that is read line by line and never kept.

Owns the format of ``data/grid_intensity.txt`` and how a zone without a row finds the row that stands for it.
Sources, basis and licences of the numbers stand in the table's own header.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from exporter.errors import SourceFormatError

__all__ = [
    "SOURCE",
    "Alias",
    "Entry",
    "GridRow",
    "Match",
    "Origin",
    "find_row",
    "near_zones",
    "parse_line",
    "read_lines",
]

SOURCE = "grid_table"
"""Name of the embedded table as a source and as a provider."""
_TABLE = Path(__file__).parent / "data" / "grid_intensity.txt"

Match = Literal["exact", "alias", "parent"]
"""exact: the zone's own row; alias: a row that covers the zone by a documented mapping; parent: its country's."""


class Origin(NamedTuple):
    """Where a group of rows comes from: key, what the numbers count, licence, publication."""

    key: str
    basis: str
    licence: str
    publication: str


class Alias(NamedTuple):
    """A zone and the row that stands for it."""

    zone: str
    row_zone: str


class Entry(NamedTuple):
    """One zone's line: id, name, grams of CO2e per kilowatt-hour, year, key of its origin."""

    zone: str
    name: str
    intensity_g_per_kwh: float
    year: int
    origin_key: str


class GridRow(NamedTuple):
    """The figure found for a zone.

    Attributes:
        entry: the row itself.
        origin: where the row comes from.
        match: how the row was found.
    """

    entry: Entry
    origin: Origin
    match: Match


def parse_line(line: str) -> Origin | Alias | Entry | None:
    """Return what one line of the table says, or None for a comment.

    Raises:
        SourceFormatError: the line is none of the table's four kinds.
    """
    if line.startswith("#"):
        return None
    kind, *rest = line.rstrip("\n").split(";")
    try:
        if kind == "source":
            return Origin(*rest)
        if kind == "alias":
            return Alias(*rest)
        name, grams, year, origin_key = rest
        entry = Entry(kind, name, float(grams), int(year), origin_key)
    except (TypeError, ValueError) as exc:
        raise SourceFormatError(SOURCE, f"expected source, alias or zone row, read {line[:60]!r}") from exc
    if not (kind and math.isfinite(entry.intensity_g_per_kwh) and entry.intensity_g_per_kwh >= 0):
        raise SourceFormatError(SOURCE, f"expected a zone and grams per kWh, read {line[:60]!r}")
    return entry


def read_lines() -> Iterator[Origin | Alias | Entry]:
    """Yield every line of the table in file order: origins, aliases, then zones by id."""
    with _TABLE.open(encoding="utf-8") as lines:
        for line in lines:
            parsed = parse_line(line)
            if parsed is not None:
                yield parsed


def find_row(zone: str) -> GridRow | None:
    """Return the row for ``zone`` (an id or a country's name, in any case), its alias's, or its parent's; else None."""
    wanted = zone.strip().upper()
    candidates: dict[str, Match] = {wanted: "exact"}
    origins: dict[str, Origin] = {}
    found: GridRow | None = None
    for line in read_lines():
        if isinstance(line, Origin):
            origins[line.key] = line
        elif isinstance(line, Alias):
            if line.zone == wanted:
                candidates[line.row_zone] = "alias"
        else:
            match = _match(line, wanted, candidates)
            if match and (found is None or _is_nearer(match, line.zone, found)):
                found = GridRow(line, origins[line.origin_key], match)
    return found


def _match(entry: Entry, wanted: str, candidates: dict[str, Match]) -> Match | None:
    if entry.zone in candidates:
        return candidates[entry.zone]
    if _is_country(entry) and entry.name.upper() == wanted:
        return "exact"
    return "parent" if wanted.startswith(entry.zone + "-") else None


def _is_country(entry: Entry) -> bool:
    """Only countries go by name: Georgia is a state, too."""
    return "-" not in entry.zone


def _is_nearer(match: Match, zone: str, than: GridRow) -> bool:
    order = ("exact", "alias", "parent")
    rank, best = order.index(match), order.index(than.match)
    return rank < best or (rank == best and len(zone) > len(than.entry.zone))


def near_zones(zone: str, *, limit: int = 4) -> list[str]:
    """Return ids of zones that look or are called like ``zone``, the nearest first."""
    from difflib import get_close_matches

    names: dict[str, str] = {}
    for line in read_lines():
        if isinstance(line, Entry):
            names[line.zone] = line.zone
            if _is_country(line):
                names[line.name.upper()] = line.zone
        elif isinstance(line, Alias):
            names[line.zone] = line.zone
    close = get_close_matches(zone.strip().upper(), names, n=2 * limit, cutoff=0.5)
    return list(dict.fromkeys(names[name] for name in close))[:limit]
