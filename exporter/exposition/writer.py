"""Rows to text: the Prometheus text format 0.0.4 and OpenMetrics 1.0, byte for byte what prometheus_client writes.

Sample lines are equal in both formats and are rendered once; only the headers differ. What precedes the value of a
line is kept from one page to the next, as long as its series is on the page.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from exporter.exposition.catalogue import Family
from exporter.exposition.families import FamilyRows, Row

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


class LineWriter:
    """Renders sample lines; remembers line prefixes of the last page. Not thread-safe."""

    def __init__(self) -> None:
        self._prefixes: dict[str, dict[tuple[str, ...], str]] = {}

    @property
    def remembered_series(self) -> int:
        """Number of series whose prefix is kept: those of the last page."""
        return sum(map(len, self._prefixes.values()))

    def render(self, page: Iterable[FamilyRows]) -> list[RenderedFamily]:
        """Return the sample lines of a page, family by family; forget series that are not on it."""
        kept: dict[str, dict[tuple[str, ...], str]] = {}
        rendered = []
        for family, rows in page:
            before = self._prefixes.get(family.name, {})
            now = kept[family.name] = {}
            rendered.append(RenderedFamily(family, _lines(family, rows, before, now)))
        self._prefixes = kept
        return rendered


def _lines(
    family: Family, rows: Sequence[Row], before: dict[tuple[str, ...], str], now: dict[tuple[str, ...], str]
) -> str:
    parts = []
    for labels, value in rows:
        prefix = before.get(labels)
        if prefix is None:
            prefix = _prefix(family, labels)
        now[labels] = prefix
        parts.append(f"{prefix}{format_value(value)}\n")
    return "".join(parts)


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
