"""The CPU's power without a sensor: a straight line from idle to full power over utilisation.

    P(u) = P_idle · (1 + (r − 1) · u),  P_idle = P_full / r

P_full is the thermal design power: of all packages on bare metal, of the virtual CPUs' share of one in a virtual
machine. Covers the CPU only: no memory, no disks, no network, no supplies, no GPU, and of a virtual machine's host
nothing that other guests cause. Source: the linear power model, DESIGN.md §3.
"""

from __future__ import annotations

from dataclasses import dataclass

from exporter.health import Finding
from exporter.sensors.components import UNCERTAINTY_RATIOS
from exporter.sensors.counter import MAX_INTEGRATION_S
from exporter.sensors.cpu_model import CpuFacts
from exporter.sensors.cpu_table import CpuRating
from exporter.sensors.records import Component, ComponentEnergy
from exporter.sensors.settings import SensorSettings

__all__ = ["CPU_ESTIMATE", "CpuEstimate", "estimate_for"]

CPU_ESTIMATE = "cpu_estimate"

_THREADS_PER_CORE = 2
"""A virtual CPU is one hardware thread of a core with two, as the large clouds sell x86."""

_DEFAULT_CORE_W = 8.75
"""Watts per core of an unknown model: the median of TDP over cores of the Xeon and EPYC models in the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuEstimate:
    """A machine's power model.

    Attributes:
        full_power_w: watts at full load.
        full_to_idle_ratio: full over idle power, at least 1.
        uncertainty_ratio: half-width of the 95 % band, relative.
        basis: where the full power comes from, in words.
        is_model_known: False where a default per core stands in.
    """

    full_power_w: float
    full_to_idle_ratio: float
    uncertainty_ratio: float
    basis: str
    is_model_known: bool

    @property
    def idle_power_w(self) -> float:
        """Watts without load."""
        return self.full_power_w / self.full_to_idle_ratio

    def power_w(self, busy_ratio: float) -> float:
        """Return the watts at ``busy_ratio``, which is taken as 0–1."""
        busy_ratio = min(max(busy_ratio, 0.0), 1.0)
        return self.idle_power_w * (1 + (self.full_to_idle_ratio - 1) * busy_ratio)

    def energy(self, *, busy_ratio: float, interval_s: float) -> ComponentEnergy | None:
        """Return the CPU's energy over ``interval_s``, or None where that is no interval or too long to be known."""
        if not 0 < interval_s <= MAX_INTEGRATION_S:
            return None
        return ComponentEnergy(
            component=Component.CPU,
            energy_j=self.power_w(busy_ratio) * interval_s,
            interval_s=interval_s,
            source=CPU_ESTIMATE,
            quality="estimated",
            uncertainty_ratio=self.uncertainty_ratio,
            idle_power_w=self.idle_power_w,
        )

    def finding(self) -> Finding:
        """Return what is estimated, from what, how far off it may be, and what it leaves out."""
        return Finding(
            source=CPU_ESTIMATE,
            state="up" if self.is_model_known else "degraded",
            detail=(
                f"no CPU sensor can be read, so CPU power is estimated: {self.basis}; "
                f"{self.idle_power_w:.1f} W idle to {self.full_power_w:.1f} W at full load, "
                f"±{self.uncertainty_ratio:.0%}; memory, GPU, drives, network and supplies are not covered"
            ),
            remedy="" if self.is_model_known else "set sensors.tdp_watts to the CPU's thermal design power",
        )


def estimate_for(cpu: CpuFacts, rating: CpuRating | None, settings: SensorSettings) -> CpuEstimate:
    """Return the power model of a machine with ``cpu``, whose ``rating`` is None if its model is unknown."""
    full_power_w, basis, kind = _full_power(cpu, rating, settings.tdp_watts)
    return CpuEstimate(
        full_power_w=full_power_w,
        full_to_idle_ratio=settings.full_to_idle_ratio,
        uncertainty_ratio=UNCERTAINTY_RATIOS[kind],
        basis=basis,
        is_model_known=kind != "estimate_unknown",
    )


def _full_power(cpu: CpuFacts, rating: CpuRating | None, tdp_watts: float | None) -> tuple[float, str, str]:
    """Return watts at full load, where they come from, and the class of uncertainty."""
    name = cpu.model_name or "without a name"
    if tdp_watts is not None:
        if cpu.is_virtual:
            return tdp_watts, f"configured {tdp_watts:g} W for this virtual machine", "estimate_known_virtual"
        return tdp_watts * cpu.packages, f"configured {tdp_watts:g} W × {cpu.packages} packages", "estimate_known"
    if rating is not None and not cpu.is_virtual:
        basis = f"{name}, thermal design power {rating.tdp_w:g} W × {cpu.packages} packages"
        return rating.tdp_w * cpu.packages, basis, "estimate_known"
    if rating is not None and rating.cores is not None:
        threads = rating.cores * _THREADS_PER_CORE
        basis = f"virtual machine with {cpu.threads} of the {threads} threads of {name} ({rating.tdp_w:g} W)"
        return rating.tdp_w * cpu.threads / threads, basis, "estimate_known_virtual"
    cores: float = 0 if cpu.is_virtual else cpu.packages * cpu.cores_per_package
    if not cores:
        cores = cpu.threads / (_THREADS_PER_CORE if cpu.vendor else 1)  # Arm names no vendor and has one thread a core
    basis = f"unknown CPU model {name!r}, {_DEFAULT_CORE_W:g} W for each of {cores:g} cores assumed"
    return _DEFAULT_CORE_W * cores, basis, "estimate_unknown"
