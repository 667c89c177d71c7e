from __future__ import annotations

import pytest

from exporter.carbon.gateway_settings import GatewaySettings
from exporter.carbon.settings import CarbonSettings, ProviderSettings
from exporter.config import Settings
from exporter.config.gateway_problems import gateway_only_problems, gateway_problems

ELECTRICITY_MAPS = ProviderSettings(kind="electricity_maps", key_file="/key")


def test_the_defaults_have_no_mistake_that_an_agent_minds() -> None:
    assert gateway_problems(Settings()) == []


def test_all_mistakes_are_named_at_once() -> None:
    gateway = GatewaySettings(listen_addresses=("nowhere",), zones=("DE", "XX", "", "GERMANYY"), max_zones=3)
    found = gateway_problems(Settings(gateway=gateway))

    assert [sentence.split(":")[0] for sentence in found] == [
        "gateway.listen_addresses[0]",
        "gateway.zones[1]",
        "gateway.zones[2]",
        "gateway.zones[3]",
        "gateway.zones",
    ]
    assert "did you mean DE" in found[3]
    assert all(sentence.endswith((".", "?")) for sentence in found)


def test_at_least_one_address_is_needed() -> None:
    assert "at least one address" in gateway_problems(Settings(gateway=GatewaySettings(listen_addresses=())))[0]


def test_a_gateway_needs_a_provider_and_an_agent_does_not() -> None:
    assert "add one, for example {kind: electricity_maps" in gateway_only_problems(Settings())[0]


@pytest.mark.parametrize(
    ("provider", "gateway", "expected"),
    [
        (ELECTRICITY_MAPS, GatewaySettings(), ""),
        (ELECTRICITY_MAPS, GatewaySettings(learn_zones=False), "gateway.zones: expected at least one"),
        (ProviderSettings(kind="gateway", url="http://localhost:10188"), GatewaySettings(), "this gateway itself"),
        (ProviderSettings(kind="gateway", url="http://127.0.0.1:10188/"), GatewaySettings(), "this gateway itself"),
        (ProviderSettings(kind="gateway", url="http://upstream:10188"), GatewaySettings(), ""),
        (ProviderSettings(kind="gateway", url="http://localhost:10189"), GatewaySettings(), ""),
        (
            ProviderSettings(kind="gateway", url="http://10.0.0.7"),
            GatewaySettings(listen_addresses=("10.0.0.7:80",)),
            "this gateway itself",
        ),
        (ProviderSettings(kind="fixed", intensity_g_per_kwh=1.0), GatewaySettings(zones=("DE",)), "for every zone"),
        (
            ProviderSettings(kind="fixed", intensity_g_per_kwh=1.0),
            GatewaySettings(zones=("DE",), learn_zones=False),
            "",
        ),
        (ProviderSettings(kind="prometheus", url="http://p", query="up"), GatewaySettings(), "expected $zone"),
        (ProviderSettings(kind="prometheus", url="http://p", query='x{z="$zone"}'), GatewaySettings(), ""),
    ],
)
def test_what_only_a_gateway_minds(provider: ProviderSettings, gateway: GatewaySettings, expected: str) -> None:
    found = gateway_only_problems(Settings(carbon=CarbonSettings(providers=(provider,)), gateway=gateway))

    assert (expected in "".join(found)) if expected else found == []
