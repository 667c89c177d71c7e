"""What can be said about a run that is to be estimated: as flags, and as the columns of a CSV file.

Both are read from text by the same table, so that all mistakes can be reported at once.
"""

from __future__ import annotations

import argparse
import csv
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from exporter.carbon.accelerators import Alias, accelerator_names, find_by_common_name, read_lines
from exporter.config.build import parse_duration_s
from exporter.config.limits import Range
from exporter.errors import ConfigError
from exporter.reports.estimate import Published, RunPlan
from exporter.reports.places import named_place
from exporter.units import GRAMS_PER_TONNE, JOULES_PER_KILOWATT_HOUR, KILOWATT_HOURS_PER_MEGAWATT_HOUR

__all__ = ["Reader", "add_advise_flags", "add_estimate_flags", "flag_cells", "number", "plan_of_flags", "read_plans"]

_SECONDS_PER_HOUR = 3600.0
_LONGEST = 40
_LARGEST = 1e15
"""No quantity of a run is larger in any of the units; beyond, products overflow."""
_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2}(,[0-9]{3})+(\.[0-9]+)?")
_MOST_ROWS = 100_000
_POSITIVE = Range(is_open=True)
_GRAMS_PER_KWH = Range(0, 2000)


class _Field(NamedTuple):
    """One quantity. ``bounds``: of a number; None: a text, a duration, or yes and no."""

    name: str
    metavar: str
    help: str
    bounds: Range | None = None


_FIELDS = (
    _Field("accelerator", "NAME", "model, for example H100 or TPU v3; its TDP stands in where no power is measured"),
    _Field("power", "WATTS", "measured average of the whole system, per accelerator", _POSITIVE),
    _Field("host-power", "WATTS", "share of the host per accelerator, to add to the boards' --power or TDP", Range()),
    _Field("utilization", "RATIO", "share of the time in which the accelerators are busy, 0 to 1", Range(0, 1)),
    _Field("count", "N", "accelerators, with --duration; default: 1", _POSITIVE),
    _Field("duration", "DURATION", "how long the run takes, for example 36h or 14.8d"),
    _Field("accelerator-hours", "HOURS", "hours times accelerators, in place of --duration and --count", _POSITIVE),
    _Field("energy", "KWH", "metered IT energy, in place of power and time", _POSITIVE),
    _Field("pue", "RATIO", "energy of the facility over that of its computers", Range(1, 10)),
    _Field("grid-zone", "ZONE", "zone, country, or cloud region such as aws:us-east-1"),
    _Field("intensity", "G/KWH", "average carbon intensity of the grid", _GRAMS_PER_KWH),
    _Field("net-intensity", "G/KWH", "market-based intensity, for a second figure", _GRAMS_PER_KWH),
    _Field("wue", "L/KWH", "litres of water per kWh of IT energy", Range(0, 20)),
    _Field("price", "PRICE", "price of a kWh, in the currency of the configuration", Range(-math.inf)),
    _Field("embodied", "", "estimate the emissions of making the hardware, too"),
)
_PUBLISHED = (
    _Field("published-mwh", "MWH", "published facility energy, to compare with", _POSITIVE),
    _Field("published-t", "TONNES", "published tonnes by the grid's average, to compare with", Range()),
    _Field("published-net-t", "TONNES", "published tonnes by a market-based intensity, to compare with", Range()),
)
_COLUMNS = {field.name: field for field in (_Field("name", "TEXT", ""), *_FIELDS, *_PUBLISHED)}
_YES, _NO = ("yes", "true", "1"), ("no", "false", "0")


def add_estimate_flags(own: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add the flags of ``wattribute estimate``."""
    _add(own, (*_FIELDS, *_PUBLISHED))
    text = "CSV with one run per row and columns named as these flags, and name; flags fill empty cells"
    own.add_argument("--input", default="", metavar="FILE", help=text)
    own.add_argument("--output", choices=("text", "json", "csv"), default="text", help="default: text")


def add_advise_flags(own: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add the flags of ``wattribute advise``."""
    text = "a run in the state file, by key or name, in place of a plan; the newest that matches"
    own.add_argument("--run", default="", metavar="NAME", help=text)
    _add(own, _FIELDS)
    text = "zones or cloud regions to compare with, comma-separated; default: carbon.reference_zones"
    own.add_argument("--zones", default="", metavar="LIST", help=text)
    text = "all regions of a cloud: aws, azure, gcp, ovh, ovhcloud or scaleway"
    own.add_argument("--regions", default="", metavar="PROVIDER", help=text)
    own.add_argument(
        "--deadline", default="", metavar="DURATION", help="time from now by which the run must have ended"
    )
    text = "so many comparable places, and so many others, in a table; default: 10; JSON and CSV have all"
    own.add_argument("--limit", default="10", metavar="N", help=text)
    own.add_argument("--output", choices=("text", "json", "csv"), default="text", help="default: text")


def _add(own: argparse.ArgumentParser | argparse._ArgumentGroup, fields: Sequence[_Field]) -> None:
    for field in fields:
        if field.metavar:
            own.add_argument(f"--{field.name}", default="", metavar=field.metavar, help=field.help)
        else:
            own.add_argument(f"--{field.name}", action="store_const", const="yes", default="", help=field.help)


def flag_cells(values: argparse.Namespace) -> dict[str, str]:
    """Return the quantities that the command line states, as text by name."""
    cells = {name: str(getattr(values, name.replace("-", "_"), "") or "").strip() for name in _COLUMNS}
    return {name: text for name, text in cells.items() if text}


def plan_of_flags(values: argparse.Namespace, *, with_embodied: bool) -> tuple[RunPlan, list[str]]:
    """Return the plan of a command line, and every mistake in it as a sentence that names the flag."""
    reader = Reader(lambda name: f"--{name}")
    return _plan(flag_cells(values), reader, with_embodied=with_embodied), reader.problems


def read_plans(path: Path, flags: Mapping[str, str], *, with_embodied: bool) -> Sequence[RunPlan]:
    """Return one plan per row of the CSV file ``path``; lines that begin with ``#`` are comments.

    Raises:
        ConfigError: with every mistake, each with its line and column.
    """
    plans: list[RunPlan] = []
    problems: list[str] = []
    for line, cells in _rows(path):
        reader = Reader(lambda name, line=line: f"{path}:{line}: {name}")  # type: ignore[misc]
        plans.append(_plan(_merged(cells, flags), reader, with_embodied=with_embodied))
        problems += reader.problems
    if problems:
        raise ConfigError(problems)
    return plans


_STANDS_FOR = {
    "energy": {"power", "host-power", "utilization", "duration", "count", "accelerator-hours"},
    "accelerator-hours": {"duration", "count", "energy"},
    "duration": {"accelerator-hours", "energy"},
    "power": {"utilization", "energy"},
    "grid-zone": {"intensity"},
}
"""What a row says in another way, by what it says."""


def _merged(cells: Mapping[str, str], flags: Mapping[str, str]) -> dict[str, str]:
    """Return the row over the flags; a flag that says in another way what the row says does not count."""
    replaced = {name for stated in cells for name in _STANDS_FOR.get(stated, ())}
    return {name: text for name, text in flags.items() if name not in replaced} | dict(cells)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the number of its line and the cells that are not empty of each row."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8"
        raise ConfigError([f"--input: {path} cannot be read: {reason}"]) from exc
    lines = list(_without_comments(text))
    if len(lines) > _MOST_ROWS:
        raise ConfigError([f"--input: {path} has more than {_MOST_ROWS} rows"])
    table = csv.reader(line for _, line in lines)
    head = [name.strip().lstrip("-").replace("_", "-").lower() for name in next(_read(path, table), [])]
    _check_head(path, head)
    for row in _read(path, table):
        number = lines[table.line_num - 1][0]
        if len(row) > len(head):
            raise ConfigError([f"{path}:{number}: expected {len(head)} cells, found {len(row)}"])
        cells = {name: cell.strip() for name, cell in zip(head, row, strict=False) if cell.strip()}
        if cells:
            yield number, cells


def _read(path: Path, table: Iterator[list[str]]) -> Iterator[list[str]]:
    try:
        yield from table
    except csv.Error as exc:
        raise ConfigError([f"--input: {path} is no table of comma-separated values: {exc}"]) from exc


def _without_comments(text: str) -> Iterator[tuple[int, str]]:
    """Yield number and text of each line but comments; what looks like one within a quoted cell is none."""
    is_quoted = False
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        if is_quoted or not line.startswith("#"):
            is_quoted ^= line.count('"') % 2 == 1
            yield number, line


def _check_head(path: Path, head: Sequence[str]) -> None:
    problems = [f"{path}: the file is empty; its first line must name the columns"] * (not head)
    for name in head:
        if name not in _COLUMNS:
            close = get_close_matches(name, _COLUMNS, 1)
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(_COLUMNS)}"
            problems.append(f"{path}: no column {name[:_LONGEST]!r} is known; {hint}")
    problems += [f"{path}: column {name} is there twice" for name in sorted({n for n in head if head.count(n) > 1})]
    if problems:
        raise ConfigError(problems)


class Reader:
    """Reads quantities from text and collects mistakes. ``where``: how to name a quantity in a sentence."""

    def __init__(self, where: Callable[[str], str]) -> None:
        self.problems: list[str] = []
        self._where = where

    def problem(self, name: str, text: str) -> None:
        """Note a mistake in the quantity ``name``."""
        self.problems.append(f"{self._where(name)}: {text}")

    def number(self, cells: Mapping[str, str], name: str) -> float | None:
        """Return the number, None if it is not stated or wrong."""
        text = cells.get(name, "")
        bounds = _COLUMNS[name].bounds or Range(-math.inf)
        value = number(text) if text else None
        if text and (value is None or not bounds.holds(value)):
            self.problem(name, f"expected a number{_bounds_text(bounds)}, found {text[:_LONGEST]!r}")
            return None
        return value

    def duration_s(self, text: str, name: str) -> float | None:
        """Return the seconds of a duration such as ``36h``, None if it is not stated or wrong."""
        seconds = parse_duration_s(text) if text else None
        if text and not (seconds and seconds <= _LARGEST):
            self.problem(name, f"expected a duration such as 90m, 36h or 14.8d, found {text[:_LONGEST]!r}")
            return None
        return seconds

    def switch(self, cells: Mapping[str, str], name: str, *, default: bool) -> bool:
        """Return yes or no."""
        text = cells.get(name, "").lower()
        if text and text not in (*_YES, *_NO):
            self.problem(name, f"expected yes or no, found {text[:_LONGEST]!r}")
        return text in _YES if text else default


def number(text: str) -> float | None:
    """Return a finite number, thousands separated by commas or not; None for anything else, a decimal comma too."""
    try:
        value = float(text.replace(",", "") if _THOUSANDS.fullmatch(text) else text)
    except ValueError:
        return None
    return value if abs(value) <= _LARGEST else None


def _bounds_text(bounds: Range) -> str:
    if math.isinf(bounds.lowest):
        return ""
    text = str(bounds)
    return f" {text}" if text.startswith(("above", "at")) else f" from {text}"


def _plan(cells: Mapping[str, str], reader: Reader, *, with_embodied: bool) -> RunPlan:
    duration_s = reader.duration_s(cells.get("duration", ""), "duration")
    accelerator = cells.get("accelerator", "")
    _check_names(cells, reader)
    _check_pairs(cells, reader)
    energy_kwh = reader.number(cells, "energy")
    return RunPlan(
        name=cells.get("name", ""),
        accelerator=accelerator,
        power_w=reader.number(cells, "power"),
        host_power_w=reader.number(cells, "host-power"),
        utilization_ratio=reader.number(cells, "utilization"),
        accelerator_s=_accelerator_s(cells, reader, duration_s),
        duration_s=duration_s,
        energy_j=None if energy_kwh is None else energy_kwh * JOULES_PER_KILOWATT_HOUR,
        pue_ratio=reader.number(cells, "pue"),
        grid=cells.get("grid-zone", ""),
        intensity_g_per_kwh=reader.number(cells, "intensity"),
        market_g_per_kwh=reader.number(cells, "net-intensity"),
        wue_l_per_kwh=reader.number(cells, "wue"),
        price_per_kwh=reader.number(cells, "price"),
        with_embodied=reader.switch(cells, "embodied", default=with_embodied),
        published=_published(cells, reader),
    )


def _accelerator_s(cells: Mapping[str, str], reader: Reader, duration_s: float | None) -> float | None:
    hours = reader.number(cells, "accelerator-hours")
    count = reader.number(cells, "count")
    if hours is not None:
        return hours * _SECONDS_PER_HOUR
    return None if duration_s is None else duration_s * (count or 1.0)


def _published(cells: Mapping[str, str], reader: Reader) -> Published:
    mwh = reader.number(cells, "published-mwh")
    tonnes = reader.number(cells, "published-t")
    net_tonnes = reader.number(cells, "published-net-t")
    return Published(
        energy_j=None if mwh is None else mwh * KILOWATT_HOURS_PER_MEGAWATT_HOUR * JOULES_PER_KILOWATT_HOUR,
        emissions_g=None if tonnes is None else tonnes * GRAMS_PER_TONNE,
        market_g=None if net_tonnes is None else net_tonnes * GRAMS_PER_TONNE,
    )


def _check_names(cells: Mapping[str, str], reader: Reader) -> None:
    """Note names that are not known; of a model only where its figures are needed."""
    name, zone = cells.get("accelerator", ""), cells.get("grid-zone", "")
    if name and not {"power", "energy"} & set(cells) and find_by_common_name(name) is None:
        names = _near_models(name)
        hint = f"; did you mean {', '.join(names)}" if names else ""
        reader.problem("accelerator", f"no model {name[:_LONGEST]!r} is known{hint}; or state its power in watts")
    if zone:
        for problem in named_place(zone)[1]:
            reader.problem("grid-zone", problem)


def _near_models(name: str) -> Sequence[str]:
    """Return models that are called like ``name``: as people write them, else as drivers do."""
    known = {line.text.upper(): line.text for line in read_lines() if isinstance(line, Alias)}
    for full in accelerator_names():
        short = re.sub(r"^(NVIDIA |AMD Instinct |Intel )?(Tesla |GeForce )?", "", full)
        known.setdefault(short.upper(), full)
    return [known[close] for close in get_close_matches(name.strip().upper(), known, 3, 0.5)]


def _check_pairs(cells: Mapping[str, str], reader: Reader) -> None:
    stated = set(cells)
    if {"duration", "accelerator-hours"} <= stated and "count" not in stated:
        reader.problem("accelerator-hours", "states the time a second time; remove it or duration")
    elif {"duration", "accelerator-hours", "count"} <= stated:
        reader.problem("accelerator-hours", "states the time a second time; remove it, or duration and count")
    if "energy" in stated:
        for name in sorted({"power", "host-power", "utilization"} & stated):
            reader.problem(name, "has no effect where the energy was metered; remove it or energy")
    if {"power", "utilization"} <= stated:
        reader.problem(
            "utilization", "has no effect on a measured average power, which includes it; remove it or power"
        )
