"""The providers behind the gateway: a client each, a poller for each zone and signal, and what is served of them."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from exporter.carbon.live import CacheEntry, Fetcher, Poller
from exporter.carbon.live.lineup import make_poller, provider_key
from exporter.carbon.live.poller import Jitter
from exporter.carbon.providers import make_client, usual_interval_s
from exporter.carbon.records import IntensityClient, IntensitySeries, ZoneQuery
from exporter.carbon.settings import CarbonSettings, ProviderSettings
from exporter.clock import Clock
from exporter.gateway.patient_client import PatientClient
from exporter.gateway.records import Demand, ProviderCounts, ZoneState
from exporter.health import Finding, State

__all__ = ["Upstreams", "interval_s"]


def interval_s(provider: ProviderSettings) -> float:
    """Return the seconds between two questions for one zone: as configured, or as often as its data change."""
    return provider.poll_interval_s or usual_interval_s(provider.kind)


class Upstreams:
    """Fetches what is demanded, in threads of its own once started; answers from memory, to any thread.

    Args:
        carbon: the providers, the preferred one first, and the bounds of what is believed.
        max_age_s: seconds since it was fetched for which a value is still served.
        clock: the time.
        save: keeps ``entries``; called in a fetching thread after an answer, at most once a minute.
        make: makes the client of a provider.
        jitter: so that several gateways do not ask at once.
    """

    def __init__(
        self,
        carbon: CarbonSettings,
        *,
        max_age_s: float,
        clock: Clock,
        save: Callable[[], None] | None = None,
        make: Callable[[ProviderSettings, CarbonSettings], IntensityClient] = make_client,
        jitter: Jitter | None = None,
    ) -> None:
        self._carbon = carbon
        self._max_age_s = max_age_s
        self._clock = clock
        self._jitter = jitter or random.Random()  # noqa: S311 - spreads questions, guards nothing
        self._clients = [(one, PatientClient(make(one, carbon), clock)) for one in carbon.providers]
        self._fetcher = Fetcher((), clock, save=save)
        self._keys_seen = [0] * len(self._clients)
        self._keys: dict[int, str] = {}
        self._pollers: Mapping[Demand, tuple[Poller, ...]] = {}
        self._restored: Mapping[tuple[str, Demand], IntensitySeries] = {}
        self._errors_lock = threading.Lock()
        self._errors: Counter[tuple[str, str]] = Counter()

    def start(self) -> None:
        """Start to fetch."""
        self._fetcher.start()

    def stop(self) -> None:
        """Ask nobody any more; return at once."""
        self._fetcher.stop()

    def restore(self, entries: Iterable[CacheEntry]) -> None:
        """Remember what an earlier process knew, for the pollers that ``fetch`` makes."""
        self._restored = {(e.key, Demand(e.series.grid_zone, e.series.signal)): e.series for e in entries}

    def fetch(self, demands: Iterable[Demand]) -> None:
        """Fetch ``demands`` from now on, and nothing else. Called by one thread."""
        self._use_new_keys()
        before = self._pollers
        after = {demand: before.get(demand) or self._make(demand) for demand in demands}
        self._pollers = after
        for demand, pollers in before.items():
            if demand not in after:
                self._count_errors(pollers)
                for poller in pollers:
                    self._fetcher.remove(poller)
                    del self._keys[id(poller)]
        for demand, pollers in after.items():
            if demand not in before:
                for poller in pollers:
                    self._fetcher.add(poller)

    def pollers(self) -> list[Poller]:
        """Return everything that is asked."""
        return [poller for pollers in self._pollers.values() for poller in pollers]

    def series(self, demand: Demand) -> IntensitySeries | None:
        """Return what is served: of the first provider whose value is fresh, else the one that was so last; or None.

        Times are as the provider stated them, however old they are.
        """
        now_s = self._clock.wall_s()
        known = [s for poller in self._pollers.get(demand, ()) if (s := poller.series) is not None]
        young = [series for series in known if now_s - series.fetched_s <= self._max_age_s]
        fresh = next((series for series in young if now_s < series.fresh_until_s), None)
        return fresh or max(young, key=lambda series: series.fresh_until_s, default=None)

    def due_in_s(self, demand: Demand) -> float:
        """Return seconds until a provider is asked for it next; 0: now, or never."""
        due_s = min((poller.due_s for poller in self._pollers.get(demand, ())), default=0.0)
        return max(due_s - self._clock.monotonic_s(), 0.0)

    def states(self, zones: Mapping[str, bool]) -> list[ZoneState]:
        """Return each zone and signal; ``zones``: which were learned."""
        states = []
        for demand, pollers in self._pollers.items():
            findings = [poller.finding() for poller in pollers]
            successes = [f.last_success_s for f in findings if f.last_success_s is not None]
            states.append(
                ZoneState(
                    demand=demand,
                    is_learned=zones.get(demand.grid_zone, False),
                    series=self.series(demand),
                    last_success_s=max(successes, default=None),
                    findings=findings,
                )
            )
        return states

    def counts(self) -> ProviderCounts:
        """Return how often each provider was asked, and what went wrong."""
        self._count_errors(self.pollers())
        requests: Counter[str] = Counter()
        for _, client in self._clients:
            requests[client.provider] += client.requests
        with self._errors_lock:
            return ProviderCounts(requests=requests, errors=dict(self._errors))

    def entries(self) -> list[CacheEntry]:
        """Return what is to outlive a restart."""
        keys = self._keys
        pairs = [(keys.get(id(poller)), poller.series) for poller in self.pollers()]
        return [CacheEntry(key, series) for key, series in pairs if key and series]

    def findings(self) -> list[Finding]:
        """Return how each provider fares over all zones: down where it fails for all, degraded for some."""
        return [_summary(client.provider, one.signal, self._of_client(client)) for one, client in self._clients]

    def _use_new_keys(self) -> None:
        """Let every zone try the new key that one of them has found; each on its own would wait for its back-off."""
        for index, (_, client) in enumerate(self._clients):
            if client.keys_seen != self._keys_seen[index]:
                self._keys_seen[index] = client.keys_seen
                for poller in self.pollers():
                    if poller.client is client and poller.finding().state == "down":
                        poller.ask_again()

    def _of_client(self, client: PatientClient) -> list[Finding]:
        return [poller.finding() for poller in self.pollers() if poller.client is client]

    def _make(self, demand: Demand) -> tuple[Poller, ...]:
        return tuple(self._poller(demand, one, client) for one, client in self._clients if one.signal == demand.signal)

    def _poller(self, demand: Demand, provider: ProviderSettings, client: PatientClient) -> Poller:
        """Return what asks ``provider``, never more often than its interval: calls can be counted beforehand."""
        asked = replace(provider, poll_interval_s=interval_s(provider))
        with_forecast = demand.signal == "average" and bool(self._carbon.green_window_s)
        query = ZoneQuery(demand.grid_zone, demand.signal, with_forecast=with_forecast)
        item = f"{demand.grid_zone} {demand.signal}"
        poller = make_poller(client, asked, query, self._carbon, self._clock, jitter=self._jitter, item=item)
        key = self._keys[id(poller)] = provider_key(provider)
        restored = self._restored.get((key, demand))
        if restored:
            poller.restore(restored)
        else:
            poller.ask_again()  # one asks for many: there is no crowd to spread, and an agent waits
        return poller

    def _count_errors(self, pollers: Iterable[Poller]) -> None:
        with self._errors_lock:
            for poller in pollers:
                for event in poller.take_events():
                    self._errors[event.source, event.reason] += int(event.amount)


def _summary(provider: str, signal: str, findings: Sequence[Finding]) -> Finding:
    """Return one finding for all zones of a provider, with what the first failing one says."""
    bad = [f for f in findings if f.state in ("down", "degraded")]
    asked = [f for f in findings if f.state != "absent"]
    state: State = "up" if asked else "absent"
    detail = f"{len(asked)} zones are up to date" if asked else "no zone was asked for yet"
    remedy = ""
    if bad:
        worst = next((f for f in bad if f.state == "down"), bad[0])
        state = "down" if all(f.state == "down" for f in asked) else "degraded"
        detail = f"{len(bad)} of {len(asked)} zones are not up to date; {worst.item}: {worst.detail}"
        remedy = worst.remedy
    last_success_s = max((f.last_success_s for f in findings if f.last_success_s is not None), default=None)
    return Finding(
        source=provider, item=signal, state=state, detail=detail, remedy=remedy, last_success_s=last_success_s
    )
