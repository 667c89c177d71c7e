"""Tables on a terminal, and the same tables as plain text where the output goes elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

__all__ = ["STATE_STYLES", "Column", "open_console", "printable", "prose", "show", "table", "words"]

STATE_STYLES = {"up": "green", "degraded": "yellow", "down": "red", "absent": "dim"}
_UNLIMITED_COLUMNS = 10_000
_MIN_FLEXIBLE_COLUMNS = 8
_REPLACEMENT = "\ufffd"


class Column(NamedTuple):
    """One column of a table.

    Attributes:
        title: its head.
        is_number: aligned to the right.
        needs_columns: width of the terminal below which it is left out.
        is_flexible: cut short where the others need the place.
    """

    title: str
    is_number: bool = False
    needs_columns: int = 0
    is_flexible: bool = False


def open_console() -> Console:
    """Return standard output: as wide as the terminal, or as wide as needed where it is none."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=False)
    if not console.is_terminal:
        console.width = _UNLIMITED_COLUMNS
    return console


def show(console: Console, what: RenderableType) -> None:
    """Print ``what``; where there is no terminal, without the blanks that fill up its lines."""
    if console.is_terminal:
        console.print(what)
        return
    with console.capture() as capture:
        console.print(what)
    print("\n".join(line.rstrip() for line in capture.get().splitlines()))


def words(text: str, style: str = "") -> Text:
    """Return ``text`` for a terminal: no control sequences, no markup."""
    from rich.text import Text

    return Text(printable(text), style=style, no_wrap=True, overflow="ellipsis")


def prose(text: str, style: str = "") -> Text:
    """Return ``text`` as ``words`` does, but wrapped where it is too long; line breaks are kept."""
    from rich.text import Text

    return Text("\n".join(map(printable, text.split("\n"))), style=style)


def printable(text: str) -> str:
    """Return ``text`` on one line, with every control character replaced."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _REPLACEMENT for c in text)


def table(columns: Sequence[Column], rows: Iterable[Sequence[Text]], *, width: int) -> Table:
    """Return a table without lines that shows the columns for which ``width`` suffices."""
    from rich.table import Table

    made = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", show_edge=False, pad_edge=False)
    shown = [number for number, column in enumerate(columns) if width >= column.needs_columns]
    for number in shown:
        column = columns[number]
        made.add_column(
            column.title,
            justify="right" if column.is_number else "left",
            no_wrap=not column.is_flexible,  # the columns that wrap are those that shrink; their texts do not wrap
            overflow="ellipsis",
            min_width=_MIN_FLEXIBLE_COLUMNS if column.is_flexible else None,
        )
    for row in rows:
        made.add_row(*[row[number] for number in shown])
    return made
