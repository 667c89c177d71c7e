"""Rows to text: the Prometheus text format 0.0.4 and OpenMetrics 1.0, byte for byte what prometheus_client writes.

Sample lines are equal in both formats and are rendered once; only the headers differ. What precedes the value of a
line is kept from one page to the next, as long as its series is on the page.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from exporter.exposition.families import BlockRows, Column, FamilyRows
from exporter.exposition.family import Family
from exporter.exposition.labels import clean_labels

__all__ = ["LineWriter", "RenderedFamily", "format_value", "openmetrics_text", "prometheus_text"]

_FIRST_WITH_EXPONENT = 1_000_000.0
_DIGITS_WITHOUT_EXPONENT = 6
_MINUS_INFINITY = float("-inf")


class RenderedFamily(NamedTuple):
    """A family and its sample lines, each with its newline."""

    family: Family
    lines: str


def format_value(value: float) -> str:
    """Return ``value`` as prometheus_client does, which follows Go: exponents from a million on.

    Source: ``prometheus_client.utils.floatToGoString``.
    """
    value = float(value)
    if _MINUS_INFINITY < value < _FIRST_WITH_EXPONENT:
        return repr(value)
    text = repr(value)
    special = {"inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}.get(text)
    if special is not None:
        return special
    point = text.find(".")
    if point <= _DIGITS_WITHOUT_EXPONENT:
        return text
    digits = f"{text[0]}.{text[1:point]}{text[point + 1 :]}".rstrip("0.")
    return f"{digits}e+{point - 1:02d}"


class _Rendered(NamedTuple):
    """The lines of one block as last rendered: what precedes each value, the values, and the text."""

    prefixes: tuple[str, ...]
    values: tuple[float, ...]
    lines: str


class _Memory(NamedTuple):
    """What is kept of a family between two pages."""

    columns: Sequence[Column]
    blocks: dict[tuple[str, ...], _Rendered]


class LineWriter:
    """Renders sample lines; remembers those of large families that were on the last page. Not thread-safe."""

    def __init__(self) -> None:
        self._memories: dict[str, _Memory] = {}

    @property
    def remembered_series(self) -> int:
        """Number of series whose lines are kept: those of the last page."""
        return sum(len(memory.columns) * len(memory.blocks) for memory in self._memories.values())

    def render(self, page: Iterable[FamilyRows]) -> list[RenderedFamily]:
        """Return the sample lines of a page, family by family; forget series that are not on it."""
        kept: dict[str, _Memory] = {}
        rendered = []
        for family, rows in page:
            if isinstance(rows, BlockRows):
                before = self._memories.get(family.name)
                memory = _Memory(rows.columns, {})
                is_usable = before is not None and before.columns == rows.columns
                lines = _block_lines(rows, before.blocks if before and is_usable else {}, memory.blocks)
                kept[family.name] = memory
            else:
                lines = "".join([f"{_prefix(family, labels)}{format_value(value)}\n" for labels, value in rows])
            rendered.append(RenderedFamily(family, lines))
        self._memories = kept
        return rendered


def _block_lines(
    rows: BlockRows, before: dict[tuple[str, ...], _Rendered], now: dict[tuple[str, ...], _Rendered]
) -> str:
    """Return the family's lines; a thing whose totals did not change costs one comparison."""
    parts = []
    is_new = False
    for identity, values in rows.blocks:
        known = before.get(identity)
        if known is None:
            is_new = True
            clean = clean_labels(identity)
            known = _render(tuple([_prefix(rows.family, clean + labels) for _, labels in rows.columns]), rows, values)
        elif known.values != values:
            known = _render(known.prefixes, rows, values)
        now[identity] = known
        parts.append(known.lines)
    if len(now) != len(rows.blocks) or (is_new and len({known.prefixes for known in now.values()}) != len(now)):
        now.clear()
        return "".join([f"{_prefix(rows.family, labels)}{format_value(value)}\n" for labels, value in rows])
    return "".join(parts)


def _render(prefixes: tuple[str, ...], rows: BlockRows, values: tuple[float, ...]) -> _Rendered:
    lines = []
    for prefix, (index, _) in zip(prefixes, rows.columns, strict=True):
        value = values[index]
        text = repr(value) if 0.0 <= value < _FIRST_WITH_EXPONENT and type(value) is float else format_value(value)
        lines.append(f"{prefix}{text}\n")
    return _Rendered(prefixes, values, "".join(lines))


def _prefix(family: Family, values: tuple[str, ...]) -> str:
    pairs = sorted(zip(family.labels, values, strict=True))
    inside = ",".join(f'{name}="{_escape(value)}"' for name, value in pairs)
    return f"{family.name}{{{inside}}} " if inside else f"{family.name} "


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def prometheus_text(rendered: Iterable[RenderedFamily]) -> bytes:
    """Return the page in the text format 0.0.4. Source: Prometheus, exposition formats."""
    return "".join([_text_header(family) + lines for family, lines in rendered]).encode()


def openmetrics_text(rendered: Iterable[RenderedFamily], *, end: bool = True) -> bytes:
    """Return the page in OpenMetrics 1.0; without ``end`` the closing ``# EOF`` is left to the caller."""
    parts = [_openmetrics_header(family) + lines for family, lines in rendered]
    return "".join([*parts, "# EOF\n" if end else ""]).encode()


def _text_header(family: Family) -> str:
    help_text = family.help.replace("\\", r"\\").replace("\n", r"\n")
    kind = "gauge" if family.type == "info" else family.type
    return f"# HELP {family.name} {help_text}\n# TYPE {family.name} {kind}\n"


def _openmetrics_header(family: Family) -> str:
    name = family.base_name
    unit = f"# UNIT {name} {family.unit}\n" if family.unit else ""
    return f"# HELP {name} {_escape(family.help)}\n# TYPE {name} {family.type}\n{unit}"
