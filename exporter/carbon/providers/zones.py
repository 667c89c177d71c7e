"""What the providers call our grid zones, from tables that are read line by line and never kept.

Owns the formats of ``data/entsoe_areas.txt`` and ``data/watttime_regions.txt``, and the numbers of the regions of Great
Britain (NESO, Carbon Intensity API, "Region list").
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from exporter.carbon.cloud_regions import CloudRegion
from exporter.carbon.grid_table import find_row
from exporter.carbon.place import Place
from exporter.carbon.settings import ProviderKind, ProviderSettings
from exporter.errors import ProviderError, SourceFormatError

__all__ = ["GB_NATIONAL", "ZoneName", "asked_zone", "parse_name", "provider_zone", "read_names", "zone_example"]

_DATA = Path(__file__).parent.parent / "data"

GB_NATIONAL = "GB"
"""Stands for Great Britain as a whole, which has no region number."""
_GB_NATIONS = MappingProxyType({"GB-ENG": "15", "GB-SCT": "16", "GB-WLS": "17"})
_GB_REGIONS = 17
_GB_OTHER_GRID = "GB-NIR"
"""Northern Ireland belongs to the grid of Ireland."""

_EXAMPLES = MappingProxyType(
    {
        "electricity_maps": ("[A-Z0-9-]{2,24}", "a zone of Electricity Maps such as DE or US-CAL-CISO"),
        "watttime": ("[A-Z0-9_]{2,40}", "a region of WattTime such as CAISO_NORTH"),
        "gb_carbon_intensity": ("[1-9]|1[0-7]", "a number from 1 to 17, or leave it empty for Great Britain"),
        "entsoe": ("[A-Z0-9-]{16}", "an EIC code of 16 characters such as 10Y1001A1001A82H"),
    }
)


class ZoneName(NamedTuple):
    """One line of a table: our id of a zone (``aws:us-east-1`` for a cloud region), and the provider's."""

    zone: str
    name: str


def parse_name(line: str) -> ZoneName:
    """Return what one line ``zone;provider's name;…`` of a table says.

    Raises:
        SourceFormatError: the line does not begin with two fields that are not empty.
    """
    zone, _, rest = line.rstrip("\n").partition(";")
    name = rest.split(";", 1)[0]
    if not (zone and name):
        raise SourceFormatError("zone_names", f"expected a zone and its name, read {line[:60]!r}")
    return ZoneName(zone, name)


def read_names(kind: ProviderKind) -> Iterator[ZoneName]:
    """Yield the zones that ``kind`` (``entsoe`` or ``watttime``) is known to cover, in file order."""
    table = _DATA / {"entsoe": "entsoe_areas.txt", "watttime": "watttime_regions.txt"}[kind]
    with table.open(encoding="utf-8") as lines:
        for line in lines:
            if not line.startswith("#"):
                yield parse_name(line)


def zone_example(kind: ProviderKind) -> tuple[str, str]:
    """Return the pattern (whole match) that the ``zone`` key of a public provider fits, and what it is in words."""
    return _EXAMPLES[kind]


def provider_zone(
    settings: ProviderSettings, grid_zone: str, home_zone: str, region: CloudRegion | None = None
) -> str | None:
    """Return what the provider calls ``grid_zone``, or None where it is not known to cover it.

    Args:
        settings: of a public provider; its ``zone`` translates the home zone only.
        grid_zone: any zone of ours: the node's or one to compare with.
        home_zone: the node's zone.
        region: the node's cloud region, or None.
    """
    zone, home = _own_id(grid_zone), _own_id(home_zone)
    if settings.kind == "gb_carbon_intensity" and (not zone.startswith("GB") or zone == _GB_OTHER_GRID):
        return None
    if settings.zone and zone == home:
        return settings.zone
    if settings.kind == "electricity_maps":
        return zone or None
    if settings.kind == "gb_carbon_intensity":
        return _gb_zone(zone)
    names = dict(read_names(settings.kind))
    cloud = f"{region.provider}:{region.region}" if region and zone == home == _own_id(region.grid_zone) else ""
    return names.get(cloud) or names.get(zone)


def asked_zone(settings: ProviderSettings, grid_zone: str, place: Place) -> str:
    """Return what the provider calls ``grid_zone``.

    Raises:
        ProviderError: not_found; the provider is not known to cover it.
    """
    name = provider_zone(settings, grid_zone, place.grid_zone, place.region)
    if name is None:
        raise ProviderError(
            settings.kind, "not_found", f"{settings.kind} is not known to cover grid zone {grid_zone[:40]!r}"
        )
    return name


def _own_id(zone: str) -> str:
    """Return the id of a zone given as an id or as a country's name, in any case."""
    wanted = zone.strip().upper()
    row = find_row(wanted) if wanted else None
    return row.entry.zone if row and row.match == "exact" else wanted


def _gb_zone(zone: str) -> str | None:
    """Return a region's number for ``GB-1`` to ``GB-17`` and the three nations, ``GB`` for Great Britain."""
    if zone == "GB":
        return GB_NATIONAL
    number = zone.removeprefix("GB-")
    if zone.startswith("GB-") and number.isdecimal() and number.isascii() and 1 <= int(number[:4]) <= _GB_REGIONS:
        return str(int(number))
    return _GB_NATIONS.get(zone)
