"""One node's accounts: each tick reads usage and energy, splits, books, saves and returns the snapshot.

Owns the order of the flow (DESIGN.md §2) and the isolation between its parts; knows nothing of serving or commands.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from exporter.attribution import LearnedPower, attribute, baseline_for
from exporter.carbon import CarbonSource
from exporter.carbon.records import CarbonState, IntensityProvider
from exporter.clock import Clock
from exporter.config import Settings
from exporter.errors import StateError
from exporter.health import Finding, SourceEvent, State
from exporter.host import Roots
from exporter.ledger import AgentStats, Ledger, SavedState, Snapshot
from exporter.ledger.store import Store
from exporter.sensors import Component, EnergySample, SensorSet
from exporter.sensors.records import EnergySensors
from exporter.workloads import UsageSample, WorkloadCollector
from exporter.workloads.records import WorkloadSampler

__all__ = ["Node", "SensorFactory", "WorkloadFactory", "hardware_sensors", "kernel_workloads"]

SensorFactory = Callable[[Settings, Roots, Clock], EnergySensors]
WorkloadFactory = Callable[[Settings, Roots, Clock], WorkloadSampler]

_T = TypeVar("_T")
_log = logging.getLogger(__name__)
_HISTORY_INTERVAL_S = 86_400.0
_NOTHING_READ = EnergySample(components={})


def hardware_sensors(settings: Settings, roots: Roots, clock: Clock) -> EnergySensors:
    """Return the sensors of this machine."""
    return SensorSet(roots, clock, settings.sensors)


def kernel_workloads(settings: Settings, roots: Roots, clock: Clock) -> WorkloadSampler:
    """Return the workloads that this machine's kernel knows."""
    return WorkloadCollector(roots, clock, settings.workloads, settings.runs)


class Node:
    """The accounts of one node, from the kernel's files to the snapshot. Not thread-safe.

    ``start`` once, then ``tick`` at an interval, then ``close``. ``make_sensors`` and ``make_workloads`` build what is
    read, at the start and whenever the settings change.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        roots: Roots,
        clock: Clock,
        make_sensors: SensorFactory = hardware_sensors,
        make_workloads: WorkloadFactory = kernel_workloads,
    ) -> None:
        self.settings = settings
        self._roots = roots
        self._clock = clock
        self._ledger = Ledger(settings.ledger)
        self._make_sensors, self._make_workloads = make_sensors, make_workloads
        self._sensors = make_sensors(settings, roots, clock)
        self._workloads = make_workloads(settings, roots, clock)
        self._carbon: IntensityProvider = CarbonSource(settings.carbon, clock)
        self._store: Store | None = None
        self._state_finding: Finding | None = None
        self._learned: dict[Component, LearnedPower] = {}
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
        self._ticks, self._late_ticks = saved.ticks, saved.late_ticks
        usage = self._sample_usage()
        energy = self._isolated("sensors", lambda: self._sensors.resume(saved.domains), _NOTHING_READ)
        carbon = self._carbon.state()
        now_s, wall_s = self._clock.monotonic_s(), self._clock.wall_s()
        self._ledger.book_down_time(energy, carbon, now_s=now_s, wall_s=wall_s)
        self._ledger.book(_NOTHING_READ, (), usage, carbon, now_s=now_s, wall_s=wall_s)
        return self._finish(energy, usage, carbon, started_s=now_s)

    def tick(self, *, is_late: bool = False) -> Snapshot:
        """Read, split, book and save one interval, and return the new snapshot."""
        started_s = self._clock.monotonic_s()
        self._ticks += 1
        self._late_ticks += is_late
        usage = self._sample_usage()
        busy_ratio = _busy_ratio(usage)
        energy = self._isolated("sensors", lambda: self._sensors.sample(busy_ratio=busy_ratio), _NOTHING_READ)
        carbon = self._carbon.state()
        shares = []
        for component in energy.components.values():
            baseline = baseline_for(
                component, busy_ratio=busy_ratio, settings=self.settings.baseline, learned=self._learned
            )
            shares.append(attribute(component, usage, baseline))
        self._learn(energy, busy_ratio)
        now_s, wall_s = self._clock.monotonic_s(), self._clock.wall_s()
        self._ledger.book(energy, shares, usage, carbon, now_s=now_s, wall_s=wall_s)
        return self._finish(energy, usage, carbon, started_s=started_s)

    def reconfigure(self, settings: Settings) -> None:
        """Go on with other settings from the last tick on, without losing an interval. Paths stay what they were."""
        states = self._sensors.states()
        self._sensors.close()
        self._workloads.close()
        self.settings = settings
        self._ledger.settings = settings.ledger
        self._carbon = CarbonSource(settings.carbon, self._clock)
        self._workloads = self._make_workloads(settings, self._roots, self._clock)
        self._sensors = self._make_sensors(settings, self._roots, self._clock)
        self._sample_usage()
        energy = self._isolated("sensors", lambda: self._sensors.resume(states), _NOTHING_READ)
        now_s, wall_s = self._clock.monotonic_s(), self._clock.wall_s()
        self._ledger.book_down_time(energy, self._carbon.state(), now_s=now_s, wall_s=wall_s)

    def missing_required(self) -> tuple[str, ...]:
        """Return the required sensors that gave nothing in the last tick."""
        return self._sensors.missing_required()

    def close(self) -> None:
        """Save everything and release what is open."""
        if self._store:
            self._save_is_full = True
            self._save(self._store)
            self._store.close()
            self._store = None
        self._workloads.close()
        self._sensors.close()

    def _sample_usage(self) -> UsageSample:
        now_s = self._clock.monotonic_s()
        nothing = UsageSample(
            interval_s=now_s - self._usage_at_s, cpu_count=1, busy_cpu_s=0.0, system_cpu_s=0.0, runs={}
        )
        self._usage_at_s = now_s
        with_memory = Component.DRAM in self._ledger.components
        return self._isolated("workloads", lambda: self._workloads.sample(with_memory=with_memory), nothing)

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
            if component.interval_s > 0 and component.idle_power_w is None:
                self._learned[name] = self._learned.get(name, LearnedPower()).observed(
                    power_w=component.energy_j / component.interval_s,
                    busy_ratio=busy_ratio,
                    interval_s=component.interval_s,
                    half_life_s=self.settings.baseline.learning_half_life_s,
                )

    def _finish(self, energy: EnergySample, usage: UsageSample, carbon: CarbonState, *, started_s: float) -> Snapshot:
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
        return self._ledger.snapshot(energy.domains, carbon, findings, stats)

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
            domains = self._sensors.states()
            store.save(changes, run_totals=totals, domains=domains, learned=self._learned, meta=meta)
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


def _busy_ratio(usage: UsageSample) -> float:
    available_s = usage.cpu_count * usage.interval_s
    return min(max(usage.busy_cpu_s / available_s, 0.0), 1.0) if available_s > 0 else 0.0
