"""Electricity Maps: the latest hour as published, the forecast by plan, nothing from another place or basis."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.carbon.settings import CarbonSettings, ProviderSettings
from exporter.errors import ProviderError
from exporter.testing.grid_api_server import json_reply
from exporter.testing.grid_apis import ElectricityMapsApi
from tests.carbon.provider_bench import NOON_S, bench

# The sample of the provider's reference, point for point; a v4 answer.
SAMPLE = {
    "zone": "DE",
    "carbonIntensity": 312,
    "datetime": "2026-10-26T12:00:00.000Z",
    "updatedAt": "2026-10-26T12:41:07.031Z",
    "createdAt": "2026-10-23T13:02:55.400Z",
    "emissionFactorType": "lifecycle",
    "isEstimated": True,
    "estimationMethod": "TIME_SLICER_AVERAGE",
    "temporalGranularity": "hourly",
    "flowTraced": True,
}


def test_the_published_sample_is_understood(tmp_path: Path) -> None:
    with bench("electricity_maps", tmp_path) as setup:
        setup.api.say(json_reply(SAMPLE))
        setup.clock.advance(2700)
        series = setup.fetch()

        assert list(series.points) == [(NOON_S, NOON_S + 3600, 312.0, True)]
        assert (
            series.provider,
            series.basis,
            series.signal,
            series.grid_zone,
        ) == ("electricity_maps", "lifecycle", "average", "DE")
        assert (series.fresh_until_s, series.fetched_s) == (NOON_S + 10_800, NOON_S + 2700)


@settings(max_examples=40, deadline=None)
@given(at_s=st.integers(1_600_000_000, 2_000_000_000))
def test_the_hour_holds_the_moment_and_its_value(tmp_path_factory: pytest.TempPathFactory, at_s: int) -> None:
    with bench("electricity_maps", tmp_path_factory.mktemp("keys"), at_s=at_s) as setup:
        point = setup.fetch().points[-1]

        assert point.from_s <= at_s < point.until_s
        assert point.intensity_g_per_kwh == 200 + datetime.fromtimestamp(at_s, UTC).hour * 10


def test_the_place_is_always_sent_and_the_callers_never_looked_up(tmp_path: Path) -> None:
    with bench("electricity_maps", tmp_path) as setup:
        setup.fetch(with_forecast=True)

        for request in setup.api.requests:
            assert request.query["zone"] == "DE"
            assert request.query["disableCallerLookup"] == "true"
            assert {"auth-token", "user-agent"} <= request.headers
            assert "em-key-4711" not in str(request)


def test_direct_factors_are_asked_for_and_named(tmp_path: Path) -> None:
    wanted = ProviderSettings(kind="electricity_maps", emission_factors="direct")
    with bench("electricity_maps", tmp_path, settings=wanted) as setup:
        assert setup.fetch().basis == "direct"
        assert setup.api.requests[0].query["emissionFactorType"] == "direct"


def test_another_basis_than_asked_for_is_refused(tmp_path: Path) -> None:
    with bench("electricity_maps", tmp_path) as setup:
        setup.api.say(json_reply({**SAMPLE, "emissionFactorType": "direct"}))
        with pytest.raises(ProviderError, match="lifecycle"):
            setup.fetch()


def test_estimates_can_be_refused(tmp_path: Path) -> None:
    wanted = ProviderSettings(kind="electricity_maps", estimates=False)
    with bench("electricity_maps", tmp_path, settings=wanted) as setup:
        assert isinstance(setup.api, ElectricityMapsApi)
        with pytest.raises(ProviderError) as caught:
            setup.fetch()
        assert caught.value.reason == "not_found"
        setup.api.has_estimates = False

        assert not setup.fetch().points[0].is_estimated


def test_an_estimate_that_comes_all_the_same_is_refused(tmp_path: Path) -> None:
    wanted = ProviderSettings(kind="electricity_maps", estimates=False)
    with bench("electricity_maps", tmp_path, settings=wanted) as setup:
        setup.api.say(json_reply(SAMPLE))
        with pytest.raises(ProviderError, match="estimates are off"):
            setup.fetch()


@pytest.mark.parametrize(
    ("mark", "value"),
    [("estimationMethod", "SANDBOX_MODE_DATA"), ("_disclaimer", "You are in sandbox mode: numbers are random.")],
)
def test_either_mark_of_the_sandbox_is_enough(tmp_path: Path, mark: str, value: str) -> None:
    with bench("electricity_maps", tmp_path) as setup:
        setup.api.say(json_reply({**SAMPLE, mark: value}))
        with pytest.raises(ProviderError) as caught:
            setup.fetch()

        assert caught.value.reason == "sandbox"


def test_a_revised_value_is_the_next_answer(tmp_path: Path) -> None:
    with bench("electricity_maps", tmp_path) as setup:
        before = setup.fetch().points[-1].intensity_g_per_kwh
        setup.api.revise("DE", NOON_S, 287.0)

        assert (before, setup.fetch().points[-1].intensity_g_per_kwh) == (320.0, 287.0)


def test_a_late_value_keeps_its_own_hour(tmp_path: Path) -> None:
    with bench("electricity_maps", tmp_path) as setup:
        assert isinstance(setup.api, ElectricityMapsApi)
        setup.api.lag_s = 7200.0
        series = setup.fetch()

        assert (series.points[-1].from_s, series.points[-1].intensity_g_per_kwh) == (NOON_S - 7200, 300.0)
        assert series.fresh_until_s == NOON_S - 7200 + 10_800


@pytest.mark.parametrize(("lag_s", "hours"), [(0.0, 47), (3600.0, 48)])
def test_the_forecast_follows_the_latest_hour_without_gap_or_overlap(tmp_path: Path, lag_s: float, hours: int) -> None:
    with bench("electricity_maps", tmp_path) as setup:
        assert isinstance(setup.api, ElectricityMapsApi)
        setup.api.lag_s = lag_s
        series = setup.fetch(with_forecast=True)
        line = [*series.points, *series.forecast]

        assert all(one.until_s == other.from_s for one, other in itertools.pairwise(line))
        assert len(series.forecast) == hours
        assert not setup.fetch().forecast


def test_a_plan_without_forecast_costs_one_question_a_day_and_no_value(tmp_path: Path) -> None:
    with bench("electricity_maps", tmp_path) as setup:
        assert isinstance(setup.api, ElectricityMapsApi)
        setup.api.has_forecast = False
        for _ in range(20):
            series = setup.fetch(with_forecast=True)
            setup.clock.advance(3600)
            assert series.points
            assert not series.forecast
        assert [r.path for r in setup.api.requests].count("/v4/carbon-intensity/forecast") == 1
        assert "no forecast" in series.note
        setup.api.has_forecast = True
        setup.clock.advance(5 * 3600)

        assert setup.fetch(with_forecast=True).forecast


def test_a_forecast_that_fails_costs_no_value_and_is_asked_for_again(tmp_path: Path) -> None:
    with bench("electricity_maps", tmp_path) as setup:
        setup.api.fail("server_error", path="/forecast", times=1)

        assert not setup.fetch(with_forecast=True).forecast
        assert setup.fetch(with_forecast=True).forecast


def test_another_zone_to_compare_with_is_not_translated(tmp_path: Path) -> None:
    """The key ``zone`` names the home zone only."""
    wanted = ProviderSettings(kind="electricity_maps", zone="DE-ELSE")
    with bench("electricity_maps", tmp_path, settings=wanted, carbon=CarbonSettings(grid_zone="Germany")) as setup:
        setup.fetch("DE")
        setup.fetch("Germany")
        setup.fetch("FR")

        assert [request.query["zone"] for request in setup.api.requests] == ["DE-ELSE", "DE-ELSE", "FR"]


@pytest.mark.parametrize("signal", ["marginal", "market"])
def test_only_the_average_is_offered(tmp_path: Path, signal: str) -> None:
    with bench("electricity_maps", tmp_path) as setup:
        with pytest.raises(ProviderError, match="average"):
            setup.fetch(signal=signal)  # type: ignore[arg-type]

        assert not setup.api.requests
