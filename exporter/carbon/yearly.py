"""The embedded yearly table as a provider: what it says of a zone, and whether another row stands for it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from exporter.carbon.grid_table import SOURCE, GridRow, find_row
from exporter.carbon.records import Intensity
from exporter.clock import Clock
from exporter.health import Finding

__all__ = ["YearlyMean", "reference_mean"]

_OLD_AFTER_YEARS = 3


class YearlyMean:
    """The yearly mean of a zone, or of what stands for it. Looked up once, when it is made."""

    def __init__(self, zone: str, clock: Clock) -> None:
        row = find_row(zone) if zone else None
        self.intensity = _from_row(row, zone) if row else None
        """None where the table has no row for the zone."""
        self.finding = _row_finding(row, zone, clock) if row else None


def reference_mean(zone: str) -> Intensity | None:
    """Return the yearly mean of ``zone`` under the zone's own id, for comparison; None where there is no row."""
    row = find_row(zone)
    return replace(_from_row(row, zone), grid_zone=zone) if row else None


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
