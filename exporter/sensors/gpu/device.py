"""One GPU as the agent keeps it: its worker, its energy, how its reads go. Knows nothing of vendors."""

from __future__ import annotations

from collections.abc import Callable

from exporter.errors import (
    DeviceLostError,
    DriverGoneError,
    DriverReplacedError,
    SourceBusyError,
    SourceError,
    SourceFormatError,
)
from exporter.health import Finding, SourceEvent, State
from exporter.sensors.gpu.energy import GpuEnergy
from exporter.sensors.gpu.interval import GpuInterval
from exporter.sensors.gpu.records import GpuFacts, GpuReading
from exporter.sensors.gpu.worker import Call, Worker
from exporter.sensors.records import Component, DomainKey, DomainTotal

__all__ = ["GpuDevice", "domain_key"]

_STUCK_REMEDY = "look for Xid messages in the kernel's log; the others go on, and its joules come with its next answer"
_LOST_REMEDY = "drain the node; a reset of the GPU or a reboot brings it back; what it drew stays counted"


def domain_key(facts: GpuFacts) -> DomainKey:
    """Return under which name the GPU's total is shown and saved."""
    return DomainKey(facts.source, facts.scope, facts.uuid)


class GpuDevice:
    """A GPU that is read at every sample.

    ``is_resumed``: its total goes on from what an earlier agent saved, so its first joules are of a time without one.

    Attributes:
        facts: as last looked at.
        energy: its running total.
        error: why the last read failed, or None after a good one.
        is_listed: whether the last look found it.
        is_paused: whether its driver is let go, so that it is not read.
        session: number of the driver's session in which the last read began.
        read_at_s: boot-clock time of the last good read, or 0.
        last_success_s: the same on the wall clock, or None.
        failures: bad reads in a row.
    """

    def __init__(self, facts: GpuFacts, energy: GpuEnergy, *, is_resumed: bool = False) -> None:
        self.facts = facts
        self.energy = energy
        self.error: SourceError | None = None
        self.is_listed = True
        self.is_paused = False
        self.session = 0
        self._is_resumed = is_resumed
        self.read_at_s = 0.0
        self.last_success_s: float | None = None
        self._worker: Worker | None = None
        self._call: Call[GpuReading] | None = None
        self._pids: frozenset[int] = frozenset()
        self.failures = 0

    @property
    def is_stuck(self) -> bool:
        """Whether a read has not returned yet."""
        return self._call is not None and not self._call.is_done()

    def begin(self, read: Callable[[GpuFacts], GpuReading], *, session: int) -> Call[GpuReading] | None:
        """Start a read and return it; None where the last one hangs, or came late and is to be collected first."""
        if self._call is not None or not self.is_listed:
            return None
        self._worker = self._worker or Worker(f"{self.facts.source}-{self.facts.index}")
        facts, self.session = self.facts, session
        self._call = self._worker.start(lambda: read(facts))
        return self._call

    def collect(self, *, wall_s: float, events: list[SourceEvent]) -> GpuInterval:
        """Return what the read gave, if it has returned; what went wrong is in ``events`` and ``error``.

        Raises:
            DriverGoneError, DriverReplacedError: the driver is gone for all of its GPUs.
        """
        reading = self._reading(events)
        before = self._pids
        if reading is None:
            return self.missed()
        self._pids = frozenset(process.pid for process in reading.processes)
        self.read_at_s, self.last_success_s = reading.read_at_s, wall_s
        counted = self._counted(reading, events)
        was_resumed, self._is_resumed = self._is_resumed, False
        return self._interval(reading, counted, before, is_down_time=was_resumed)

    def _counted(self, reading: GpuReading, events: list[SourceEvent]) -> tuple[float, float] | None:
        """Return the joules that a reading adds, and the seconds they cover; None where nothing is known of them."""
        source = self.facts.source
        try:
            step = self.energy.take(reading, max_power_w=self.facts.max_power_w)
        except (ArithmeticError, ValueError) as exc:  # a driver that tells what is no number
            self.error = SourceFormatError(source, f"{type(exc).__name__}: {exc}"[:200])
            events.append(SourceEvent(source, "error", self.error.reason))
            return None
        if step is None:
            return None
        if step.kind == "reset":
            events.append(SourceEvent(source, "reset", "restarted"))
        elif step.kind in {"jump", "frozen"}:
            events.append(SourceEvent(source, "error", step.kind))
        if step.kind in {"gap", "jump"}:
            events.append(SourceEvent(source, "gap_seconds", step.kind, step.interval_s))
            return None
        return step.energy_j, step.interval_s

    def missed(self) -> GpuInterval:
        """Return an interval in which nothing was read."""
        return self._interval(None, None, self._pids)

    def _reading(self, events: list[SourceEvent]) -> GpuReading | None:
        call = self._call
        if call is None:
            return None
        if not call.is_done():
            if not isinstance(self.error, SourceBusyError) or self.failures == 0:
                events.append(SourceEvent(self.facts.source, "error", "timeout"))
            self.error = SourceBusyError(self.facts.source, "a call into its driver has not returned")
            self.failures += 1
            return None
        self._call = None
        try:
            reading = call.result()
        except (DriverGoneError, DriverReplacedError) as exc:
            self.error = exc
            raise
        except SourceError as exc:
            self.error = exc
        except Exception as exc:  # noqa: BLE001 - the isolation line: a defect in one read leaves the others alone
            self.error = SourceError(self.facts.source, f"{type(exc).__name__} in this agent's own code: {exc}"[:200])
        else:
            self.error, self.failures = None, 0
            return reading
        self.failures += 1
        events.append(SourceEvent(self.facts.source, "error", self.error.reason))
        return None

    def _interval(
        self,
        reading: GpuReading | None,
        counted: tuple[float, float] | None,
        pids_before: frozenset[int],
        *,
        is_down_time: bool = False,
    ) -> GpuInterval:
        return GpuInterval(
            facts=self.facts,
            state=self.finding().state,
            reading=reading,
            energy_j=counted[0] if counted else None,
            interval_s=counted[1] if counted else 0.0,
            total_j=self.energy.total_j,
            method=self.energy.method,
            pids_before=pids_before,
            is_down_time=is_down_time,
        )

    def total(self) -> DomainTotal:
        """Return its running total."""
        component = Component.GPU if self.facts.feeds_component else None
        return DomainTotal(domain_key(self.facts), self.energy.total_j, component)

    def finding(self) -> Finding:
        """Return its state in words."""
        facts = self.facts
        name = f"{facts.vendor} {facts.model}".strip()
        state: State = "up"
        detail, remedy = "; ".join([f"{name}: {self._fed_from()}", *facts.notes]), ""
        if self.is_paused:
            state, detail = "down", f"{name}: not read while its driver is let go"
        elif not self.is_listed:
            state, detail, remedy = "down", f"{name}: no longer there", _LOST_REMEDY
        elif self.is_stuck:
            state, detail, remedy = "down", f"{name}: a call into its driver has not returned", _STUCK_REMEDY
        elif isinstance(self.error, DeviceLostError):
            state, detail, remedy = "down", f"{name}: {self.error}", _LOST_REMEDY
        elif self.error is not None:
            state, detail = "down", f"{name}: {self.error}"
            remedy = "it is tried again at every tick; its joules come with its next answer"
        elif self.energy.is_refused:
            state, remedy = "degraded", "look for a driver update; power is integrated instead"
            detail = f"{name}: the energy counter stands still while power flows"
        elif self.energy.is_in_doubt:
            state, remedy = "degraded", "both are shown; compare with an external meter and set gpus.calibration"
            detail = f"{name}: counter and power reading differ by {self.energy.disagreement_ratio or 0.0:+.0%}"
        item = f"gpu {facts.index} {facts.uuid}"
        return Finding(source=facts.source, state=state, item=item, detail=detail, remedy=remedy)

    def _fed_from(self) -> str:
        said = {
            "counter": "energy from its counter",
            "power": "energy from its power, integrated",
            "none": "no energy reading",
        }[self.energy.method]
        limits = {
            "module": "; CPU and GPU together, so left out of the node's sum and not split",
            "vgpu_guest": "; a virtual GPU, so not split among processes",
            "vgpu_host": "; serves virtual machines, so not split among processes",
            "no_processes": "; its driver tells of no processes",
            "": "",
        }
        return said + limits[self.facts.restricted]

    def end(self) -> None:
        """Let its thread go."""
        if self._worker is not None:
            self._worker.end()
            self._worker = None
