"""A place's yearly carbon intensity and overhead, with the range and the provenance that an estimate must state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import quantiles

from exporter.carbon.grid_table import SOURCE, Entry, GridRow, find_row, read_lines
from exporter.carbon.place import place_of, validate, zone_id
from exporter.carbon.settings import CarbonSettings
from exporter.reports.ranges import Range, exactly

__all__ = ["INDUSTRY_PUE_RATIO", "GridFigure", "PlaceFigures", "configured_place", "named_place", "stated_intensity"]

INDUSTRY_PUE_RATIO = 1.54
"""The high end where the PUE is not known: mean of the industry. Source: Uptime Institute, survey of 2025."""
_FEWEST_REGIONS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class GridFigure:
    """A carbon intensity for planning.

    Attributes:
        grid_zone: the zone it is for; empty for a bare number.
        intensity_g_per_kwh: with its range.
        basis: what the number counts; figures of different basis must not be compared.
        provider: ``given``, ``fixed`` (configuration) or ``grid_table``.
        note: year, source and what stands for what, one sentence.
        assumptions: what else to know, one sentence each.
    """

    grid_zone: str
    intensity_g_per_kwh: Range
    basis: str
    provider: str
    note: str
    assumptions: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceFigures:
    """A place as an estimate needs it.

    Attributes:
        name: as it was named, for example ``DE`` or ``aws:us-east-1``.
        grid_zone: the zone there, whether the table has a row for it or not; empty for a bare number.
        grid: its intensity, or None where no figure is known.
        pue_ratio: published or configured, or None.
        pue_note: where it comes from; empty without one.
        wue_l_per_kwh: litres per kilowatt-hour of IT energy, or None.
    """

    name: str
    grid_zone: str
    grid: GridFigure | None
    pue_ratio: float | None = None
    pue_note: str = ""
    wue_l_per_kwh: float | None = None


def stated_intensity(intensity_g_per_kwh: float, where: str, *, grid_zone: str = "") -> GridFigure:
    """Return the figure that somebody stated, which has no range; ``where`` says who."""
    return GridFigure(
        grid_zone=grid_zone,
        intensity_g_per_kwh=exactly(intensity_g_per_kwh),
        basis="as-given",
        provider="given" if where.startswith("--") else "fixed",
        note=f"{intensity_g_per_kwh:g} g/kWh as given ({where})",
    )


def named_place(text: str) -> tuple[PlaceFigures | None, Sequence[str]]:
    """Return a zone, country or cloud region (``provider:region``), or None and what is wrong with its name."""
    settings = CarbonSettings(grid_zone=text)
    problems = [problem.partition(": ")[2] for problem in validate(settings)]
    return (None, problems) if problems else (_figures(settings, text), ())


def configured_place(settings: CarbonSettings) -> PlaceFigures | None:
    """Return the place of the configuration, with its own figures over the tables'; None if it names none."""
    fixed = next((one for one in settings.providers if one.kind == "fixed" and one.signal == "average"), None)
    place = place_of(settings)
    grams = settings.intensity_g_per_kwh
    where = "carbon.intensity_g_per_kwh"
    if grams is None and fixed is not None:
        grams, where = fixed.intensity_g_per_kwh, "a provider of kind fixed"
    if grams is None and not place.grid_zone:
        return None
    region = place.region
    name = f"{region.provider}:{region.region}" if region else place.grid_zone
    found = _figures(settings, name or "configuration")
    return PlaceFigures(
        name=found.name,
        grid_zone=found.grid_zone,
        grid=found.grid if grams is None else stated_intensity(grams, where, grid_zone=place.grid_zone),
        pue_ratio=settings.pue_ratio or found.pue_ratio,
        pue_note="from the configuration" if settings.pue_ratio else found.pue_note,
        wue_l_per_kwh=found.wue_l_per_kwh if settings.wue_l_per_kwh is None else settings.wue_l_per_kwh,
    )


def _figures(settings: CarbonSettings, name: str) -> PlaceFigures:
    place = place_of(settings)
    row = find_row(place.grid_zone) if place.grid_zone else None
    region = place.region
    pue_ratio = region.pue_ratio if region else None
    return PlaceFigures(
        name=name,
        grid_zone=zone_id(place.grid_zone),
        grid=_from_row(row, place.grid_zone) if row else None,
        wue_l_per_kwh=region.wue_l_per_kwh if region else None,
        pue_ratio=pue_ratio,
        pue_note=f"published for {name} ({region.pue_year})" if region and pue_ratio is not None else "",
    )


def _from_row(row: GridRow, zone: str) -> GridFigure:
    entry = row.entry
    is_stand_in = row.match != "exact"
    note = f"{entry.zone} ({entry.name}){f' stands for {zone}' if is_stand_in else ''}, mean of {entry.year}, "
    note += f"{row.origin.basis}; {row.origin.publication}"
    band = _regional_band(entry)
    assumptions = ["a yearly mean: the hours and seasons of the run differ from it"]
    if band is not None:
        assumptions.append(
            f"{entry.zone} is a country: the middle half of its regions lies between {band.low:.0f} and "
            f"{band.high:.0f} g/kWh; name the region if you know it"
        )
    return GridFigure(
        grid_zone=entry.zone,
        intensity_g_per_kwh=band or exactly(entry.intensity_g_per_kwh),
        basis=row.origin.basis,
        provider=SOURCE,
        note=note,
        assumptions=assumptions,
    )


def _regional_band(country: Entry) -> Range | None:
    """Return the country's mean with the quartiles of its regions in the table, or None for a region or too few."""
    if "-" in country.zone:
        return None
    regions = [
        line.intensity_g_per_kwh
        for line in read_lines()
        if isinstance(line, Entry) and line.zone.startswith(f"{country.zone}-")
    ]
    if len(regions) < _FEWEST_REGIONS:
        return None
    lower, _, upper = quantiles(regions, n=4)
    mean = country.intensity_g_per_kwh
    return Range(min(lower, mean), mean, max(upper, mean))
