from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.carbon.gateway_settings import GatewaySettings
from exporter.testing.fake_clock import FakeClock
from exporter.testing.grid_apis import ElectricityMapsApi
from tests.gateway.sites import Site, curve, electricity_maps, settings_for


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(wall_s=1_750_000_000.0)


@pytest.fixture
def api(clock: FakeClock) -> Iterator[ElectricityMapsApi]:
    with ElectricityMapsApi(curve, now_s=clock.wall_s) as api:
        yield api


@pytest.fixture
def site(api: ElectricityMapsApi, clock: FakeClock, tmp_path: Path) -> Site:
    """Return a gateway for DE that learns, with a state file."""
    gateway = GatewaySettings(zones=("DE",), state_path=str(tmp_path / "state/gateway.json"), max_zones=10)
    site = Site(settings_for(electricity_maps(api, tmp_path), gateway), clock)
    site.run_for(60)
    return site
