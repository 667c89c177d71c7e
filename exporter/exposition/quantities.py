"""Quantities as people read them: three figures and a fitting unit."""

from __future__ import annotations

from exporter.units import JOULES_PER_KILOWATT_HOUR

__all__ = ["duration_text", "energy_text", "mass_text", "power_text"]

_STEP = 1000.0
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400
_TEN, _HUNDRED = 10.0, 100.0


def power_text(power_w: float) -> str:
    """Return watts as mW, W, kW or MW."""
    return _scaled(power_w * _STEP, ("mW", "W", "kW", "MW"))


def energy_text(energy_j: float) -> str:
    """Return joules as mWh, Wh, kWh or MWh."""
    return _scaled(energy_j / JOULES_PER_KILOWATT_HOUR * _STEP * _STEP, ("mWh", "Wh", "kWh", "MWh"))


def mass_text(mass_g: float) -> str:
    """Return grams of CO2e as mg, g, kg or t."""
    return _scaled(mass_g * _STEP, ("mgCO2e", "gCO2e", "kgCO2e", "tCO2e"))


def duration_text(duration_s: float) -> str:
    """Return seconds as two units at most: ``4 s``, ``3 min``, ``2 h 5 min``, ``3 d 4 h``."""
    seconds = int(duration_s)
    if seconds < _MINUTE_S:
        return f"{seconds} s"
    if seconds < _HOUR_S:
        return f"{seconds // _MINUTE_S} min"
    if seconds < _DAY_S:
        return f"{seconds // _HOUR_S} h {seconds % _HOUR_S // _MINUTE_S} min"
    return f"{seconds // _DAY_S} d {seconds % _DAY_S // _HOUR_S} h"


def _scaled(value: float, units: tuple[str, ...]) -> str:
    """Return ``value``, which is in the first unit, in the largest unit that keeps it at one or more."""
    if value == 0:
        return f"0 {units[1]}"
    unit = 0
    while abs(value) >= _STEP and unit < len(units) - 1:
        value /= _STEP
        unit += 1
    decimals = 0 if abs(value) >= _HUNDRED else 1 if abs(value) >= _TEN else 2
    return f"{value:.{decimals}f} {units[unit]}"
