"""Means over time, what holds at a moment, and the best start: exact, whatever the intervals."""

from __future__ import annotations

import math
from itertools import accumulate, pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from exporter.carbon.live import best_window, held, mean_g_per_kwh, point_at
from exporter.carbon.live.windows import outlook
from exporter.carbon.records import IntensityPoint

grams = st.floats(0, 2000)
lengths = st.integers(1, 40)


@st.composite
def steps(draw: st.DrawFn) -> list[IntensityPoint]:
    """Intervals of whole seconds that follow each other."""
    edges = list(accumulate(draw(st.lists(lengths, min_size=1, max_size=12)), initial=draw(st.integers(-50, 50))))
    return [IntensityPoint(float(a), float(b), draw(grams)) for a, b in pairwise(edges)]


def brute_mean(points: list[IntensityPoint], from_s: int, until_s: int) -> float | None:
    """Look up every second."""
    values = []
    for second in range(from_s, until_s):
        found = [p.intensity_g_per_kwh for p in points if p.from_s <= second < p.until_s]
        if len(found) != 1:
            return None
        values += found
    return math.fsum(values) / len(values) if values else None


@given(points=steps(), from_s=st.integers(-60, 200), length=st.integers(0, 200))
def test_the_mean_over_any_steps_equals_that_of_every_second(
    points: list[IntensityPoint], from_s: int, length: int
) -> None:
    mean = mean_g_per_kwh(points, from_s, from_s + length)

    assert mean == (None if (b := brute_mean(points, from_s, from_s + length)) is None else pytest.approx(b))
    assert mean is None or mean >= 0


@given(points=steps(), dropped=st.integers(0, 11))
def test_a_span_with_a_gap_has_no_mean(points: list[IntensityPoint], dropped: int) -> None:
    assume(dropped < len(points))
    start, end = points[0].from_s, points[-1].until_s
    del points[dropped]

    assert mean_g_per_kwh(points, start, end) is None


@given(points=steps())
def test_a_held_value_lasts_until_its_successor_and_for_good(points: list[IntensityPoint]) -> None:
    kept = held(points[::2])

    for second in range(int(points[0].from_s), int(points[-1].until_s) + 20):
        expected = point_at(points[::2], second).intensity_g_per_kwh
        assert mean_g_per_kwh(kept, second, second + 0.5) == expected


@given(points=steps(), duration=st.integers(1, 120), now_s=st.integers(-60, 100))
def test_no_start_of_any_second_beats_the_best_window(points: list[IntensityPoint], duration: int, now_s: int) -> None:
    first = max(now_s, int(points[0].from_s))
    means = {
        start: mean
        for start in range(first, int(points[-1].until_s) - duration + 1)
        if (mean := brute_mean(points, start, start + duration)) is not None
    }

    best = best_window(points, duration, now_s)

    if not means:
        assert best is None
    else:
        assert best is not None
        assert best[1] == pytest.approx(min(means.values()), abs=1e-6)
        assert best[1] == pytest.approx(means[int(best[0])], abs=1e-6)
        assert best[0] >= first


def test_the_best_window_begins_between_edges_of_the_hour_where_it_ends_at_one() -> None:
    """90 minutes before a dirty hour: the window ends where the dirty hour begins."""
    points = [IntensityPoint(0, 3600, 300), IntensityPoint(3600, 7200, 100), IntensityPoint(7200, 10_800, 400)]

    best = best_window(points, 5400, 0)

    assert best is not None
    assert best[0] == 1800
    assert best[1] == pytest.approx((300 * 1800 + 100 * 3600) / 5400)


def test_of_equal_windows_the_earliest_is_best() -> None:
    points = [IntensityPoint(0, 100, 50), IntensityPoint(100, 200, 90), IntensityPoint(200, 300, 50)]

    assert best_window(points, 100, 0) == (0, 50)


def test_of_windows_that_differ_by_rounding_only_the_earliest_is_best() -> None:
    """The same three values again and again, at times of today: sums of tenths differ in their last digits."""
    edges = [1_795_435_200.0 + n * 300 for n in range(289)]
    points = [IntensityPoint(a, b, (0.1, 0.2, 0.3)[n % 3]) for n, (a, b) in enumerate(pairwise(edges))]

    for duration_s in (300, 900, 1800, 3600, 14_400):
        best = best_window(points, duration_s, edges[0] + 100.7)
        assert best is not None
        assert best[0] <= edges[3]


def test_no_window_spans_a_gap() -> None:
    points = [IntensityPoint(0, 100, 50), IntensityPoint(150, 250, 10)]

    assert best_window(points, 120, 0) is None
    assert best_window(points, 100, 0) == (150, 10)


def test_a_late_value_holds_until_the_forecast_begins() -> None:
    points = [IntensityPoint(0, 3600, 300)]
    forecast = [IntensityPoint(3000, 7200, 200), IntensityPoint(7200, 10_800, 100)]
    late = [IntensityPoint(5000, 7200, 200)]

    assert outlook(points, forecast) == [(0, 3600, 300, False), (3600, 7200, 200, False), (7200, 10_800, 100, False)]
    assert outlook(points, late) == [(0, 5000, 300, False), (5000, 7200, 200, False)]
