"""Green windows in the loop: once a minute, whatever the polls, and never long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from exporter.carbon.live.choice import Choice
from exporter.carbon.outlooks import Outlooks
from exporter.carbon.records import IntensitySeries
from tests.carbon.clients import HOUR_S, NOON_S, series_of

DAY_S = 24 * HOUR_S


def choice_of(series: IntensitySeries) -> Choice:
    return Choice(0, series, series.points[-1], True)


def hourly(values: Sequence[float], *, zone: str = "DE", provider: str = "upstream") -> IntensitySeries:
    """Return a series whose first hour is the present one."""
    hours = [(NOON_S + n * HOUR_S, NOON_S + (n + 1) * HOUR_S, grams) for n, grams in enumerate(values)]
    return series_of(hours[:1], forecast=hours[1:], zone=zone, provider=provider)


def best_grams(outlooks: Outlooks, series: IntensitySeries, now_s: float) -> float:
    [window] = outlooks.windows([choice_of(series)], now_s)
    return window.mean_g_per_kwh


def test_a_new_answer_is_looked_at_once_a_minute_and_not_at_every_poll() -> None:
    outlooks = Outlooks([HOUR_S])
    seen = [
        best_grams(outlooks, hourly([300, 200 - number]), NOON_S + number)  # another answer every five seconds
        for number in range(0, 125, 5)
    ]

    assert seen == [200.0] * 12 + [140.0] * 12 + [80.0]


def test_a_clock_set_back_does_not_keep_what_is_known() -> None:
    outlooks = Outlooks([HOUR_S])
    best_grams(outlooks, hourly([300, 200]), NOON_S + 100)

    assert best_grams(outlooks, hourly([300, 100]), NOON_S + 50) == 100


def test_another_provider_in_force_is_seen_at_once() -> None:
    outlooks = Outlooks([HOUR_S])
    best_grams(outlooks, hourly([300, 200]), NOON_S)

    assert best_grams(outlooks, hourly([300, 100], provider="other"), NOON_S + 5) == 100


def test_a_forecast_counts_for_three_days_or_for_as_long_as_long_work_needs() -> None:
    series = hourly([300.0] * 72 + [1.0] * 200)
    short, long = Outlooks([HOUR_S, 100 * HOUR_S]).windows([choice_of(series)], NOON_S)

    assert short.mean_g_per_kwh == 300
    assert long.starts_s - NOON_S == 72 * HOUR_S


def test_a_next_interval_that_is_known_beforehand_leaves_no_hole() -> None:
    """A file's next interval is among the present ones minutes before it begins."""
    series = hourly([300, 200, 100, 400])
    early = replace(series, points=[*series.points, series.forecast[0]], forecast=series.forecast[1:])
    late = replace(series, forecast=series.forecast[1:])
    now_s = NOON_S + HOUR_S - 60

    for one in (series, early):
        [window] = Outlooks([HOUR_S]).windows([choice_of(one)], now_s)
        assert (window.starts_s - NOON_S, window.mean_g_per_kwh) == (2 * HOUR_S, 100)
    [window] = Outlooks([HOUR_S]).windows([choice_of(late)], NOON_S + 1.5 * HOUR_S)
    assert (window.starts_s - NOON_S, window.mean_g_per_kwh) == (2 * HOUR_S, 100)


def test_many_zones_with_long_forecasts_take_turns() -> None:
    """Ten lengths of work and a value every five minutes: each call looks at two zones, until all are known."""
    points = [(NOON_S + n * 300, NOON_S + (n + 1) * 300, 100.0 + n % 97) for n in range(864)]
    choices = [
        choice_of(series_of(points[:1], forecast=points[1:], zone=f"Z{number}", fresh_for_s=DAY_S))
        for number in range(5)
    ]
    outlooks = Outlooks([HOUR_S * n for n in range(1, 11)])
    known = [len({w.grid_zone for w in outlooks.windows(choices, NOON_S + 5 * call)}) for call in range(4)]

    assert known == [2, 4, 5, 5]
