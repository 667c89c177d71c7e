"""Thermal design power by CPU model, from a table that is read line by line and never kept.

Sources and licences of the numbers stand in the table's own header, ``data/cpu_tdp.txt``.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from exporter.sensors.cpu_model import model_key

__all__ = ["CpuRating", "find_rating"]

_TABLE = Path(__file__).parent / "data" / "cpu_tdp.txt"


class CpuRating(NamedTuple):
    """What the maker states of one CPU model.

    Attributes:
        tdp_w: thermal design power of one package, watts.
        cores: physical cores of one package, or None where the sources do not say.
    """

    tdp_w: float
    cores: int | None


def find_rating(model_name: str) -> CpuRating | None:
    """Return the rating of the CPU that the kernel calls ``model_name``, or None for a model that is not listed."""
    wanted = model_key(model_name).encode() + b";"
    with _TABLE.open("rb") as lines:
        for line in lines:
            if line.startswith(wanted):
                _, tdp_w, cores = line.decode("ascii").strip().split(";")
                return CpuRating(float(tdp_w), int(cores) if cores else None)
    return None
