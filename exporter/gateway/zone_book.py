"""Which zones the gateway fetches: those of the configuration, and those that agents ask for, within bounds.

Nobody's questions can make it fetch without end: a name must be a zone's, there is room for ``max_zones``, and a
learned zone leaves only after a time, so that asking for many names cannot cycle through them either.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache

from exporter.carbon.cloud_regions import read_regions
from exporter.carbon.gateway_settings import GatewaySettings
from exporter.carbon.grid_table import find_row, near_zones
from exporter.carbon.place import place_of, zone_id
from exporter.carbon.providers.zones import provider_zone, read_names
from exporter.carbon.records import Signal
from exporter.carbon.settings import CarbonSettings, ProviderKind, ProviderSettings
from exporter.clock import Clock
from exporter.gateway.records import Demand

__all__ = ["FORGET_UNANSWERED_S", "LONGEST_ZONE", "ZoneBook", "normal_zone"]

LONGEST_ZONE = 64
"""Characters of a zone's name, as in the configuration."""
FORGET_UNANSWERED_S = 3600.0
"""Seconds after which a learned zone is forgotten for which no provider ever had a value."""
_TABLED_KINDS: tuple[ProviderKind, ...] = ("entsoe", "watttime")
_OWN_KINDS = frozenset({"prometheus", "gateway", "file", "fixed"})
_ZONE = re.compile(r"[A-Z]{2}(?:-[A-Z0-9]{1,8}){0,3}", re.ASCII)
"""A country (ISO 3166) and up to three parts below it: ``DE``, ``SE-SE3``, ``US-CAL-CISO``."""


@dataclass(slots=True)
class _Learned:
    since_s: float
    asked_s: float
    signals: set[Signal] = field(default_factory=set)


def normal_zone(zone: str) -> str:
    """Return the id of a zone that is given by its id in any case, or by a country's name."""
    wanted = zone.strip().upper()
    return wanted if _ZONE.fullmatch(wanted) else zone_id(wanted)  # the usual case needs no look into the table


class ZoneBook:
    """Thread-safe: the server asks, the loop looks up and forgets.

    Args:
        settings: the zones, and the bounds of learning.
        carbon: the providers, which have some signals and cover some zones.
        clock: the time.
    """

    def __init__(self, settings: GatewaySettings, carbon: CarbonSettings, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._learned: dict[str, _Learned] = {}
        self.reconfigure(settings, carbon)

    def reconfigure(self, settings: GatewaySettings, carbon: CarbonSettings) -> None:
        """Take over new settings; learned zones stay as far as the new bounds allow."""
        with self._lock:
            self._settings = settings
            self._carbon = carbon
            self._place = place_of(carbon)
            self._signals: tuple[Signal, ...] = tuple(dict.fromkeys(one.signal for one in carbon.providers))
            self._configured = dict.fromkeys(map(normal_zone, settings.zones))
            room = max(settings.max_zones - len(self._configured), 0) if settings.learn_zones else 0
            kept = [(zone, one) for zone, one in self._learned.items() if zone not in self._configured][:room]
            self._learned = dict(kept)

    def ask(self, zone: str, signal: Signal) -> str:
        """Note a question for ``zone`` (normalised); return why it is not served, as a sentence, else nothing."""
        with self._lock:
            if signal not in self._signals:
                return f"no provider of this gateway has the signal {signal}; configure one in carbon.providers"
            if zone in self._configured:
                return ""
            known = self._learned.get(zone)
            refusal = "" if known and signal in known.signals else self._refusal(zone, signal, is_new=not known)
            if refusal:
                return refusal
            now_s = self._clock.monotonic_s()
            learned = known or self._learned.setdefault(zone, _Learned(now_s, now_s))
            learned.asked_s = now_s
            learned.signals.add(signal)
            return ""

    def __contains__(self, zone: str) -> bool:
        with self._lock:
            return zone in self._configured or zone in self._learned

    def demands(self) -> list[Demand]:
        """Return what is to be fetched now: configured zones with every signal, learned ones with those asked for."""
        with self._lock:
            return [
                *(Demand(zone, signal) for zone in self._configured for signal in self._signals),
                *(Demand(zone, s) for zone, one in self._learned.items() for s in self._signals if s in one.signals),
            ]

    def zones(self) -> Mapping[str, bool]:
        """Return every zone in order, and whether it was learned."""
        with self._lock:
            return dict.fromkeys(self._configured, False) | dict.fromkeys(self._learned, True)

    def learn(self, demands: Iterable[Demand]) -> None:
        """Take over what was fetched before a restart, as if it had just been asked for, within the bounds."""
        for demand in demands:
            self.ask(demand.grid_zone, demand.signal)

    def forget(self, answered: Iterable[str]) -> list[str]:
        """Drop learned zones that nobody asks for, and those not in ``answered`` after an hour; return the dropped."""
        with_value = frozenset(answered)
        now_s = self._clock.monotonic_s()
        with self._lock:
            dropped = [zone for zone, one in self._learned.items() if self._is_over(one, now_s, zone in with_value)]
            for zone in dropped:
                del self._learned[zone]
        return dropped

    def _is_over(self, learned: _Learned, now_s: float, has_value: bool) -> bool:  # noqa: FBT001 - one obvious meaning
        if now_s - learned.asked_s >= self._settings.forget_zone_s:
            return True
        return not has_value and now_s - learned.since_s >= FORGET_UNANSWERED_S

    def _refusal(self, zone: str, signal: Signal, *, is_new: bool) -> str:
        if not self._settings.learn_zones:
            return f"zone {zone} is not served; add it to gateway.zones, or switch gateway.learn_zones on"
        if not (_ZONE.fullmatch(zone) and _is_known(zone)):
            near = near_zones(zone, limit=3)
            hint = f"did you mean {', '.join(near)}?" if near else "use an id such as DE or US-CAL-CISO"
            return f"no grid zone {zone} is known; {hint}"
        if not any(self._covers(one, zone) for one in self._carbon.providers if one.signal == signal):
            return f"no provider of this gateway is known to cover zone {zone} with the signal {signal}"
        if is_new and len(self._configured) + len(self._learned) >= self._settings.max_zones:
            return f"zone {zone} is not served: all {self._settings.max_zones} places of gateway.max_zones are taken"
        return ""

    def _covers(self, provider: ProviderSettings, zone: str) -> bool:
        """Tell whether it may have the zone; what the operator runs may have any."""
        if provider.kind in _OWN_KINDS:
            return True
        return provider_zone(provider, zone, self._place.grid_zone, self._place.region) is not None


def _is_known(zone: str) -> bool:
    """Tell whether there is such a zone. A part of a country must be named by a table: anybody can invent parts."""
    row = find_row(zone)
    if row is None or row.match != "parent":
        return row is not None
    return zone in _named_parts()


@cache
def _named_parts() -> frozenset[str]:
    regions = {region.grid_zone for region in read_regions()}
    return frozenset(regions | {name.zone for kind in _TABLED_KINDS for name in read_names(kind)})
