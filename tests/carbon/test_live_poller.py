"""When a provider is asked, what is believed of its answers, and what is kept of them."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.carbon.live import Poller
from exporter.carbon.live.poller import merged
from exporter.carbon.records import IntensityPoint, ZoneQuery
from exporter.errors import ProviderError
from exporter.testing.fake_clock import FakeClock
from tests.carbon.clients import HOUR_S, NOON_S, ScriptedClient, failure, series_of

HOURLY = [(NOON_S, NOON_S + HOUR_S, 300.0)]


class NoJitter:
    def uniform(self, a: float, b: float, /) -> float:
        return a


class MostJitter:
    def uniform(self, a: float, b: float, /) -> float:
        return b


def poller_of(client: ScriptedClient, clock: FakeClock, *, interval_s: float = 900.0, estimates: bool = True) -> Poller:
    return Poller(
        client, ZoneQuery("DE"), clock, interval_s=interval_s, jitter=NoJitter(), bounds=(10, 1500), estimates=estimates
    )


def wait_s(poller: Poller, clock: FakeClock) -> float:
    return poller.due_s - clock.monotonic_s()


def noon() -> FakeClock:
    return FakeClock(wall_s=NOON_S)


# When


def test_the_first_question_is_due_at_once_or_spread() -> None:
    client, clock = ScriptedClient(series_of(HOURLY)), noon()
    spread = Poller(client, ZoneQuery("DE"), clock, interval_s=900, jitter=MostJitter(), first_spread_s=30)

    assert poller_of(client, clock).due_s == -math.inf
    assert wait_s(spread, clock) == 30


@pytest.mark.parametrize(
    ("minutes_past", "interval_s", "expected_s"),
    [
        (50, 3600, 660),  # ten minutes to the end of the hour, and a minute for the provider
        (10, 900, 900),  # never later than the interval
        (59, 900, 300),  # never sooner than five minutes
        (90, 900, 300),  # the provider is late: ask, but not all the time
        (59, 120, 120),  # an interval shorter than five minutes is meant
    ],
)
def test_the_next_question_follows_the_end_of_the_newest_interval(
    minutes_past: float, interval_s: float, expected_s: float
) -> None:
    clock = noon()
    clock.advance(minutes_past * 60)
    poller = poller_of(ScriptedClient(series_of(HOURLY)), clock, interval_s=interval_s)

    poller.poll()

    assert wait_s(poller, clock) == expected_s


@given(seed=st.integers(), past_s=st.floats(0, 7100), interval_s=st.floats(30, 7200))
def test_no_jitter_leaves_the_limits(seed: int, past_s: float, interval_s: float) -> None:
    clock = noon()
    clock.advance(past_s)
    client = ScriptedClient(series_of(HOURLY))
    jitter = random.Random(seed)  # noqa: S311 - spreads questions, hides nothing
    poller = Poller(client, ZoneQuery("DE"), clock, interval_s=interval_s, jitter=jitter)

    poller.poll()

    assert min(300, interval_s) - 1e-6 <= wait_s(poller, clock) <= interval_s + 1e-6


def test_failures_back_off_to_an_hour_and_a_success_ends_that() -> None:
    clock, client = noon(), ScriptedClient(failure("server"))
    poller = Poller(client, ZoneQuery("DE"), clock, interval_s=900, jitter=MostJitter())
    waits = []
    for _ in range(9):
        poller.poll()
        waits.append(wait_s(poller, clock))
    client.answer = series_of(HOURLY)
    poller.poll()
    client.answer = failure("io")
    poller.poll()

    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    assert wait_s(poller, clock) == 60


def test_full_jitter_never_asks_sooner_than_after_half_a_minute() -> None:
    clock = noon()
    poller = poller_of(ScriptedClient(failure("server")), clock)
    poller.poll()

    assert wait_s(poller, clock) == 30


@pytest.mark.parametrize(("said_s", "expected_s"), [(5, 30), (7200, 7200), (1e9, 86_400)])
def test_a_retry_after_is_obeyed_for_at_most_a_day(said_s: float, expected_s: float) -> None:
    clock = noon()
    poller = poller_of(ScriptedClient(failure("rate_limited", retry_after_s=said_s)), clock)
    poller.poll()

    assert wait_s(poller, clock) == expected_s


def test_a_refused_key_is_tried_again_after_an_hour_or_when_its_file_changes() -> None:
    clock, client = noon(), ScriptedClient(failure("auth"))
    poller = poller_of(client, clock)
    poller.poll()

    assert wait_s(poller, clock) == 3600
    client.has_new_key = True
    assert poller.due_s == -math.inf


def test_a_new_key_does_not_hurry_a_provider_that_fails_otherwise() -> None:
    clock, client = noon(), ScriptedClient(failure("rate_limited"), has_new_key=True)
    poller = poller_of(client, clock)
    poller.poll()

    assert wait_s(poller, clock) == 30


# What is believed


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (series_of(HOURLY, zone="FR"), "wrong_zone"),
        (series_of(HOURLY, signal="marginal"), "format"),
        (series_of([(NOON_S, NOON_S + HOUR_S, 9.0)]), "implausible"),
        (series_of([(NOON_S, NOON_S + HOUR_S, 1501.0)]), "implausible"),
        (series_of([(NOON_S, NOON_S + HOUR_S, math.nan)]), "implausible"),
        (series_of([(NOON_S, NOON_S + HOUR_S, math.inf)]), "implausible"),
        (series_of(HOURLY, forecast=[(NOON_S, NOON_S + 60, 1e9)]), "implausible"),
        (series_of([(NOON_S + 301, NOON_S + HOUR_S, 300.0)]), "future"),
        (series_of([(NOON_S - 3 * HOUR_S, NOON_S - 2 * HOUR_S, 300.0)]), "stale"),
        (series_of([(NOON_S, NOON_S, 300.0)]), "format"),
        (series_of([(NOON_S - 60, NOON_S + 60, 300.0), (NOON_S, NOON_S + 90, 300.0)]), "format"),
        (series_of([(NOON_S, NOON_S + 60, 300.0), (NOON_S - 60, NOON_S, 300.0)]), "format"),
        (series_of([(math.nan, NOON_S, 300.0)]), "format"),
        (replace(series_of(HOURLY), fresh_until_s=math.nan), "format"),
        (replace(series_of(HOURLY), points=()), "not_found"),
        (ValueError("a defect that quotes the s3cret"), "format"),
        *[(failure(reason), reason) for reason in ProviderError.REASONS],
    ],
)
def test_an_answer_that_cannot_be_believed_is_counted_by_its_reason(answer: object, reason: str) -> None:
    client = ScriptedClient(answer)  # type: ignore[arg-type]  # a series or an error
    poller = poller_of(client, noon())

    poller.poll()

    [event] = poller.take_events()
    assert (event.source, event.kind, event.reason, event.amount) == ("upstream", "error", reason, 1)
    assert poller.take_events() == []
    finding = poller.finding()
    assert (finding.state, finding.source) == ("down", "upstream")
    assert finding.detail.startswith(reason)
    assert finding.remedy
    assert "s3cret" not in finding.detail


@pytest.mark.parametrize("from_s", [NOON_S - HOUR_S, NOON_S, NOON_S + 299])
def test_clocks_may_differ_by_five_minutes(from_s: float) -> None:
    poller = poller_of(ScriptedClient(series_of([(from_s, from_s + HOUR_S, 300.0)])), noon())
    poller.poll()

    assert poller.finding().state == "up"


def test_a_stale_answer_is_an_error_whose_value_is_known_all_the_same() -> None:
    poller = poller_of(ScriptedClient(series_of([(NOON_S - 3 * HOUR_S, NOON_S - 2 * HOUR_S, 250.0)])), noon())
    poller.poll()

    assert poller.series is not None
    assert poller.series.points[0].intensity_g_per_kwh == 250


def test_without_estimates_the_newest_measured_value_is_left_and_no_longer_fresh_than_it_was() -> None:
    measured = series_of([(NOON_S - HOUR_S, NOON_S, 280.0), *HOURLY])
    mixed = replace(measured, points=(measured.points[0], measured.points[1]._replace(is_estimated=True)))
    poller = poller_of(ScriptedClient(mixed), noon(), estimates=False)
    poller.poll()

    assert poller.series is not None
    assert [point.intensity_g_per_kwh for point in poller.series.points] == [280]
    assert poller.series.fresh_until_s == NOON_S + HOUR_S


def test_nothing_but_estimates_is_nothing_where_estimates_are_off() -> None:
    poller = poller_of(ScriptedClient(series_of(HOURLY, is_estimated=True)), noon(), estimates=False)
    poller.poll()

    assert poller.series is None
    assert "estimates are switched off" in poller.finding().detail


# What is kept


def test_a_revised_value_rewrites_nothing_that_has_passed() -> None:
    clock, client = noon(), ScriptedClient(series_of(HOURLY))
    poller = poller_of(client, clock)
    poller.poll()
    clock.advance(1200)
    client.answer = series_of([(NOON_S - HOUR_S, NOON_S, 111.0), (NOON_S, NOON_S + HOUR_S, 200.0)])
    poller.poll()

    assert poller.series is not None
    assert [point[:3] for point in poller.series.points] == [
        (NOON_S - HOUR_S, NOON_S, 111.0),  # nothing was known of that hour
        (NOON_S, NOON_S + 1200, 300.0),
        (NOON_S + 1200, NOON_S + HOUR_S, 200.0),
    ]


def test_the_same_value_again_keeps_its_interval_whole() -> None:
    clock, client = noon(), ScriptedClient(series_of(HOURLY))
    poller = poller_of(client, clock)
    for _ in range(3):
        poller.poll()
        clock.advance(700)

    assert poller.series is not None
    assert [point[:3] for point in poller.series.points] == HOURLY


def test_a_value_without_end_ends_where_the_next_begins() -> None:
    clock, client = noon(), ScriptedClient(series_of([(NOON_S, math.inf, 300.0)]))
    poller = poller_of(client, clock)
    poller.poll()
    clock.advance(103)
    client.answer = series_of([(NOON_S + 100, math.inf, 200.0)])
    poller.poll()

    assert poller.series is not None
    assert [point[:3] for point in poller.series.points] == [
        (NOON_S, NOON_S + 100, 300.0),
        (NOON_S + 100, math.inf, 200.0),
    ]


def test_the_forecast_is_always_the_newest() -> None:
    clock, client = noon(), ScriptedClient(series_of(HOURLY, forecast=[(NOON_S + HOUR_S, NOON_S + 2 * HOUR_S, 100.0)]))
    poller = poller_of(client, clock)
    poller.poll()
    client.answer = series_of(HOURLY, forecast=[(NOON_S + HOUR_S, NOON_S + 2 * HOUR_S, 400.0)])
    poller.poll()

    assert poller.series is not None
    assert [point.intensity_g_per_kwh for point in poller.series.forecast] == [400]


def test_an_answer_older_than_what_is_known_makes_it_no_less_fresh() -> None:
    """One of a provider's servers lags an hour behind."""
    clock, client = noon(), ScriptedClient(series_of(HOURLY))
    clock.advance(60)
    poller = poller_of(client, clock)
    poller.poll()
    client.answer = series_of([(NOON_S - HOUR_S, NOON_S, 280.0)])
    clock.advance(60)
    poller.poll()

    assert poller.series is not None
    assert poller.series.fresh_until_s == NOON_S + 2 * HOUR_S


def test_a_provider_that_fails_leaves_what_it_said_as_fresh_as_it_was() -> None:
    client = ScriptedClient(series_of(HOURLY))
    poller = poller_of(client, noon())
    poller.poll()
    client.answer = failure("io")
    poller.poll()

    assert poller.series is not None
    assert poller.series.fresh_until_s == NOON_S + 2 * HOUR_S


def test_a_failure_keeps_what_is_known_and_says_both() -> None:
    clock, client = noon(), ScriptedClient(series_of(HOURLY))
    poller = poller_of(client, clock)
    poller.poll()
    client.answer = failure("timeout")
    poller.poll()
    degraded = poller.finding()
    clock.advance(2 * HOUR_S)

    assert (degraded.state, degraded.last_success_s) == ("degraded", NOON_S)
    assert "timeout: it went wrong; last 300 g/kWh for DE from 2026-11-23 12:00 UTC" in degraded.detail
    assert poller.finding().state == "down"


@st.composite
def answers(draw: st.DrawFn) -> list[IntensityPoint]:
    edges = sorted(draw(st.sets(st.integers(0, 60), min_size=2, max_size=9)))
    values = draw(st.lists(st.sampled_from([100.0, 200.0, 300.0]), min_size=len(edges), max_size=len(edges)))
    return [IntensityPoint(a * 60.0, b * 60.0, v) for a, b, v in zip(edges, edges[1:], values, strict=False)]


@given(polls=st.lists(st.tuples(st.integers(1, 20), answers()), min_size=2, max_size=8))
def test_what_was_true_at_a_moment_stays_true_for_good(polls: list[tuple[int, list[IntensityPoint]]]) -> None:
    """At every second that passed while it was covered, later answers change nothing; the order stays sound."""
    known = None
    now_s = 0.0
    seen: dict[float, float] = {}
    for minutes, points in polls:
        now_s += minutes * 60
        answer = replace(series_of([(0, 1, 1.0)]), points=tuple(points), fresh_until_s=1e9)
        known = merged(known, answer, now_s=now_s) if known else answer
        for before, after in zip(known.points, known.points[1:], strict=False):
            assert before.until_s <= after.from_s
        value = {m: p.intensity_g_per_kwh for p in known.points for m in range(61) if p.from_s <= m * 60 < p.until_s}
        for minute, grams in seen.items():
            assert value[int(minute)] == grams
        seen |= {m: grams for m, grams in value.items() if m * 60 + 60 <= now_s}


# After a restart


def test_what_was_known_is_taken_over_and_nobody_is_asked_too_soon() -> None:
    clock = noon()
    clock.advance(600)
    poller = poller_of(ScriptedClient(failure("io")), clock)

    poller.restore(series_of(HOURLY))

    assert poller.series is not None
    assert poller.finding().state == "up"
    assert wait_s(poller, clock) == 300  # 900 s after the last answer


@pytest.mark.parametrize(
    "series",
    [
        series_of(HOURLY, zone="FR"),
        series_of(HOURLY, signal="market"),
        series_of([(NOON_S, NOON_S + HOUR_S, 5000.0)]),
        series_of([(NOON_S + HOUR_S, NOON_S + 2 * HOUR_S, 300.0)]),
    ],
    ids=["zone", "signal", "implausible", "future"],
)
def test_what_cannot_be_believed_is_not_taken_over(series: object) -> None:
    poller = poller_of(ScriptedClient(failure("io")), noon())

    poller.restore(series)  # type: ignore[arg-type]  # a series, chosen by parameter

    assert (poller.series, poller.due_s) == (None, -math.inf)
