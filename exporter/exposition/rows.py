"""What fills a family: rows one by one, or blocks of all series of one thing."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Block", "Column", "Row"]

Row = tuple[tuple[str, ...], float]
"""Label values in the order of ``Family.labels``, and the value."""

Column = tuple[int, tuple[str, ...]]
"""Index into a block's values, and the label values that belong to it."""


class Block(NamedTuple):
    """All series of one thing within a family: its label values as they are known, and its totals."""

    identity: tuple[str, ...]
    values: tuple[float, ...]
