"""What the building adds: overhead (PUE) and water (WUE), each with where the figure comes from."""

from __future__ import annotations

import math
from typing import NamedTuple

from exporter.carbon.place import HIGHEST_PUE_RATIO, HIGHEST_WUE_L_PER_KWH, Place
from exporter.carbon.settings import CarbonSettings
from exporter.health import Finding

__all__ = ["Facility", "facility_of"]


class Facility(NamedTuple):
    """The facility's figures.

    Attributes:
        pue_ratio: facility energy over IT energy, at least 1.
        wue_l_per_kwh: litres of water per kilowatt-hour of IT energy, or None where unknown.
        findings: where they come from.
    """

    pue_ratio: float
    wue_l_per_kwh: float | None
    findings: tuple[Finding, ...]


def facility_of(settings: CarbonSettings, place: Place) -> Facility:
    """Return the configured figures, else those published for the cloud region, else a PUE of 1.0 that is called so."""
    pue_ratio, pue_finding = _pue(settings, place)
    wue_l_per_kwh, wue_finding = _wue(settings, place)
    return Facility(pue_ratio, wue_l_per_kwh, tuple(finding for finding in (pue_finding, wue_finding) if finding))


def _pue(settings: CarbonSettings, place: Place) -> tuple[float, Finding | None]:
    region, stated = place.region, settings.pue_ratio
    if stated is not None:
        if not (math.isfinite(stated) and 1 <= stated <= HIGHEST_PUE_RATIO):
            return 1.0, None
        return stated, _finding("pue_ratio", f"{stated:g}, from the configuration")
    if region and region.pue_ratio is not None:
        detail = f"{region.pue_ratio:g}, published for {region.provider}:{region.region} ({region.pue_year})"
        return region.pue_ratio, _finding("pue_ratio", detail)
    if not place.grid_zone and settings.intensity_g_per_kwh is None:
        return 1.0, None
    detail = "1.0 assumed: cooling and losses of the building are not counted"
    remedy = "set carbon.pue_ratio to the facility's figure, or to 1.0 if that is meant"
    return 1.0, _finding("pue_ratio", detail, remedy)


def _wue(settings: CarbonSettings, place: Place) -> tuple[float | None, Finding | None]:
    region, stated = place.region, settings.wue_l_per_kwh
    if stated is not None:
        if not (math.isfinite(stated) and 0 <= stated <= HIGHEST_WUE_L_PER_KWH):
            return None, None
        return stated, _finding("wue_l_per_kwh", f"{stated:g} L/kWh, from the configuration")
    if region and region.wue_l_per_kwh is not None:
        detail = f"{region.wue_l_per_kwh:g} L/kWh, published for {region.provider}:{region.region} ({region.wue_year})"
        return region.wue_l_per_kwh, _finding("wue_l_per_kwh", detail)
    return None, None


def _finding(item: str, detail: str, remedy: str = "") -> Finding:
    return Finding(source="carbon", item=item, state="absent" if remedy else "up", detail=detail, remedy=remedy)
