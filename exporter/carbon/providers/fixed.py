"""A value that the operator states, as a provider among others: a contract's, with ``signal: market``."""

from __future__ import annotations

import math

from exporter.carbon.records import IntensityPoint, IntensitySeries, ZoneQuery
from exporter.carbon.settings import ProviderSettings
from exporter.errors import ProviderError

__all__ = ["FixedClient"]


class FixedClient:
    """Answers the configured value, from the first question on and for good. Asks nobody."""

    provider = "fixed"

    def __init__(self, settings: ProviderSettings) -> None:
        self._intensity_g_per_kwh = settings.intensity_g_per_kwh
        self._since_s: float | None = None

    def fetch(self, query: ZoneQuery, *, now_s: float) -> IntensitySeries:
        """Return the value for any zone and signal. Raises ``ProviderError`` where none is configured."""
        if self._intensity_g_per_kwh is None:
            raise ProviderError(self.provider, "not_found", "intensity_g_per_kwh is not set for the provider fixed")
        self._since_s = now_s if self._since_s is None else min(self._since_s, now_s)
        return IntensitySeries(
            grid_zone=query.grid_zone,
            signal=query.signal,
            provider=self.provider,
            basis="as-configured",
            points=(IntensityPoint(self._since_s, math.inf, self._intensity_g_per_kwh),),
            fresh_until_s=math.inf,
            fetched_s=now_s,
            note="fixed value from the configuration (carbon.providers)",
        )
