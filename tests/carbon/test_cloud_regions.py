"""The embedded table of cloud regions, and that every region leads to an intensity."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.carbon import CarbonSettings, CarbonSource, CostSettings, validate
from exporter.carbon.cloud_regions import CloudRegion, find_region, near_regions, parse_region, read_regions
from exporter.errors import SourceFormatError
from exporter.testing.fake_clock import FakeClock

REGIONS = list(read_regions())


@given(line=st.text() | st.lists(st.text(max_size=8), min_size=7, max_size=7).map(";".join))
def test_any_line_is_a_region_or_a_format_error(line: str) -> None:
    try:
        region = parse_region(line)
    except SourceFormatError:
        return

    assert region.pue_ratio is None or region.pue_ratio >= 1
    assert region.wue_l_per_kwh is None or region.wue_l_per_kwh >= 0


def test_regions_are_unique_and_sorted() -> None:
    names = [(region.provider, region.region) for region in REGIONS]

    assert len(names) > 150
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("region", REGIONS, ids=lambda region: f"{region.provider}:{region.region}")
def test_every_region_leads_to_an_intensity(region: CloudRegion) -> None:
    settings = CarbonSettings(cloud_provider=region.provider, cloud_region=region.region)

    state = CarbonSource(settings, CostSettings(), FakeClock()).state()

    assert validate(settings) == []
    assert state.average is not None
    assert state.average.intensity_g_per_kwh > 0
    assert (region.pue_ratio or 1.0) == state.pue_ratio
    assert region.wue_l_per_kwh == state.wue_l_per_kwh


def test_a_region_is_found_in_any_case() -> None:
    assert find_region("GCP", "Europe-West1") == find_region("gcp", "europe-west1") is not None


def test_a_mistyped_region_leads_to_the_right_one() -> None:
    assert near_regions("aws", "us-east1")[0] == "aws:us-east-1"
