"""Where a node stands, from its settings: the grid zone and the cloud region, and every mistake in saying so."""

from __future__ import annotations

import math
from typing import NamedTuple

from exporter.carbon.cloud_regions import CloudRegion, find_region, near_regions
from exporter.carbon.grid_table import find_row, near_zones
from exporter.carbon.settings import CarbonSettings

__all__ = [
    "HIGHEST_INTENSITY_G_PER_KWH",
    "HIGHEST_PUE_RATIO",
    "HIGHEST_WUE_L_PER_KWH",
    "MOST_REFERENCE_ZONES",
    "Place",
    "place_of",
    "validate",
    "zone_id",
]

HIGHEST_INTENSITY_G_PER_KWH = 2000.0
"""Above what any grid or generator emits (the highest yearly mean in the table is below 1,400)."""
HIGHEST_PUE_RATIO = 10.0
"""Above what any facility needs; the industry's mean is about 1.5."""
HIGHEST_WUE_L_PER_KWH = 20.0
"""Above what any facility evaporates; published means are below 3."""
MOST_REFERENCE_ZONES = 50
_MOST_GREEN_WINDOWS = 10
_LONGEST_ZONE = 64


class Place(NamedTuple):
    """Where the node stands.

    Attributes:
        grid_zone: zone as configured or as the cloud region gives it; empty if neither says.
        region: the cloud region, or None outside a known one.
    """

    grid_zone: str
    region: CloudRegion | None


def place_of(settings: CarbonSettings) -> Place:
    """Return where ``settings`` put the node. Reads the table of regions if a region is named."""
    provider, name = _region_name(settings)
    region = find_region(provider, name) if name else None
    zone = "" if ":" in settings.grid_zone else settings.grid_zone.strip()
    return Place(zone or (region.grid_zone if region else ""), region)


def validate(settings: CarbonSettings) -> list[str]:
    """Return every mistake in ``settings``, one sentence each that starts with the setting's name; empty if none.

    Two settings are checked against each other and names against the tables, so the sentences name close matches.
    """
    return [
        *_number_problems(settings),
        *_region_problems(settings),
        *_zone_problems(settings),
        *_reference_problems(settings),
        *_provider_problems(settings),
    ]


def zone_id(zone: str) -> str:
    """Return the id of a zone given as an id or as a country's name, in any case: ``DE`` for ``germany``."""
    wanted = zone.strip().upper()
    row = find_row(wanted) if wanted else None
    return row.entry.zone if row and row.match == "exact" else wanted


def _region_name(settings: CarbonSettings) -> tuple[str, str]:
    """Return provider and region, from ``provider:region`` in either setting or from the two settings."""
    for text in (settings.cloud_region, settings.grid_zone):
        if ":" in text:
            provider, _, region = text.partition(":")
            return provider.strip(), region.strip()
    return settings.cloud_provider.strip(), settings.cloud_region.strip()


def _number_problems(settings: CarbonSettings) -> list[str]:
    problems = []
    pue, grams = settings.pue_ratio, settings.intensity_g_per_kwh
    if pue is not None and not (math.isfinite(pue) and 1 <= pue <= HIGHEST_PUE_RATIO):
        problems.append(f"pue_ratio: expected 1 to {HIGHEST_PUE_RATIO:g} (facility energy over IT energy), found {pue}")
    if grams is not None and not (math.isfinite(grams) and 0 <= grams <= HIGHEST_INTENSITY_G_PER_KWH):
        problems.append(
            f"intensity_g_per_kwh: expected 0 to {HIGHEST_INTENSITY_G_PER_KWH:g} grams per kilowatt-hour, found {grams}"
        )
    wue = settings.wue_l_per_kwh
    if wue is not None and not (math.isfinite(wue) and 0 <= wue <= HIGHEST_WUE_L_PER_KWH):
        problems.append(f"wue_l_per_kwh: expected 0 to {HIGHEST_WUE_L_PER_KWH:g} litres per kilowatt-hour, found {wue}")
    lowest, highest = settings.lowest_plausible_g_per_kwh, settings.highest_plausible_g_per_kwh
    if not lowest <= highest:
        problems.append(
            f"lowest_plausible_g_per_kwh: expected at most highest_plausible_g_per_kwh ({highest:g}), found {lowest:g}"
        )
    if len(settings.green_window_s) > _MOST_GREEN_WINDOWS:
        problems.append(
            f"green_window_s: expected at most {_MOST_GREEN_WINDOWS} lengths, found {len(settings.green_window_s)}"
        )
    return problems


def _reference_problems(settings: CarbonSettings) -> list[str]:
    zones = settings.reference_zones
    problems = []
    if len(zones) > MOST_REFERENCE_ZONES:
        problems.append(f"reference_zones: expected at most {MOST_REFERENCE_ZONES} zones, found {len(zones)}")
    for index, zone in enumerate(zones[:MOST_REFERENCE_ZONES]):
        if len(zone) > _LONGEST_ZONE or not zone.isprintable() or not find_row(zone):
            hint = _did_you_mean(near_zones(zone[:_LONGEST_ZONE])) or "; use an id such as DE or US-CAL-CISO"
            problems.append(f"reference_zones[{index}]: no grid zone {zone[:_LONGEST_ZONE]!r} is known{hint}")
    return problems


def _provider_problems(settings: CarbonSettings) -> list[str]:
    """Return what is wrong with each provider, and which two are the same."""
    if not settings.providers:
        return []
    from exporter.carbon.providers import provider_problems

    place = place_of(settings)
    problems = []
    for index, provider in enumerate(settings.providers):
        found = provider_problems(provider, place.grid_zone, place.region)
        problems += [f"providers[{index}].{problem}" for problem in found]
        first = settings.providers.index(provider)
        if first < index:
            problems.append(f"providers[{index}]: the same as providers[{first}]; remove one of them")
    return problems


def _region_problems(settings: CarbonSettings) -> list[str]:
    provider, name = _region_name(settings)
    if not (provider or name):
        return []
    if not name:
        return [f"cloud_region: expected a region of {provider!r}, found none; remove cloud_provider or add the region"]
    if not provider:
        return [f"cloud_provider: expected the provider of region {name!r} (aws, azure, gcp …), found none"]
    if find_region(provider, name):
        return []
    hint = _did_you_mean(near_regions(provider, name)) or "; set grid_zone instead"
    return [f"cloud_region: no region {f'{provider}:{name}'[:_LONGEST_ZONE]!r} is known{hint}"]


def _zone_problems(settings: CarbonSettings) -> list[str]:
    zone = settings.grid_zone.strip()
    if not zone or ":" in zone:
        return []
    if len(zone) > _LONGEST_ZONE or not zone.isprintable():
        return [f"grid_zone: expected at most {_LONGEST_ZONE} printable characters, found {zone[:_LONGEST_ZONE]!r}"]
    if settings.intensity_g_per_kwh is not None or find_row(zone):
        return []
    hint = _did_you_mean(near_zones(zone)) or "; use a two-letter country code such as DE"
    return [f"grid_zone: no grid zone {zone!r} is known{hint}"]


def _did_you_mean(names: list[str]) -> str:
    return f"; did you mean {', '.join(names)}?" if names else ""
