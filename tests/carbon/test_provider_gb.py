"""Great Britain: the present half hour and no other, national and by region, forecasts marked as such."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.carbon.settings import CarbonSettings, ProviderSettings
from exporter.errors import ProviderError
from exporter.testing.grid_api_server import json_reply
from exporter.testing.grid_apis import GbCarbonIntensityApi
from tests.carbon.provider_bench import NOON_S, bench, daily

LONDON = CarbonSettings(grid_zone="GB")
REGION_13 = ProviderSettings(kind="gb_carbon_intensity", zone="13")


def period(start: str, end: str, **intensity: object) -> dict[str, object]:
    return {"from": f"2026-10-26T{start}Z", "to": f"2026-10-26T{end}Z", "intensity": {**intensity, "index": "low"}}


def test_the_published_samples_are_understood(tmp_path: Path) -> None:
    with bench("gb_carbon_intensity", tmp_path) as setup:
        setup.api.say(json_reply({"data": [period("12:00", "12:30", forecast=143, actual=None)]}))
        series = setup.fetch()

        assert list(series.points) == [(NOON_S, NOON_S + 1800, 143.0, True)]
        assert (series.provider, series.basis) == ("gb_carbon_intensity", "combustion")
        assert "CC BY 4.0" in series.note


def test_an_actual_value_wins_and_is_no_estimate(tmp_path: Path) -> None:
    with bench("gb_carbon_intensity", tmp_path) as setup:
        setup.api.say(json_reply({"data": [period("12:00", "12:30", forecast=143, actual=0)]}))

        assert list(setup.fetch().points) == [(NOON_S, NOON_S + 1800, 0.0, False)]


@pytest.mark.parametrize("as_list", [True, False])
def test_a_region_is_understood_as_an_object_and_as_a_list(tmp_path: Path, *, as_list: bool) -> None:
    with bench("gb_carbon_intensity", tmp_path, settings=REGION_13, curve=by_place) as setup:
        assert isinstance(setup.api, GbCarbonIntensityApi)
        setup.api.regional_as_list = as_list

        assert list(setup.fetch().points) == [(NOON_S, NOON_S + 1800, 113.0, True)]
        assert setup.api.requests[0].path == "/regional/intensity/2026-10-26T12:00Z/fw24h/regionid/13"


def by_place(place: str, _: float) -> float:
    return 100.0 + int(place.partition("-")[2] or 0)


def test_another_region_is_refused(tmp_path: Path) -> None:
    with bench("gb_carbon_intensity", tmp_path, settings=REGION_13) as setup:
        setup.api.fail("wrong_zone")
        with pytest.raises(ProviderError) as caught:
            setup.fetch()

        assert caught.value.reason == "wrong_zone"


@pytest.mark.parametrize("wanted", [ProviderSettings(kind="gb_carbon_intensity"), REGION_13])
def test_the_period_that_ends_where_a_range_starts_is_not_taken(tmp_path: Path, wanted: ProviderSettings) -> None:
    def stairs(_: str, at_s: float) -> float:
        return (at_s - NOON_S) // 1800 + 500

    with bench("gb_carbon_intensity", tmp_path, settings=wanted, curve=stairs) as setup:
        series = setup.fetch(with_forecast=True)

        assert [point.intensity_g_per_kwh for point in series.points] == [500.0]
        assert [501.0 + step for step in range(95)] == [point.intensity_g_per_kwh for point in series.forecast]


@settings(max_examples=25, deadline=None)
@given(at_s=st.integers(1_600_000_000, 2_000_000_000), zone=st.sampled_from(["", "1", "17"]))
def test_the_half_hour_holds_the_moment(tmp_path_factory: pytest.TempPathFactory, at_s: int, zone: str) -> None:
    wanted = ProviderSettings(kind="gb_carbon_intensity", zone=zone)
    with bench("gb_carbon_intensity", tmp_path_factory.mktemp("gb"), at_s=at_s, settings=wanted) as setup:
        point = setup.fetch().points[-1]

        assert point.from_s <= at_s < point.until_s
        assert point.intensity_g_per_kwh == daily("", at_s)


@pytest.mark.parametrize("day_s", [1_774_746_000.0, 1_792_890_000.0])
def test_days_of_the_change_of_clocks_are_like_others(tmp_path: Path, day_s: float) -> None:
    """2026-03-29 and 2026-10-25 from 01:00 UTC: half hours follow each other in UTC."""
    with bench("gb_carbon_intensity", tmp_path, at_s=day_s) as setup:
        starts = []
        for _ in range(6):
            starts.append(setup.fetch().points[-1].from_s)
            setup.clock.advance(1800)

        assert [day_s + step * 1800 for step in range(6)] == starts


@pytest.mark.parametrize(
    ("periods", "reason"),
    [
        ([period("11:30", "12:00", forecast=1)], "stale"),
        ([period("12:30", "13:00", forecast=1)], "future"),
        ([period("12:00", "12:30", forecast=None)], "not_found"),
        ([], "not_found"),
        ([period("12:00", "13:00", forecast=1)], "format"),
        ([period("12:00", "12:30")], "format"),
        ([{"from": "2026-10-26T12:00", "to": "2026-10-26T12:30", "intensity": {"forecast": 1}}], "format"),
    ],
)
def test_anything_but_the_present_half_hour_is_refused(tmp_path: Path, periods: list[object], reason: str) -> None:
    with bench("gb_carbon_intensity", tmp_path) as setup:
        setup.api.say(json_reply({"data": periods}))
        with pytest.raises(ProviderError) as caught:
            setup.fetch()

        assert reason == caught.value.reason


@pytest.mark.parametrize(
    ("zone", "path"),
    [
        ("GB", "/intensity"),
        ("GB-13", "/regional/intensity/2026-10-26T12:00Z/fw24h/regionid/13"),
        ("GB-SCT", "/regional/intensity/2026-10-26T12:00Z/fw24h/regionid/16"),
        ("GB-NIR", None),
        ("GB-18", None),
        ("GB-013", "/regional/intensity/2026-10-26T12:00Z/fw24h/regionid/13"),
        ("DE", None),
    ],
)
def test_zones_have_their_region(tmp_path: Path, zone: str, path: str | None) -> None:
    with bench("gb_carbon_intensity", tmp_path, carbon=LONDON) as setup:
        if path is None:
            with pytest.raises(ProviderError, match="not known to cover"):
                setup.fetch(zone)
        else:
            setup.fetch(zone)
            assert path == setup.api.requests[0].path


def test_the_forecast_is_in_one_answer_with_the_present(tmp_path: Path) -> None:
    with bench("gb_carbon_intensity", tmp_path) as setup:
        assert len(setup.fetch(with_forecast=True).forecast) == 95
        assert [request.path for request in setup.api.requests] == ["/intensity/2026-10-26T12:00Z/fw48h"]
