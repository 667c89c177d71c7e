"""Emissions of making the hardware: how many kilograms, by whom, and how fast they are written off.

Owns the figures of servers and of accelerators in general; those of single models are in ``accelerators``. Every
figure comes with the lowest and highest that were published, because they differ by a factor of five.

Sources: Luccioni et al. 2022 (BLOOM, arXiv 2211.02001): 2,500 kg per server without its accelerators, 150 kg per
accelerator. Cloud Carbon Footprint (Apache-2.0): 1,000 kg per server, 150 kg per accelerator. Highest: EcoLogits, 5,700
kg per server of eight accelerators; 575 kg per accelerator, the highest of any model in the table.
"""

from __future__ import annotations

from typing import NamedTuple

from exporter.carbon.accelerators import EmbodiedFigure, find_accelerator, origins
from exporter.carbon.settings import EmbodiedSettings
from exporter.units import GRAMS_PER_KILOGRAM, SECONDS_PER_YEAR

__all__ = ["SERVER", "HardwareFigure", "accelerator_figure", "grams_per_second", "server_figure"]

SERVER = "server"
"""The item of the server without its accelerators; accelerators are items by UUID."""
_PLAIN_SERVER = EmbodiedFigure(1000, 1000, 5700, "Cloud Carbon Footprint")
_HEAVY_SERVER = EmbodiedFigure(2500, 1000, 5700, "Luccioni et al. 2022 (BLOOM)")
_ANY_ACCELERATOR = EmbodiedFigure(
    150, 150, 575, "Luccioni et al. 2022 (BLOOM), Cloud Carbon Footprint: any accelerator"
)


class HardwareFigure(NamedTuple):
    """What making one piece of hardware emitted.

    Attributes:
        item: ``server``, or the accelerator's UUID.
        model: the product's name, or empty where it is not known.
        value_g: grams of CO2e that are accounted.
        low_g, high_g: the lowest and highest published; both the value where the operator states it.
        source: whose value it is.
    """

    item: str
    model: str
    value_g: float
    low_g: float
    high_g: float
    source: str


def server_figure(settings: EmbodiedSettings, *, has_accelerators: bool) -> HardwareFigure:
    """Return the figure of this server without its accelerators; theirs are heavier, with more power and memory."""
    if settings.server_kg is not None:
        return _stated(SERVER, "", settings.server_kg)
    if has_accelerators:
        return _figure(SERVER, "", _HEAVY_SERVER)
    return _figure(SERVER, "", _PLAIN_SERVER)


def accelerator_figure(settings: EmbodiedSettings, *, uuid: str, model: str) -> HardwareFigure:
    """Return the figure of one accelerator: the operator's, its model's, else that of accelerators in general."""
    if settings.accelerator_kg is not None:
        return _stated(uuid, model, settings.accelerator_kg)
    found = find_accelerator(model)
    if found is None or found.embodied is None:
        return _figure(uuid, model, _ANY_ACCELERATOR)
    return _figure(uuid, model, found.embodied._replace(source=origins()[found.embodied.source].publication))


def grams_per_second(figure: HardwareFigure, settings: EmbodiedSettings) -> float:
    """Return grams of CO2e per second of life, used or idle.

    Even write-off over the time it is there, as in the SCI specification (ISO/IEC 21031:2024): M = TE × TiR/EL.
    """
    return figure.value_g / (settings.lifetime_years * SECONDS_PER_YEAR)


def _stated(item: str, model: str, value_kg: float) -> HardwareFigure:
    return _figure(item, model, EmbodiedFigure(value_kg, value_kg, value_kg, "configuration"))


def _figure(item: str, model: str, figure: EmbodiedFigure) -> HardwareFigure:
    return HardwareFigure(
        item=item,
        model=model,
        value_g=figure.value_kg * GRAMS_PER_KILOGRAM,
        low_g=figure.low_kg * GRAMS_PER_KILOGRAM,
        high_g=figure.high_kg * GRAMS_PER_KILOGRAM,
        source=figure.source,
    )
