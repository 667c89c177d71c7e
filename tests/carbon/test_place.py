"""Every way to say where a node stands, and every mistake in saying so."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.carbon import CarbonSettings, validate
from exporter.carbon.place import place_of


@pytest.mark.parametrize(
    ("settings", "zone", "region"),
    [
        (CarbonSettings(), "", None),
        (CarbonSettings(grid_zone="DE"), "DE", None),
        (CarbonSettings(cloud_provider="gcp", cloud_region="europe-west1"), "BE", "europe-west1"),
        (CarbonSettings(cloud_region="gcp:europe-west1"), "BE", "europe-west1"),
        (CarbonSettings(grid_zone="aws:us-east-1"), "US-MIDA-PJM", "us-east-1"),
        (CarbonSettings(grid_zone="US-VA", cloud_region="aws:us-east-1"), "US-VA", "us-east-1"),
    ],
)
def test_settings_lead_to_a_zone_and_a_region(settings: CarbonSettings, zone: str, region: str | None) -> None:
    place = place_of(settings)

    assert (zone, region) == (place.grid_zone, place.region.region if place.region else None)
    assert validate(settings) == []


@pytest.mark.parametrize(
    ("settings", "key", "hint"),
    [
        (CarbonSettings(grid_zone="Germny"), "grid_zone", "did you mean DE"),
        (CarbonSettings(grid_zone="WORLD"), "grid_zone", "no grid zone 'WORLD'"),
        (CarbonSettings(grid_zone="D\x00E"), "grid_zone", "printable"),
        (CarbonSettings(grid_zone="D" * 65, intensity_g_per_kwh=1.0), "grid_zone", "at most 64"),
        (CarbonSettings(grid_zone="aws:us-east1"), "cloud_region", "aws:us-east-1"),
        (CarbonSettings(cloud_provider="gcp", cloud_region="europe-west99"), "cloud_region", "gcp:europe-west9"),
        (CarbonSettings(cloud_provider="gcp"), "cloud_region", "add the region"),
        (CarbonSettings(cloud_region="europe-west1"), "cloud_provider", "found none"),
        (CarbonSettings(pue_ratio=0.9), "pue_ratio", "1 to 10"),
        (CarbonSettings(pue_ratio=math.nan), "pue_ratio", "nan"),
        (CarbonSettings(intensity_g_per_kwh=-1.0), "intensity_g_per_kwh", "-1"),
        (CarbonSettings(intensity_g_per_kwh=math.inf), "intensity_g_per_kwh", "inf"),
    ],
)
def test_a_mistake_names_its_setting_and_what_to_write(settings: CarbonSettings, key: str, hint: str) -> None:
    [problem] = validate(settings)

    assert problem.startswith(f"{key}: ")
    assert hint in problem


def test_all_mistakes_are_reported_at_once() -> None:
    settings = CarbonSettings(pue_ratio=0.5, intensity_g_per_kwh=-1.0, cloud_provider="gcp")

    assert [problem.split(":")[0] for problem in validate(settings)] == [
        "pue_ratio",
        "intensity_g_per_kwh",
        "cloud_region",
    ]


@given(zone=st.text(max_size=20), provider=st.text(max_size=8), region=st.text(max_size=20))
def test_no_text_breaks_the_check(zone: str, provider: str, region: str) -> None:
    problems = validate(CarbonSettings(grid_zone=zone, cloud_provider=provider, cloud_region=region))

    assert all(problem.partition(":")[0] in {"grid_zone", "cloud_provider", "cloud_region"} for problem in problems)
