"""What the tests of the public providers share: a fake server, a client that asks it, and a clock for both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from exporter.carbon.place import Place, place_of
from exporter.carbon.providers.electricity_maps import ElectricityMapsClient
from exporter.carbon.providers.entsoe import EntsoeClient
from exporter.carbon.providers.gb_carbon_intensity import GbCarbonIntensityClient
from exporter.carbon.providers.watttime import WattTimeClient
from exporter.carbon.records import IntensityClient, IntensitySeries, Signal, ZoneQuery
from exporter.carbon.settings import CarbonSettings, ProviderKind, ProviderSettings
from exporter.testing import FakeClock
from exporter.testing.grid_apis import ElectricityMapsApi, EntsoeApi, GbCarbonIntensityApi, GridApi, WattTimeApi

NOON_S = 1_793_016_000.0
"""2026-10-26 12:00 UTC."""
_APIS: Mapping[ProviderKind, Callable[..., GridApi]] = {
    "electricity_maps": ElectricityMapsApi,
    "watttime": WattTimeApi,
    "gb_carbon_intensity": GbCarbonIntensityApi,
    "entsoe": EntsoeApi,
}
_CLIENTS: Mapping[ProviderKind, Callable[..., IntensityClient]] = {
    "electricity_maps": ElectricityMapsClient,
    "watttime": WattTimeClient,
    "gb_carbon_intensity": GbCarbonIntensityClient,
    "entsoe": EntsoeClient,
}
ZONES: Mapping[ProviderKind, str] = {
    "electricity_maps": "DE",
    "watttime": "US-CAL-CISO",
    "gb_carbon_intensity": "GB",
    "entsoe": "DE",
}
_SECRETS = ("key", "username", "password")


def daily(_: str, at_s: float) -> float:
    """Return 200 g/kWh at midnight UTC, 10 more for each hour of the day."""
    return 200.0 + at_s // 3600 % 24 * 10


@dataclass(slots=True, kw_only=True)
class Bench:
    """A client of ``kind`` in front of its fake server."""

    kind: ProviderKind
    api: GridApi
    clock: FakeClock
    client: IntensityClient
    settings: ProviderSettings
    secrets: tuple[str, ...]

    def fetch(self, zone: str = "", signal: Signal = "average", *, with_forecast: bool = False) -> IntensitySeries:
        """Ask for ``zone``, the home zone if empty, now."""
        query = ZoneQuery(zone or ZONES[self.kind], signal, with_forecast)
        return self.client.fetch(query, now_s=self.clock.wall_s())


def client_of(settings: ProviderSettings, place: Place, *, timeout_s: float) -> IntensityClient:
    """Return the client of a public provider with another timeout than its usual one."""
    return _CLIENTS[settings.kind](settings, place, timeout_s=timeout_s)


def write_secrets(api: object, folder: Path) -> dict[str, str]:
    """Write the secrets that ``api`` accepts into files; return their paths by name."""
    files = {}
    for name in _SECRETS:
        if secret := getattr(api, name, ""):
            path = folder / name
            path.write_text(f"{secret}\n")
            path.chmod(0o600)
            files[name] = str(path)
    return files


@contextmanager
def bench(
    kind: ProviderKind,
    folder: Path,
    *,
    curve: Callable[[str, float], float] = daily,
    carbon: CarbonSettings | None = None,
    timeout_s: float = 10.0,
    at_s: float = NOON_S,
    settings: ProviderSettings | None = None,
) -> Iterator[Bench]:
    """Give a client of ``kind`` with ``settings`` in front of a fake server, both at ``at_s``."""
    clock = FakeClock(wall_s=at_s)
    with _APIS[kind](curve, now_s=clock.wall_s) as api:
        keys = write_secrets(api, folder)
        provider = replace(
            settings or ProviderSettings(kind=kind),
            url=api.url,
            key_file=keys.get("key", ""),
            username_file=keys.get("username", ""),
            password_file=keys.get("password", ""),
        )
        place = place_of(carbon or CarbonSettings(grid_zone=ZONES[kind]))
        yield Bench(
            kind=kind,
            api=api,
            clock=clock,
            client=client_of(provider, place, timeout_s=timeout_s),
            settings=provider,
            secrets=tuple(getattr(api, name) for name in _SECRETS if hasattr(api, name)),
        )
