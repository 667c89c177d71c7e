"""The arithmetic of counters that restart from zero: pieces of a counter, joined in order of time.

A counter is born at 0, so its total is the sum of the last values of its segments, where a segment ends with a
decrease. A sample that two pieces share changes nothing, so pieces may overlap in their edge.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

__all__ = ["Piece", "continued", "joined", "one_counter", "piece_of"]


class Piece(NamedTuple):
    """What happened to a counter within some time.

    Attributes:
        first: its first value there.
        last: its last value there.
        done: the sum of the last values of the segments that ended there.
        from_s: Unix time of the first sample, or an earlier bound of it.
        until_s: Unix time of the last sample, or a later bound of it.
    """

    first: float
    last: float
    done: float
    from_s: float
    until_s: float

    @property
    def total(self) -> float:
        """What was counted from birth to the last sample, if the first segment starts in this piece."""
        return self.done + self.last


def piece_of(samples: Sequence[tuple[float, float]]) -> Piece | None:
    """Return the piece that (Unix seconds, value) in order of time make, or None for none; values must be numbers."""
    if not samples:
        return None
    done = sum(before for (_, before), (_, after) in pairwise(samples) if after < before)
    (from_s, first), (until_s, last) = samples[0], samples[-1]
    return Piece(first, last, done, from_s, until_s)


def joined(before: Piece, after: Piece) -> Piece:
    """Return ``before`` and ``after`` as one piece; associative."""
    ended = before.last if after.first < before.last else 0.0
    return Piece(before.first, after.last, before.done + ended + after.done, before.from_s, after.until_s)


def continued(pieces: Sequence[Piece]) -> float | None:
    """Return the total of one counter that several series show, from values alone; None where times are needed.

    Series without a reset of which each starts where the one before left off, or above it, are one segment: a counter
    goes on under new labels when an agent's pod is replaced.
    """
    ordered = sorted(pieces, key=lambda piece: (piece.first, piece.last))
    if len(ordered) == 1:
        return ordered[0].total
    if any(piece.done for piece in ordered) or any(after.first < before.last for before, after in pairwise(ordered)):
        return None
    return ordered[-1].total


def one_counter(pieces: Iterable[Piece]) -> float:
    """Return the total of one counter that several series show, whose times are exact.

    Series that follow each other are joined; of those that overlap, because two servers scrape one agent, the one that
    saw most counts.
    """
    lanes: list[Piece] = []
    for piece in sorted(pieces, key=lambda piece: (piece.from_s, piece.until_s, piece.first)):
        number = next((i for i, lane in enumerate(lanes) if lane.until_s <= piece.from_s), None)
        if number is None:
            lanes.append(piece)
        else:
            lanes[number] = joined(lanes[number], piece)
    return max((lane.total for lane in lanes), default=0.0)
