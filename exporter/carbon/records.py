"""What carbon gives: the carbon intensity in force now, with where it comes from and how old it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from exporter.health import Finding, SourceEvent

__all__ = ["NO_CARBON", "CarbonState", "Intensity", "IntensityProvider", "Signal"]

Signal = Literal["average", "marginal", "market"]


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
        note: for people: year, source and licence of the figure.
    """

    grid_zone: str
    signal: Signal
    intensity_g_per_kwh: float
    provider: str
    basis: str
    is_estimated: bool
    observed_s: float
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CarbonState:
    """Everything carbon knows now.

    Attributes:
        average: the location-based intensity that enters emissions, or None where no zone is configured.
        others: further signals and reference zones, for display only.
        pue_ratio: facility energy over IT energy, at least 1.
        events: errors since the previous call.
        findings: the state of each provider, with the remedy where no zone is configured.
    """

    average: Intensity | None
    others: Sequence[Intensity] = ()
    pue_ratio: float = 1.0
    events: Sequence[SourceEvent] = ()
    findings: Sequence[Finding] = ()


NO_CARBON = CarbonState(average=None)
"""Nothing is known: energy flows, emissions are absent."""


class IntensityProvider(Protocol):
    """What the loop needs of carbon. Must return at once: fetching is somebody else's thread."""

    def state(self) -> CarbonState:
        """Return the values in force now, from memory."""
        ...
