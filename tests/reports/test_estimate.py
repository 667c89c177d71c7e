from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.carbon.settings import CarbonSettings, CostSettings, EmbodiedSettings, ProviderSettings, TariffPeriod
from exporter.reports.estimate import Estimate, Estimator, Published, RunPlan
from exporter.reports.plausibility import implied_problem, intensity_problem
from exporter.reports.ranges import Range
from exporter.units import JOULES_PER_KILOWATT_HOUR, emissions_g

HOUR_S = 3600.0
KWH = JOULES_PER_KILOWATT_HOUR
watts = st.floats(1, 2000)
hours = st.floats(0.1, 1e7)
pues = st.floats(1, 3)
intensities = st.floats(1, 1300)


def estimate(
    plan: RunPlan,
    carbon: CarbonSettings | None = None,
    costs: CostSettings | None = None,
    embodied: EmbodiedSettings | None = None,
) -> Estimate:
    return Estimator(carbon or CarbonSettings(), costs or CostSettings(), embodied or EmbodiedSettings()).estimate(plan)


@given(power_w=watts, spent_h=hours, pue=pues, grams=intensities)
def test_energy_and_emissions_follow_the_formula_of_patterson(
    power_w: float, spent_h: float, pue: float, grams: float
) -> None:
    """Hours × processors × watts × PUE ÷ 1000 are kWh; these times g/kWh are grams. The agent's conversion agrees."""
    found = estimate(RunPlan(power_w=power_w, accelerator_s=spent_h * HOUR_S, pue_ratio=pue, intensity_g_per_kwh=grams))

    assert found.energy_j is not None
    assert found.emissions_g is not None
    assert math.isclose(spent_h * power_w * pue / 1000, found.energy_j.value / KWH)
    expected_g = emissions_g(spent_h * power_w * HOUR_S, pue_ratio=pue, intensity_g_per_kwh=grams)
    assert math.isclose(expected_g, found.emissions_g.value)


@given(power_w=watts, spent_h=hours, zone=st.sampled_from(["DE", "US", "CN", "NO", "aws:us-east-1", "SE-SE3"]))
def test_low_and_high_ends_enclose_the_value(power_w: float, spent_h: float, zone: str) -> None:
    found = estimate(RunPlan(power_w=power_w, accelerator_s=spent_h * HOUR_S, grid=zone, with_embodied=True))

    for amount in (found.it_energy_j, found.energy_j, found.emissions_g, found.embodied_g):
        assert amount is not None
        assert 0 < amount.low <= amount.value <= amount.high


def test_a_metered_energy_has_no_range_of_its_own() -> None:
    found = estimate(RunPlan(energy_j=5 * KWH, pue_ratio=1.2, intensity_g_per_kwh=100))

    assert found.power is None
    assert found.energy_j is not None
    assert found.energy_j.is_exact
    assert found.emissions_g == Range(600, 600, 600)


def test_a_tdp_is_a_scale_not_a_measurement() -> None:
    """Systems were measured between 0.54 and 1.5 times the TDP; the value is the TDP, as in model cards."""
    found = estimate(RunPlan(accelerator="H100", accelerator_s=HOUR_S))

    assert found.power is not None
    assert found.power.kind == "modelled"
    assert found.power.power_w == pytest.approx((378, 700, 1050))
    assert "modelled, not measured" in found.assumptions[0]


def test_the_measured_h100_node_lies_in_the_range_of_its_tdp() -> None:
    """Newkirk et al. (arXiv 2506.14551): 76 % of 10.2 kW for eight H100, training with the highest load."""
    found = estimate(RunPlan(accelerator="H100", accelerator_s=HOUR_S))

    assert found.power is not None
    assert found.power.power_w.low < 0.76 * 10_200 / 8 < found.power.power_w.high


def test_with_the_host_stated_a_board_draws_its_limit_at_most() -> None:
    found = estimate(RunPlan(accelerator="H100", host_power_w=250, accelerator_s=HOUR_S))

    assert found.power is not None
    assert found.power.power_w == pytest.approx((378 + 250, 950, 950))


def test_utilisation_lies_between_idle_and_the_limit() -> None:
    """BLOOM's A100 drew 50 W at idle; half of the time at 400 W makes 225 W."""
    found = estimate(RunPlan(accelerator="A100-80GB", utilization_ratio=0.5, accelerator_s=HOUR_S))

    assert found.power is not None
    assert found.power.power_w.value == pytest.approx(225)


def test_an_idle_figure_that_is_not_known_is_modelled() -> None:
    found = estimate(RunPlan(accelerator="H100", utilization_ratio=0.0, accelerator_s=HOUR_S))

    assert found.power is not None
    assert found.power.power_w.value == pytest.approx(0.115 * 700)


def test_the_host_is_added_to_a_power_of_boards() -> None:
    found = estimate(RunPlan(power_w=400, host_power_w=100, accelerator_s=HOUR_S))

    assert found.power is not None
    assert found.power.power_w == pytest.approx((450, 500, 550))


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (RunPlan(accelerator="H100"), "the time is not stated"),
        (RunPlan(accelerator_s=HOUR_S), "the power is not stated"),
        (RunPlan(accelerator="no such thing", accelerator_s=HOUR_S), "the power of 'no such thing' is not known"),
        (RunPlan(accelerator="GH200", accelerator_s=HOUR_S), "no power figure of NVIDIA GH200 480GB is known"),
        (RunPlan(energy_j=1, grid="GERMNY"), "no grid zone 'GERMNY' is known"),
        (RunPlan(energy_j=1, with_embodied=True), "embodied emissions need the time"),
    ],
)
def test_what_is_missing_is_said(plan: RunPlan, said: str) -> None:
    assert said in " ".join(estimate(plan).missing)


def test_without_a_grid_there_is_energy_and_no_emissions() -> None:
    found = estimate(RunPlan(energy_j=KWH))

    assert found.energy_j is not None
    assert found.emissions_g is None
    assert not found.missing
    assert any("no emissions without a grid" in note for note in found.assumptions)


def test_an_unknown_pue_counts_as_one_and_reaches_the_mean_of_the_industry() -> None:
    found = estimate(RunPlan(energy_j=KWH))

    assert found.pue_ratio == Range(1.0, 1.0, 1.54)


def test_the_pue_of_a_named_region_wins_over_the_configured_one() -> None:
    """A configured PUE is that of the own site; who names another region means that one's."""
    carbon = CarbonSettings(grid_zone="DE", pue_ratio=1.3)

    assert estimate(RunPlan(energy_j=KWH, grid="aws:us-east-1"), carbon).pue_ratio == Range(1.15, 1.15, 1.15)
    assert estimate(RunPlan(energy_j=KWH), carbon).pue_ratio == Range(1.3, 1.3, 1.3)
    assert estimate(RunPlan(energy_j=KWH, grid="aws:us-east-1", pue_ratio=1.01), carbon).pue_ratio == Range(
        1.01, 1.01, 1.01
    )


def test_the_configuration_gives_the_grid_that_a_plan_does_not_name() -> None:
    own = CarbonSettings(grid_zone="DE", intensity_g_per_kwh=321)

    found, elsewhere = estimate(RunPlan(energy_j=KWH), own).grid, estimate(RunPlan(energy_j=KWH, grid="FR"), own).grid

    assert found is not None
    assert elsewhere is not None
    assert (found.intensity_g_per_kwh.value, found.provider, found.grid_zone) == (321, "fixed", "DE")
    assert (elsewhere.provider, elsewhere.grid_zone) == ("grid_table", "FR")


def test_a_country_ranges_over_its_regions_and_a_region_does_not() -> None:
    country, region = (estimate(RunPlan(energy_j=KWH, grid=zone)).grid for zone in ("US", "US-VT"))

    assert country is not None
    assert region is not None
    assert country.intensity_g_per_kwh.low < country.intensity_g_per_kwh.value < country.intensity_g_per_kwh.high
    assert any("middle half of its regions" in note for note in country.assumptions)
    assert region.intensity_g_per_kwh.is_exact


def test_a_zone_without_a_row_says_what_stands_for_it() -> None:
    found = estimate(RunPlan(energy_j=KWH, grid="aws:us-east-1")).grid

    assert found is not None
    assert "stands for US-MIDA-PJM" in found.note


def test_market_based_grams_are_a_second_figure() -> None:
    found = estimate(RunPlan(energy_j=KWH, pue_ratio=1, intensity_g_per_kwh=400, market_g_per_kwh=0))

    assert found.emissions_g == Range(400, 400, 400)
    assert found.market_g == Range(0, 0, 0)


def test_a_configured_contract_counts_for_the_own_grid_only() -> None:
    contract = ProviderSettings(kind="fixed", signal="market", intensity_g_per_kwh=12)
    carbon = CarbonSettings(grid_zone="DE", providers=(contract,))

    assert estimate(RunPlan(energy_j=KWH, pue_ratio=1), carbon).market_g == Range(12, 12, 12)
    assert estimate(RunPlan(energy_j=KWH, pue_ratio=1, grid="FR"), carbon).market_g is None


def test_water_is_counted_on_it_energy_and_cost_on_facility_energy() -> None:
    """WUE is defined per kilowatt-hour of IT energy; multiplying it after the PUE overstates."""
    found = estimate(RunPlan(energy_j=10 * KWH, pue_ratio=1.5, wue_l_per_kwh=0.2, price_per_kwh=0.3))

    assert found.water_l == pytest.approx(Range(2, 2, 2))
    assert found.cost == pytest.approx(Range(4.5, 4.5, 4.5))
    assert found.currency == "EUR"


def test_a_tariff_is_said_not_to_count() -> None:
    costs = CostSettings(price_per_kwh=0.2, tariff=(TariffPeriod(start="22:00", price_per_kwh=0.1),))

    assert any("without its tariff" in note for note in estimate(RunPlan(energy_j=KWH), costs=costs).assumptions)


def test_embodied_emissions_are_near_the_published_ones_per_gpu_hour() -> None:
    """BLOOM: 11.2 t over 1.083 million A100-hours, 10.3 g each (6 years); others 7.8 to 37 g."""
    plan = RunPlan(accelerator="A100-80GB", accelerator_s=HOUR_S, with_embodied=True)

    found = estimate(plan, embodied=EmbodiedSettings(lifetime_years=6)).embodied_g

    assert found is not None
    assert found.low < 10.3 < found.high
    assert found.value == pytest.approx((150_000 + 2_500_000 / 8) / (6 * 365.25 * 24))


def test_configured_kilograms_have_no_range() -> None:
    settings = EmbodiedSettings(server_kg=800, accelerator_kg=100, lifetime_years=4)
    plan = RunPlan(accelerator="H100", accelerator_s=4 * 365.25 * 24 * HOUR_S, with_embodied=True)

    assert estimate(plan, embodied=settings).embodied_g == pytest.approx(Range(200_000, 200_000, 200_000))


def test_a_published_total_is_compared_with_published_energy_first() -> None:
    published = Published(energy_j=1000 * KWH, emissions_g=400_000)

    found = estimate(RunPlan(energy_j=5 * KWH, pue_ratio=1, published=published))

    assert found.implied_g_per_kwh == pytest.approx(400)


def test_a_published_total_without_any_energy_implies_nothing() -> None:
    assert estimate(RunPlan(published=Published(emissions_g=1e6))).implied_g_per_kwh is None


@pytest.mark.parametrize(
    ("implied", "is_problem"), [(2.6, True), (9.9, True), (11, False), (1500, False), (1501, True)]
)
def test_an_implied_intensity_must_be_one_that_a_grid_has(implied: float, is_problem: bool) -> None:
    assert bool(implied_problem(implied)) == is_problem


def test_a_grid_that_hardly_burns_anything_moves_the_bound() -> None:
    """Quebec counts 1.5 g/kWh, combustion only."""
    assert implied_problem(1.5, stated_g_per_kwh=1.5) == ""
    assert implied_problem(1.5, stated_g_per_kwh=30) != ""


def test_kilograms_in_place_of_grams_are_suspected() -> None:
    assert "is it in kg/kWh?" in intensity_problem(0.429)
    assert "is it in kg/kWh?" not in intensity_problem(0.0)
    assert intensity_problem(429) == ""


def test_every_yearly_mean_of_the_table_is_plausible() -> None:
    from exporter.carbon.grid_table import Entry, read_lines

    means = [line.intensity_g_per_kwh for line in read_lines() if isinstance(line, Entry)]

    assert len(means) > 300
    assert not [mean for mean in means if intensity_problem(mean)]
