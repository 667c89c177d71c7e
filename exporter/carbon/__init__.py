"""Carbon intensity of the node's grid, with its provenance, and the facility's overhead (PUE).

Owns zones, cloud regions, the embedded yearly table, providers of live values and tariffs; knows nothing of energy.
The network is read in threads of their own (``live``), never by the loop.
"""

from exporter.carbon.place import validate
from exporter.carbon.records import NO_CARBON, CarbonState, Intensity, IntensityProvider
from exporter.carbon.settings import CarbonSettings, CostSettings
from exporter.carbon.source import CarbonSource, cache_path
from exporter.carbon.tariff import tariff_problems

__all__ = [
    "NO_CARBON",
    "CarbonSettings",
    "CarbonSource",
    "CarbonState",
    "CostSettings",
    "Intensity",
    "IntensityProvider",
    "cache_path",
    "tariff_problems",
    "validate",
]
