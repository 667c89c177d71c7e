"""All GPUs of one node as the loop sees them: every driver looked at and read side by side, each failing alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from exporter.clock import Clock
from exporter.health import Finding, SourceEvent
from exporter.sensors.components import UNCERTAINTY_RATIOS
from exporter.sensors.gpu.driver_group import DriverGroup
from exporter.sensors.gpu.interval import GpuInterval, GpuSample
from exporter.sensors.gpu.records import GpuDriver
from exporter.sensors.gpu.settings import GpuSettings
from exporter.sensors.gpu.worker import wait_for
from exporter.sensors.records import Component, ComponentEnergy, CounterState, DomainKey

__all__ = ["GpuSet"]


class GpuSet:
    """Implements ``GpuSampler`` over any number of drivers. One thread calls it; the drivers run in others."""

    def __init__(
        self, drivers: Sequence[GpuDriver], clock: Clock, settings: GpuSettings, *, required: Sequence[str] = ()
    ) -> None:
        self._clock = clock
        self._settings = settings
        self._required = frozenset(required)
        self._released_until_s = 0.0
        self._groups = [DriverGroup(driver, settings) for driver in drivers]

    @property
    def driver_change(self) -> str:
        """What happened if only a new process can go on reading GPUs; empty as long as this one can."""
        return next((group.driver_change for group in self._groups if group.driver_change), "")

    def resume(self, states: Mapping[DomainKey, CounterState]) -> GpuSample:
        """Look for GPUs, read each once, and return what was counted since ``states`` were saved."""
        for group in self._groups:
            group.restore(states)
        return self.sample()

    def adopt(self, states: Mapping[DomainKey, CounterState]) -> None:
        """Go on from ``states`` with the next sample, which covers the time since."""
        for group in self._groups:
            group.restore(states, is_adopted=True)

    def sample(self) -> GpuSample:
        """Read every GPU and return what was drawn since the previous call."""
        now_s, wall_s = self._clock.monotonic_s(), self._clock.wall_s()
        events: list[SourceEvent] = []
        looks = [look for look in (group.begin_look(now_s) for group in self._groups) if look is not None]
        wait_for(looks, timeout_s=self._settings.read_timeout_s)
        for group in self._groups:
            group.end_look(now_s, events)
        reads = [read for group in self._groups for read in group.begin_reads()]
        wait_for(reads, timeout_s=self._settings.read_timeout_s)
        gpus = [gpu for group in self._groups for gpu in group.end_reads(now_s, wall_s, events)]
        return GpuSample(
            gpus=gpus,
            energy=_summed(gpus),
            is_whole=not any(_owes(gpu) for gpu in gpus),
            pids=frozenset(pid for gpu in gpus for pid in _pids(gpu)),
            domains=[device.total() for group in self._groups for device in group.devices if device.energy.state],
            events=events,
            findings=self._findings(now_s),
        )

    def states(self) -> Mapping[DomainKey, CounterState]:
        """Return what must be saved so that a later ``resume`` can go on."""
        return {key: state for group in self._groups for key, state in group.states().items()}

    def working_sources(self) -> frozenset[str]:
        """Return the names of the drivers of which some GPU was read when last tried."""
        return frozenset(group.name for group in self._groups if group.is_working())

    @property
    def release_left_s(self) -> float:
        """Seconds for which the drivers stay let go."""
        return max(self._released_until_s - self._clock.monotonic_s(), 0.0)

    def release(self, seconds: float) -> None:
        """Let go of the drivers for so long (0: take them again now)."""
        until_s = self._released_until_s = self._clock.monotonic_s() + seconds if seconds > 0 else 0.0
        for group in self._groups:
            group.release(until_s)

    def close(self) -> None:
        """Close the drivers; waits for them a few seconds at most."""
        for group in self._groups:
            group.close()

    def _findings(self, now_s: float) -> list[Finding]:
        return [finding for group in self._groups for finding in self._group_findings(group, now_s)]

    def _group_findings(self, group: DriverGroup, now_s: float) -> list[Finding]:
        try:
            return group.findings(now_s=now_s, absent_state="down" if group.name in self._required else "absent")
        except Exception as exc:  # noqa: BLE001 - the isolation line: what one driver cannot say, others can
            detail = f"{type(exc).__name__} in this agent's own code"
            return [Finding(source=group.name, state="degraded", detail=detail, remedy="please report it")]


def _pids(gpu: GpuInterval) -> set[int]:
    if gpu.reading is None:
        return set(gpu.pids_before)
    return {process.pid for process in gpu.reading.processes} | gpu.reading.samples.keys() | gpu.pids_before


def _owes(gpu: GpuInterval) -> bool:
    return gpu.energy_j is None and gpu.method != "none" and gpu.facts.feeds_component


def _summed(gpus: Sequence[GpuInterval]) -> ComponentEnergy | None:
    """Return the component ``gpu``: the sum over the GPUs that gave joules; one that did not makes it partial."""
    fed = [gpu for gpu in gpus if gpu.facts.feeds_component and gpu.energy_j is not None]
    if not fed:
        return None
    energy_j = math.fsum(gpu.energy_j or 0.0 for gpu in fed)
    power_w = math.fsum(gpu.power_w or 0.0 for gpu in fed)  # their intervals differ after a missed reading
    ratios = [UNCERTAINTY_RATIOS[f"gpu_{gpu.method}"] for gpu in fed]
    errors_j = math.fsum((gpu.energy_j or 0.0) * ratio for gpu, ratio in zip(fed, ratios, strict=True))
    return ComponentEnergy(
        component=Component.GPU,
        energy_j=energy_j,
        interval_s=energy_j / power_w if power_w > 0 else max(gpu.interval_s for gpu in fed),
        source=fed[0].facts.source,
        quality="measured",
        uncertainty_ratio=errors_j / energy_j if energy_j > 0 else max(ratios),
        is_partial=any(_owes(gpu) for gpu in gpus),
    )
