"""What carbon gives: the carbon intensity in force now, with where it comes from and how old it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from exporter.health import Finding, SourceEvent

__all__ = [
    "NO_CARBON",
    "CarbonState",
    "GreenWindow",
    "Intensity",
    "IntensityClient",
    "IntensityPoint",
    "IntensityProvider",
    "IntensitySeries",
    "Signal",
    "ZoneQuery",
]

Signal = Literal["average", "marginal", "market"]
"""average: location-based, enters emissions and budgets; market: contract-based, enters a second account;
marginal: what one more kilowatt-hour causes, never enters an account."""


class ZoneQuery(NamedTuple):
    """What a provider is asked for: a zone (our id) and a signal; ``with_forecast``: coming intervals, too."""

    grid_zone: str
    signal: Signal = "average"
    with_forecast: bool = False


class IntensityPoint(NamedTuple):
    """A carbon intensity in grams of CO2e per kilowatt-hour, true from ``from_s`` up to before ``until_s``."""

    from_s: float
    until_s: float
    intensity_g_per_kwh: float
    is_estimated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class IntensitySeries:
    """What a provider said about one zone and signal.

    Attributes:
        grid_zone: our id of the zone, as asked for.
        signal: what kind of intensity.
        provider: fixed name of the provider that made the figure; behind a gateway the provider that it asked.
        basis: what the number counts: lifecycle, direct, combustion, generation-lifecycle …
        points: past and present intervals, in order, not overlapping; at least one.
        forecast: coming intervals, in order, not overlapping; may be empty.
        fresh_until_s: wall-clock time up to which the newest point may be taken for the present.
        fetched_s: wall-clock time at which the provider (behind a gateway: the gateway) got it.
        note: for people: model, licence, region as the provider calls it.
    """

    grid_zone: str
    signal: Signal
    provider: str
    basis: str
    points: Sequence[IntensityPoint]
    forecast: Sequence[IntensityPoint] = ()
    fresh_until_s: float
    fetched_s: float
    note: str = ""


class IntensityClient(Protocol):
    """One way to ask for an intensity. Blocks; knows no schedule, keeps no values, never retries."""

    provider: str
    """Fixed name, as in the ``provider`` and ``source`` labels."""

    def fetch(self, query: ZoneQuery, *, now_s: float) -> IntensitySeries:
        """Return what the provider says now (wall clock ``now_s``).

        Raises:
            ProviderError: no plausible answer could be had; with a fixed reason and, where told, when to ask again.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Intensity:
    """The carbon intensity of one grid zone, with its provenance.

    Attributes:
        grid_zone: the zone's id, for example ``DE`` or ``US-CAL-CISO``.
        signal: average (location-based), marginal or market; only average enters emissions.
        intensity_g_per_kwh: grams of CO2e per kilowatt-hour, not negative.
        provider: fixed name of the provider in force, for example ``grid_table``.
        basis: what the number counts: generation-lifecycle, combustion …
        is_estimated: True where the provider says so, and for yearly means.
        observed_s: wall-clock start of the interval that the value describes.
        fresh_until_s: wall-clock time up to which the value may be taken for the present; None: for good.
        note: for people: year, source and licence of the figure.
    """

    grid_zone: str
    signal: Signal
    intensity_g_per_kwh: float
    provider: str
    basis: str
    is_estimated: bool
    observed_s: float
    fresh_until_s: float | None = None
    note: str = ""


class GreenWindow(NamedTuple):
    """When work of a given length would emit least, by the forecast in force.

    Attributes:
        grid_zone: the zone.
        duration_s: length of the work.
        starts_s: wall-clock time of the best start.
        mean_g_per_kwh: mean intensity if started then.
        now_g_per_kwh: mean intensity if started now.
        provider: whose forecast.
    """

    grid_zone: str
    duration_s: float
    starts_s: float
    mean_g_per_kwh: float
    now_g_per_kwh: float
    provider: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CarbonState:
    """Everything carbon knows now.

    Attributes:
        average: the location-based intensity that enters emissions, or None where none is known.
        market: the market-based intensity that enters the second account, or None.
        interval_average_g_per_kwh: mean of the average intensity over the time since the previous call, as known now;
            None: as ``average``.
        interval_market_g_per_kwh: the same for ``market``.
        others: further signals and reference zones, for display only.
        green_windows: the best starts by forecast, for display only.
        is_fallback: whether ``average`` comes from another provider than the first configured one, or is past its
            freshness; None where no provider is configured.
        pue_ratio: facility energy over IT energy, at least 1.
        wue_l_per_kwh: litres of water per kilowatt-hour of IT energy, or None where unknown.
        price_per_kwh: price of a kilowatt-hour of facility energy now, or None where unknown.
        currency: what the price is in; empty without a price.
        events: errors since the previous call.
        findings: the state of each provider, with the remedy where no zone is configured.
    """

    average: Intensity | None
    market: Intensity | None = None
    interval_average_g_per_kwh: float | None = None
    interval_market_g_per_kwh: float | None = None
    others: Sequence[Intensity] = ()
    green_windows: Sequence[GreenWindow] = ()
    is_fallback: bool | None = None
    pue_ratio: float = 1.0
    wue_l_per_kwh: float | None = None
    price_per_kwh: float | None = None
    currency: str = ""
    events: Sequence[SourceEvent] = ()
    findings: Sequence[Finding] = ()


NO_CARBON = CarbonState(average=None)
"""Nothing is known: energy flows, emissions are absent."""


class IntensityProvider(Protocol):
    """What the loop needs of carbon. Must return at once: fetching is somebody else's thread."""

    def state(self) -> CarbonState:
        """Return the values in force now, from memory."""
        ...

    def close(self) -> None:
        """Stop fetching; return at once."""
        ...
