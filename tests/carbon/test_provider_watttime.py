"""WattTime: pounds to grams, tokens, logins that stay rare, regions by zone, cloud and key."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.carbon.settings import CarbonSettings, ProviderSettings
from exporter.errors import ProviderError
from exporter.testing.grid_api_server import json_reply
from exporter.testing.grid_apis import WattTimeApi
from tests.carbon.provider_bench import NOON_S, Bench, bench


def api_of(setup: Bench) -> WattTimeApi:
    assert isinstance(setup.api, WattTimeApi)
    return setup.api


def answer(**meta: object) -> dict[str, object]:
    """Return the sample of the provider's reference, at noon."""
    return {
        "data": [
            {"point_time": "2026-10-26T12:00:00+00:00", "value": 512.4},
            {"point_time": "2026-10-26T13:00:00+00:00", "value": 498.1},
        ],
        "meta": {
            "data_point_period_seconds": 3600,
            "region": "CAISO_NORTH",
            "warnings": [],
            "signal_type": "co2_aoer",
            "model": {"date": "2026-03-01"},
            "units": "lbs_co2_per_mwh",
            "generated_at_period_seconds": 300,
            "generated_at": "2026-10-26T12:00:00+00:00",
            **meta,
        },
    }


def test_the_published_sample_is_understood(tmp_path: Path) -> None:
    with bench("watttime", tmp_path) as setup:
        setup.fetch()
        setup.api.say(json_reply(answer()))
        series = setup.fetch(with_forecast=True)

        (now,), (following,) = series.points, series.forecast
        assert now == (NOON_S, NOON_S + 3600, now.intensity_g_per_kwh, True)
        assert following == (NOON_S + 3600, NOON_S + 7200, following.intensity_g_per_kwh, True)
        assert now.intensity_g_per_kwh == pytest.approx(232.42, abs=0.005)
        assert following.intensity_g_per_kwh == pytest.approx(225.93, abs=0.005)
        assert (series.provider, series.basis) == ("watttime", "combustion")


@pytest.mark.parametrize(
    ("meta", "reason"),
    [
        ({"units": "percentile"}, "format"),
        ({"units": None}, "format"),
        ({"signal_type": "co2_moer"}, "format"),
        ({"region": "PJM_DC"}, "wrong_zone"),
        ({"data_point_period_seconds": 0}, "format"),
        ({"data_point_period_seconds": 1e12}, "format"),
        ({"data_point_period_seconds": 7200}, "format"),
    ],
)
def test_numbers_of_something_else_are_refused(tmp_path: Path, meta: Mapping[str, object], reason: str) -> None:
    with bench("watttime", tmp_path) as setup:
        setup.fetch()
        setup.api.say(json_reply(answer(**meta)))
        with pytest.raises(ProviderError) as caught:
            setup.fetch()

        assert reason == caught.value.reason


@pytest.mark.parametrize(("signal", "asked", "step_s"), [("average", "co2_aoer", 3600), ("marginal", "co2_moer", 300)])
def test_each_signal_has_its_type_and_its_step(tmp_path: Path, signal: str, asked: str, step_s: int) -> None:
    wanted = ProviderSettings(kind="watttime", signal=signal)  # type: ignore[arg-type]
    with bench("watttime", tmp_path, settings=wanted) as setup:
        series = setup.fetch(signal=wanted.signal)

        assert asked == setup.api.requests[-1].query["signal_type"]
        (now,) = series.points
        assert now == (NOON_S, NOON_S + step_s, now.intensity_g_per_kwh, True)
        assert now.intensity_g_per_kwh == pytest.approx(320.0)
        assert wanted.signal == series.signal


def test_the_market_signal_is_not_offered(tmp_path: Path) -> None:
    with bench("watttime", tmp_path) as setup, pytest.raises(ProviderError, match="market"):
        setup.fetch(signal="market")


def test_no_more_is_asked_for_than_needed(tmp_path: Path) -> None:
    with bench("watttime", tmp_path) as setup:
        setup.fetch()
        setup.fetch(with_forecast=True)

        assert [r.query["horizon_hours"] for r in setup.api.requests if r.path == "/v3/forecast"] == ["1", "48"]


@settings(max_examples=25, deadline=None)
@given(offset_h=st.integers(-12, 14), at_s=st.integers(1_600_000_000, 2_000_000_000))
def test_any_offset_from_utc_is_the_same_moment(
    tmp_path_factory: pytest.TempPathFactory, offset_h: int, at_s: int
) -> None:
    with bench("watttime", tmp_path_factory.mktemp("keys"), at_s=at_s) as setup:
        api_of(setup).offset = timedelta(hours=offset_h)

        assert at_s // 3600 * 3600 == setup.fetch().points[-1].from_s


def test_a_first_point_just_ahead_counts_from_now(tmp_path: Path) -> None:
    with bench("watttime", tmp_path) as setup:
        early_s = NOON_S - 100
        setup.clock.step_wall(-100)
        setup.fetch()
        setup.api.say(json_reply(answer()))
        series = setup.fetch()

        assert (early_s, NOON_S + 3600) == (series.points[-1].from_s, series.points[-1].until_s)


def test_one_login_serves_a_token_for_less_than_its_life(tmp_path: Path) -> None:
    with bench("watttime", tmp_path) as setup:
        for _ in range(24):
            setup.fetch()
            setup.clock.advance(300)

        assert api_of(setup).logins == 5  # two hours, 25 minutes each
        assert len(setup.api.requests) == 24 + 5


@pytest.mark.parametrize("as_html", [True, False])
def test_a_token_that_expires_early_is_replaced_within_the_question(tmp_path: Path, *, as_html: bool) -> None:
    with bench("watttime", tmp_path) as setup:
        setup.fetch()
        api_of(setup).expired_as_html = as_html
        api_of(setup).expire_tokens()
        setup.clock.advance(61)

        assert setup.fetch().points
        assert api_of(setup).logins == 2


def test_a_token_that_lived_too_long_on_a_slow_clock_is_replaced(tmp_path: Path) -> None:
    """After a step of the wall clock back the client believes its token to be young."""
    with bench("watttime", tmp_path) as setup:
        setup.fetch()
        api_of(setup).expire_tokens()
        setup.clock.step_wall(-86_400)

        assert setup.fetch().points
        assert api_of(setup).logins == 2


@pytest.mark.parametrize("fault", ["forbidden_html", "server_error", "html"])
def test_logins_stay_rare_whatever_goes_wrong(tmp_path: Path, fault: str) -> None:
    with bench("watttime", tmp_path) as setup:
        setup.api.fail(fault)  # type: ignore[arg-type]
        reasons = set()
        for _ in range(60):
            with pytest.raises(ProviderError) as caught:
                setup.fetch()
            reasons.add(caught.value.reason)
            setup.clock.advance(10)

        assert len(reasons) == 1
        assert api_of(setup).logins <= 10
        setup.api.repair()
        setup.clock.advance(60)
        assert setup.fetch().points


def test_a_plan_without_the_region_costs_one_login_a_minute_at_most(tmp_path: Path) -> None:
    with bench("watttime", tmp_path) as setup:
        api_of(setup).regions = frozenset({"CAISO_NORTH"})
        setup.fetch()
        for _ in range(30):
            setup.clock.advance(10)
            with pytest.raises(ProviderError, match="No coverage") as caught:
                setup.fetch("DE")
            assert caught.value.reason == "auth"

        assert api_of(setup).logins <= 6


def test_neither_password_nor_token_is_in_the_address(tmp_path: Path) -> None:
    with bench("watttime", tmp_path) as setup:
        setup.fetch()

        assert [request.query for request in setup.api.requests] == [
            {},
            {"region": "CAISO_NORTH", "signal_type": "co2_aoer", "horizon_hours": "1"},
        ]
        assert all("authorization" in request.headers for request in setup.api.requests)


@pytest.mark.parametrize(
    ("carbon", "zone", "region"),
    [
        (CarbonSettings(grid_zone="DE"), "", "DE"),
        (CarbonSettings(grid_zone="SE-SE3"), "", "SE"),
        (CarbonSettings(cloud_provider="aws", cloud_region="us-east-2"), "", "PJM_SOUTHWEST_OH"),
        (CarbonSettings(grid_zone="aws:us-east-1"), "", "PJM_DC"),
        (CarbonSettings(grid_zone="US-TEX-ERCO"), "ERCOT_EASTTX", "ERCOT_EASTTX"),
        (CarbonSettings(grid_zone="US-TEX-ERCO"), "", None),
        (CarbonSettings(cloud_region="aws:us-east-1", grid_zone="DE"), "", "DE"),
    ],
)
def test_the_region_is_found_by_key_cloud_or_zone(
    tmp_path: Path, carbon: CarbonSettings, zone: str, region: str | None
) -> None:
    from exporter.carbon.place import place_of

    wanted = ProviderSettings(kind="watttime", zone=zone)
    with bench("watttime", tmp_path, carbon=carbon, settings=wanted) as setup:
        home = place_of(carbon).grid_zone
        if region is None:
            with pytest.raises(ProviderError, match="not known to cover"):
                setup.fetch(home)
            assert not setup.api.requests
        else:
            setup.fetch(home)
            assert region == setup.api.requests[-1].query["region"]
