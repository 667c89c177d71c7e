"""A set of simulated GPUs on a clock that moves when told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from exporter.health import Finding
from exporter.sensors.gpu.gpu_set import GpuSet
from exporter.sensors.gpu.interval import GpuInterval, GpuSample
from exporter.sensors.gpu.settings import GpuSettings
from exporter.sensors.records import CounterState, DomainKey
from exporter.testing import FakeClock, SimulatedGpu, SimulatedGpuDriver

__all__ = ["Rig", "rig"]


class Rig:
    """GPUs, their driver, and the set that reads it."""

    def __init__(self, *gpus: SimulatedGpu, settings: GpuSettings | None = None) -> None:
        self.clock = FakeClock()
        self.gpus = list(gpus) or [SimulatedGpu(index=0), SimulatedGpu(index=1)]
        self.driver = SimulatedGpuDriver(self.gpus, self.clock)
        self.settings = settings or GpuSettings(read_timeout_s=0.2)
        self.set = self._new()

    def _new(self) -> GpuSet:
        return GpuSet([self.driver], self.clock, self.settings)

    def start(self, states: Mapping[DomainKey, CounterState] | None = None) -> GpuSample:
        return self.set.resume(states or {})

    def pass_time(self, seconds: float = 5.0) -> None:
        for gpu in self.gpus:
            gpu.advance(seconds)
        self.clock.advance(seconds)

    def tick(self, seconds: float = 5.0) -> GpuSample:
        self.pass_time(seconds)
        return self.set.sample()

    def restart(self) -> GpuSample:
        """End this agent and start another on what it saved."""
        states = self.set.states()
        self.set.close()
        self.set = self._new()
        return self.set.resume(states)


@contextmanager
def rig(*gpus: SimulatedGpu, settings: GpuSettings | None = None) -> Iterator[Rig]:
    made = Rig(*gpus, settings=settings)
    try:
        yield made
    finally:
        for gpu in made.gpus:
            if gpu.hang is not None:
                gpu.hang.set()
        made.set.close()


def of(sample: GpuSample, index: int = 0) -> GpuInterval:
    return next(gpu for gpu in sample.gpus if gpu.facts.index == index)


def finding(sample: GpuSample, item: str = "") -> Finding:
    return next(
        finding for finding in sample.findings if finding.item.startswith(item) and bool(item) == bool(finding.item)
    )
