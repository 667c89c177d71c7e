"""The pieces of the readable page that several of its sections use: escaped text, tables, stacked bars."""

from __future__ import annotations

from html import escape

from exporter.exposition.labels import clean_label
from exporter.exposition.quantities import mass_text, power_text
from exporter.ledger.snapshot import SCOPES, Snapshot

__all__ = ["UNKNOWN", "grams_text", "left_out", "row", "stack", "table", "text", "watts_text"]

UNKNOWN = '<span class="dim" title="not known">–</span>'
_OPERATIONAL = SCOPES.index("operational")


def text(value: str) -> str:
    """Return ``value`` as a label, escaped."""
    return escape(clean_label(value))


def stack(title: str, parts: list[tuple[str, float, str]], total_w: float) -> str:
    """Return ``parts`` (name, watts, class) as one bar with a legend; widths are SVG attributes, not styles."""
    if total_w <= 0:
        return ""
    left, rects, legend = 0.0, [], []
    for name, watts, css in parts:
        width = 100 * watts / total_w
        rects.append(f'<rect class="{css}" x="{left:.2f}" y="0" width="{width:.2f}" height="4"/>')
        legend.append(f'<li><span class="key {css}"></span>{name} {power_text(watts)}</li>')
        left += width
    return (
        f'<svg class="bar" role="img" aria-label="{title}" viewBox="0 0 100 4" preserveAspectRatio="none">'
        f'{"".join(rects)}</svg><ul class="legend">{"".join(legend)}</ul>'
    )


def watts_text(power_w: float | None) -> str:
    """Return watts, or that they are not known."""
    return UNKNOWN if power_w is None else power_text(power_w)


def grams_text(emissions_g: tuple[float, ...], snapshot: Snapshot) -> str:
    """Return operational grams, or that they are not accounted."""
    return mass_text(emissions_g[_OPERATIONAL]) if "operational" in snapshot.emissions_g else UNKNOWN


def left_out(count: int) -> str:
    """Return how many rows are not shown, if any."""
    return f'<p class="dim">{count} more in the metrics.</p>' if count > 0 else ""


def table(heads: tuple[str, ...], rows: str, numeric: tuple[int, ...] = ()) -> str:
    """Return a table; ``numeric`` are the numbers of the columns that hold numbers."""
    cells = "".join(f'<th scope="col"{_css(i in numeric)}>{head}</th>' for i, head in enumerate(heads))
    table = f"<table><thead><tr>{cells}</tr></thead><tbody>{rows}</tbody></table>"
    return f'<div class="scroll" tabindex="0" role="group" aria-label="{heads[0]} table">{table}</div>'


def row(*cells: str, numeric: tuple[int, ...]) -> str:
    """Return one row of a table."""
    return "<tr>" + "".join(f"<td{_css(i in numeric)}>{cell}</td>" for i, cell in enumerate(cells)) + "</tr>"


def _css(is_numeric: bool) -> str:  # noqa: FBT001 - one obvious meaning
    return ' class="n"' if is_numeric else ""
