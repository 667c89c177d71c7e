"""The average power of an accelerator with its share of the machine, before anything can be measured.

Two ways. A measured average, as Patterson et al. (arXiv 2104.10350, section 2.5) define it: the power of the whole
system over its accelerators, with host, memory and network. Or the board's limit (TDP), which is only a scale: what
systems were measured to draw lies between ``LOWEST_TO_TDP_RATIO`` and ``HIGHEST_TO_TDP_RATIO`` of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from exporter.carbon.accelerators import Accelerator, origins
from exporter.reports.ranges import Range, exactly

__all__ = [
    "HIGHEST_TO_TDP_RATIO",
    "LOWEST_TO_TDP_RATIO",
    "MEASURED_SPREAD_RATIO",
    "PowerFigure",
    "measured_power",
    "modelled_power",
]

MEASURED_SPREAD_RATIO = 0.10
"""Half-width around a measured average of another run: systems with the same processor differed by 2 to 11 % between
models. Source: Patterson et al. 2021, table 3."""
LOWEST_TO_TDP_RATIO = 0.54
"""The lowest average system power per accelerator over its TDP: 245 W of 450 W. Source: Patterson et al. 2021, table 4,
Switch Transformer on TPU v3."""
HIGHEST_TO_TDP_RATIO = 1.50
"""The highest: 8.4 kW, host included, of a machine with eight H100 of 700 W. Source: Latif et al., arXiv 2412.08602."""
_IDLE_TO_TDP_RATIO = 0.115
"""Idle power over TDP where no figure is known: the ratio in Cloud Carbon Footprint's constants, a model itself."""


class PowerFigure(NamedTuple):
    """Average watts per accelerator.

    Attributes:
        power_w: per accelerator, host's share included as far as it is known.
        kind: measured, or modelled from the TDP.
        assumptions: how it was found, one sentence each.
    """

    power_w: Range
    kind: str
    assumptions: Sequence[str]


def measured_power(power_w: float, *, host_power_w: float) -> PowerFigure:
    """Return the figure of an average that was measured on such a system, or on its boards if the host's is given."""
    spread = Range(1 - MEASURED_SPREAD_RATIO, 1.0, 1 + MEASURED_SPREAD_RATIO)
    total = exactly(power_w + host_power_w).times(spread)
    text = f"{power_w:g} W per accelerator as given, ±{MEASURED_SPREAD_RATIO:.0%} for another run on the same system"
    if host_power_w:
        text += f"; {host_power_w:g} W of the host added to each"
    else:
        text += "; taken to include host, memory and network"
    return PowerFigure(total, "measured", (text,))


def modelled_power(
    accelerator: Accelerator, tdp_w: float, *, host_power_w: float, utilization_ratio: float | None
) -> PowerFigure:
    """Return the figure that follows from the board's limit.

    Without the host's share the value is the TDP, as model cards take it, and the range is that of measured systems.
    With it the board may draw its limit and no more.
    """
    source = _publication(accelerator.tdp_source.split("+")[0])
    notes = [f"modelled, not measured: {accelerator.name} has a TDP of {tdp_w:g} W ({source})"]
    board_w = tdp_w
    if utilization_ratio is not None:
        idle_w = accelerator.idle_w
        if idle_w is None:
            idle_w = _IDLE_TO_TDP_RATIO * tdp_w
        board_w = idle_w + utilization_ratio * (tdp_w - idle_w)
        notes.append(
            f"busy {utilization_ratio:.0%} of the time at the TDP, else idle at {idle_w:.0f} W: {board_w:.0f} W; "
            "utilisation is time, not load"
        )
    if host_power_w:
        power_w = Range(LOWEST_TO_TDP_RATIO * board_w, board_w, board_w).plus(host_power_w)
        notes.append(
            f"boards draw {LOWEST_TO_TDP_RATIO:g} to 1 times that; {host_power_w:g} W of the host added to each"
        )
    else:
        power_w = exactly(board_w).times(Range(LOWEST_TO_TDP_RATIO, 1.0, HIGHEST_TO_TDP_RATIO))
        notes.append(
            f"systems were measured at {LOWEST_TO_TDP_RATIO:g} to {HIGHEST_TO_TDP_RATIO:g} times the TDP per "
            "accelerator, host included: measure yours and give --power"
        )
    return PowerFigure(power_w, "modelled", tuple(notes))


def _publication(key: str) -> str:
    origin = origins().get(key)
    return origin.publication if origin else key
