"""What the loop is told: the value in force, the PUE, and findings with their remedies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.carbon import CarbonSettings, CarbonSource, CarbonState, CostSettings
from exporter.carbon.records import IntensityProvider
from exporter.health import Finding
from exporter.testing.fake_clock import FakeClock
from exporter.units import JOULES_PER_KILOWATT_HOUR, emissions_g

NOVEMBER_2026_S = 1_795_000_000.0
finite = st.floats(min_value=0, max_value=1e12)


def state_of(settings: CarbonSettings) -> CarbonState:
    provider: IntensityProvider = CarbonSource(settings, CostSettings(), FakeClock(wall_s=NOVEMBER_2026_S))
    return provider.state()


def finding_of(state: CarbonState, source: str, item: str = "") -> Finding:
    [finding] = [finding for finding in state.findings if (finding.source, finding.item) == (source, item)]
    return finding


def test_without_a_zone_there_are_no_emissions_and_the_remedy_is_the_yaml() -> None:
    state = state_of(CarbonSettings())

    assert state.average is None
    [finding] = state.findings
    assert finding.state == "absent"
    assert "carbon:\n  grid_zone: DE" in finding.remedy


def test_a_zone_gives_its_yearly_mean_with_provenance() -> None:
    average = state_of(CarbonSettings(grid_zone="DE")).average

    assert average is not None
    assert (average.grid_zone, average.provider, average.signal) == ("DE", "grid_table", "average")
    assert average.is_estimated
    assert average.basis == "generation-lifecycle"
    assert average.observed_s == 1_735_689_600.0  # 2025-01-01T00:00:00Z
    assert "2025" in average.note
    assert "CC BY 4.0" in average.note


def test_a_zone_of_its_own_row_is_up() -> None:
    assert finding_of(state_of(CarbonSettings(grid_zone="DE")), "grid_table").state == "up"


def test_a_subregion_that_covers_the_zone_is_named() -> None:
    state = state_of(CarbonSettings(grid_zone="US-CAL-CISO"))

    assert state.average is not None
    assert state.average.grid_zone == "EGRID-CAMX"
    assert "covers US-CAL-CISO" in state.average.note
    assert finding_of(state, "grid_table").state == "up"


def test_a_country_in_place_of_its_zone_is_visible_in_finding_and_note() -> None:
    state = state_of(CarbonSettings(cloud_region="aws:us-east-1"))
    finding = finding_of(state, "grid_table")

    assert state.average is not None
    assert "stands for US-MIDA-PJM" in state.average.note
    assert finding.state == "degraded"
    assert "stands for US-MIDA-PJM" in finding.detail
    assert "carbon.intensity_g_per_kwh" in finding.remedy


def test_an_old_year_is_visible() -> None:
    finding = finding_of(state_of(CarbonSettings(grid_zone="CA-QC")), "grid_table")

    assert finding.state == "degraded"
    assert "7 years old" in finding.remedy


def test_a_fixed_value_outranks_the_table() -> None:
    state = state_of(CarbonSettings(grid_zone="DE", intensity_g_per_kwh=42.0))

    assert state.average is not None
    assert (state.average.intensity_g_per_kwh, state.average.provider) == (42.0, "fixed")
    assert (state.average.grid_zone, state.average.is_estimated) == ("DE", False)


def test_a_fixed_value_needs_no_zone() -> None:
    state = state_of(CarbonSettings(intensity_g_per_kwh=0.0))

    assert state.average is not None
    assert (state.average.grid_zone, state.average.intensity_g_per_kwh) == ("fixed", 0.0)


def test_a_mistake_leaves_emissions_absent_and_says_so() -> None:
    state = state_of(CarbonSettings(grid_zone="Germny", pue_ratio=0.5))

    assert (state.average, state.pue_ratio) == (None, 1.0)
    assert "did you mean DE" in finding_of(state, "carbon").detail


@pytest.mark.parametrize(
    ("settings", "ratio", "words"),
    [
        (CarbonSettings(grid_zone="DE"), 1.0, "1.0 assumed"),
        (CarbonSettings(grid_zone="DE", pue_ratio=1.3), 1.3, "from the configuration"),
        (CarbonSettings(cloud_region="aws:eu-central-1"), 1.35, "published for aws:eu-central-1 (2024)"),
        (CarbonSettings(cloud_region="aws:eu-central-1", pue_ratio=1.2), 1.2, "from the configuration"),
        (CarbonSettings(grid_zone="DE", cloud_region="aws:eu-central-1"), 1.35, "published"),
        (CarbonSettings(cloud_region="aws:eu-central-2"), 1.0, "1.0 assumed"),
    ],
)
def test_the_pue_in_force_says_where_it_comes_from(settings: CarbonSettings, ratio: float, words: str) -> None:
    state = state_of(settings)

    assert ratio == state.pue_ratio
    assert words in finding_of(state, "carbon", "pue_ratio").detail


@given(energy_j=finite, pue_ratio=st.floats(1, 10), grams=st.floats(0, 2000))
def test_emissions_are_energy_times_pue_times_intensity(energy_j: float, pue_ratio: float, grams: float) -> None:
    expected_g = energy_j * pue_ratio * grams / JOULES_PER_KILOWATT_HOUR

    assert emissions_g(energy_j, pue_ratio=pue_ratio, intensity_g_per_kwh=grams) == pytest.approx(expected_g)


@given(parts_j=st.lists(finite, max_size=20), grams=st.floats(0, 2000))
def test_emissions_of_the_parts_add_up_to_those_of_the_whole(parts_j: list[float], grams: float) -> None:
    parts_g = sum(emissions_g(part_j, pue_ratio=1.2, intensity_g_per_kwh=grams) for part_j in parts_j)

    assert parts_g == pytest.approx(emissions_g(sum(parts_j), pue_ratio=1.2, intensity_g_per_kwh=grams))
