"""One node's accounts: each tick reads usage and energy, splits, books, saves and returns the snapshot.

Owns the order of the flow (DESIGN.md §2) and the isolation between its parts; knows nothing of serving or commands.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from exporter.attribution import (
    ComponentShares,
    GpuMemory,
    GpuShares,
    LearnedPower,
    Reason,
    attribute,
    baseline_for,
    gpu_component_shares,
    held_leaves,
    split_gpu,
    whole_gpu,
    with_gpu_shares,
)
from exporter.carbon import CarbonSource, cache_path
from exporter.carbon.records import CarbonState, IntensityProvider
from exporter.clock import Clock
from exporter.config import Settings
from exporter.errors import StateError
from exporter.health import Finding, SourceEvent, State
from exporter.host import Roots
from exporter.ledger import AgentStats, GpuTotals, Ledger, SavedState, Snapshot
from exporter.ledger.gpu_totals import gpu_totals
from exporter.ledger.store import Store
from exporter.sensors import Component, EnergySample, SensorSet
from exporter.sensors.cpu_model import read_cpu_facts
from exporter.sensors.gpu.drivers import hardware_drivers
from exporter.sensors.gpu.gpu_set import GpuSet
from exporter.sensors.gpu.interval import NO_GPUS, GpuSample, GpuSampler
from exporter.sensors.records import CounterState, DomainKey, EnergySensors
from exporter.workloads import UsageSample, WorkloadCollector
from exporter.workloads.kubernetes.build import make_pod_names
from exporter.workloads.kubernetes.pod_devices import make_pod_devices
from exporter.workloads.records import WorkloadSampler

__all__ = [
    "GpuFactory",
    "Node",
    "SensorFactory",
    "WorkloadFactory",
    "hardware_gpus",
    "hardware_sensors",
    "kernel_workloads",
]

GpuFactory = Callable[[Settings, Roots, Clock], GpuSampler]
SensorFactory = Callable[[Settings, Roots, Clock], EnergySensors]
WorkloadFactory = Callable[[Settings, Roots, Clock], WorkloadSampler]

_T = TypeVar("_T")
_log = logging.getLogger(__name__)
_HISTORY_INTERVAL_S = 86_400.0
_NOTHING_READ = EnergySample(components={})


def hardware_sensors(settings: Settings, roots: Roots, clock: Clock) -> EnergySensors:
    """Return the sensors of this machine."""
    return SensorSet(roots, clock, settings.sensors)


def hardware_gpus(settings: Settings, roots: Roots, clock: Clock) -> GpuSampler:
    """Return the GPUs of this machine."""
    drivers = hardware_drivers(roots, clock, settings.sensors)
    return GpuSet(drivers, clock, settings.gpus, required=settings.sensors.required_sources)


def kernel_workloads(settings: Settings, roots: Roots, clock: Clock) -> WorkloadSampler:
    """Return the workloads that this machine's kernel knows."""
    pods = make_pod_names(settings.kubernetes, clock)
    devices = make_pod_devices(settings.kubernetes, clock, pods.table) if pods else None
    return WorkloadCollector(roots, clock, settings.workloads, settings.runs, pods=pods, pod_devices=devices)


class Node:
    """The accounts of one node, from the kernel's files to the snapshot. Not thread-safe.

    ``start`` once, then ``tick`` at an interval, then ``close``. ``make_sensors``, ``make_gpus`` and ``make_workloads``
    build what is read, at the start and whenever the settings change.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        roots: Roots,
        clock: Clock,
        make_sensors: SensorFactory = hardware_sensors,
        make_gpus: GpuFactory = hardware_gpus,
        make_workloads: WorkloadFactory = kernel_workloads,
    ) -> None:
        self.settings = settings
        self._roots = roots
        self._clock = clock
        cpu = read_cpu_facts(roots.procfs).model_name
        self._ledger = Ledger(settings.ledger, embodied=settings.embodied, budgets=settings.budgets, cpu_model=cpu)
        self._make_sensors, self._make_gpus, self._make_workloads = make_sensors, make_gpus, make_workloads
        self._sensors = make_sensors(settings, roots, clock)
        self._gpus = make_gpus(settings, roots, clock)
        self._workloads = make_workloads(settings, roots, clock)
        self._carbon: IntensityProvider = self._make_carbon(settings)
        self._store: Store | None = None
        self._state_finding: Finding | None = None
        self._learned: dict[Component, LearnedPower] = {}
        self._gpu_memory: dict[str, GpuMemory] = {}
        self._driver_change = ""
        self._ticks = self._late_ticks = 0
        self._save_is_full = True
        self._next_save_s = self._next_forget_s = 0.0
        self._usage_at_s = 0.0
        self._failures: dict[str, Finding] = {}

    def start(self) -> Snapshot:
        """Take over the saved state, set all baselines, and return a first snapshot without an interval."""
        saved = self._open_state()
        self._ledger.restore(saved)
        self._learned = dict(saved.learned)
        self._gpu_memory = {uuid: GpuMemory(floors) for uuid, floors in saved.gpu_floors.items()}
        self._ticks, self._late_ticks = saved.ticks, saved.late_ticks
        gpus = self._isolated("gpus", lambda: self._gpus.resume(saved.domains), NO_GPUS)
        usage = self._sample_usage(gpus.pids)
        energy = self._resumed(saved.domains, gpus)
        carbon = self._carbon.state()
        now_s, wall_s = self._clock.monotonic_s(), self._clock.wall_s()
        self._ledger.book_down_time(energy, carbon, now_s=now_s, wall_s=wall_s, gpu_models=gpus.models)
        self._ledger.book(_NOTHING_READ, (), usage, carbon, now_s=now_s, wall_s=wall_s)
        return self._finish(energy, usage, carbon, gpu_totals(gpus.gpus, {}, usage), started_s=now_s)

    def tick(self, *, is_late: bool = False) -> Snapshot:
        """Read, split, book and save one interval, and return the new snapshot."""
        started_s = self._clock.monotonic_s()
        self._ticks += 1
        self._late_ticks += is_late
        gpus = self._isolated("gpus", self._gpus.sample, NO_GPUS)
        usage = self._sample_usage(gpus.pids)
        gpu_shares = self._isolated("gpu_split", lambda: self._split_gpus(gpus, usage), self._without_split(gpus))
        usage = with_gpu_shares(usage, held_leaves(gpu_shares.values()), gpu_count=len(gpus.gpus))
        busy_ratio = usage.busy_ratio
        energy = self._isolated(
            "sensors",
            lambda: self._sensors.sample(busy_ratio=busy_ratio, gpu=gpus.energy, is_gpu_whole=gpus.is_whole),
            _gpus_alone(gpus),
        )
        energy = _joined(energy, gpus)
        carbon = self._carbon.state()
        shares = self._split(energy, usage, gpus, gpu_shares, busy_ratio=busy_ratio)
        self._learn(energy, busy_ratio)
        now_s, wall_s = self._clock.monotonic_s(), self._clock.wall_s()
        held = gpu_shares.values()
        self._ledger.book(energy, shares, usage, carbon, now_s=now_s, wall_s=wall_s, gpus=held, gpu_models=gpus.models)
        totals = gpu_totals(gpus.gpus, gpu_shares, usage)
        return self._finish(energy, usage, carbon, totals, started_s=started_s)

    def _split_gpus(self, gpus: GpuSample, usage: UsageSample) -> dict[str, GpuShares]:
        """Return each GPU's split by UUID, and remember what the next tick needs to know of it."""
        shares: dict[str, GpuShares] = {}
        for gpu in gpus.gpus:
            uuid = gpu.facts.uuid
            memory = self._gpu_memory.get(uuid, GpuMemory())
            shares[uuid], self._gpu_memory[uuid] = split_gpu(gpu, usage, memory, self.settings.baseline)
        return shares

    def _without_split(self, gpus: GpuSample) -> dict[str, GpuShares]:
        return {gpu.facts.uuid: whole_gpu(gpu, Reason.UNKNOWN) for gpu in gpus.gpus}

    def _split(
        self,
        energy: EnergySample,
        usage: UsageSample,
        gpus: GpuSample,
        gpu_shares: Mapping[str, GpuShares],
        *,
        busy_ratio: float,
    ) -> list[ComponentShares]:
        shares = []
        for name, component in energy.components.items():
            if name is Component.GPU:
                fed = [
                    gpu_shares[g.facts.uuid] for g in gpus.gpus if g.energy_j is not None and g.facts.feeds_component
                ]
                shares.append(gpu_component_shares(component, fed, leaves=len(usage.leaves)))
                continue
            baseline = baseline_for(
                component, busy_ratio=busy_ratio, settings=self.settings.baseline, learned=self._learned
            )
            shares.append(attribute(component, usage, baseline))
        return shares

    def _resumed(self, states: Mapping[DomainKey, CounterState], gpus: GpuSample) -> EnergySample:
        energy = self._isolated(
            "sensors",
            lambda: self._sensors.resume(states, gpu=gpus.energy, is_gpu_whole=gpus.is_whole),
            _gpus_alone(gpus),
        )
        return _joined(energy, gpus)

    def reconfigure(self, settings: Settings) -> None:
        """Go on with other settings from the last tick on, without losing an interval. Paths stay what they were."""
        states = self._states()
        if _gpu_settings(settings) != _gpu_settings(self.settings):
            self._remake_gpus(settings, states)
        self._sensors.close()
        self._workloads.close()
        self.settings = settings
        self._ledger.configure(settings.ledger, embodied=settings.embodied, budgets=settings.budgets)
        self._carbon.close()
        self._carbon = self._make_carbon(settings)
        self._workloads = self._make_workloads(settings, self._roots, self._clock)
        self._sensors = self._make_sensors(settings, self._roots, self._clock)
        self._sample_usage(())
        energy = self._resumed(states, NO_GPUS)
        now_s, wall_s = self._clock.monotonic_s(), self._clock.wall_s()
        self._ledger.book_down_time(energy, self._carbon.state(), now_s=now_s, wall_s=wall_s)

    def _make_carbon(self, settings: Settings) -> CarbonSource:
        path = cache_path(settings.carbon, settings.ledger.state_path)
        return CarbonSource(settings.carbon, settings.costs, self._clock, cache_path=path)

    def _remake_gpus(self, settings: Settings, states: Mapping[DomainKey, CounterState]) -> None:
        """Read GPUs by other settings from the last reading on, let go or not as they were."""
        self._driver_change, release_s = self.driver_change, self._gpus.release_left_s
        self._gpus.close()
        self._gpus = self._make_gpus(settings, self._roots, self._clock)
        self._gpus.adopt(states)
        if release_s > 0:
            self._gpus.release(release_s)

    @property
    def driver_change(self) -> str:
        """What happened if only a new process can go on reading GPUs; empty as long as this one can."""
        return self._driver_change or self._gpus.driver_change

    def release_gpus(self, seconds: float) -> None:
        """Let go of the GPU drivers for so long, so that they can be replaced (0: take them again now)."""
        self._isolated("gpus", lambda: self._gpus.release(seconds), None)

    def _states(self) -> Mapping[DomainKey, CounterState]:
        return {**self._sensors.states(), **self._gpus.states()}

    def missing_required(self) -> tuple[str, ...]:
        """Return the required sensors that gave nothing in the last tick."""
        working = self._gpus.working_sources()
        return tuple(name for name in self._sensors.missing_required() if name not in working)

    def close(self) -> None:
        """Save everything and release what is open."""
        if self._store:
            self._save_is_full = True
            self._save(self._store)
            self._store.close()
            self._store = None
        self._workloads.close()
        self._sensors.close()
        self._gpus.close()
        self._carbon.close()

    def _sample_usage(self, gpu_pids: Collection[int]) -> UsageSample:
        now_s = self._clock.monotonic_s()
        interval_s, self._usage_at_s = now_s - self._usage_at_s, now_s
        nothing = UsageSample(interval_s=interval_s, cpu_count=1, busy_cpu_s=0.0, system_cpu_s=0.0, runs={})
        needs_memory = Component.DRAM in self._ledger.components
        sample = partial(self._workloads.sample, with_memory=needs_memory, gpu_pids=gpu_pids)
        return self._isolated("workloads", sample, nothing)

    def _isolated(self, source: str, read: Callable[[], _T], otherwise: _T) -> _T:
        """Return what ``read`` returns; a defect in one source must not take the others down."""
        try:
            value = read()
        except MemoryError:
            raise
        except Exception as exc:  # noqa: BLE001 - the source-isolation line: whatever a source raises, the loop goes on
            if source not in self._failures:
                _log.exception("source failed", extra={"source": source})
            detail = f"{type(exc).__name__}: {exc}"[:200]
            self._failures[source] = Finding(
                source=source, state="down", detail=detail, remedy="this is a defect: please report it with the log"
            )
            self._ledger.count([SourceEvent(source, "error", "internal")])
            return otherwise
        self._failures.pop(source, None)
        return value

    def _learn(self, energy: EnergySample, busy_ratio: float) -> None:
        for name, component in energy.components.items():
            if name is not Component.GPU and component.interval_s > 0 and component.idle_power_w is None:
                self._learned[name] = self._learned.get(name, LearnedPower()).observed(
                    power_w=component.energy_j / component.interval_s,
                    busy_ratio=busy_ratio,
                    interval_s=component.interval_s,
                    half_life_s=self.settings.baseline.learning_half_life_s,
                )

    def _finish(
        self,
        energy: EnergySample,
        usage: UsageSample,
        carbon: CarbonState,
        gpus: Sequence[GpuTotals],
        *,
        started_s: float,
    ) -> Snapshot:
        """Save, then show: what a scrape has seen is on disk already, so that no restart can step back behind it."""
        now_s = self._clock.monotonic_s()
        if self._store and now_s >= self._next_save_s:
            self._next_save_s = now_s + self.settings.ledger.checkpoint_interval_s
            self._save(self._store)
        findings: list[Finding] = [*energy.findings, *usage.findings, *carbon.findings, *self._failures.values()]
        if self._state_finding:
            findings.append(self._state_finding)
        stats = AgentStats(
            ticks=self._ticks,
            late_ticks=self._late_ticks,
            tick_duration_s=self._clock.monotonic_s() - started_s,
            interval_s=self.settings.sampling.interval_s,
        )
        return replace(self._ledger.snapshot(energy.domains, carbon, findings, stats, gpus), pods=usage.pods)

    def _open_state(self) -> SavedState:
        path = self.settings.ledger.state_path
        if not path:
            self._state_finding = Finding(
                source="state_file", state="absent", detail="no state file: counters restart with the agent"
            )
            return SavedState()
        try:
            days = self.settings.ledger.history_days
            self._store = Store(Path(path), boot_id=self._roots.boot_id(), history_days=days)
            saved = self._store.load(now_s=self._clock.monotonic_s())
        except StateError as exc:
            self._state_is("down", str(exc))
            return SavedState()
        self._state_is("degraded" if self._store.note else "up", self._store.note or path)
        return saved

    def _save(self, store: Store) -> None:
        now_s = self._clock.monotonic_s()
        changes = self._ledger.take_changes(full=self._save_is_full)
        totals = self._ledger.run_totals() if store.runs_are_due(changes) else {}
        meta = {
            "ticks": str(self._ticks),
            "late_ticks": str(self._late_ticks),
            "saved_wall_s": repr(self._clock.wall_s()),
        }
        try:
            store.save(
                changes,
                run_totals=totals,
                domains=self._states(),
                learned=self._learned,
                gpu_floors={uuid: memory.floors for uuid, memory in self._gpu_memory.items()},
                meta=meta,
            )
            if now_s >= self._next_forget_s:
                self._next_forget_s = now_s + _HISTORY_INTERVAL_S
                store.forget_old_runs(wall_s=self._clock.wall_s())
        except StateError as exc:
            self._save_is_full = True
            self._ledger.count([SourceEvent("state_file", "error", "write")])
            self._state_is("down", str(exc))
            return
        self._save_is_full = False
        if self._state_finding and self._state_finding.state != "up":
            self._state_is("up", str(store.path))

    def _state_is(self, state: State, detail: str) -> None:
        remedy = "" if state == "up" else "give the agent a writable local directory with --state.file"
        self._state_finding = Finding(source="state_file", state=state, detail=detail, remedy=remedy)


def _gpu_settings(settings: Settings) -> tuple[object, ...]:
    """Return the settings that need the GPUs' drivers opened anew if they change."""
    return settings.gpus, settings.sensors.disabled_sources, settings.sensors.required_sources


def _gpus_alone(gpus: GpuSample) -> EnergySample:
    """Return what is left where all other sensors fail."""
    return EnergySample(components={Component.GPU: gpus.energy} if gpus.energy else {})


def _joined(energy: EnergySample, gpus: GpuSample) -> EnergySample:
    """Return what all sensors saw, the GPUs' drivers included; the component is in ``energy`` already."""
    return replace(
        energy,
        domains=[*energy.domains, *gpus.domains],
        events=[*energy.events, *gpus.events],
        findings=[*energy.findings, *gpus.findings],
    )
