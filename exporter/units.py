"""Named conversions between the units the sources use and the base units the model uses.

Base units are joules, watts, seconds, grams and bytes. A conversion factor appears here and nowhere else.
"""

__all__ = [
    "BYTES_PER_KIBIBYTE",
    "GRAMS_PER_KILOGRAM",
    "GRAMS_PER_POUND",
    "GRAMS_PER_TONNE",
    "JOULES_PER_KILOWATT_HOUR",
    "KILOWATT_HOURS_PER_MEGAWATT_HOUR",
    "MICROJOULES_PER_JOULE",
    "MICROSECONDS_PER_SECOND",
    "MICROWATTS_PER_WATT",
    "MILLISECONDS_PER_SECOND",
    "NANOSECONDS_PER_SECOND",
    "SECONDS_PER_YEAR",
    "emissions_g",
]

MICROJOULES_PER_JOULE = 1_000_000
MICROWATTS_PER_WATT = 1_000_000
NANOSECONDS_PER_SECOND = 1_000_000_000
MICROSECONDS_PER_SECOND = 1_000_000
MILLISECONDS_PER_SECOND = 1_000
JOULES_PER_KILOWATT_HOUR = 3_600_000
KILOWATT_HOURS_PER_MEGAWATT_HOUR = 1_000
GRAMS_PER_POUND = 453.59237
BYTES_PER_KIBIBYTE = 1024
GRAMS_PER_KILOGRAM = 1_000
GRAMS_PER_TONNE = 1_000_000
SECONDS_PER_YEAR = 31_557_600
"""A Julian year of 365.25 days."""


def emissions_g(energy_j: float, *, pue_ratio: float, intensity_g_per_kwh: float) -> float:
    """Return the grams of CO2e that ``energy_j`` of IT energy causes at the grid.

    ``pue_ratio`` is facility energy over IT energy (at least 1); the intensity is that of the moment in
    which the energy was drawn. Source: DESIGN.md §5.
    """
    return energy_j / JOULES_PER_KILOWATT_HOUR * pue_ratio * intensity_g_per_kwh
