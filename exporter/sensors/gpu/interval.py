"""What the GPUs of a node drew and who was on them since the last sample: what attribution and the ledger take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from exporter.health import Finding, SourceEvent, State
from exporter.sensors.gpu.energy import EnergyMethod
from exporter.sensors.gpu.records import GpuFacts, GpuReading
from exporter.sensors.records import ComponentEnergy, CounterState, DomainKey, DomainTotal

__all__ = ["NO_GPUS", "GpuInterval", "GpuSample", "GpuSampler"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuInterval:
    """One GPU since its previous reading.

    Attributes:
        facts: the GPU.
        state: up: read in this tick; degraded: the same, with something wrong; down: not read.
        reading: what was read, or None in a tick without a reading.
        energy_j: joules over ``interval_s``, or None where none became known in this tick.
        interval_s: seconds the joules cover.
        total_j: joules since the GPU was first read on this boot.
        method: what the joules come from.
        pids_before: processes with a context at the previous reading.
        is_down_time: whether the joules are of a time in which no agent ran.
    """

    facts: GpuFacts
    state: State
    reading: GpuReading | None
    energy_j: float | None
    interval_s: float
    total_j: float
    method: EnergyMethod
    pids_before: frozenset[int] = frozenset()
    is_down_time: bool = False

    @property
    def power_w(self) -> float | None:
        """Mean power over the interval in watts, or None where no joules became known in this tick."""
        return self.energy_j / self.interval_s if self.energy_j is not None and self.interval_s > 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSample:
    """All GPUs of a node since the previous sample.

    Attributes:
        gpus: every GPU that is there, or was until lately.
        energy: the component ``gpu``, or None where no GPU gave joules in this tick.
        is_whole: whether no GPU owes joules that come later.
        pids: every process that a driver named now or in the previous sample.
        domains: every GPU's running total.
        events: errors, resets and gaps since the previous sample.
        findings: the state of every driver and GPU.
    """

    gpus: Sequence[GpuInterval] = ()
    energy: ComponentEnergy | None = None
    is_whole: bool = True
    pids: frozenset[int] = frozenset()
    domains: Sequence[DomainTotal] = ()
    events: Sequence[SourceEvent] = ()
    findings: Sequence[Finding] = ()

    @property
    def models(self) -> Mapping[str, str]:
        """The product's name of every GPU, by UUID."""
        return {gpu.facts.uuid: gpu.facts.model for gpu in self.gpus}


NO_GPUS = GpuSample()


class GpuSampler(Protocol):
    """What the loop needs of the GPUs; ``GpuSet`` is the implementation. One thread calls it."""

    def resume(self, states: Mapping[DomainKey, CounterState]) -> GpuSample:
        """Look for GPUs, read each once, and return what was counted since ``states`` were saved. Called once."""
        ...

    def adopt(self, states: Mapping[DomainKey, CounterState]) -> None:
        """Go on from ``states`` with the next sample, which covers the time since. Instead of ``resume``."""
        ...

    def sample(self) -> GpuSample:
        """Read every GPU and return what was drawn since the previous call."""
        ...

    def states(self) -> Mapping[DomainKey, CounterState]:
        """Return what must be saved so that a later ``resume`` can go on."""
        ...

    def working_sources(self) -> frozenset[str]:
        """Return the names of the drivers that gave something in the last sample."""
        ...

    def release(self, seconds: float) -> None:
        """Let go of the drivers for so long (0: take them again now)."""
        ...

    @property
    def release_left_s(self) -> float:
        """Seconds for which the drivers stay let go; 0 where they are in use."""
        ...

    @property
    def driver_change(self) -> str:
        """What happened if only a new process can go on reading GPUs; empty as long as this one can."""
        ...

    def close(self) -> None:
        """Close the drivers; waits for them a few seconds at most."""
        ...
