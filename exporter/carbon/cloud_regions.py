"""Cloud regions with their grid zone and published PUE, from a table that is read line by line and never kept.

Owns the format of ``data/cloud_regions.txt``; sources and licences stand in the table's own header.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from exporter.errors import SourceFormatError

__all__ = ["CloudRegion", "find_region", "near_regions", "parse_region", "read_regions"]

_TABLE = Path(__file__).parent / "data" / "cloud_regions.txt"


class CloudRegion(NamedTuple):
    """One region of a cloud provider.

    Attributes:
        provider: ``aws``, ``azure``, ``gcp``, ``ovh``, ``ovhcloud`` or ``scaleway``.
        region: the provider's name of it.
        grid_zone: the grid that feeds it, or its country.
        pue_ratio: published facility energy over IT energy, or None.
        pue_year: year of that figure, or None.
        wue_l_per_kwh: published litres of water per kilowatt-hour of IT energy, or None.
        wue_year: year of that figure, or None.
    """

    provider: str
    region: str
    grid_zone: str
    pue_ratio: float | None
    pue_year: int | None
    wue_l_per_kwh: float | None = None
    wue_year: int | None = None


def parse_region(line: str) -> CloudRegion:
    """Return the region that one line of the table describes.

    Raises:
        SourceFormatError: the line does not hold the seven fields, a PUE below 1, or a negative WUE.
    """
    try:
        provider, region, zone, *figures = line.rstrip("\n").split(";")
        pue, pue_year, wue, wue_year = (float(figure) if figure else None for figure in figures)
        row = CloudRegion(provider, region, zone, pue, _year(pue_year), wue, _year(wue_year))
    except (ValueError, OverflowError) as exc:
        raise SourceFormatError("cloud_regions", f"expected seven fields, read {line[:60]!r}") from exc
    if row.pue_ratio is not None and not 1 <= row.pue_ratio < math.inf:
        raise SourceFormatError("cloud_regions", f"expected a PUE of at least 1, read {line[:60]!r}")
    if row.wue_l_per_kwh is not None and not 0 <= row.wue_l_per_kwh < math.inf:
        raise SourceFormatError("cloud_regions", f"expected a WUE of at least 0, read {line[:60]!r}")
    return row


def _year(figure: float | None) -> int | None:
    return None if figure is None else int(figure)


def read_regions() -> Iterator[CloudRegion]:
    """Yield every region, sorted by provider and name."""
    with _TABLE.open(encoding="utf-8") as lines:
        for line in lines:
            if not line.startswith("#"):
                yield parse_region(line)


def find_region(provider: str, region: str) -> CloudRegion | None:
    """Return the region that ``provider`` calls ``region`` (in any case), or None."""
    wanted = (provider.strip().lower(), region.strip().lower())
    return next((row for row in read_regions() if (row.provider, row.region) == wanted), None)


def near_regions(provider: str, region: str, *, limit: int = 4) -> list[str]:
    """Return names like ``gcp:europe-west1`` that look like the given one, the nearest first."""
    from difflib import get_close_matches

    names = [f"{row.provider}:{row.region}" for row in read_regions()]
    return get_close_matches(f"{provider}:{region}".lower(), names, n=limit, cutoff=0.5)
