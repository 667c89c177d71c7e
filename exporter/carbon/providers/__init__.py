"""The providers of carbon intensity: which client asks which, how often their data change, what each must be told.

One module per provider; only it knows the provider's addresses and formats. Clients block, keep no values and know no
schedule: who asks when, and what becomes of an answer, is the poller's affair.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.carbon.providers.problems import provider_findings, provider_problems
from exporter.carbon.providers.tempo import TEMPO, Tempo, fresh_for_s, usual_delay_s, usual_interval_s
from exporter.carbon.records import IntensityClient
from exporter.carbon.settings import CarbonSettings, ProviderSettings

if TYPE_CHECKING:
    from exporter.carbon.place import Place

__all__ = [
    "TEMPO",
    "Tempo",
    "fresh_for_s",
    "make_client",
    "provider_findings",
    "provider_problems",
    "usual_delay_s",
    "usual_interval_s",
]


def make_client(settings: ProviderSettings, carbon: CarbonSettings) -> IntensityClient:
    """Return the client of one provider. Asks nothing and reads no key yet.

    Args:
        settings: the provider's own, without a mistake that ``provider_problems`` would name.
        carbon: where the node stands: the zone that ``settings.zone`` translates, and the cloud region.
    """
    from exporter.carbon.place import place_of

    # Each provider's client is loaded only where it is used.
    match settings.kind:
        case "electricity_maps":
            from exporter.carbon.providers.electricity_maps import ElectricityMapsClient

            return ElectricityMapsClient(settings, place_of(carbon))
        case "watttime":
            from exporter.carbon.providers.watttime import WattTimeClient

            return WattTimeClient(settings, place_of(carbon))
        case "gb_carbon_intensity":
            from exporter.carbon.providers.gb_carbon_intensity import GbCarbonIntensityClient

            return GbCarbonIntensityClient(settings, place_of(carbon))
        case "entsoe":
            from exporter.carbon.providers.entsoe import EntsoeClient

            return EntsoeClient(settings, place_of(carbon))
        case _:
            return _make_own(settings, place_of(carbon))


def _make_own(settings: ProviderSettings, place: Place) -> IntensityClient:
    """Return the client of a source that the operator runs."""
    match settings.kind:
        case "prometheus":
            from exporter.carbon.providers.prometheus import PrometheusClient

            return PrometheusClient(settings)
        case "gateway":
            from exporter.carbon.providers.gateway import GatewayClient

            return GatewayClient(settings)
        case "file":
            from exporter.carbon.place import zone_id
            from exporter.carbon.providers.file import FileClient

            # Where no zone is configured, the kind stands for it (``make_lineup``).
            return FileClient(settings, home_zone=zone_id(place.grid_zone) or settings.kind)
        case _:
            from exporter.carbon.providers.fixed import FixedClient

            return FixedClient(settings)
