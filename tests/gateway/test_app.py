from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as text_families

from exporter.carbon.gateway_settings import GatewaySettings
from exporter.carbon.live import decode_series
from exporter.carbon.settings import ProviderSettings
from exporter.exposition.http_messages import Request
from exporter.gateway.catalogue import GATEWAY_CATALOGUE, reference_table
from exporter.gateway.metrics import GatewayPage
from exporter.testing.fake_clock import FakeClock
from exporter.testing.grid_apis import ElectricityMapsApi
from tests.gateway.sites import Site, curve, electricity_maps, settings_for

ROOT = Path(__file__).parents[2]
FORBIDDEN_LABELS = {"zone", "region", "cluster", "instance", "job", "az", "datacenter", "service", "env"}
INTENSITY = "wattribute_grid_carbon_intensity_grams_per_kilowatt_hour"


def metric_families(page: str) -> list[Metric]:
    return list(text_families(page))


def test_an_answer_says_what_the_provider_said(site: Site) -> None:
    answer = site.ask("DE")
    series = decode_series(json.loads(answer.body), source="gateway")
    hour_s = site.clock.wall_s() // 3600 * 3600

    assert (answer.status, answer.content_type) == (200, "application/json")
    assert series.points[-1] == (hour_s, hour_s + 3600, curve("DE", hour_s), True)
    assert (series.grid_zone, series.provider, series.basis) == ("DE", "electricity_maps", "lifecycle")


def test_the_forecast_is_sent_to_those_who_ask_for_it(
    api: ElectricityMapsApi, clock: FakeClock, tmp_path: Path
) -> None:
    gateway = GatewaySettings(zones=("DE",), state_path="")
    site = Site(settings_for(electricity_maps(api, tmp_path), gateway, forecast=True), clock)
    site.run_for(60)
    without, with_forecast = (json.loads(site.ask("DE", forecast=word).body)["forecast"] for word in ("0", "1"))

    assert without == []
    assert len(with_forecast) > 24


def test_equal_questions_get_the_same_bytes(site: Site) -> None:
    """An answer is made once per value, however many agents ask."""
    assert site.ask("DE").body is site.ask("DE").body


def test_an_answer_may_be_kept_no_longer_than_until_there_may_be_a_newer_one(site: Site) -> None:
    poller = site.gateway.upstreams.pollers()[0]
    site.clock.advance(max(poller.due_s - site.clock.monotonic_s() - 7.0, 0.0))

    assert dict(site.ask("DE").headers)["Cache-Control"] == "public, max-age=7"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "expected zone"),
        ("zone=", "expected zone"),
        ("zone=DE&zone=FR", "at most once"),
        ("zone=DE&key=1", "nothing else"),
        ("zone=DE&signal=best", "average, marginal, market"),
        ("zone=DE&forecast=yes", "0 or 1"),
        ("zone=" + "A" * 65, "1 to 64 printable"),
        ("zone=D%00E", "1 to 64 printable"),
        ("zone=%FF", "expected zone=ZONE"),
        ("zone", "expected zone=ZONE"),
        ("zone=DE&" * 1000, "expected zone=ZONE"),
    ],
)
def test_a_query_that_is_not_understood_is_refused_with_what_was_expected(
    site: Site, query: str, expected: str
) -> None:
    answer = site.get("/api/v1/intensity", query)

    assert answer.status == 400
    assert expected in answer.body.decode()


def test_a_zone_that_is_not_served_is_refused_with_a_reason(site: Site) -> None:
    answer = site.ask("XX")

    assert (answer.status, answer.body.decode().split(";")[0]) == (404, "no grid zone XX is known")


def test_a_new_zone_is_told_to_come_back_and_served_then(site: Site) -> None:
    first = site.ask("fr")
    retry_s = int(dict(first.headers)["Retry-After"])
    site.fetch_due()

    assert (first.status, 10 <= retry_s <= 60) == (503, True)
    assert (site.ask("fr").status, site.zones()["FR"]["origin"]) == (200, "learned")


def test_the_zones_document_tells_state_age_and_error(site: Site, api: ElectricityMapsApi) -> None:
    fresh = site.zones()["DE"]
    api.fail("server_error")
    site.run_for(12 * 3600, step_s=600)
    stale = site.zones()["DE"]

    assert (fresh["state"], stale["state"]) == ("fresh", "stale")
    assert fresh["observed_s"] == stale["observed_s"]
    assert "500" in str(stale["providers"])


@pytest.mark.parametrize("path", ["/nothing", "/api/v1/intensity/", "/metrics/"])
def test_unknown_paths_are_not_found(site: Site, path: str) -> None:
    assert site.get(path).status == 404


@pytest.mark.parametrize("path", ["/", "/metrics", "/-/healthy", "/-/ready", "/api/v1/zones"])
def test_pages_without_parameters_take_none(site: Site, path: str) -> None:
    assert (site.get(path).status, site.get(path, "x=1").status) == (200, 400)


def test_health_follows_the_loop(site: Site) -> None:
    before = site.get("/-/healthy").status
    site.clock.advance(61)
    hung = site.get("/-/healthy")

    assert (before, hung.status) == (200, 503)
    assert b"has not turned for 61 s" in hung.body


def test_ready_needs_a_value_of_a_configured_zone_and_no_learned_one_can_prevent_it(
    api: ElectricityMapsApi, clock: FakeClock, tmp_path: Path
) -> None:
    api.fail("server_error")
    provider = electricity_maps(api, tmp_path)
    configured = Site(settings_for(provider, GatewaySettings(zones=("DE",), state_path="")), clock)
    learning = Site(settings_for(provider, GatewaySettings(state_path="")), clock)
    learning.ask("US-NIX")
    for site in (configured, learning):
        site.run_for(120)
    before = configured.get("/-/ready").status, learning.get("/-/ready").status
    api.repair()
    configured.run_for(3600)

    assert before == (503, 200)
    assert configured.get("/-/ready").status == 200


def test_the_page_shows_the_value_and_runs_no_script(site: Site) -> None:
    page = site.get("/")

    assert b"<td>DE</td>" in page.body
    assert b"<script" not in page.body
    assert "default-src 'none'" in dict(page.headers)["Content-Security-Policy"]


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(query=st.text(max_size=100) | st.from_regex(r"zone=[A-Z]{2}(-[A-Z0-9]{1,8})?(&signal=\w*)?", fullmatch=True))
def test_any_query_gets_an_answer_and_no_zone_beyond_the_bound(site: Site, query: str) -> None:
    answer = site.gateway.app(Request(method="GET", path="/api/v1/intensity", query=query))

    assert answer.status in (200, 400, 404, 503)
    assert len(site.gateway.content().zones) <= 10


@pytest.mark.parametrize("family", GATEWAY_CATALOGUE, ids=lambda family: str(family.name))
def test_names_units_labels_and_help_follow_the_rules(family: object) -> None:
    of = next(f for f in GATEWAY_CATALOGUE if f is family)

    assert of.name.endswith("_total") == (of.type == "counter")
    assert of.name.endswith("_info") == (of.type == "info")
    assert not of.unit or of.base_name.endswith(f"_{of.unit}")
    assert not FORBIDDEN_LABELS & set(of.labels)
    assert of.help.endswith(".")
    assert "\n" not in of.help


def test_every_family_is_on_the_page_in_both_formats(site: Site) -> None:
    content = replace(site.gateway.content(), requests={200: 1})
    text = metric_families(GatewayPage(None).write(content, "text").decode())
    openmetrics = list(openmetrics_families(GatewayPage(None).write(content, "openmetrics").decode()))  # type: ignore[no-untyped-call]  # upstream
    samples = [
        {(s.name, *sorted(s.labels.items()), s.value) for f in one for s in f.samples} for one in (text, openmetrics)
    ]

    assert [family.base_name for family in GATEWAY_CATALOGUE] == [family.name for family in openmetrics]
    assert samples[0] == samples[1]


def test_a_value_that_holds_for_good_has_no_end_on_any_page(clock: FakeClock) -> None:
    provider = ProviderSettings(kind="fixed", intensity_g_per_kwh=320.0)
    site = Site(settings_for(provider, GatewaySettings(zones=("DE",), learn_zones=False, state_path="")), clock)
    site.fetch_due()

    assert site.zones()["DE"]["fresh_until_s"] is None
    assert json.loads(site.ask("DE").body)["fresh_until_s"] is None
    assert b"gateway_fresh_until" not in site.get("/metrics").body


def test_the_page_counts_what_was_asked_and_what_failed(site: Site, api: ElectricityMapsApi) -> None:
    site.ask("DE")
    site.ask("XX")
    api.fail("server_error", times=1)
    site.run_for(1200)

    assert site.metric("wattribute_gateway_requests_total", code="200") == 1
    assert site.metric("wattribute_gateway_requests_total", code="404") == 1
    assert site.metric("wattribute_gateway_provider_requests_total", provider="electricity_maps") == len(api.requests)
    assert site.metric("wattribute_gateway_provider_errors_total", provider="electricity_maps", reason="server") == 1
    assert site.metric(INTENSITY, grid_zone="DE", signal="average") == curve("DE", site.clock.wall_s())
    assert site.metric("wattribute_gateway_zones", origin="configured") == 1


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
def test_promtool_has_nothing_to_say(site: Site) -> None:
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=site.get("/metrics").body, capture_output=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, b"")


def test_the_guide_lists_every_family() -> None:
    """Written anew with: python -m exporter.gateway.catalogue."""
    assert reference_table() in (ROOT / "docs/how-to/gateway.md").read_text("utf-8")
