"""A gateway on a clock that stands still, behind it a fake provider, before it a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from exporter.carbon.gateway_settings import GatewaySettings
from exporter.carbon.settings import CarbonSettings, ProviderSettings
from exporter.config import Settings
from exporter.exposition import Server, WebSettings
from exporter.exposition.http_messages import Request, Response
from exporter.gateway.gateway import Gateway
from exporter.testing.fake_clock import FakeClock
from exporter.testing.grid_apis import ElectricityMapsApi

__all__ = ["HOUR_S", "Site", "curve", "electricity_maps", "settings_for"]

HOUR_S = 3600.0


def curve(zone: str, at_s: float) -> float:
    """Return a truth that differs by zone and hour."""
    return 100.0 + 10 * (sum(map(ord, zone)) % 7) + at_s // HOUR_S % 24


def electricity_maps(api: ElectricityMapsApi, directory: Path) -> ProviderSettings:
    """Return the settings of a provider that asks ``api`` with its key."""
    key = directory / "key"
    key.write_text(api.key)
    return ProviderSettings(kind="electricity_maps", url=api.url, key_file=str(key))


def settings_for(provider: ProviderSettings, gateway: GatewaySettings, *, forecast: bool = False) -> Settings:
    """Return the settings of a gateway that asks ``provider``."""
    return Settings(
        carbon=CarbonSettings(providers=(provider,), green_window_s=(HOUR_S,) if forecast else ()),
        gateway=gateway,
        web=WebSettings(process_metrics=False),
    )


class Site:
    """One gateway; nothing is fetched but by ``fetch_due``.

    Attributes:
        clock: of gateway and provider.
        settings: the gateway's.
        gateway: the gateway.
    """

    def __init__(self, settings: Settings, clock: FakeClock) -> None:
        self.clock = clock
        self.settings = settings
        self.gateway = Gateway(settings, clock=clock)

    def fetch_due(self) -> None:
        """Do what loop and fetching threads do at this moment."""
        self.gateway.turn()
        for poller in self.gateway.upstreams.pollers():
            if poller.due_s <= self.clock.monotonic_s():
                poller.poll()
        self.gateway.turn()

    def run_for(self, seconds: float, *, step_s: float = 60.0) -> None:
        """Let time pass, and fetch whatever falls due."""
        for _ in range(round(seconds / step_s)):
            self.clock.advance(step_s)
            self.fetch_due()

    def get(self, path: str, query: str = "", **headers: str) -> Response:
        """Return the answer to a request, without a network."""
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        return self.gateway.app(Request(method="GET", path=path, query=query, headers=named))

    def ask(self, zone: str = "DE", **query: str) -> Response:
        """Return the answer to an agent's question."""
        rest = "".join(f"&{key}={value}" for key, value in query.items())
        return self.get("/api/v1/intensity", f"zone={zone}{rest}")

    def zones(self) -> dict[str, dict[str, object]]:
        """Return the zones' document by zone."""
        return {zone["grid_zone"]: zone for zone in json.loads(self.get("/api/v1/zones").body)["zones"]}

    def metric(self, name: str, **labels: str) -> float | None:
        """Return the value of one series of the metrics page."""
        inside = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
        series = f"{name}{{{inside}}}" if inside else name
        lines = self.get("/metrics").body.decode().splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{series} ")), None)

    @contextmanager
    def served(self) -> Iterator[str]:
        """Serve it over HTTP; yield its address."""
        server = Server(["127.0.0.1:0"], self.gateway.app, self.settings.web)
        server.start()
        try:
            host, port = server.addresses[0]
            yield f"http://{host}:{port}"
        finally:
            server.stop()
