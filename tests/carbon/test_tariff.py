"""Prices by time of use: local time, days on which clocks change, periods over midnight."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.carbon.settings import CostSettings, TariffPeriod
from exporter.carbon.tariff import price_per_kwh, tariff_problems

BERLIN = "Europe/Berlin"


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def costs(*periods: TariffPeriod, time_zone: str = BERLIN, base: float | None = 0.30) -> CostSettings:
    return CostSettings(price_per_kwh=base, time_zone=time_zone, tariff=periods)


def test_without_a_price_there_is_none() -> None:
    assert price_per_kwh(CostSettings(), 0) is None


def test_a_price_alone_holds_always() -> None:
    assert price_per_kwh(CostSettings(price_per_kwh=0.2), at("2026-11-23T12:00:00Z")) == 0.2


def test_outside_of_a_tariff_without_a_base_price_there_is_none() -> None:
    night = costs(TariffPeriod(start="00:00", end="06:00", price_per_kwh=0.1), base=None)

    assert price_per_kwh(night, at("2026-11-23T05:59:59+01:00")) == 0.1
    assert price_per_kwh(night, at("2026-11-23T06:00:00+01:00")) is None


def test_the_first_period_that_fits_counts() -> None:
    both = costs(
        TariffPeriod(start="17:00", end="20:00", price_per_kwh=0.5),
        TariffPeriod(start="08:00", end="20:00", price_per_kwh=0.4),
    )

    assert price_per_kwh(both, at("2026-11-23T16:59:59+01:00")) == 0.4
    assert price_per_kwh(both, at("2026-11-23T17:00:00+01:00")) == 0.5
    assert price_per_kwh(both, at("2026-11-23T20:00:00+01:00")) == 0.3


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-11-23T21:59:59+01:00", 0.3),  # Monday
        ("2026-11-23T22:00:00+01:00", 0.1),
        ("2026-11-24T05:59:59+01:00", 0.1),  # begun on Monday
        ("2026-11-24T06:00:00+01:00", 0.3),
        ("2026-11-24T22:00:00+01:00", 0.3),  # Tuesday: does not begin
        ("2026-11-23T03:00:00+01:00", 0.3),  # would have begun on Sunday
    ],
)
def test_a_period_over_midnight_belongs_to_the_day_on_which_it_begins(moment: str, expected: float) -> None:
    night = costs(TariffPeriod(start="22:00", end="06:00", days=("mon",), price_per_kwh=0.1))

    assert price_per_kwh(night, at(moment)) == expected


def test_a_period_may_end_at_midnight() -> None:
    late = costs(TariffPeriod(start="22:00", end="24:00", price_per_kwh=0.1))

    assert price_per_kwh(late, at("2026-11-23T23:59:59+01:00")) == 0.1
    assert price_per_kwh(late, at("2026-11-24T00:00:00+01:00")) == 0.3


def hours_at(settings: CostSettings, day: str, price: float) -> float:
    """Return how many hours of the local day cost ``price``, by looking every five minutes."""
    start_s = at(day)
    moments = (start_s + 300 * n for n in range(26 * 12))
    zone_day = day[:10]
    hits = [s for s in moments if _local_day(s) == zone_day and price_per_kwh(settings, s) == price]
    return len(hits) / 12


def _local_day(wall_s: float) -> str:
    from zoneinfo import ZoneInfo

    return datetime.fromtimestamp(wall_s, UTC).astimezone(ZoneInfo(BERLIN)).strftime("%Y-%m-%d")


@pytest.mark.parametrize(
    ("day", "small_hours", "whole"),
    [
        ("2026-03-29T00:00:00+01:00", 0, 23),  # clocks go from 02:00 to 03:00
        ("2026-10-25T00:00:00+02:00", 2, 25),  # the hour from 02:00 comes twice
        ("2026-11-23T00:00:00+01:00", 1, 24),
    ],
)
def test_days_on_which_clocks_change_are_as_long_as_they_are(day: str, small_hours: float, whole: float) -> None:
    small = costs(TariffPeriod(start="02:00", end="03:00", price_per_kwh=0.1))
    always = costs(TariffPeriod(start="00:00", end="24:00", price_per_kwh=0.2))

    assert hours_at(small, day, 0.1) == small_hours
    assert hours_at(always, day, 0.2) == whole


@given(wall_s=st.floats(0, 4e9), start=st.integers(0, 1439), end=st.integers(0, 1439))
def test_a_period_and_its_complement_cover_every_moment_once(wall_s: float, start: int, end: int) -> None:
    texts = [f"{minute // 60:02}:{minute % 60:02}" for minute in (start, end)]
    one = costs(TariffPeriod(start=texts[0], end=texts[1], price_per_kwh=1.0))
    other = costs(TariffPeriod(start=texts[1], end=texts[0], price_per_kwh=1.0))

    if start != end:
        assert {price_per_kwh(one, wall_s), price_per_kwh(other, wall_s)} == {1.0, 0.3}


@pytest.mark.parametrize(
    ("settings", "key", "words"),
    [
        (costs(TariffPeriod(start="8:00")), "tariff[0].start", "HH:MM, found '8:00'"),
        (costs(TariffPeriod(end="24:01")), "tariff[0].end", "24:01"),
        (costs(TariffPeriod(start="25:00")), "tariff[0].start", "25:00"),
        (costs(TariffPeriod(start="06:00", end="06:00")), "tariff[0].end", "a whole day is 00:00 to 24:00"),
        (costs(TariffPeriod(price_per_kwh=math.nan)), "tariff[0].price_per_kwh", "nan"),
        (costs(time_zone="Europe/Berlim"), "time_zone", "did you mean Europe/Berlin"),
        (costs(time_zone="../../etc/passwd"), "time_zone", "no time zone"),
        (costs(time_zone=""), "time_zone", "no time zone ''"),
        (CostSettings(currency="euro"), "currency", "such as EUR, found 'euro'"),
        (CostSettings(price_per_kwh=math.inf), "price_per_kwh", "inf"),
    ],
)
def test_a_mistake_names_key_value_and_remedy(settings: CostSettings, key: str, words: str) -> None:
    [problem] = tariff_problems(settings)

    assert problem.startswith(f"{key}: ")
    assert words in problem


def test_defaults_are_no_mistake_and_all_mistakes_come_at_once() -> None:
    assert tariff_problems(CostSettings()) == []
    assert tariff_problems(costs(TariffPeriod(start="22:00", end="06:00", days=("sat",)))) == []
    assert len(tariff_problems(CostSettings(currency="", time_zone="x", tariff=[TariffPeriod(start="")]))) == 3


@given(zone=st.text(max_size=12), start=st.text(max_size=6), wall_s=st.floats(0, 4e9))
def test_no_text_breaks_the_check_or_the_price(zone: str, start: str, wall_s: float) -> None:
    settings = CostSettings(price_per_kwh=1.0, time_zone=zone, tariff=[TariffPeriod(start=start)])

    assert isinstance(tariff_problems(settings), list)
    assert price_per_kwh(settings, wall_s) in (None, 0.0, 1.0)
