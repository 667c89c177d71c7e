"""What one joule causes now: grams by two accounts, water and money. Worked out once per tick, alike for all leaves."""

from __future__ import annotations

from typing import NamedTuple

from exporter.carbon.records import CarbonState, Intensity
from exporter.units import JOULES_PER_KILOWATT_HOUR, emissions_g

__all__ = ["Rates", "rates_of"]


class Rates(NamedTuple):
    """Amounts per joule of IT energy; None where what it takes is not known.

    Attributes:
        operational_g: grams by the average (location-based) intensity.
        footprint: by ``FOOTPRINT_COLUMNS``.
    """

    operational_g: float | None
    footprint: tuple[float | None, ...]


def rates_of(carbon: CarbonState) -> Rates:
    """Return the rates for the energy of the interval that has just passed.

    Emissions and cost are of facility energy; water is defined per kilowatt-hour of IT energy (WUE, The Green Grid), so
    PUE must not enter it. A counter cannot fall: while the price is negative, the cost stays where it is.
    """
    water_l_per_kwh, price = carbon.wue_l_per_kwh, carbon.price_per_kwh
    return Rates(
        operational_g=_grams(carbon.average, carbon.interval_average_g_per_kwh, carbon.pue_ratio),
        footprint=(
            _grams(carbon.market, carbon.interval_market_g_per_kwh, carbon.pue_ratio),
            None if water_l_per_kwh is None else water_l_per_kwh / JOULES_PER_KILOWATT_HOUR,
            None if price is None else max(price, 0.0) * carbon.pue_ratio / JOULES_PER_KILOWATT_HOUR,
        ),
    )


def _grams(now: Intensity | None, over_interval_g_per_kwh: float | None, pue_ratio: float) -> float | None:
    """Return grams per joule by the interval's mean, else by the value in force at its end."""
    if over_interval_g_per_kwh is not None:
        return emissions_g(1.0, pue_ratio=pue_ratio, intensity_g_per_kwh=over_interval_g_per_kwh)
    if now is None:
        return None
    return emissions_g(1.0, pue_ratio=pue_ratio, intensity_g_per_kwh=now.intensity_g_per_kwh)
