"""The gateway of this cluster: ``GET {url}/api/v1/intensity?zone=DE&signal=average[&forecast=1]``.

The body is a series as in ``exporter/carbon/live/series_json.py``; what it says of provider and freshness is that of
the provider behind the gateway. 404: a zone that it does not serve; 503 with ``Retry-After``: it has nothing yet.
"""

from __future__ import annotations

from exporter.carbon.live.series_json import decode_series
from exporter.carbon.providers import answers
from exporter.carbon.records import IntensitySeries, ZoneQuery
from exporter.carbon.settings import ProviderSettings
from exporter.web_client import WebClient

__all__ = ["GatewayClient"]


class GatewayClient:
    """Asks one gateway. Needs no key: the gateway holds it."""

    provider = "gateway"
    usual_delay_s = 90.0
    """The gateway asks its provider a minute after an interval's end, and we ask the gateway."""

    def __init__(self, settings: ProviderSettings) -> None:
        self._web = WebClient(settings.url, user_agent=answers.user_agent(), ca_file=settings.ca_file)

    def fetch(self, query: ZoneQuery, *, now_s: float) -> IntensitySeries:
        """Return what the gateway knows. Raises ``ProviderError``."""
        asked = {"zone": query.grid_zone, "signal": query.signal}
        if query.with_forecast:
            asked["forecast"] = "1"
        body = answers.get(self._web, self.provider, "/api/v1/intensity", asked, now_s=now_s)
        with answers.reading(self.provider):
            document = answers.parse_json(body)
        return decode_series(document, source=self.provider)
