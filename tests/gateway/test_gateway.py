"""The gateway from end to end: a fake provider, real HTTP, and the client that agents use."""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path

import pytest

from exporter.carbon.gateway_settings import GatewaySettings
from exporter.carbon.grid_table import Entry, read_lines
from exporter.carbon.live import Poller
from exporter.carbon.live.lineup import make_poller
from exporter.carbon.providers import make_client, usual_interval_s
from exporter.carbon.records import CarbonState, ZoneQuery
from exporter.carbon.settings import CarbonSettings, CostSettings, ProviderSettings
from exporter.carbon.source import CarbonSource
from exporter.config import Settings
from exporter.errors import ConfigError, ProviderError
from exporter.gateway.gateway import Gateway
from exporter.testing.fake_clock import FakeClock
from exporter.testing.grid_apis import ElectricityMapsApi
from tests.gateway.sites import HOUR_S, Site, curve, electricity_maps, settings_for
from tests.system.programs import wait_for

DAY_S = 86_400.0


class Still:
    """No jitter."""

    def uniform(self, a: float, b: float, /) -> float:
        return a


def agent(url: str, clock: FakeClock, zone: str = "DE") -> Poller:
    """Return what an agent asks the gateway with."""
    provider = ProviderSettings(kind="gateway", url=url)
    carbon = CarbonSettings(grid_zone=zone, providers=(provider,))
    query = ZoneQuery(zone, "average")
    return make_poller(make_client(provider, carbon), provider, query, carbon, clock, jitter=Still())


def latest(api: ElectricityMapsApi) -> int:
    return sum(request.path.endswith("/latest") for request in api.requests)


def test_values_pass_through_exactly_with_their_provenance(site: Site) -> None:
    with site.served() as url:
        site.run_for(3 * HOUR_S, step_s=300)
        asking = agent(url, site.clock)
        asking.poll()
    series = asking.series
    upstream = site.gateway.upstreams.pollers()[0].series

    assert series is not None
    assert series == replace(upstream, points=series.points)  # type: ignore[type-var]  # it has been fetched
    assert upstream is not None
    assert tuple(series.points) == tuple(upstream.points)
    assert {curve("DE", point.from_s) for point in series.points} == {p.intensity_g_per_kwh for p in series.points}
    assert (series.provider, asking.finding().state) == ("electricity_maps", "up")


def test_the_provider_is_down_for_three_days(site: Site, api: ElectricityMapsApi) -> None:
    """What was true three days ago is served as true three days ago: agents see that it is stale."""
    last_s = site.clock.wall_s()
    api.fail("server_error")
    with site.served() as url:
        asking = agent(url, site.clock)
        asking.poll()
        before = asking.finding().state
        site.run_for(3 * DAY_S, step_s=900)
        answer = site.ask("DE")
        asking.poll()
    document = json.loads(answer.body)

    assert before == "up"
    assert (answer.status, asking.finding().state) == (200, "down")
    assert asking.series is not None
    assert asking.series.points[-1].from_s <= last_s
    assert document["fetched_s"] <= last_s
    assert document["fresh_until_s"] < site.clock.wall_s()
    assert site.metric(
        "wattribute_gateway_fresh_until_timestamp_seconds", grid_zone="DE", signal="average"
    ) == pytest.approx(document["fresh_until_s"])


def carbon_of_an_agent(url: str, clock: FakeClock) -> CarbonState:
    """Return what the carbon of a new agent says once the gateway has answered it."""
    carbon = CarbonSettings(grid_zone="DE", providers=(ProviderSettings(kind="gateway", url=url),))
    source = CarbonSource(carbon, CostSettings(), clock, jitter=Still())

    def asked() -> CarbonState | None:
        state = source.state()
        return state if any(f.source == "gateway" and f.state != "absent" for f in state.findings) else None

    try:
        return wait_for("an answer of the gateway", asked)
    finally:
        source.close()


def test_an_agent_counts_with_the_gateways_value_and_falls_back_visibly_when_it_is_days_old(
    site: Site, api: ElectricityMapsApi
) -> None:
    with site.served() as url:
        before = carbon_of_an_agent(url, site.clock)
        api.fail("server_error")
        site.run_for(3 * DAY_S, step_s=900)
        after = carbon_of_an_agent(url, site.clock)

    assert before.average is not None
    assert after.average is not None
    assert (before.average.provider, before.is_fallback) == ("electricity_maps", False)
    assert before.average.intensity_g_per_kwh == curve("DE", before.average.observed_s)
    assert (after.average.provider, after.is_fallback) == ("grid_table", True)
    assert [f.state for f in after.findings if f.source == "gateway"] == ["down"]


def test_it_recovers_when_the_provider_does(site: Site, api: ElectricityMapsApi) -> None:
    """The longest pause between two tries is an hour."""
    api.fail("unavailable")
    site.run_for(2 * DAY_S, step_s=900)
    api.repair()
    site.run_for(HOUR_S + 60)

    assert site.zones()["DE"]["state"] == "fresh"


def test_a_value_that_is_too_old_is_no_longer_served(site: Site, api: ElectricityMapsApi) -> None:
    api.fail("server_error")
    site.run_for(7 * DAY_S + 1800, step_s=1800)

    assert site.ask("DE").status == 503


def test_a_restart_while_the_provider_is_down_serves_what_is_on_disk(site: Site, api: ElectricityMapsApi) -> None:
    """Learned zones, too; and the provider is asked again no sooner than it would have been."""
    site.ask("FR")
    site.run_for(120)
    before = {zone: json.loads(site.ask(zone).body) for zone in ("DE", "FR")}
    site.gateway.save()
    asked = len(api.requests)
    api.fail("server_error")
    again = Site(site.settings, site.clock)
    again.fetch_due()
    after = {zone: json.loads(again.ask(zone).body) for zone in ("DE", "FR")}

    assert before == after
    assert len(api.requests) == asked


def test_values_of_another_configuration_are_not_taken_over(site: Site, api: ElectricityMapsApi) -> None:
    """Direct factors are other numbers than lifecycle factors of the same zone."""
    site.gateway.save()
    provider = replace(site.settings.carbon.providers[0], emission_factors="direct")
    other = Site(replace(site.settings, carbon=CarbonSettings(providers=(provider,))), site.clock)

    assert other.ask("DE").status == 503


def test_a_damaged_state_file_is_put_aside(site: Site) -> None:
    path = Path(site.settings.gateway.state_path or "")
    path.parent.mkdir(exist_ok=True)
    path.write_text("{half")
    again = Site(site.settings, site.clock)
    again.fetch_due()

    assert again.ask("DE").status == 200
    assert path.with_name("gateway.json.damaged").exists()


def test_a_state_file_that_cannot_be_written_is_said_and_nothing_else_changes(
    api: ElectricityMapsApi, clock: FakeClock, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    gateway = GatewaySettings(zones=("DE",), state_path=str(tmp_path / "file/gateway.json"))
    site = Site(settings_for(electricity_maps(api, tmp_path), gateway), clock)
    site.fetch_due()
    site.gateway.save()

    assert (site.ask("DE").status, site.metric("wattribute_gateway_state_saved")) == (200, 0)


def test_ten_thousand_agents_cost_the_provider_no_more_than_one(site: Site, api: ElectricityMapsApi) -> None:
    """Calls per hour are at most zones x 60 / interval in minutes, whoever asks how often."""
    before = latest(api)
    interval_min = usual_interval_s("electricity_maps") / 60
    for _ in range(60):
        for _ in range(167):  # 10,000 an hour
            assert site.ask("DE").status == 200
        site.run_for(60)

    assert latest(api) - before <= 1 * 60 / interval_min


def test_many_agents_at_once_over_http(site: Site, api: ElectricityMapsApi) -> None:
    """More connections than the server keeps: everybody is served, and nobody's question reaches the provider."""
    before = len(api.requests)
    statuses: list[int] = []
    with site.served() as url, ExitStack() as stack:
        connections = [HTTPConnection(url.removeprefix("http://"), timeout=10) for _ in range(400)]
        for connection in connections:
            stack.callback(connection.close)
            connection.request("GET", "/api/v1/intensity?zone=DE&signal=average")
            statuses.append(connection.getresponse().status)

    assert statuses == [200] * 400
    assert len(api.requests) == before


def test_a_flood_of_zones_is_bounded(site: Site, api: ElectricityMapsApi) -> None:
    """Zones fill the places at most once an hour, invented ones none; configured zones are served meanwhile."""
    before = len(api.requests)
    invented = {site.ask(f"US-X{number}").status for number in range(100)}
    assert invented == {404}
    for line in read_lines():
        if isinstance(line, Entry):
            site.ask(line.zone)
    site.fetch_due()
    refused = site.ask("ZW")

    assert len(site.gateway.content().zones) == 10
    assert len(api.requests) - before <= 9
    assert (refused.status, site.ask("DE").status) == (404, 200)
    assert b"gateway.max_zones" in refused.body


def test_when_the_provider_wants_to_be_left_alone_every_zone_waits(site: Site, api: ElectricityMapsApi) -> None:
    """The limit counts the key, so one 429 with Retry-After silences all zones for as long."""
    for zone in ("FR", "PL", "ES"):
        site.ask(zone)
    site.run_for(60)
    before = len(api.requests)
    api.fail("rate_limited", retry_after="7200")
    site.run_for(2 * HOUR_S)
    during = len(api.requests) - before
    api.repair()
    site.run_for(1800)

    assert during == 1
    assert {zone["state"] for zone in site.zones().values()} == {"fresh"}


def test_a_new_key_is_used_for_every_zone_at_once(site: Site, api: ElectricityMapsApi) -> None:
    site.ask("FR")
    site.run_for(60)
    api.key = "another"
    site.run_for(4 * HOUR_S)
    before = [zone["state"] for zone in site.zones().values()]
    Path(site.settings.carbon.providers[0].key_file).write_text("another")
    for _ in range(2):
        site.fetch_due()

    assert before == ["stale", "stale"]
    assert [zone["state"] for zone in site.zones().values()] == ["fresh", "fresh"]


def test_a_forgotten_zone_costs_no_more_calls(site: Site, api: ElectricityMapsApi) -> None:
    site.ask("FR")
    site.run_for(8 * DAY_S, step_s=3600)
    before = len([r for r in api.requests if r.query.get("zone") == "FR"])
    site.run_for(DAY_S, step_s=3600)

    assert "FR" not in site.zones()
    assert before == len([r for r in api.requests if r.query.get("zone") == "FR"])


def test_gateways_can_be_chained(site: Site, clock: FakeClock) -> None:
    """The second names the provider behind the first, and keeps the first's times."""
    with site.served() as url:
        provider = ProviderSettings(kind="gateway", url=url)
        second = Site(settings_for(provider, GatewaySettings(zones=("DE",), state_path="")), clock)
        clock.advance(120)
        second.fetch_due()
        first_body, second_body = (json.loads(one.ask("DE").body) for one in (site, second))

    assert first_body == second_body


def test_a_reload_takes_zones_and_keeps_values(site: Site, api: ElectricityMapsApi) -> None:
    asked = len(api.requests)
    new = replace(site.settings, gateway=replace(site.settings.gateway, zones=("DE", "FR")))
    gateway = Gateway(site.settings, clock=site.clock, reload=lambda: new)
    site.gateway.save()
    gateway.request_reload()
    gateway.turn()

    assert [state.demand.grid_zone for state in gateway.content().zones] == ["DE", "FR"]
    assert len(api.requests) == asked


def test_a_configuration_with_mistakes_changes_nothing(site: Site) -> None:
    def reload() -> Settings:
        raise ConfigError(["gateway.zones[0]: no grid zone 'XX' is known."])

    gateway = Gateway(site.settings, clock=site.clock, reload=reload)
    gateway.request_reload()
    gateway.turn()

    assert not gateway.content().config_is_good
    assert [state.demand.grid_zone for state in gateway.content().zones] == ["DE"]


def test_an_agent_learns_why_its_zone_is_not_served(site: Site) -> None:
    with site.served() as url:
        asking = make_client(ProviderSettings(kind="gateway", url=url), CarbonSettings())
        with pytest.raises(ProviderError, match="no grid zone XX is known") as caught:
            asking.fetch(ZoneQuery("XX"), now_s=site.clock.wall_s())

    assert caught.value.reason == "not_found"


def test_it_fetches_in_threads_of_its_own_and_stops(api: ElectricityMapsApi, clock: FakeClock, tmp_path: Path) -> None:
    gateway = GatewaySettings(listen_addresses=("127.0.0.1:0",), zones=("DE",), state_path=str(tmp_path / "g.json"))
    running = Gateway(settings_for(electricity_maps(api, tmp_path), gateway), clock=clock)
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(running.run()))
    thread.start()
    wait_for("a value", lambda: any(zone.series for zone in running.content().zones) or None)
    running.stop()
    thread.join(5)

    assert codes == [0]
    assert '"grid_zone":"DE"' in (tmp_path / "g.json").read_text()
