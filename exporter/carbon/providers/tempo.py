"""How fast the providers' data change: one table for when to ask and how long an answer is news."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from exporter.carbon.settings import ProviderKind, ProviderSettings

__all__ = ["TEMPO", "Tempo", "fresh_for_s", "usual_delay_s", "usual_interval_s"]


class Tempo(NamedTuple):
    """How fast a provider's data change.

    Attributes:
        interval_s: seconds between two questions that lose little and offend nobody.
        delay_s: seconds from the start of a value's interval for which no newer one need be expected.
    """

    interval_s: float
    delay_s: float


TEMPO: Mapping[ProviderKind, Tempo] = MappingProxyType(
    {
        "electricity_maps": Tempo(900, 10_800),  # hourly, published at no fixed minute; a free key has 50 calls an hour
        "watttime": Tempo(300, 7200),  # every 5 minutes (marginal) or hour (average)
        "gb_carbon_intensity": Tempo(900, 3600),  # half-hourly
        "entsoe": Tempo(900, 21_600),  # quarter-hourly to hourly, complete after two to four hours
        "prometheus": Tempo(300, 900),
        "gateway": Tempo(300, 10_800),  # the gateway says itself how long its values are fresh
        "file": Tempo(30, 86_400),
        "fixed": Tempo(3600, 86_400),
    }
)


def usual_interval_s(kind: ProviderKind) -> float:
    """Return the seconds between two questions to a provider of ``kind`` whose settings say nothing."""
    return TEMPO[kind].interval_s


def usual_delay_s(kind: ProviderKind) -> float:
    """Return the seconds from its interval's start for which a value is fresh where the settings say nothing."""
    return TEMPO[kind].delay_s


def fresh_for_s(settings: ProviderSettings) -> float:
    """Return the seconds from its interval's start for which a value of this provider is fresh."""
    return usual_delay_s(settings.kind) if settings.fresh_for_s is None else settings.fresh_for_s
