"""Who is asked for what: the pollers that the configured providers, signals and zones need."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from exporter.carbon.live.cache import CacheEntry
from exporter.carbon.live.poller import Jitter, Poller
from exporter.carbon.place import Place, zone_id
from exporter.carbon.records import IntensityClient, Signal, ZoneQuery
from exporter.carbon.settings import CarbonSettings, ProviderSettings
from exporter.clock import Clock

__all__ = ["Lineup", "make_lineup", "make_poller", "provider_key", "source_names"]

_ZONELESS = ("file", "fixed", "prometheus")
"""Kinds that can answer where no grid zone is configured."""
_OWN = ("file", "fixed", "gateway", "prometheus")
"""Kinds that the operator runs: they may be asked at once and often."""
_FILE_INTERVAL_S = 5.0
_OWN_SHORTEST_S = 60.0
_SHORTEST_S = 300.0
_FIRST_SPREAD_S = 30.0
_GATEWAY_SPREAD_S = 5.0
_GATEWAY_BACK_OFF_S = 300.0
_OWN_BACK_OFF_S = 60.0
_BACK_OFF_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineup:
    """The pollers, each list in order of preference.

    Attributes:
        by_signal: for the node's own zone.
        references: for each reference zone; empty where only the yearly table is left.
        keys: of each poller's provider, for the cache; by the poller's identity.
    """

    by_signal: Mapping[Signal, Sequence[Poller]] = field(default_factory=dict)
    references: Mapping[str, Sequence[Poller]] = field(default_factory=dict)
    keys: Mapping[int, str] = field(default_factory=dict)

    def of(self, signal: Signal) -> Sequence[Poller]:
        """Return the pollers of one signal for the node's own zone."""
        return self.by_signal.get(signal, ())

    def __iter__(self) -> Iterator[Poller]:
        for pollers in (*self.by_signal.values(), *self.references.values()):
            yield from pollers

    def restore(self, entries: Sequence[CacheEntry]) -> None:
        """Give every poller what an earlier process knew from the same provider of the same zone and signal."""
        known = {(entry.key, entry.series.grid_zone, entry.series.signal): entry.series for entry in entries}
        for poller in self:
            series = known.get((self.keys[id(poller)], poller.query.grid_zone, poller.query.signal))
            if series is not None:
                poller.restore(series)

    def entries(self) -> list[CacheEntry]:
        """Return what is known now, for the cache."""
        known = ((self.keys[id(poller)], poller.series) for poller in self)
        return [CacheEntry(key, series) for key, series in known if series is not None]


def make_lineup(settings: CarbonSettings, place: Place, clock: Clock, *, jitter: Jitter | None = None) -> Lineup:
    """Return the pollers of ``settings``, which have no mistake that ``validate`` names. Asks nobody yet.

    A fixed ``intensity_g_per_kwh`` stands alone: no average provider is asked then.
    """
    from exporter.carbon.providers import make_client

    jitter = jitter or random.Random()  # noqa: S311 - spreads load, hides nothing
    home = zone_id(place.grid_zone)
    by_signal: dict[Signal, list[Poller]] = {}
    references: dict[str, list[Poller]] = {}
    keys: dict[int, str] = {}
    for provider, name in zip(settings.providers, source_names(settings.providers), strict=True):
        is_idle = provider.signal == "average" and settings.intensity_g_per_kwh is not None
        if is_idle or not (home or provider.kind in _ZONELESS):
            continue
        client = make_client(provider, settings)
        lends_references = provider.signal == "average" and not by_signal.get("average")
        query = ZoneQuery(home or provider.kind, provider.signal, with_forecast=_wants_forecast(settings, provider))
        poller = make_poller(client, provider, query, settings, clock, jitter=jitter, source=name)
        by_signal.setdefault(provider.signal, []).append(poller)
        keys[id(poller)] = provider_key(provider)
        if lends_references:
            for zone in _reference_zones(settings, provider, home):
                query = query._replace(grid_zone=zone)
                poller = make_poller(
                    client,
                    provider,
                    query,
                    settings,
                    clock,
                    jitter=jitter,
                    source=name,
                    item=zone,
                    may_lack_zone=provider.kind == "file",
                )
                references[zone] = [poller]
                keys[id(poller)] = provider_key(provider)
    return Lineup(by_signal=by_signal, references=references, keys=keys)


def make_poller(
    client: IntensityClient,
    provider: ProviderSettings,
    query: ZoneQuery,
    carbon: CarbonSettings,
    clock: Clock,
    *,
    jitter: Jitter,
    source: str | None = None,
    item: str = "",
    may_lack_zone: bool = False,
) -> Poller:
    """Return a poller that asks ``client`` as often as suits the provider's kind, or as its settings say."""
    from exporter.carbon.providers import usual_interval_s

    kind = provider.kind
    interval_s = provider.poll_interval_s
    min_interval_s = interval_s
    if interval_s is None:
        interval_s = _FILE_INTERVAL_S if kind == "file" else usual_interval_s(kind)
        min_interval_s = _OWN_SHORTEST_S if kind in _OWN else _SHORTEST_S
    back_off_s = {"file": interval_s, "gateway": _GATEWAY_BACK_OFF_S, "prometheus": _OWN_BACK_OFF_S}
    spread_s = {"gateway": _GATEWAY_SPREAD_S} if kind in _OWN else {kind: _FIRST_SPREAD_S}
    return Poller(
        client,
        query,
        clock,
        interval_s=interval_s,
        min_interval_s=min_interval_s,
        jitter=jitter,
        first_spread_s=spread_s.get(kind, 0.0),
        longest_back_off_s=back_off_s.get(kind, _BACK_OFF_S),
        bounds=(carbon.lowest_plausible_g_per_kwh, carbon.highest_plausible_g_per_kwh),
        estimates=provider.estimates,
        source=source,
        item=item,
        may_lack_zone=may_lack_zone,
    )


def source_names(providers: Sequence[ProviderSettings]) -> list[str]:
    """Return the name of each provider as a source: its kind, with ``#2`` and so on where a kind comes again."""
    seen: Counter[str] = Counter()
    names = []
    for provider in providers:
        seen[provider.kind] += 1
        count = seen[provider.kind]
        names.append(provider.kind if count == 1 else f"{provider.kind}#{count}")
    return names


def provider_key(provider: ProviderSettings) -> str:
    """Return a key that differs where another configuration would give other values. Holds no setting in clear."""
    where = (provider.url, provider.zone, provider.query, provider.path)
    what = (provider.emission_factors, provider.estimates, provider.intensity_g_per_kwh)
    digest = hashlib.sha256(repr(where + what).encode()).hexdigest()[:16]
    return f"{provider.kind}:{digest}"


def _wants_forecast(settings: CarbonSettings, provider: ProviderSettings) -> bool:
    return provider.signal == "average" and bool(settings.green_window_s)


def _reference_zones(settings: CarbonSettings, provider: ProviderSettings, home: str) -> list[str]:
    """Return the reference zones that ``provider`` can be asked for."""
    from exporter.carbon.providers import provider_problems

    if provider.kind == "fixed" or (provider.kind == "prometheus" and "$zone" not in provider.query):
        return []
    zones = [zone for zone in dict.fromkeys(map(zone_id, settings.reference_zones)) if zone != home]
    elsewhere = replace(provider, zone="")
    return [zone for zone in zones if not provider_problems(elsewhere, zone)]
