"""What an operator can say about the sensors; the configuration file fills this record and nothing else reads it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SOURCE_NAMES", "SensorSettings"]

SOURCE_NAMES = ("rapl", "hwmon", "cpu_estimate", "nvml", "amdgpu", "intel_gpu", "gaudi", "redfish", "ipmi_dcmi")
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
    """Sources never to be touched: any of ``rapl``, ``hwmon``, ``cpu_estimate``, of the GPU drivers ``nvml``,
    ``amdgpu``, ``intel_gpu``, ``gaudi``, and of the BMC ``redfish``, ``ipmi_dcmi``. None by default."""
    required_sources: tuple[str, ...] = ()
    """Sources whose absence is a fault of this node and not a normal outcome. None by default."""
    rescan_interval_s: float = 60.0
    """Seconds between two looks for sensors that came, went or became readable. At least 1.

    One minute, because drivers are loaded and CPUs plugged rarely; a failing read leads to a look at once."""
    down_after_samples: int = 3
    """Failing (or unchanging) reads in a row after which a domain counts as down (or frozen). At least 1.

    Three, so that one interrupted read raises no alarm."""
    bmc_interval_s: float = 10.0
    """Seconds between two questions to the BMC (the baseboard management controller). From 5 to 60.

    Ten, because BMCs are slow and renew their reading about once a second to once a minute. A reading older than three
    intervals is no longer believed, and the time until the next one is a gap."""
    ipmi_device: str = ""
    """The kernel's device of the BMC, such as ``/dev/ipmi0``, to ask with the program ``ipmitool``.

    Empty: the first that the kernel lists in ``/sys/class/ipmi``, if it lists any."""
    redfish_url: str = ""
    """Address of the BMC's Redfish service, such as ``https://bmc-17.example``. Empty: Redfish is not asked."""
    redfish_username_file: str = ""
    """File with the name of an account of the BMC that may read. Empty: the service is asked without an account."""
    redfish_password_file: str = ""
    """File with the password of that account. Read anew for every question, so that it can change."""
    redfish_ca_file: str = ""
    """Certificates that may sign the BMC's. Empty: those of the system."""
    redfish_insecure_skip_verify: bool = False
    """Whether the BMC's certificate goes unchecked. Whoever can pose as the BMC then reads the password; the source is
    shown as degraded. Prefer ``redfish_ca_file``."""
    redfish_system: str = ""
    """``Id`` of this machine in the service's list of systems. Empty: the only one there is."""
