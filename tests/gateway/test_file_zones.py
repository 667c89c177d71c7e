"""A gateway whose provider is a file: whose value is one that names no zone."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.carbon.gateway_settings import GatewaySettings
from exporter.carbon.settings import ProviderSettings
from exporter.config import Settings
from exporter.gateway.gateway import Gateway
from exporter.testing.fake_clock import FakeClock
from tests.carbon.clients import NOON_S
from tests.gateway.sites import Site, settings_for


def settings_of(directory: Path, text: str, gateway: GatewaySettings) -> Settings:
    path = directory / "values.yaml"
    path.write_text(text)
    os.utime(path, (NOON_S - 60, NOON_S - 60))
    return settings_for(ProviderSettings(kind="file", path=str(path)), replace(gateway, state_path=""))


def served(site: Site, *zones: str) -> list[float | None]:
    """Return what is served of ``zones``; None: nothing."""
    for zone in zones:
        site.ask(zone)
    site.fetch_due()
    answers = [site.ask(zone) for zone in zones]
    return [json.loads(answer.body)["points"][-1][2] if answer.status == 200 else None for answer in answers]


@pytest.mark.parametrize(
    ("text", "zones", "expected"),
    [
        ("312", ("DE",), [312, None]),
        ("312", ("germany",), [312, None]),
        ("312", ("DE", "FR"), [None, None]),
        ("312", (), [None, None]),
        ("{DE: 312, FR: 41}", (), [312, 41]),
    ],
)
def test_a_value_without_zone_is_served_for_the_only_zone_and_no_other(
    tmp_path: Path, text: str, zones: tuple[str, ...], expected: list[float | None]
) -> None:
    site = Site(settings_of(tmp_path, text, GatewaySettings(zones=zones)), FakeClock(wall_s=NOON_S))

    assert served(site, "DE", "FR") == expected


def test_a_reload_that_adds_a_zone_takes_the_value_back(tmp_path: Path) -> None:
    clock = FakeClock(wall_s=NOON_S)
    before = settings_of(tmp_path, "312", GatewaySettings(zones=("DE",)))
    after = settings_of(tmp_path, "312", GatewaySettings(zones=("DE", "FR")))
    site = Site(before, clock)
    site.gateway = Gateway(before, clock=clock, reload=lambda: after)
    served(site, "DE")
    site.gateway.request_reload()
    clock.advance(900)
    site.fetch_due()

    [finding] = site.gateway.upstreams.findings()
    assert "no entry for the zone" in finding.detail
