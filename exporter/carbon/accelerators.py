"""Power and embodied emissions of accelerators by name, from a table that is read line by line and never kept.

Owns the format of ``data/accelerators.txt`` and how a name finds its row. Sources and licences of the numbers stand in
the table's own header.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from exporter.errors import SourceFormatError

__all__ = [
    "SOURCE",
    "Accelerator",
    "Alias",
    "EmbodiedFigure",
    "Origin",
    "accelerator_names",
    "find_accelerator",
    "find_by_common_name",
    "origins",
    "parse_line",
    "read_lines",
]

SOURCE = "accelerator_table"
"""Name of the embedded table in error messages."""
_TABLE = Path(__file__).parent / "data" / "accelerators.txt"
_MEMORY = re.compile(r"\d+GB")


class Origin(NamedTuple):
    """Where figures come from: key, licence, publication."""

    key: str
    licence: str
    publication: str


class Alias(NamedTuple):
    """What people type, and the name of the row that they mean."""

    text: str
    name: str


class EmbodiedFigure(NamedTuple):
    """Kilograms of CO2e of making one device: the value, the lowest and the highest published, the value's source."""

    value_kg: float
    low_kg: float
    high_kg: float
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """One model, per device as its driver lists it.

    Attributes:
        pattern: regular expression for the driver's name.
        name: the name as a driver reports it.
        tdp_w: board power limit in watts by default, or None where no figure was found.
        idle_w: power at idle in watts, or None; of source ``ccf`` a model.
        idle_source: key of its source, or empty.
        embodied: emissions of making it, or None where no figure of this model was found.
    """

    pattern: str
    name: str
    tdp_w: float | None = None
    tdp_source: str = ""
    idle_w: float | None = None
    idle_source: str = ""
    embodied: EmbodiedFigure | None = None


def parse_line(line: str) -> Origin | Alias | Accelerator | None:
    """Return what one line of the table says, or None for a comment.

    Raises:
        SourceFormatError: the line is none of the table's three kinds.
    """
    if line.startswith("#"):
        return None
    kind, *rest = line.rstrip("\n").split(";")
    try:
        if kind == "source":
            return Origin(*rest)
        if kind == "alias":
            return Alias(*rest)
        re.compile(kind)
        name, tdp, tdp_source, idle, idle_source, *embodied = rest
        value, low, high, source = embodied
        accelerator = Accelerator(
            pattern=kind,
            name=name,
            tdp_w=_number(tdp),
            tdp_source=tdp_source,
            idle_w=_number(idle),
            idle_source=idle_source,
            embodied=EmbodiedFigure(float(value), float(low), float(high), source) if value else None,
        )
    except (TypeError, ValueError, re.error, OverflowError, RecursionError) as exc:
        raise SourceFormatError(SOURCE, f"expected source, alias or model row, read {line[:60]!r}") from exc
    if not (kind and name and _is_plausible(accelerator)):
        raise SourceFormatError(SOURCE, f"expected a pattern, a name and figures above 0, read {line[:60]!r}")
    return accelerator


def _number(text: str) -> float | None:
    return float(text) if text else None


def _is_plausible(accelerator: Accelerator) -> bool:
    figures = [figure for figure in (accelerator.tdp_w, accelerator.idle_w) if figure is not None]
    embodied = accelerator.embodied
    if embodied is not None:
        figures += [embodied.value_kg, embodied.low_kg, embodied.high_kg]
        if not embodied.low_kg <= embodied.value_kg <= embodied.high_kg:
            return False
    return all(0 < figure < 1e6 for figure in figures)  # noqa: PLR2004 - a bound that no device reaches


def read_lines() -> Iterator[Origin | Alias | Accelerator]:
    """Yield every line of the table in file order: origins, aliases, then models."""
    with _TABLE.open(encoding="utf-8") as lines:
        for line in lines:
            parsed = parse_line(line)
            if parsed is not None:
                yield parsed


def origins() -> dict[str, Origin]:
    """Return where figures come from, by the keys that rows name."""
    return {line.key: line for line in read_lines() if isinstance(line, Origin)}


def find_accelerator(name: str) -> Accelerator | None:
    """Return the first row whose pattern is found in ``name``, a device's name as its driver reports it, else None.

    A partition (``… MIG 1g.5gb``) is found as the whole device.
    """
    whole = name.split(" MIG ", maxsplit=1)[0].strip()
    for line in read_lines():
        if isinstance(line, Accelerator) and re.search(line.pattern, whole, re.IGNORECASE):
            return line
    return None


def find_by_common_name(text: str) -> Accelerator | None:
    """Return the row for what a person typed (``A100-80GB``, ``H100``, ``4x V100``, ``TPUv3``), else None.

    A driver's name counts first, then the table's aliases, then the row that has all the words and the fewest others;
    last, without the memory size: ``V100 16GB`` is a V100.
    """
    plain = re.sub(r"^\s*\d+\s*[x×]\s+", "", text, flags=re.IGNORECASE)
    words = _words(plain)
    if not words:
        return None
    rows = list(read_lines())
    for alias in rows:
        if isinstance(alias, Alias) and words - {"NVIDIA"} == _words(alias.text):
            return find_accelerator(alias.name)
    found = find_accelerator(plain) or find_accelerator(f"NVIDIA {plain}")
    models = [row for row in rows if isinstance(row, Accelerator)]
    return found or _nearest(words, models) or _nearest({w for w in words if not _MEMORY.fullmatch(w)}, models)


def _words(text: str) -> set[str]:
    upper = re.sub(r"(\d)\s+GB\b", r"\1GB", text.upper())
    upper = re.sub(r"\bTPU[\s-]*V?(\d)", r"TPU V\1", upper)
    return set(re.findall(r"[A-Z0-9]+", upper))


def _nearest(words: set[str], rows: list[Accelerator]) -> Accelerator | None:
    if not any(any(char.isdigit() for char in word) and not _MEMORY.fullmatch(word) for word in words):
        return None  # "NVIDIA" or "80GB" alone names no model
    fitting = [(len(_words(row.name) - words), row) for row in rows if words <= _words(row.name)]
    return min(fitting, key=lambda one: one[0], default=(0, None))[1]


def accelerator_names() -> list[str]:
    """Return the names of all models, as drivers report them, in the table's order."""
    return [line.name for line in read_lines() if isinstance(line, Accelerator)]
