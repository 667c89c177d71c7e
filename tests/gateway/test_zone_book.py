from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.carbon.gateway_settings import GatewaySettings
from exporter.carbon.settings import CarbonSettings, ProviderSettings
from exporter.gateway.records import Demand
from exporter.gateway.zone_book import FORGET_UNANSWERED_S, ZoneBook, normal_zone
from exporter.testing.fake_clock import FakeClock

ELECTRICITY_MAPS = ProviderSettings(kind="electricity_maps")
MARGINAL = ProviderSettings(kind="watttime", signal="marginal")


def book(*providers: ProviderSettings, clock: FakeClock | None = None, **gateway: object) -> ZoneBook:
    carbon = CarbonSettings(providers=providers or (ELECTRICITY_MAPS,))
    return ZoneBook(GatewaySettings(**gateway), carbon, clock or FakeClock())  # type: ignore[arg-type]  # a test's words


@pytest.mark.parametrize(("given_as", "expected"), [("de", "DE"), (" us-cal-ciso ", "US-CAL-CISO"), ("germany", "DE")])
def test_a_zone_has_one_name(given_as: str, expected: str) -> None:
    assert expected == normal_zone(given_as)


def test_configured_zones_are_fetched_with_every_signal() -> None:
    zones = book(ELECTRICITY_MAPS, MARGINAL, zones=("de", "FR"))

    assert zones.demands() == [
        Demand("DE", "average"),
        Demand("DE", "marginal"),
        Demand("FR", "average"),
        Demand("FR", "marginal"),
    ]


def test_a_learned_zone_is_fetched_with_the_signals_that_were_asked_for() -> None:
    zones = book(ELECTRICITY_MAPS, MARGINAL)
    zones.ask("FR", "average")

    assert zones.demands() == [Demand("FR", "average")]


@pytest.mark.parametrize(
    ("zone", "signal", "gateway", "expected"),
    [
        ("FR", "average", {"learn_zones": False}, "add it to gateway.zones"),
        ("XX", "average", {}, "no grid zone XX is known"),
        ("GERMANYY", "average", {}, "did you mean DE"),
        ("FR", "average", {"zones": ("DE",), "max_zones": 1}, "all 1 places of gateway.max_zones are taken"),
        ("FR", "market", {}, "has the signal market"),
        ("US-CAL-CISO-" + "A" * 30, "average", {}, "no grid zone"),
    ],
)
def test_a_refusal_says_why(zone: str, signal: str, gateway: dict[str, object], expected: str) -> None:
    zones = book(**gateway)  # type: ignore[arg-type]  # a test's words

    assert expected in zones.ask(zone, signal)  # type: ignore[arg-type]  # one of the signals
    assert zone not in zones


def test_a_zone_that_no_provider_covers_is_refused() -> None:
    """Great Britain's API has no French values: asking it for them for ever would help nobody."""
    zones = book(ProviderSettings(kind="gb_carbon_intensity"))

    assert "cover zone FR" in zones.ask("FR", "average")
    assert zones.ask("GB", "average") == ""


def test_a_zone_that_nobody_asks_for_is_forgotten_and_one_that_is_asked_for_is_not() -> None:
    clock = FakeClock()
    zones = book(clock=clock, zones=("DE",), forget_zone_s=1000.0)
    zones.ask("FR", "average")
    zones.ask("PL", "average")
    clock.advance(600)
    zones.ask("FR", "average")
    clock.advance(600)

    assert zones.forget(["FR", "PL"]) == ["PL"]
    assert zones.zones() == {"DE": False, "FR": True}


def test_a_learned_zone_without_a_value_makes_room_after_an_hour_however_often_it_is_asked_for() -> None:
    clock = FakeClock()
    zones = book(clock=clock)
    zones.ask("US-VA", "average")
    clock.advance(FORGET_UNANSWERED_S - 1)
    zones.ask("US-VA", "average")
    before = zones.forget([])
    clock.advance(1)

    assert (before, zones.forget([])) == ([], ["US-VA"])


def test_new_bounds_drop_learned_zones_beyond_them() -> None:
    zones = book(max_zones=5)
    for zone in ("FR", "PL", "ES"):
        zones.ask(zone, "average")
    zones.reconfigure(GatewaySettings(zones=("DE",), max_zones=2), CarbonSettings(providers=(ELECTRICITY_MAPS,)))

    assert zones.zones() == {"DE": False, "FR": True}


@given(names=st.lists(st.text(max_size=80) | st.from_regex(r"[A-Z]{2}(-[A-Z0-9]{1,9})?", fullmatch=True), max_size=60))
def test_whatever_is_asked_for_the_book_stays_within_its_bound(names: list[str]) -> None:
    zones = book(max_zones=5, zones=("DE",))
    for name in names:
        zones.ask(normal_zone(name), "average")

    assert len(zones.demands()) <= 5
