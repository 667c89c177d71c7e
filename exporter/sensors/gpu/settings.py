"""What an operator can say about GPUs; the configuration file fills these records and nothing else reads it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Calibration", "GpuSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A linear correction of one GPU's power sensor, found with an external meter: true = gain × shown + offset."""

    gpu_uuid: str
    """The GPU, as ``wattribute check`` and ``nvidia-smi -L`` print it."""
    gain_ratio: float = 1.0
    """Factor on what the sensor shows. From 0.5 to 2: sensors are off by a few per cent, not by a factor."""
    offset_w: float = 0.0
    """Watts to add, while the result stays at 0 W or above. From -100 to 100."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSettings:
    """How GPUs are read."""

    read_timeout_s: float = 1.0
    """Seconds that one tick waits for the driver's answers. Above 0.

    A GPU that has not answered by then is left out of the tick; its joules come with its next answer."""
    rescan_interval_s: float = 60.0
    """Seconds between two looks for GPUs that came, went or were partitioned anew. At least 1."""
    release_s: float = 600.0
    """Seconds for which SIGUSR1 makes the agent let go of the drivers, so that they can be upgraded. At least 1.

    SIGUSR2 takes them again at once."""
    exit_on_driver_change: bool = True
    """Whether the agent ends (exit code 3, everything saved) when the driver was replaced under it.

    Only a new process can load the new library. Off: GPUs stay unread until somebody restarts the agent."""
    calibration: tuple[Calibration, ...] = ()
    """Corrections of power sensors, one entry per GPU; GPUs without one are taken as they read."""
