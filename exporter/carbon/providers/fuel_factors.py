"""Grams of CO2e per kilowatt-hour by production type, from ``data/fuel_factors.txt``, whose format this module owns."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from exporter.errors import SourceFormatError

__all__ = ["OTHER", "FuelFactor", "factors", "parse_factor"]

_TABLE = Path(__file__).parent.parent / "data" / "fuel_factors.txt"

OTHER = "B20"
"""ENTSO-E's code of other production; stands for codes without a row."""


class FuelFactor(NamedTuple):
    """One fuel: ENTSO-E's codes of it, and what a kilowatt-hour of it emits; None: left out of the mix."""

    codes: tuple[str, ...]
    fuel: str
    lifecycle_g_per_kwh: float | None
    direct_g_per_kwh: float | None


def parse_factor(line: str) -> FuelFactor:
    """Return what one line of the table says.

    Raises:
        SourceFormatError: the line does not hold codes, a fuel, and two figures or none.
    """
    try:
        codes, fuel, lifecycle, direct = line.rstrip("\n").split(";")
        row = FuelFactor(tuple(codes.split()), fuel, _figure(lifecycle), _figure(direct))
    except ValueError as exc:
        raise SourceFormatError("fuel_factors", f"expected four fields, read {line[:60]!r}") from exc
    if not (row.codes and fuel) or (row.lifecycle_g_per_kwh is None) != (row.direct_g_per_kwh is None):
        raise SourceFormatError("fuel_factors", f"expected codes, fuel and two figures or none, read {line[:60]!r}")
    return row


def _figure(text: str) -> float | None:
    value = float(text) if text else None
    if value is not None and not 0 <= value < math.inf:
        raise ValueError(text)
    return value


def _read() -> Iterator[FuelFactor]:
    with _TABLE.open(encoding="utf-8") as lines:
        for line in lines:
            if not line.startswith("#"):
                yield parse_factor(line)


def factors(kind: Literal["lifecycle", "direct"]) -> Mapping[str, float | None]:
    """Return grams per kilowatt-hour by ENTSO-E's code; None: the type is left out of the mix."""
    return {
        code: row.lifecycle_g_per_kwh if kind == "lifecycle" else row.direct_g_per_kwh
        for row in _read()
        for code in row.codes
    }
