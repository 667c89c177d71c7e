"""The share of making the hardware that falls on a planned run: kilograms spread over the years in use, by time held.

M = TE × (time reserved ÷ expected life) × (resources reserved ÷ resources), after ISO/IEC 21031:2024 (SCI).
"""

from __future__ import annotations

from exporter.carbon.accelerators import Accelerator
from exporter.carbon.embodied import HardwareFigure, accelerator_figure, grams_per_second, server_figure
from exporter.carbon.settings import EmbodiedSettings
from exporter.reports.ranges import Range
from exporter.units import GRAMS_PER_KILOGRAM

__all__ = ["ACCELERATORS_PER_SERVER", "embodied_range_g"]

ACCELERATORS_PER_SERVER = 8
"""So many share a server, as in the sources of the servers' figures."""


def embodied_range_g(
    accelerator: Accelerator | None, settings: EmbodiedSettings, *, accelerator_s: float
) -> tuple[Range, str]:
    """Return grams for holding accelerators with their servers for ``accelerator_s`` in all, and how it was found."""
    device = accelerator_figure(settings, uuid="", model=accelerator.name if accelerator else "")
    server = server_figure(settings, has_accelerators=True)
    device_g, server_g = _share(device, settings, accelerator_s), _share(server, settings, accelerator_s)
    per_server = 1 / ACCELERATORS_PER_SERVER
    note = (
        f"embodied: {device.value_g / GRAMS_PER_KILOGRAM:g} kg per accelerator ({device.source}), "
        f"{server.value_g / GRAMS_PER_KILOGRAM:g} kg per server of {ACCELERATORS_PER_SERVER} ({server.source}), over "
        f"{settings.lifetime_years:g} years"
    )
    return Range(*(a + per_server * b for a, b in zip(device_g, server_g, strict=True))), note


def _share(figure: HardwareFigure, settings: EmbodiedSettings, held_s: float) -> Range:
    return Range(
        *(
            grams_per_second(figure._replace(value_g=grams), settings) * held_s
            for grams in (figure.low_g, figure.value_g, figure.high_g)
        )
    )
