"""How long what a file says is taken for true: as long as the file says it, however it is revised."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from exporter.carbon.records import IntensitySeries
from tests.carbon.clients import HOUR_S, NOON_S, ScriptedClient, failure, series_of
from tests.carbon.test_live_poller import noon, poller_of


def stated(points: list[tuple[float, float, float]], *, fresh_until_s: float) -> IntensitySeries:
    """Return what a file says."""
    return replace(series_of(points, provider="file"), basis="as-configured", fresh_until_s=fresh_until_s)


@pytest.mark.parametrize(
    "first",
    [
        stated([(NOON_S + 300, math.inf, 312.0)], fresh_until_s=math.inf),
        stated([(NOON_S, NOON_S + 99 * HOUR_S, 312.0)], fresh_until_s=NOON_S + 99 * HOUR_S),
        stated([(NOON_S, NOON_S + 500, 1.0), (NOON_S + 500, math.inf, 312.0)], fresh_until_s=math.inf),
    ],
    ids=["a number", "a longer interval", "a next interval"],
)
def test_a_revision_within_an_interval_says_until_when_it_is_fresh_whatever_was_said_before(
    first: IntensitySeries,
) -> None:
    clock, client = noon(), ScriptedClient(first, provider="file")
    clock.advance(400)
    poller = poller_of(client, clock)
    poller.poll()
    ends = []
    for minutes in (60, 45, 30):  # revised again and again
        clock.advance(200)
        end_s = NOON_S + minutes * 60
        client.answer = stated([(NOON_S, end_s, 290.0)], fresh_until_s=end_s)
        poller.poll()
        assert poller.series is not None
        ends.append((poller.series.fresh_until_s - NOON_S) / 60)
    clock.advance(HOUR_S)
    poller.poll()

    assert ends == [60, 45, 30]
    assert poller.finding().state == "down"


def test_an_interval_that_a_file_says_no_more_is_no_longer_fresh() -> None:
    """What was in force for five minutes is taken out of the file: what is left ended before it began."""
    hour = (NOON_S - HOUR_S, NOON_S, 290.0)
    client = ScriptedClient(stated([hour, (NOON_S, math.inf, 312.0)], fresh_until_s=math.inf), provider="file")
    clock = noon()
    clock.advance(60)
    poller = poller_of(client, clock)
    poller.poll()
    client.answer = stated([hour], fresh_until_s=NOON_S)
    clock.advance(240)
    poller.poll()

    assert poller.series is not None
    assert (poller.series.fresh_until_s, poller.finding().state) == (NOON_S, "down")
    assert poller.series.points[-1][:3] == (NOON_S, NOON_S + 300, 312.0)  # it was true while it stood there


@pytest.mark.parametrize(("reason", "state"), [("io", "down"), ("not_found", "down"), ("format", "degraded")])
def test_what_a_file_says_no_more_is_no_longer_fresh(reason: str, state: str) -> None:
    clock = noon()
    client = ScriptedClient(stated([(NOON_S, math.inf, 312.0)], fresh_until_s=math.inf), provider="file")
    poller = poller_of(client, clock)
    poller.poll()
    up = poller.finding()
    client.answer = failure(reason)
    clock.advance(5)
    poller.poll()
    gone = poller.finding()
    clock.advance(5)
    poller.poll()

    assert (up.state, gone.state) == ("up", state)
    assert up.detail.endswith("fresh for good")
    assert poller.series is not None
    assert poller.series.fresh_until_s == (math.inf if reason == "format" else NOON_S + 5)


def test_what_was_fresh_for_good_is_so_no_longer_than_until_the_next_question() -> None:
    clock = noon()
    poller = poller_of(ScriptedClient(failure("io")), clock)
    clock.advance(600)

    poller.restore(stated([(NOON_S, math.inf, 312.0)], fresh_until_s=math.inf))

    assert poller.series is not None
    assert poller.series.fresh_until_s == NOON_S + 900
