"""The drivers that this agent knows: the one list of vendors."""

from __future__ import annotations

from exporter.clock import Clock
from exporter.host import Roots
from exporter.sensors.gpu.amdgpu import AmdGpuDriver
from exporter.sensors.gpu.gaudi import GaudiDriver
from exporter.sensors.gpu.intel import IntelGpuDriver
from exporter.sensors.gpu.nvml import NvmlDriver
from exporter.sensors.gpu.records import GpuDriver
from exporter.sensors.settings import SensorSettings

__all__ = ["hardware_drivers"]


def hardware_drivers(roots: Roots, clock: Clock, settings: SensorSettings) -> list[GpuDriver]:
    """Return the drivers of this machine that are not switched off; none is touched yet."""
    drivers: list[GpuDriver] = [
        NvmlDriver(clock),
        AmdGpuDriver(roots, clock),
        IntelGpuDriver(roots, clock),
        GaudiDriver(roots, clock),
    ]
    return [driver for driver in drivers if driver.source not in settings.disabled_sources]
