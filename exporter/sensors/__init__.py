"""What the node draws: joules per hardware domain and per component since the last sample."""

from exporter.sensors.components import UNCERTAINTY_RATIOS
from exporter.sensors.records import (
    Component,
    ComponentEnergy,
    CounterState,
    DomainKey,
    DomainTotal,
    EnergySample,
    EnergySensors,
    Quality,
)
from exporter.sensors.sensor_set import SensorSet
from exporter.sensors.settings import SOURCE_NAMES, SensorSettings

__all__ = [
    "SOURCE_NAMES",
    "UNCERTAINTY_RATIOS",
    "Component",
    "ComponentEnergy",
    "CounterState",
    "DomainKey",
    "DomainTotal",
    "EnergySample",
    "EnergySensors",
    "Quality",
    "SensorSet",
    "SensorSettings",
]
