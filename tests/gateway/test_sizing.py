"""How many calls a cluster makes upstream: counted at fake providers, compared with the guide's table."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from exporter.carbon.gateway_settings import GatewaySettings
from exporter.carbon.settings import ProviderSettings
from exporter.testing.fake_clock import FakeClock
from exporter.testing.grid_apis import ElectricityMapsApi, EntsoeApi, GbCarbonIntensityApi, GridApi, WattTimeApi
from tests.gateway.sites import HOUR_S, Site, curve, electricity_maps, settings_for

ROOT = Path(__file__).parents[2]
HOURS = 6
ZONES = {
    "electricity_maps": ("DE", "FR", "ES", "PL", "SE"),
    "watttime": ("AT", "BE", "AE", "BH", "CA-QC"),
    "entsoe": ("AT", "BE", "BG", "CH", "CZ"),
    "gb_carbon_intensity": ("GB", "GB-1", "GB-2", "GB-3", "GB-4"),
}


class Calls(NamedTuple):
    """Calls of five zones in an hour: those that grow with the zones, per zone, and those that do not."""

    per_zone: float
    logins: float


def electricity_maps_without_forecast(clock: FakeClock) -> ElectricityMapsApi:
    api = ElectricityMapsApi(curve, now_s=clock.wall_s)
    api.has_forecast = False
    return api


MAKERS: Mapping[str, Callable[[FakeClock], GridApi]] = {
    "electricity_maps": lambda clock: ElectricityMapsApi(curve, now_s=clock.wall_s),
    "electricity_maps without forecast": electricity_maps_without_forecast,
    "watttime": lambda clock: WattTimeApi(curve, now_s=clock.wall_s),
    "entsoe": lambda clock: EntsoeApi(curve, now_s=clock.wall_s),
    "gb_carbon_intensity": lambda clock: GbCarbonIntensityApi(curve, now_s=clock.wall_s),
}


def provider_settings(api: GridApi, directory: Path) -> ProviderSettings:
    match api:
        case ElectricityMapsApi():
            return electricity_maps(api, directory)
        case WattTimeApi():
            for name, secret in (("user", api.username), ("password", api.password)):
                (directory / name).write_text(secret)
            user, password = str(directory / "user"), str(directory / "password")
            return ProviderSettings(kind="watttime", url=api.url, username_file=user, password_file=password)
        case EntsoeApi():
            (directory / "token").write_text(api.key)
            return ProviderSettings(kind="entsoe", url=api.url, key_file=str(directory / "token"))
        case _:
            return ProviderSettings(kind="gb_carbon_intensity", url=api.url)


def count_calls(row: str, directory: Path) -> Calls:
    """Return what five zones cost while every agent asks for each of them once a minute."""
    clock = FakeClock(wall_s=1_750_000_000.0)
    with MAKERS[row](clock) as api:
        zones = ZONES[row.split(maxsplit=1)[0]]
        gateway = GatewaySettings(zones=zones, state_path="")
        site = Site(settings_for(provider_settings(api, directory), gateway, forecast=True), clock)
        site.run_for(HOUR_S)
        assert {str(zone["state"]) for zone in site.zones().values()} == {"fresh"}
        before = len(api.requests)
        for _ in range(HOURS * 60):
            site.run_for(60)
            for zone in zones:
                assert site.ask(zone).status == 200
        new = api.requests[before:]
    logins = sum(request.path == "/login" for request in new)
    return Calls((len(new) - logins) / HOURS / len(zones), logins / HOURS)


def table() -> dict[str, list[int]]:
    """Return the rows of the guide's table: calls per hour for 1, 5 and 50 zones."""
    lines = (ROOT / "docs/how-to/gateway.md").read_text("utf-8").splitlines()
    rows = [re.findall(r"[^|]+", line) for line in lines if re.match(r"\| `?(electricity|watttime|entsoe|gb_)", line)]
    return {cells[0].strip().replace("`", ""): [int(cell.split()[0]) for cell in cells[1:4]] for cells in rows}


@pytest.mark.parametrize("row", MAKERS)
def test_the_guide_states_the_calls_that_the_code_makes(row: str, tmp_path: Path) -> None:
    """An hour at a provider costs the same for one agent and for ten thousand, and grows with the zones alone."""
    calls = count_calls(row, tmp_path)
    stated = table()[row]
    computed = [zones * calls.per_zone + calls.logins for zones in (1, 5, 50)]

    assert computed == pytest.approx(stated, rel=0.05, abs=1)
