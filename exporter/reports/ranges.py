"""A figure with the lowest and highest value it may have: estimates are never a single number."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Range", "exactly"]


class Range(NamedTuple):
    """A value between a low and a high end, all in the same unit and not negative."""

    low: float
    value: float
    high: float

    def times(self, other: Range | float) -> Range:
        """Return the product, end by end: both are taken to be at the same end together."""
        factor = other if isinstance(other, Range) else exactly(other)
        return Range(self.low * factor.low, self.value * factor.value, self.high * factor.high)

    def over(self, divisor: float) -> Range:
        """Return the range in a unit that is ``divisor`` times as large."""
        return Range(self.low / divisor, self.value / divisor, self.high / divisor)

    def plus(self, amount: float) -> Range:
        """Return the range moved up by ``amount``."""
        return Range(self.low + amount, self.value + amount, self.high + amount)

    @property
    def is_exact(self) -> bool:
        """Whether there is no range."""
        return self.low == self.value == self.high


def exactly(value: float) -> Range:
    """Return a figure whose range is not known, or that has none."""
    return Range(value, value, value)
