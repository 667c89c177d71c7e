from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from hypothesis import given
from hypothesis import strategies as st

from exporter.reports.report_segments import Piece, continued, joined, one_counter, piece_of

Samples = list[tuple[float, float]]


@st.composite
def counters(draw: st.DrawFn) -> tuple[Samples, float]:
    """Draw samples of a counter born at 0 that restarts, and its true total."""
    segments = draw(st.lists(st.lists(st.integers(0, 1000), min_size=1, max_size=6), min_size=1, max_size=5))
    samples: Samples = []
    total, at_s = 0.0, 0.0
    for steps in segments:
        value = samples[-1][1] if samples else 0.0
        # A restart shows only where the first sample after it is below the last one before it.
        first = draw(st.integers(0, max(int(value) - 1, 0))) if samples and value > 0 else 0
        value = float(first)
        for step in steps:
            samples.append((at_s, value))
            at_s += draw(st.integers(1, 100))
            value += step
        total += samples[-1][1]
    return samples, total


def cut(samples: Samples, places: Sequence[int], *, shared: bool) -> list[Samples]:
    """Cut ``samples`` at ``places``; ``shared``: the sample at a cut is in both parts."""
    edges = sorted({min(place, len(samples) - 1) for place in places} - {0})
    starts, ends = [0, *edges], [*edges, len(samples)]
    return [samples[start : end + (shared and end < len(samples))] for start, end in zip(starts, ends, strict=True)]


@given(counters(), st.lists(st.integers(0, 40)), st.booleans())
def test_pieces_cut_anywhere_join_to_the_total(drawn: tuple[Samples, float], places: list[int], shared: bool) -> None:
    """However long chunks are, and whether or not they share the sample at their edge, nothing counts twice or not."""
    samples, total = drawn
    pieces = [piece for part in cut(samples, places, shared=shared) if (piece := piece_of(part)) is not None]

    assert reduce(joined, pieces).total == total


@given(counters(), counters(), counters())
def test_joining_is_associative(a: tuple[Samples, float], b: tuple[Samples, float], c: tuple[Samples, float]) -> None:
    one, two, three = (piece for samples, _ in (a, b, c) if (piece := piece_of(samples)) is not None)

    assert joined(joined(one, two), three) == joined(one, joined(two, three))


@given(counters(), st.lists(st.integers(0, 40)))
def test_series_that_follow_each_other_are_one_counter(drawn: tuple[Samples, float], places: list[int]) -> None:
    """An agent's pod gets a new address at any moment, at a reboot or not."""
    samples, total = drawn
    parts = [piece for part in cut(samples, places, shared=False) if (piece := piece_of(part)) is not None]

    assert one_counter(reversed(parts)) == total
    assert continued(parts) in (None, total)


@given(counters(), st.lists(st.integers(0, 40), max_size=2))
def test_a_counter_that_two_servers_scrape_counts_once(drawn: tuple[Samples, float], places: list[int]) -> None:
    samples, total = drawn
    late = [(at_s + 0.5, value) for at_s, value in samples]
    parts = [piece for part in cut(samples, places, shared=False) if (piece := piece_of(part)) is not None]
    whole = piece_of(late)
    assert whole is not None

    assert one_counter([*parts, whole]) == total


def test_no_samples_are_no_piece_and_no_counter() -> None:
    assert piece_of([]) is None
    assert one_counter([]) == 0.0


def test_values_alone_tell_a_counter_that_goes_on_and_no_other() -> None:
    first, second = Piece(0.0, 10.0, 0.0, 0, 100), Piece(10.0, 25.0, 0.0, 0, 100)

    assert continued([second, first]) == 25.0
    assert continued([first, Piece(2.0, 8.0, 0.0, 0, 100)]) is None
    assert continued([first, Piece(12.0, 3.0, 15.0, 0, 100)]) is None
