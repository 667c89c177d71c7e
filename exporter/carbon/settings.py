"""What an operator can say about the grid; the configuration file fills this record."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CarbonSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CarbonSettings:
    """Where the electricity comes from, and what the building adds to it."""

    grid_zone: str = ""
    """The grid that feeds this node: ``DE``, ``US-CAL-CISO``, ``SE-SE3``, a country's name, or a cloud region such as
    ``aws:us-east-1``.

    Empty, because nobody should be charged for a grid that was guessed: emissions are absent until it is set."""
    cloud_provider: str = ""
    """The cloud this node runs in: ``aws``, ``azure``, ``gcp``, ``ovh``, ``ovhcloud`` or ``scaleway``. Needs
    ``cloud_region``; empty outside a cloud."""
    cloud_region: str = ""
    """The provider's own name of the region, for example ``europe-west1``. Gives the zone unless ``grid_zone`` does,
    and the published PUE unless ``pue_ratio`` does."""
    pue_ratio: float | None = None
    """Energy of the facility over energy of its computers (power usage effectiveness). From 1 to 10.

    None: the region's published value, else 1.0, which counts no cooling and no losses."""
    intensity_g_per_kwh: float | None = None
    """A fixed carbon intensity in grams of CO2e per kilowatt-hour, from a supplier or an inventory. From 0 to 2000.

    None: the embedded yearly mean of the zone. Average and location-based figures only."""
