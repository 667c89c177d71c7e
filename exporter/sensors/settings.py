"""What an operator can say about the sensors; the configuration file fills this record and nothing else reads it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SOURCE_NAMES", "SensorSettings"]

SOURCE_NAMES = ("rapl", "hwmon", "cpu_estimate", "nvml", "amdgpu", "intel_gpu", "gaudi")
"""Names that ``disabled_sources`` and ``required_sources`` may hold. ``rapl`` includes ``rapl_virtual``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SensorSettings:
    """Which sensors are used, and what is believed of them."""

    full_to_idle_ratio: float = 3.0
    """Power at full load over power without load, for the estimate of a machine without sensors. At least 1.

    The default is the ratio of common two-socket servers' packages."""
    tdp_watts: float | None = None
    """Thermal design power of one CPU package in watts (in a virtual machine: of all its virtual CPUs together).

    None: looked up by the CPU's model name. Above 0."""
    max_package_watts: float | None = None
    """The highest mean power one package can draw between two reads; a counter that moved faster jumped. Above 0.

    None: twice the thermal design power, at least 500 (short turbo of desktop parts exceeds twice their rating), and
    1000 for an unknown model. A smaller value lets the counters bridge a longer stall of the agent without a gap."""
    allow_virtual: bool = False
    """Whether RAPL domains inside a virtual machine count as this node's energy.

    Off, because a hypervisor invents them (or shows the whole host's) and a guest cannot tell."""
    disabled_sources: tuple[str, ...] = ()
    """Sources never to be touched: any of ``rapl``, ``hwmon``, ``cpu_estimate``, and of the GPU drivers ``nvml``,
    ``amdgpu``, ``intel_gpu``, ``gaudi``. None by default."""
    required_sources: tuple[str, ...] = ()
    """Sources whose absence is a fault of this node and not a normal outcome. None by default."""
    rescan_interval_s: float = 60.0
    """Seconds between two looks for sensors that came, went or became readable. At least 1.

    One minute, because drivers are loaded and CPUs plugged rarely; a failing read leads to a look at once."""
    down_after_samples: int = 3
    """Failing (or unchanging) reads in a row after which a domain counts as down (or frozen). At least 1.

    Three, so that one interrupted read raises no alarm."""
