"""The carbon intensity in force: for each signal the first provider with a fresh value, and each says how it fares.

Everything is answered from memory. What the providers say is fetched in other threads (``exporter/carbon/live``); a
fixed value from the configuration and the embedded yearly table never change while the agent runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.carbon.facility import facility_of
from exporter.carbon.live.choice import Choice, choose
from exporter.carbon.outlooks import Outlooks
from exporter.carbon.place import Place, place_of, validate, zone_id
from exporter.carbon.records import CarbonState, Intensity
from exporter.carbon.settings import CarbonSettings, CostSettings
from exporter.carbon.switching import NO_PROVIDERS, InForce, Switching
from exporter.carbon.tariff import price_per_kwh
from exporter.carbon.yearly import YearlyMean, reference_mean
from exporter.clock import Clock
from exporter.health import Finding, SourceEvent

if TYPE_CHECKING:
    from exporter.carbon.live.fetcher import Fetcher
    from exporter.carbon.live.lineup import Lineup
    from exporter.carbon.live.poller import Jitter, Poller

__all__ = ["HOW_TO_SET_THE_ZONE", "CarbonSource", "cache_path"]

HOW_TO_SET_THE_ZONE = "Set the grid zone in the configuration file:\ncarbon:\n  grid_zone: DE"
"""The remedy where no zone is configured: a sentence, then the YAML."""


class CarbonSource:
    """What the loop asks for the intensity. Tables are looked up once, when it is made. One thread calls it.

    Args:
        settings: what the operator said; mistakes are reported by ``validate`` and lead to absent emissions here.
        costs: what the electricity costs.
        clock: the time.
        cache_path: file that keeps the providers' last values over a restart; empty: none.
        jitter: spreads the questions to providers; None: at random.
    """

    def __init__(
        self,
        settings: CarbonSettings,
        costs: CostSettings,
        clock: Clock,
        *,
        cache_path: str = "",
        jitter: Jitter | None = None,
    ) -> None:
        problems = validate(settings)
        place = place_of(settings)
        self._settings, self._costs, self._clock = settings, costs, clock
        self._facility = facility_of(settings, place)
        self._fixed: Intensity | None = None
        self._table: YearlyMean | None = None
        self._references: dict[str, Intensity] = {}
        self._lineup: Lineup | None = None
        self._fetcher: Fetcher | None = None
        self._cache_path = Path(cache_path) if cache_path else None
        self._cache_note = ""
        self._switching = Switching()
        self._outlooks = Outlooks(settings.green_window_s)
        self._previous_s: float | None = None
        if not problems:
            self._set_up(settings, place, jitter)
        self._setup_finding = _setup_finding(problems, settings, place, self._pollers())

    def _set_up(self, settings: CarbonSettings, place: Place, jitter: Jitter | None) -> None:
        if settings.intensity_g_per_kwh is not None:
            self._fixed = _fixed(settings.intensity_g_per_kwh, place, self._clock)
        elif settings.yearly_fallback or not settings.providers:
            self._table = YearlyMean(place.grid_zone, self._clock)
        for zone in map(zone_id, settings.reference_zones):
            mean = reference_mean(zone)
            if mean is not None and zone != zone_id(place.grid_zone):
                self._references[zone] = mean
        if settings.providers:
            self._set_up_providers(settings, place, jitter)

    def _set_up_providers(self, settings: CarbonSettings, place: Place, jitter: Jitter | None) -> None:
        # Only who has providers pays for their modules.
        from exporter.carbon.live.cache import load
        from exporter.carbon.live.fetcher import Fetcher
        from exporter.carbon.live.lineup import make_lineup

        self._lineup = make_lineup(settings, place, self._clock, jitter=jitter)
        if self._cache_path:
            loaded = load(self._cache_path)
            self._cache_note = loaded.note
            self._lineup.restore(loaded.entries)
        for poller in self._lineup:
            if poller.client.provider == "fixed":
                poller.poll()
        self._fetcher = Fetcher(self._lineup, self._clock, save=self._save)

    def _save(self) -> None:
        """Write the cache. Called in a fetching thread."""
        from exporter.carbon.live.cache import save

        if self._cache_path and self._lineup:
            self._cache_note = save(self._cache_path, self._lineup.entries())

    def state(self) -> CarbonState:
        """Return the values in force now, from memory; the first call starts the fetching."""
        if self._fetcher:
            self._fetcher.start()
        now_s, monotonic_s = self._clock.wall_s(), self._clock.monotonic_s()
        # The span's length is of the boot clock: the wall clock may have been set meanwhile.
        from_s = None if self._previous_s is None else now_s - (monotonic_s - self._previous_s)
        self._previous_s = monotonic_s
        average, market, marginal = (self._choice(self._pollers(s), now_s) for s in ("average", "market", "marginal"))
        in_force = self._in_force(average)
        others = [choice.intensity() for choice in (marginal, market) if choice]
        references = self._reference_choices(now_s)
        others += [*(choice.intensity() for choice in references), *self._yearly_references(references)]
        price = price_per_kwh(self._costs, now_s)
        return CarbonState(
            average=in_force.intensity,
            market=market.intensity() if market else None,
            interval_average_g_per_kwh=_interval_mean(average, from_s, now_s),
            interval_market_g_per_kwh=_interval_mean(market, from_s, now_s),
            others=_distinct(in_force.intensity, others),
            green_windows=self._outlooks.windows([choice for choice in (average, *references) if choice], now_s),
            is_fallback=in_force.is_fallback,
            pue_ratio=self._facility.pue_ratio,
            wue_l_per_kwh=self._facility.wue_l_per_kwh,
            price_per_kwh=price,
            currency=self._costs.currency if price is not None else "",
            events=self._events(),
            findings=self._findings(in_force),
        )

    @property
    def is_waiting(self) -> bool:
        """Whether a provider has neither answered nor failed yet."""
        return any(not poller.was_asked for poller in self._lineup or ())

    def close(self) -> None:
        """Stop fetching; return at once."""
        if self._fetcher:
            self._fetcher.stop()

    def _pollers(self, signal: str = "average") -> Sequence[Poller]:
        return self._lineup.of(signal) if self._lineup else ()  # type: ignore[arg-type]  # one of Signal

    def _choice(self, pollers: Sequence[Poller], now_s: float) -> Choice | None:
        return choose([poller.series for poller in pollers], now_s=now_s, keep_s=self._settings.keep_s)

    def _in_force(self, average: Choice | None) -> InForce:
        """Return what enters the emissions: the fixed value, a provider's, the table's, or nothing."""
        if self._fixed:
            return InForce(self._fixed, NO_PROVIDERS)
        pollers = self._pollers()
        if not pollers:
            return InForce(self._table.intensity if self._table else None, NO_PROVIDERS)
        if average:
            return InForce(average.intensity(), average.rank, is_fresh=average.is_fresh)
        return InForce(self._table.intensity if self._table else None, len(pollers), is_fresh=False)

    def _reference_choices(self, now_s: float) -> list[Choice]:
        if self._lineup is None:
            return []
        choices = (self._choice(pollers, now_s) for pollers in self._lineup.references.values())
        return [choice for choice in choices if choice]

    def _yearly_references(self, live: Sequence[Choice]) -> list[Intensity]:
        known = {choice.series.grid_zone for choice in live}
        return [mean for zone, mean in self._references.items() if zone not in known]

    def _events(self) -> list[SourceEvent]:
        return [event for poller in self._lineup or () for event in poller.take_events()]

    def _findings(self, in_force: InForce) -> list[Finding]:
        own = [self._setup_finding, *self._facility.findings]
        if self._fixed:
            own.append(_fixed_finding(self._fixed, self._settings))
        if self._table:
            own.append(self._table.finding)
        pollers = self._pollers()
        if pollers:
            own.append(self._switching.finding(in_force, pollers, self._clock.wall_s()))
        if self._cache_note:
            own.append(_cache_finding(self._cache_note))
        return [*(finding for finding in own if finding), *(poller.finding() for poller in self._lineup or ())]


def cache_path(settings: CarbonSettings, state_path: str | None) -> str:
    """Return where the last values are kept: as configured, else beside the state file; empty: nowhere."""
    if settings.cache_path is not None:
        return settings.cache_path
    return str(Path(state_path).with_name("carbon.json")) if state_path else ""


def _interval_mean(choice: Choice | None, from_s: float | None, now_s: float) -> float | None:
    return None if choice is None or from_s is None else choice.mean_g_per_kwh(from_s, now_s)


def _distinct(average: Intensity | None, others: Sequence[Intensity]) -> list[Intensity]:
    """Return ``others`` without a second value of the same zone and signal, which would be the same series."""
    seen = {(average.grid_zone, average.signal)} if average else set()
    kept = []
    for one in others:
        if (one.grid_zone, one.signal) not in seen:
            seen.add((one.grid_zone, one.signal))
            kept.append(one)
    return kept


def _fixed(intensity_g_per_kwh: float, place: Place, clock: Clock) -> Intensity:
    return Intensity(
        grid_zone=place.grid_zone or "fixed",
        signal="average",
        intensity_g_per_kwh=intensity_g_per_kwh,
        provider="fixed",
        basis="as-configured",
        is_estimated=False,
        observed_s=clock.wall_s(),
        note="fixed value from the configuration (carbon.intensity_g_per_kwh)",
    )


def _fixed_finding(fixed: Intensity, settings: CarbonSettings) -> Finding:
    detail = f"{fixed.intensity_g_per_kwh:g} g/kWh for {fixed.grid_zone}, from the configuration"
    idle = sum(provider.signal == "average" for provider in settings.providers)
    if idle:
        detail += f"; it stands alone, so {idle} of carbon.providers {'is' if idle == 1 else 'are'} not asked"
    # A second provider of kind fixed has findings of its own under this name, about its own signal.
    item = "intensity_g_per_kwh" if any(provider.kind == "fixed" for provider in settings.providers) else ""
    return Finding(source="fixed", item=item, state="up", detail=detail, last_success_s=fixed.observed_s)


def _cache_finding(note: str) -> Finding:
    remedy = "give the agent a writable local directory, or another carbon.cache_path"
    return Finding(source="carbon", item="cache", state="degraded", detail=note, remedy=remedy)


def _setup_finding(
    problems: Sequence[str], settings: CarbonSettings, place: Place, pollers: Sequence[Poller]
) -> Finding | None:
    if problems:
        detail = "emissions are absent: " + "; ".join(f"carbon.{problem}" for problem in problems)
        return Finding(source="carbon", state="down", detail=detail, remedy="correct the configuration file")
    if place.grid_zone or settings.intensity_g_per_kwh is not None or pollers:
        return None
    return Finding(
        source="carbon",
        state="absent",
        detail="no grid zone is configured: energy is counted, emissions are absent",
        remedy=HOW_TO_SET_THE_ZONE,
    )
