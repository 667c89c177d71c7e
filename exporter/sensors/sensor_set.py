"""All sensors of one node as the loop sees them: read together, summed into components, each source failing alone.

Owns the order of things (look, read, place, sum, estimate, rest) and the decision between measuring and estimating.
Everything else is a table or a pure function in a module of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from exporter.clock import Clock
from exporter.health import Finding, SourceEvent, State
from exporter.host import Roots
from exporter.sensors.bmc_groups import bmc_groups
from exporter.sensors.bmc_meter import BmcGroup
from exporter.sensors.components import HWMON, RAPL, RAPL_VIRTUAL, Placement, place
from exporter.sensors.cpu_model import read_cpu_facts
from exporter.sensors.cpu_table import find_rating
from exporter.sensors.estimate import CPU_ESTIMATE, estimate_for
from exporter.sensors.hwmon import find_hwmon
from exporter.sensors.meter import Look, Meter, Reading
from exporter.sensors.meter_group import MeterGroup
from exporter.sensors.mirrors import MirrorWatch, is_die
from exporter.sensors.platform_rest import PlatformRest
from exporter.sensors.rapl import find_rapl
from exporter.sensors.records import Component, ComponentEnergy, CounterState, DomainKey, DomainTotal, EnergySample
from exporter.sensors.settings import SensorSettings

__all__ = ["SensorSet"]

_BUSY_RATIO = 0.05
"""Utilisation above which every package and memory counter must move between two samples."""

_UNKNOWN_MAX_PACKAGE_W = 1000.0  # twice the highest rating on the market
_MIN_MAX_PACKAGE_W = 500.0


class SensorSet:
    """The energy sensors of one node. Not thread-safe: one loop calls it.

    Call ``resume`` once, then ``sample`` at every tick. A failing source or domain never raises; it shows in the
    sample's events and findings.
    """

    def __init__(self, roots: Roots, clock: Clock, settings: SensorSettings) -> None:
        self._clock = clock
        self._settings = settings
        self._cpu = read_cpu_facts(roots.procfs)
        rating = find_rating(self._cpu.model_name)
        self._estimate = estimate_for(self._cpu, rating, settings)
        self._estimate_finding = self._estimate.finding()
        rapl = RAPL_VIRTUAL if self._cpu.is_virtual else RAPL
        max_package_w = _max_package_w(settings, rating.tdp_w if rating else None)
        looks: dict[str, Callable[[], Look]] = {
            rapl: partial(find_rapl, roots.sysfs, source=rapl, max_package_w=max_package_w),
            HWMON: partial(find_hwmon, roots.sysfs, source=HWMON, max_package_w=max_package_w),
        }
        self._groups: list[MeterGroup | BmcGroup] = [
            MeterGroup(name, look, down_after_samples=settings.down_after_samples)
            for name, look in looks.items()
            if not self._is_named(name, settings.disabled_sources)
        ]
        self._groups += bmc_groups(roots, clock, settings)
        self._mirrors = MirrorWatch()
        self._dies: list[Meter] = []
        self._rest = PlatformRest()
        self._placements: dict[DomainKey, Placement] = {}
        self._broken: dict[tuple[str, str], Exception] = {}
        self._looked_at_s = -math.inf
        self._sampled_at_s: float | None = None
        self._has_measured_cpu = False

    def resume(
        self,
        states: Mapping[DomainKey, CounterState],
        *,
        gpu: ComponentEnergy | None = None,
        is_gpu_whole: bool = True,
    ) -> EnergySample:
        """Look for sensors, read every domain once, and return what was counted since ``states`` were saved.

        A domain without a saved state starts at zero and gives nothing yet. While the agent was away longer than
        one register can tell, or for an estimate or a power meter, the energy is unknown: a gap, no joules.
        """
        for group in self._groups:
            group.restore(states)
        measuring = {group.name for group in self._groups} - (set() if self._settings.allow_virtual else {RAPL_VIRTUAL})
        self._has_measured_cpu = any(key.source in measuring and key.domain == "package" for key in states)
        return self._sample(busy_ratio=0.0, gpu=gpu, is_gpu_whole=is_gpu_whole)

    def sample(
        self, *, busy_ratio: float, gpu: ComponentEnergy | None = None, is_gpu_whole: bool = True
    ) -> EnergySample:
        """Read every domain and return what was drawn since the previous call, as ``EnergySensors`` says."""
        return self._sample(busy_ratio=busy_ratio, gpu=gpu, is_gpu_whole=is_gpu_whole)

    def states(self) -> Mapping[DomainKey, CounterState]:
        """Return what must be saved so that a later ``resume`` can go on."""
        return {key: state for group in self._groups for key, state in group.states().items()}

    def missing_required(self) -> tuple[str, ...]:
        """Return the required sources that give nothing now, in the settings' order."""
        working = {finding.source for finding in self._findings() if not finding.item and _works(finding)}
        if RAPL_VIRTUAL in working:
            working.add(RAPL)
        return tuple(name for name in self._settings.required_sources if name not in working)

    def close(self) -> None:
        """Release every descriptor."""
        for group in self._groups:
            group.close()

    def _sample(self, *, busy_ratio: float, gpu: ComponentEnergy | None, is_gpu_whole: bool) -> EnergySample:
        now_s, wall_s = self._clock.monotonic_s(), self._clock.wall_s()
        events: list[SourceEvent] = []
        is_estimated = self._uses_estimate()  # asked first: a sensor's first read ends an interval without joules
        self._look_if_due(now_s, events)
        readings: list[Reading] = []
        is_busy = busy_ratio > _BUSY_RATIO
        for group in self._groups:
            read = partial(group.read, now_s, wall_s, is_busy=is_busy, readings=readings, events=events)
            self._isolated(group, "read", read, events)
        if self._dies and self._mirrors.update(self._dies, now_s):
            self._place()
        components = self._summed(readings)
        interval_s = 0.0 if self._sampled_at_s is None else now_s - self._sampled_at_s
        self._sampled_at_s = now_s
        if is_estimated and Component.CPU not in components:
            estimated = self._estimated(busy_ratio=busy_ratio, interval_s=interval_s, events=events)
            components |= {Component.CPU: estimated} if estimated else {}
        components |= {Component.GPU: gpu} if gpu else {}
        other = self._other(readings, components, is_gpu_whole=is_gpu_whole)
        if other is not None:
            components[Component.OTHER] = other
        domains = [
            DomainTotal(meter.key, meter.total_j, self._placements[meter.key].component) for meter in self._meters()
        ]
        return EnergySample(components=components, domains=domains, events=events, findings=self._findings())

    def _isolated(
        self, group: MeterGroup | BmcGroup, action: str, call: Callable[[], None], events: list[SourceEvent]
    ) -> None:
        """Call into one source. This is the line across which no fault of a source hurts another."""
        try:
            call()
        except Exception as exc:  # noqa: BLE001 - the isolation line: whatever one source does, the others go on
            self._broken[group.name, action] = exc
            events.append(SourceEvent(group.name, "error", "internal"))
        else:
            self._broken.pop((group.name, action), None)

    def _look_if_due(self, now_s: float, events: list[SourceEvent]) -> None:
        is_due = now_s - self._looked_at_s >= self._settings.rescan_interval_s
        groups = [group for group in self._groups if is_due or group.is_look_due]
        for group in groups:
            self._isolated(group, "look", partial(group.look, events), events)
        if is_due:
            self._looked_at_s = now_s
        if groups:
            self._place()

    def _meters(self) -> list[Meter]:
        return [meter for group in self._groups for meter in group.meters]

    def _place(self) -> None:
        meters = self._meters()
        self._placements = place(
            meters, mirrored=self._mirrors.mirrored, allow_virtual=self._settings.allow_virtual, cpu=self._cpu
        )
        self._dies = [meter for meter in meters if is_die(meter)]
        for meter in meters:
            meter.feeds = self._placements[meter.key].component is not None

    def _summed(self, readings: Sequence[Reading]) -> dict[Component, ComponentEnergy]:
        """Return CPU and memory: the sum over the domains that feed each and gave a reading."""
        components = {}
        for component in (Component.CPU, Component.DRAM):
            parts = [reading for reading in readings if self._placements[reading.meter.key].component is component]
            if parts:
                components[component] = self._sum(component, parts)
        return components

    def _sum(self, component: Component, parts: Sequence[Reading]) -> ComponentEnergy:
        energy_j = math.fsum(part.energy_j for part in parts)
        ratios = [self._placements[part.meter.key].uncertainty_ratio for part in parts]
        errors_j = math.fsum(part.energy_j * ratio for part, ratio in zip(parts, ratios, strict=True))
        expected = sum(placement.component is component for placement in self._placements.values())
        return ComponentEnergy(
            component=component,
            energy_j=energy_j,
            interval_s=math.fsum(part.interval_s for part in parts) / len(parts),
            source=parts[0].meter.key.source,
            quality="measured",
            uncertainty_ratio=errors_j / energy_j if energy_j > 0 else max(ratios),
            is_partial=len(parts) < expected,
        )

    def _uses_estimate(self) -> bool:
        """Whether the CPU is estimated: only while no sensor of it was ever read and none is about to be."""
        if self._has_measured_cpu or self._is_named(CPU_ESTIMATE, self._settings.disabled_sources):
            return False
        for group in self._groups:
            for meter in group.meters:
                if self._placements[meter.key].component is Component.CPU:
                    self._has_measured_cpu = self._has_measured_cpu or meter.state is not None
                    if meter.state is not None or (meter.is_open and not group.is_failing(meter)):
                        return False
        return True

    def _estimated(self, *, busy_ratio: float, interval_s: float, events: list[SourceEvent]) -> ComponentEnergy | None:
        energy = self._estimate.energy(busy_ratio=busy_ratio, interval_s=interval_s)
        if energy is None and interval_s > 0:
            events.append(SourceEvent(CPU_ESTIMATE, "gap_seconds", "too_long", interval_s))
        return energy

    def _other(
        self, readings: Sequence[Reading], components: Mapping[Component, ComponentEnergy], *, is_gpu_whole: bool
    ) -> ComponentEnergy | None:
        for reading in readings:
            placement = self._placements[reading.meter.key]
            if placement.component is Component.OTHER:
                known = {placed.component for placed in self._placements.values()} - {None, Component.OTHER}
                return self._rest.energy(
                    reading,
                    list(components.values()),
                    uncertainty_ratio=placement.uncertainty_ratio,
                    is_rest_whole=is_gpu_whole and known <= components.keys(),
                )
        return None

    def _findings(self) -> list[Finding]:
        findings: list[Finding] = []
        for group in self._groups:
            absent: State = "down" if self._is_named(group.name, self._settings.required_sources) else "absent"
            faults = [type(fault).__name__ for (name, _), fault in self._broken.items() if name == group.name]
            if faults:
                detail = f"{faults[0]} in this agent's own code"
                findings.append(Finding(source=group.name, state="down", detail=detail, remedy="please report it"))
                continue
            group_findings = group.findings(absent_state=absent, remark=self._remark)
            if group.name == RAPL_VIRTUAL:
                group_findings = _as_virtual(group_findings, is_used=self._settings.allow_virtual)
            findings.extend(group_findings)
        if self._uses_estimate():
            findings.append(replace(self._estimate_finding, last_success_s=self._clock.wall_s()))
        elif CPU_ESTIMATE in self._settings.required_sources:
            findings.append(Finding(source=CPU_ESTIMATE, state="absent", detail="a sensor measures the CPU"))
        if self._cpu.has_sgx and any(group.name == RAPL and group.meters for group in self._groups):
            findings.append(_SGX)
        return findings

    def _remark(self, meter: Meter) -> str:
        return self._placements[meter.key].remark

    @staticmethod
    def _is_named(source: str, names: Sequence[str]) -> bool:
        return source in names or (source == RAPL_VIRTUAL and RAPL in names)


_SGX = Finding(
    source=RAPL,
    state="degraded",
    item="quality",
    detail="SGX is enabled, so the CPU blurs its energy counters (Intel SA-00389); means over seconds hold",
    remedy="disable SGX in the firmware if nothing needs it",
)


def _works(finding: Finding) -> bool:
    return finding.state in {"up", "degraded"}


def _as_virtual(findings: list[Finding], *, is_used: bool) -> list[Finding]:
    """Mark a working RAPL source inside a virtual machine as degraded: its joules are not this node's.

    A virtual machine without any, the usual case, has no virtual source either: it lacks RAPL.
    """
    if all(finding.state in {"absent", "down"} and not finding.item for finding in findings):
        return [replace(finding, source=RAPL) for finding in findings]
    first = findings[0]
    if first.state != "up":
        return findings
    use = "counted, as configured" if is_used else "shown, not counted"
    detail = f"{first.detail}, but a virtual machine cannot know what they mean: {use}"
    remedy = "" if is_used else "set sensors.allow_virtual if the hypervisor is known to pass the package through"
    return [replace(first, state="degraded", detail=detail, remedy=remedy), *findings[1:]]


def _max_package_w(settings: SensorSettings, rated_w: float | None) -> float:
    if settings.max_package_watts is not None:
        return settings.max_package_watts
    tdp_w = settings.tdp_watts or rated_w
    return max(2 * tdp_w, _MIN_MAX_PACKAGE_W) if tdp_w is not None else _UNKNOWN_MAX_PACKAGE_W
