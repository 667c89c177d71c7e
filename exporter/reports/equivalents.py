"""Grams of CO2e as things people know. For display only: nothing is computed with them.

Source of the factors: Green Algorithms (Lannelongue, Grealey, Inouye 2021), data under CC BY 4.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Equivalent", "equivalents", "equivalents_text"]

_HUNDRED, _TEN = 100, 10
_FEWEST, _MOST = 0.1, 10_000


class Equivalent(NamedTuple):
    """An amount of something that causes, or takes up, as much CO2e.

    Attributes:
        key: fixed name for JSON and CSV, for example ``eu_car_km``.
        amount: how many of them, not negative.
        words: what they are, in the plural, for people.
    """

    key: str
    amount: float
    words: str


class _Factor(NamedTuple):
    key: str
    grams: float
    words: str


_FACTORS = (
    _Factor("tree_months", 917.0, "months of a tree's growth"),
    _Factor("eu_car_km", 175.0, "km by an average European car"),
    _Factor("us_car_km", 251.0, "km by an average US car"),
    _Factor("flights_paris_london", 50_000.0, "flights Paris–London, one passenger"),
    _Factor("flights_new_york_san_francisco", 570_000.0, "flights New York–San Francisco, one passenger"),
)


def equivalents(emissions_g: float) -> Sequence[Equivalent]:
    """Return what ``emissions_g`` grams of CO2e equal, always the same kinds in the same order."""
    return tuple(Equivalent(kind.key, emissions_g / kind.grams, kind.words) for kind in _FACTORS)


def equivalents_text(emissions_g: float, *, limit: int = 2) -> str:
    """Return at most ``limit`` of them as words, those whose number people can picture; empty if there is none."""
    shown = [one for one in equivalents(emissions_g) if _FEWEST <= one.amount < _MOST][:limit]
    if not shown and emissions_g >= _MOST * _FACTORS[-1].grams:
        shown = [equivalents(emissions_g)[-1]]
    return ", or ".join(f"{_two_figures(one.amount)} {one.words}" for one in shown)


def _two_figures(amount: float) -> str:
    if amount < _TEN:
        return f"{amount:.1f}"
    digits = len(str(int(amount))) - 2
    return f"{round(amount, -digits):,.0f}"
