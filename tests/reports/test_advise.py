from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.carbon.records import IntensityPoint, IntensitySeries, Signal
from exporter.reports.advise import Live, Need, Offer, Site, site_of, starts, yearly_offers
from exporter.reports.places import PlaceFigures, named_place, stated_intensity
from exporter.units import JOULES_PER_KILOWATT_HOUR

HOUR_S = 3600.0
NOW_S = 1_750_000_000.0 // HOUR_S * HOUR_S
KWH = JOULES_PER_KILOWATT_HOUR
NEED = Need(it_energy_j=100 * KWH, duration_s=2 * HOUR_S)
curves = st.lists(st.floats(0, 1000), min_size=3, max_size=30)


def place(name: str) -> PlaceFigures:
    found, problems = named_place(name)
    assert found is not None, problems
    return found


def site(name: str, *, own_pue_ratio: float = 1.2, is_own: bool = False) -> Site:
    return site_of(place(name), own_pue_ratio=own_pue_ratio, is_own=is_own)


OWN = site("DE", is_own=True)


def series(
    zone: str,
    hourly: Sequence[float],
    *,
    provider: str = "electricity_maps",
    basis: str = "lifecycle",
    signal: Signal = "average",
) -> IntensitySeries:
    """Return a present hour and the coming ones."""
    points = [IntensityPoint(NOW_S + n * HOUR_S, NOW_S + (n + 1) * HOUR_S, grams) for n, grams in enumerate(hourly)]
    return IntensitySeries(
        grid_zone=zone,
        signal=signal,
        provider=provider,
        basis=basis,
        points=points[:1],
        forecast=points[1:],
        fresh_until_s=NOW_S + HOUR_S,
        fetched_s=NOW_S,
    )


def best_of(offers: Sequence[Offer]) -> tuple[str, float, float | None]:
    first = offers[0]
    return first.site.name, round(first.intensity_g_per_kwh), first.starts_s


def test_places_are_ranked_by_grams_with_what_they_save() -> None:
    baseline, offers = yearly_offers(OWN, [site("PL"), site("FR"), site("SE")], NEED)

    assert baseline is not None
    assert [offer.site.name for offer in offers] == ["SE", "FR", "DE", "PL"]
    france = offers[1]
    assert france.emissions_g == pytest.approx(100 * 1.2 * 41.44)
    assert france.saving_g == pytest.approx(baseline.emissions_g - france.emissions_g)
    assert france.saving_ratio == pytest.approx(1 - france.emissions_g / baseline.emissions_g)
    assert offers[3].saving_g is not None
    assert offers[3].saving_g < 0


def test_the_published_pue_of_a_region_counts_there() -> None:
    """A clean grid with wasteful cooling is worth less; where none is published, the own PUE is taken and said."""
    _, offers = yearly_offers(OWN, [site("aws:ap-south-1"), site("aws:eu-west-3")], NEED)
    by_name = {offer.site.name: offer for offer in offers}

    assert by_name["aws:ap-south-1"].site.pue_ratio == 1.42
    assert by_name["aws:ap-south-1"].emissions_g == pytest.approx(
        100 * 1.42 * by_name["aws:ap-south-1"].intensity_g_per_kwh
    )
    assert by_name["aws:eu-west-3"].site.pue_ratio == 1.2
    assert "your PUE" in by_name["aws:eu-west-3"].remarks


def test_figures_that_count_something_else_are_marked_and_come_last() -> None:
    """Vermont's figure is combustion only, Germany's is over the whole life."""
    _, offers = yearly_offers(OWN, [site("US-VT"), site("PL")], NEED)

    assert [offer.site.name for offer in offers] == ["DE", "PL", "US-VT"]
    assert offers[-1].saving_g is None
    assert not offers[-1].is_comparable
    assert offers[-1].remarks[0].startswith("not comparable: generation-combustion-co2e, yours is generation-lifecycle")


def test_a_stated_intensity_is_not_compared_with_the_table() -> None:
    """The table's own figure of the zone stands in, and it is said."""
    given_grid = stated_intensity(250.0, "--intensity", grid_zone="DE")
    own = Site("DE", "DE", PlaceFigures(name="DE", grid_zone="DE", grid=given_grid), 1.0, is_own=True)

    baseline, offers = yearly_offers(own, [site("FR")], NEED)

    assert baseline is not None
    assert baseline.provider == "grid_table"
    assert "yours of 250 g/kWh may count something else" in baseline.remarks[0]
    assert offers[0].saving_g is not None


def test_a_bare_number_compares_with_nothing() -> None:
    own = Site(
        "here", "", PlaceFigures(name="here", grid_zone="", grid=stated_intensity(250, "--intensity")), 1.0, True
    )

    baseline, offers = yearly_offers(own, [site("FR")], NEED)

    assert baseline is None
    assert [offer.saving_g for offer in offers] == [None]


def test_the_best_start_is_when_the_mean_over_the_run_is_lowest() -> None:
    live = {"DE": Live(series("DE", [400, 300, 100, 120, 500, 90, 600]))}

    baseline, offers = starts(OWN, [], NEED, live, now_s=NOW_S)

    assert baseline is not None
    assert baseline.intensity_g_per_kwh == pytest.approx(350)
    assert best_of(offers) == ("DE", 110, NOW_S + 2 * HOUR_S)
    assert offers[0].saving_ratio == pytest.approx(1 - 110 / 350)


def test_another_place_now_and_later_are_both_offered() -> None:
    live = {"DE": Live(series("DE", [400] * 6)), "FR": Live(series("FR", [60, 60, 20, 20, 60, 60]))}

    _, offers = starts(OWN, [site("FR")], NEED, live, now_s=NOW_S)

    assert [(offer.site.name, offer.starts_s) for offer in offers] == [
        ("FR", NOW_S + 2 * HOUR_S),
        ("FR", None),
        ("DE", None),
    ]


def test_the_run_must_have_ended_by_its_deadline() -> None:
    live = {"DE": Live(series("DE", [400, 300, 200, 100, 50, 50]))}
    need = NEED._replace(deadline_s=NOW_S + 4 * HOUR_S)

    _, offers = starts(OWN, [], need, live, now_s=NOW_S)

    assert best_of(offers) == ("DE", 150, NOW_S + 2 * HOUR_S)


def test_a_forecast_that_is_too_short_says_nothing_of_a_better_start() -> None:
    live = {"DE": Live(series("DE", [400, 100]))}

    baseline, offers = starts(OWN, [], NEED._replace(duration_s=10 * HOUR_S), live, now_s=NOW_S)

    assert offers == [baseline]
    assert baseline is not None
    assert (baseline.kind, baseline.intensity_g_per_kwh) == ("present", 400)
    assert "the forecast does not reach so far" in baseline.remarks[0]


def test_a_place_without_an_answer_keeps_its_yearly_mean_with_the_reason() -> None:
    live = {"DE": Live(series("DE", [400] * 6)), "FR": Live(None, "electricity_maps failed (timeout)")}

    _, offers = starts(OWN, [site("FR")], NEED, live, now_s=NOW_S)
    france = next(offer for offer in offers if offer.site.name == "FR")

    assert (france.kind, france.saving_g) == ("yearly", None)
    assert france.remarks[:2] == (
        "not comparable: yearly figure beside a forecast one",
        "yearly mean: electricity_maps failed (timeout)",
    )


def test_without_an_answer_for_the_own_place_its_yearly_mean_is_now() -> None:
    live = {"DE": Live(None, "electricity_maps failed (auth)"), "FR": Live(series("FR", [50] * 6))}

    baseline, offers = starts(OWN, [site("FR")], NEED, live, now_s=NOW_S)

    assert baseline is not None
    assert (baseline.kind, baseline.remarks) == ("yearly", ("electricity_maps failed (auth)",))
    assert [offer.saving_g for offer in offers if offer.site.name == "FR"] == [None]


@pytest.mark.parametrize(("provider", "basis"), [("entsoe", "lifecycle"), ("electricity_maps", "direct")])
def test_forecasts_of_another_provider_or_basis_are_not_compared(provider: str, basis: str) -> None:
    live = {"DE": Live(series("DE", [400] * 6)), "FR": Live(series("FR", [50] * 6, provider=provider, basis=basis))}

    _, offers = starts(OWN, [site("FR")], NEED, live, now_s=NOW_S)

    assert [offer.is_comparable for offer in offers] == [True, False]


def test_the_marginal_signal_stands_beside_and_changes_no_rank() -> None:
    dirty_margin = series("FR", [900], provider="watttime", basis="combustion", signal="marginal")
    live = {"DE": Live(series("DE", [400] * 6)), "FR": Live(series("FR", [50] * 6), marginal=dirty_margin)}

    _, offers = starts(OWN, [site("FR")], NEED, live, now_s=NOW_S)

    assert (offers[0].site.name, offers[0].marginal_g_per_kwh) == ("FR", 900)


def test_a_provider_that_failed_before_another_answered_is_named() -> None:
    live = {"DE": Live(series("DE", [400] * 6), "electricity_maps failed (timeout)")}

    baseline, _ = starts(OWN, [], NEED, live, now_s=NOW_S)

    assert baseline is not None
    assert "electricity_maps failed (timeout)" in baseline.remarks


@given(own=curves, other=curves, hours=st.floats(0.1, 40), into=st.floats(0, HOUR_S - 1))
def test_no_offer_is_worse_than_starting_there_now(
    own: list[float], other: list[float], hours: float, into: float
) -> None:
    """Savings are the difference of grams, and a later start is only offered where it emits less."""
    live = {"DE": Live(series("DE", own)), "FR": Live(series("FR", other))}
    need = NEED._replace(duration_s=hours * HOUR_S)

    baseline, offers = starts(OWN, [site("FR")], need, live, now_s=NOW_S + into)

    assert baseline is not None
    now = {offer.site.name: offer.emissions_g for offer in offers if offer.starts_s is None}
    for offer in offers:
        assert offer.emissions_g <= now[offer.site.name]
        if offer.saving_g is not None:
            assert math.isclose(offer.saving_g, baseline.emissions_g - offer.emissions_g, abs_tol=1e-6)
        if offer.starts_s is not None:
            assert offer.starts_s + hours * HOUR_S <= NOW_S + max(len(own), len(other)) * HOUR_S + 1
