"""Public test tools: a node on disk whose true energy is known, and a clock that moves when told."""

from exporter.testing.fake_clock import FakeClock
from exporter.testing.simulated_cgroups import CgroupLayout, SimulatedCgroups
from exporter.testing.simulated_gpus import GpuTruth, SimulatedGpu, SimulatedGpuDriver
from exporter.testing.simulated_node import SimulatedNode, Truth
from exporter.testing.simulated_power import AMD_RANGE_UJ, DENIED, FAILING, INTEL_RANGE_UJ, RaplPackage, RaplZone
from exporter.testing.simulated_processes import SimulatedProcess

__all__ = [
    "AMD_RANGE_UJ",
    "DENIED",
    "FAILING",
    "INTEL_RANGE_UJ",
    "CgroupLayout",
    "FakeClock",
    "GpuTruth",
    "RaplPackage",
    "RaplZone",
    "SimulatedCgroups",
    "SimulatedGpu",
    "SimulatedGpuDriver",
    "SimulatedNode",
    "SimulatedProcess",
    "Truth",
]
