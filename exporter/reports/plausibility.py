"""Whether stated footprints can be true: emissions over energy must be an intensity that some grid has."""

from __future__ import annotations

__all__ = [
    "HIGHEST_PLAUSIBLE_G_PER_KWH",
    "LOWEST_IMPLIED_G_PER_KWH",
    "LOWEST_PLAUSIBLE_G_PER_KWH",
    "implied_problem",
    "intensity_problem",
]

LOWEST_PLAUSIBLE_G_PER_KWH = 1.0
"""Below every yearly mean in the table, combustion only included (Manitoba, 1.3)."""
HIGHEST_PLAUSIBLE_G_PER_KWH = 1500.0
"""Above every yearly mean in the table (Turkmenistan, 1,306)."""
LOWEST_IMPLIED_G_PER_KWH = 10.0
"""Below the lifecycle emissions of every source of electricity (wind, 11): the bound for a published total. Where the
stated intensity is lower, because it counts combustion only on a grid that hardly burns, the bound follows it."""
_TOLERANCE = 2.0
"""Rounding and PUE: how far below a stated low intensity the implied one may lie."""


def intensity_problem(intensity_g_per_kwh: float) -> str:
    """Return why this cannot be a grid's average intensity, or nothing."""
    if LOWEST_PLAUSIBLE_G_PER_KWH <= intensity_g_per_kwh <= HIGHEST_PLAUSIBLE_G_PER_KWH:
        return ""
    hint = ""
    if LOWEST_PLAUSIBLE_G_PER_KWH <= intensity_g_per_kwh * 1000 <= HIGHEST_PLAUSIBLE_G_PER_KWH:
        hint = "; is it in kg/kWh?"
    return (
        f"an intensity of {intensity_g_per_kwh:.3g} g/kWh is outside {LOWEST_PLAUSIBLE_G_PER_KWH:g} to "
        f"{HIGHEST_PLAUSIBLE_G_PER_KWH:,.0f}, where every grid lies{hint}"
    )


def implied_problem(implied_g_per_kwh: float, *, stated_g_per_kwh: float | None = None) -> str:
    """Return why published emissions over energy, ``implied_g_per_kwh``, cannot be true, or nothing.

    ``stated_g_per_kwh`` is the intensity in force, if one is known.
    """
    lowest = LOWEST_IMPLIED_G_PER_KWH
    if stated_g_per_kwh is not None:
        lowest = min(lowest, stated_g_per_kwh / _TOLERANCE)
    if lowest <= implied_g_per_kwh <= HIGHEST_PLAUSIBLE_G_PER_KWH:
        return ""
    return (
        f"the published total means {implied_g_per_kwh:.3g} g/kWh, outside {lowest:g} to "
        f"{HIGHEST_PLAUSIBLE_G_PER_KWH:,.0f}, where grids lie"
    )
