"""Decides whether amdgpu's energy accumulator is believed, by comparing it with the power readings.

It is constant on MI100 and on some drivers, and off by a constant factor on others, so no interval is counted by it
before it agreed with power. Method: Zeus (zeus-ml), which compares both over half a second when it starts. Known
trouble: hpcfund #21, rocm_smi_lib #180, amdsmi #38. Knows no files and no clocks.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from exporter.units import MICROJOULES_PER_JOULE

__all__ = ["AccumulatorWatch"]

_MIN_SPAN_S = 0.5
_RATIO_LOW, _RATIO_HIGH = 0.5, 2.0
_STEADY_RATIO = 1.5
"""Power readings further apart than this say nothing of the mean between them: such a span is not judged."""
_MAX_STRIKES = 2
_MAX_STILL = 4
"""One more than after which the caller gives up a counter that stands still: it then still knows what it owes."""


class _Point(NamedTuple):
    at_s: float
    energy_uj: int
    power_w: float


class AccumulatorWatch:
    """The judgement of one accumulator. One thread.

    The first reading is passed on unverified because it ends no interval; the second is passed on only if the
    accumulator has moved as the power readings say.

    Attributes:
        refusal: why the accumulator is not used any more, or empty.
        mean_power_w: mean of the power readings at both ends of the last span, or None.
    """

    def __init__(self) -> None:
        self.refusal = ""
        self.mean_power_w: float | None = None
        self._state: Literal["checking", "trusted"] = "checking"
        self._before: _Point | None = None
        self._strikes = self._still = 0

    def accept(self, energy_uj: int | None, power_w: float | None, at_s: float) -> int | None:
        """Return ``energy_uj`` if it can be used, else None: integrate power instead."""
        self.mean_power_w = None
        if energy_uj is None or self.refusal:
            return None
        if power_w is None:  # nothing to judge it by: it goes on only if it was believed before
            return energy_uj if self._state == "trusted" else None
        before, now = self._before, _Point(at_s, energy_uj, power_w)
        if before is None:
            self._before = now
            return energy_uj
        if at_s - before.at_s < _MIN_SPAN_S:
            return energy_uj if self._state == "trusted" else None
        self._before = now
        self.mean_power_w = (before.power_w + power_w) / 2
        if energy_uj < before.energy_uj:
            return self._stepped_back(energy_uj)
        return self._checked(before, now) if self._state == "checking" else self._watched(before, now)

    def _stepped_back(self, energy_uj: int) -> int | None:
        if self._state == "checking":
            self._refuse("its energy accumulator steps back")
            return None
        self._state = "checking"  # a reset of the GPU restarts it; the caller tells resets, it has to prove itself anew
        return energy_uj

    def _checked(self, before: _Point, now: _Point) -> int | None:
        mean_w = (before.power_w + now.power_w) / 2
        if mean_w <= 0:
            return None
        moved_uj = now.energy_uj - before.energy_uj
        if moved_uj == 0:
            self._refuse(f"its energy accumulator stands still while it draws {mean_w:.0f} W")
            return None
        ratio = moved_uj / MICROJOULES_PER_JOULE / (now.at_s - before.at_s) / mean_w
        if _RATIO_LOW <= ratio <= _RATIO_HIGH:
            self._state, self._strikes, self._still = "trusted", 0, 0
            return now.energy_uj
        low_w, high_w = sorted((before.power_w, now.power_w))
        if high_w <= low_w * _STEADY_RATIO:
            self._strikes += 1
            if self._strikes >= _MAX_STRIKES:
                self._refuse(f"its energy accumulator counts {ratio:.2f} times what it draws")
                return None
        return None

    def _watched(self, before: _Point, now: _Point) -> int | None:
        is_still = now.energy_uj == before.energy_uj and now.power_w > 0
        self._still = self._still + 1 if is_still else 0
        if self._still >= _MAX_STILL:
            self._refuse(f"its energy accumulator stands still while it draws {now.power_w:.0f} W")
            return None
        return now.energy_uj

    def _refuse(self, reason: str) -> None:
        self.refusal = f"{reason}: power is integrated instead"
