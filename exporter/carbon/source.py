"""The carbon intensity in force: ordered providers, the first that has a value wins, and each says how it fares.

A provider answers from memory. The two here never change while the agent runs: a fixed value from the
configuration, and the embedded yearly table.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol

from exporter.carbon.grid_table import SOURCE, GridRow, find_row
from exporter.carbon.place import Place, place_of, validate
from exporter.carbon.records import CarbonState, Intensity
from exporter.carbon.settings import CarbonSettings
from exporter.clock import Clock
from exporter.health import Finding

__all__ = ["HOW_TO_SET_THE_ZONE", "CarbonSource", "Provider"]

HOW_TO_SET_THE_ZONE = "Set the grid zone in the configuration file:\ncarbon:\n  grid_zone: DE"
"""The remedy where no zone is configured: a sentence, then the YAML."""

_OLD_AFTER_YEARS = 3


class Provider(Protocol):
    """One way to know the average intensity of the node's zone."""

    def current(self) -> Intensity | None:
        """Return the value in force from memory, or None if this provider has none now."""
        ...

    def findings(self) -> Sequence[Finding]:
        """Return how the provider fares; nothing if it is not configured."""
        ...


class CarbonSource:
    """What the loop asks for the intensity. Looks everything up once, when it is made.

    Args:
        settings: what the operator said; mistakes are reported by ``validate`` and lead to absent emissions here.
        clock: the time, to tell how old a figure is.
    """

    def __init__(self, settings: CarbonSettings, clock: Clock) -> None:
        problems = validate(settings)
        place = place_of(settings)
        self._providers: tuple[Provider, ...] = ()
        if not problems:
            self._providers = _providers(settings, place, clock)
        self._pue_ratio, pue_finding = _pue(settings, place)
        self._own_findings = (_setup_finding(problems, settings, place), pue_finding)

    def state(self) -> CarbonState:
        """Return the first provider's value, the PUE, and the findings of all, from memory."""
        values = (provider.current() for provider in self._providers)
        findings = [finding for provider in self._providers for finding in provider.findings()]
        return CarbonState(
            average=next((value for value in values if value is not None), None),
            pue_ratio=self._pue_ratio,
            findings=[*(finding for finding in self._own_findings if finding), *findings],
        )

    def close(self) -> None:
        """Do nothing: nothing is fetched."""


def _providers(settings: CarbonSettings, place: Place, clock: Clock) -> tuple[Provider, ...]:
    """Return the configured providers, the preferred first. A fixed value is meant to stand alone."""
    if settings.intensity_g_per_kwh is not None:
        return (_FixedValue(settings.intensity_g_per_kwh, place, clock),)
    return (_GridTable(place.grid_zone, clock),)


class _FixedValue:
    """An intensity that the operator states."""

    def __init__(self, intensity_g_per_kwh: float, place: Place, clock: Clock) -> None:
        self._intensity = Intensity(
            grid_zone=place.grid_zone or "fixed",
            signal="average",
            intensity_g_per_kwh=intensity_g_per_kwh,
            provider="fixed",
            basis="as-configured",
            is_estimated=False,
            observed_s=clock.wall_s(),
            note="fixed value from the configuration (carbon.intensity_g_per_kwh)",
        )

    def current(self) -> Intensity | None:
        return self._intensity

    def findings(self) -> Sequence[Finding]:
        detail = (
            f"{self._intensity.intensity_g_per_kwh:g} g/kWh for {self._intensity.grid_zone}, from the configuration"
        )
        return (Finding(source="fixed", state="up", detail=detail, last_success_s=self._intensity.observed_s),)


class _GridTable:
    """The embedded yearly mean of the zone, or of what stands for it."""

    def __init__(self, zone: str, clock: Clock) -> None:
        row = find_row(zone) if zone else None
        self._intensity = _from_row(row, zone) if row else None
        self._findings = (_row_finding(row, zone, clock),) if row else ()

    def current(self) -> Intensity | None:
        return self._intensity

    def findings(self) -> Sequence[Finding]:
        return self._findings


def _from_row(row: GridRow, zone: str) -> Intensity:
    year_start = datetime(row.entry.year, 1, 1, tzinfo=UTC)
    return Intensity(
        grid_zone=row.entry.zone,
        signal="average",
        intensity_g_per_kwh=row.entry.intensity_g_per_kwh,
        provider=SOURCE,
        basis=row.origin.basis,
        is_estimated=True,
        observed_s=year_start.timestamp(),
        note=f"{_standing(row, zone)}; mean of {row.entry.year}; {row.origin.publication}; {row.origin.licence}",
    )


def _standing(row: GridRow, zone: str) -> str:
    name = f"{row.entry.zone} ({row.entry.name})"
    if row.match == "parent":
        return f"{name} stands for {zone.upper()}, which has no row of its own"
    return f"{name} covers {zone.upper()}" if row.match == "alias" else name


def _row_finding(row: GridRow, zone: str, clock: Clock) -> Finding:
    """Return up for a zone's own recent row, degraded for a country's row in its place or an old year."""
    entry = row.entry
    age_years = datetime.fromtimestamp(clock.wall_s(), UTC).year - entry.year
    detail = f"{_standing(row, zone)}: {entry.intensity_g_per_kwh:g} g/kWh, mean of {entry.year}, {row.origin.basis}"
    remedy = ""
    if row.match == "parent":
        remedy = (
            f"set carbon.intensity_g_per_kwh to the yearly mean of {zone.upper()} if you know it, "
            f"or carbon.grid_zone to the state or province if it has a row; {entry.zone} says that the country is meant"
        )
    elif age_years > _OLD_AFTER_YEARS:
        remedy = f"the figure is {age_years} years old: set carbon.intensity_g_per_kwh if you know a newer one"
    return Finding(
        source=SOURCE,
        state="degraded" if remedy else "up",
        detail=detail,
        remedy=remedy,
        last_success_s=clock.wall_s(),
    )


def _setup_finding(problems: Sequence[str], settings: CarbonSettings, place: Place) -> Finding | None:
    if problems:
        detail = "emissions are absent: " + "; ".join(f"carbon.{problem}" for problem in problems)
        return Finding(source="carbon", state="down", detail=detail, remedy="correct the configuration file")
    if place.grid_zone or settings.intensity_g_per_kwh is not None:
        return None
    return Finding(
        source="carbon",
        state="absent",
        detail="no grid zone is configured: energy is counted, emissions are absent",
        remedy=HOW_TO_SET_THE_ZONE,
    )


def _pue(settings: CarbonSettings, place: Place) -> tuple[float, Finding | None]:
    """Return the PUE in force and a finding that says where it comes from."""
    region = place.region
    if settings.pue_ratio is not None:
        if validate(CarbonSettings(pue_ratio=settings.pue_ratio)):
            return 1.0, None
        return settings.pue_ratio, _pue_finding(f"{settings.pue_ratio:g}, from the configuration")
    if region and region.pue_ratio is not None:
        detail = f"{region.pue_ratio:g}, published for {region.provider}:{region.region} ({region.pue_year})"
        return region.pue_ratio, _pue_finding(detail)
    if not place.grid_zone and settings.intensity_g_per_kwh is None:
        return 1.0, None
    detail = "1.0 assumed: cooling and losses of the building are not counted"
    return 1.0, _pue_finding(detail, remedy="set carbon.pue_ratio to the facility's figure, or to 1.0 if that is meant")


def _pue_finding(detail: str, remedy: str = "") -> Finding:
    return Finding(source="carbon", item="pue_ratio", state="absent" if remedy else "up", detail=detail, remedy=remedy)
