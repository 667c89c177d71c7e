"""Carbon intensity of the node's grid, with its provenance, and the facility's overhead (PUE).

Owns zones, cloud regions and the embedded yearly table; knows nothing of energy. Nothing here reads the network.
"""

from exporter.carbon.place import validate
from exporter.carbon.records import NO_CARBON, CarbonState, Intensity, IntensityProvider
from exporter.carbon.settings import CarbonSettings
from exporter.carbon.source import CarbonSource

__all__ = [
    "NO_CARBON",
    "CarbonSettings",
    "CarbonSource",
    "CarbonState",
    "Intensity",
    "IntensityProvider",
    "validate",
]
