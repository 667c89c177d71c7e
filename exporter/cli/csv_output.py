"""Rows as CSV on standard output."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Mapping, Sequence

from exporter.cli.screen import printable

__all__ = ["Cell", "print_csv"]

Cell = str | float | None


def print_csv(names: Sequence[str], rows: Iterable[Mapping[str, Cell]]) -> None:
    """Print ``rows`` under ``names``; what is not known is an empty cell."""
    writer = csv.DictWriter(sys.stdout, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _safe_cell(value) for key, value in row.items()} for row in rows)


def _safe_cell(value: Cell) -> Cell:
    """Return text that no terminal obeys and no spreadsheet takes for a formula: users choose names."""
    if not isinstance(value, str):
        return value
    return f"'{printable(value)}" if value.startswith(("=", "+", "-", "@")) else printable(value)
