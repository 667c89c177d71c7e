"""All GPUs of one driver: found again after changes, read together, and the driver's own comings and goings.

Every call into a driver runs in a worker: the driver's own in one, each GPU's reads in one of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from exporter.errors import (
    DriverGoneError,
    DriverReplacedError,
    SourceError,
    SourcePermissionError,
    SourceUnsupportedError,
)
from exporter.health import Finding, SourceEvent, State
from exporter.sensors.gpu.device import GpuDevice, domain_key
from exporter.sensors.gpu.driver_session import DriverSession
from exporter.sensors.gpu.energy import GpuEnergy
from exporter.sensors.gpu.interval import GpuInterval
from exporter.sensors.gpu.records import GpuDriver, GpuFacts, GpuReading
from exporter.sensors.gpu.settings import GpuSettings
from exporter.sensors.gpu.worker import Call
from exporter.sensors.records import CounterState, DomainKey

__all__ = ["DriverGroup"]

_FIRST_PAUSE_S = 5.0
_GONE_AFTER_S = 900.0
"""Seconds for which a GPU that is no longer there is still shown, standing still."""
_HOPELESS_READS = 3
"""Failed reads in a row of every GPU, after which the driver is opened anew; only that tells what happened to it."""
_REPLACED_REMEDY = "restart the agent; a container must be made anew to see the new library"


class DriverGroup:
    """One driver and its GPUs. One thread calls it.

    Attributes:
        driver_change: what happened if only a new process can go on; empty as long as this one can.
    """

    def __init__(self, driver: GpuDriver, settings: GpuSettings) -> None:
        self.name = driver.source
        self.driver_change = ""
        self._driver = driver
        self._session = DriverSession(driver)
        self._settings = settings
        self._devices: dict[str, GpuDevice] = {}
        self._saved: dict[DomainKey, CounterState] = {}
        self._is_adopted = False
        self._error: SourceError | None = None
        self._next_look_s = 0.0
        self._pause_s = _FIRST_PAUSE_S
        self._released_until_s = 0.0
        self._was_up = False
        self._last_success_s: float | None = None

    @property
    def devices(self) -> Iterable[GpuDevice]:
        """Every GPU that is there, or was until lately."""
        return self._devices.values()

    def restore(self, states: Mapping[DomainKey, CounterState], *, is_adopted: bool = False) -> None:
        """Keep the saved states until their GPUs are found; ``is_adopted``: an agent was there all the time."""
        self._is_adopted = is_adopted
        self._saved = {key: state for key, state in states.items() if key.source == self.name}

    def states(self) -> dict[DomainKey, CounterState]:
        """Return the state of every GPU that was ever read, also in the agent's life before."""
        return self._saved | {domain_key(d.facts): d.energy.state for d in self.devices if d.energy.state is not None}

    def begin_look(self, now_s: float) -> Call[Sequence[GpuFacts]] | None:
        """Start a look for GPUs if one is due; None where none is, or the last one still hangs."""
        if now_s < self._released_until_s or now_s < self._next_look_s:
            return None
        return self._session.begin_look()

    def end_look(self, now_s: float, events: list[SourceEvent]) -> None:
        """Take over what the look found, if it has returned."""
        look = self._session.end_look()
        if look is None:
            return
        self._next_look_s = now_s + self._settings.rescan_interval_s
        try:
            found = look.result()
        except SourceError as exc:
            self._failed(exc, now_s, events)
        except Exception as exc:  # noqa: BLE001 - the isolation line: a defect in one driver leaves the others alone
            error = SourceError(self.name, f"{type(exc).__name__} in this agent's own code: {exc}"[:200])
            self._failed(error, now_s, events)
        else:
            self._error = None
            self._match(found, is_reopened=not self._session.is_open)
            self._session.is_open = self._was_up = True

    def _match(self, found: Sequence[GpuFacts], *, is_reopened: bool) -> None:
        for device in self.devices:
            device.is_listed = False
            device.failures = 0 if is_reopened else device.failures
        for facts in found:
            device = self._devices.get(facts.uuid) or self._added(facts)
            device.facts, device.is_listed = facts, True

    def _added(self, facts: GpuFacts) -> GpuDevice:
        fix = next((fix for fix in self._settings.calibration if fix.gpu_uuid == facts.uuid), None)
        state = self._saved.pop(domain_key(facts), None)
        energy = GpuEnergy(state=state)
        if fix is not None:
            energy = GpuEnergy(state=state, gain_ratio=fix.gain_ratio, offset_w=fix.offset_w)
        is_resumed = state is not None and not self._is_adopted
        device = self._devices[facts.uuid] = GpuDevice(facts, energy, is_resumed=is_resumed)
        return device

    def _failed(self, error: SourceError, now_s: float, events: list[SourceEvent]) -> None:
        self._error = error
        if isinstance(error, DriverReplacedError) and self._was_up:
            self.driver_change = str(error)
        if not isinstance(error, SourceUnsupportedError) or self._was_up:
            events.append(SourceEvent(self.name, "error", error.reason))
        if isinstance(error, SourceUnsupportedError):
            for device in self.devices:
                device.is_listed = False
            self._session.end()  # no thread for hardware that is not there
            return
        self._next_look_s = now_s + min(self._pause_s, self._settings.rescan_interval_s)
        self._pause_s = min(self._pause_s * 2, self._settings.rescan_interval_s)
        if isinstance(error, DriverGoneError | DriverReplacedError):
            self._session.close()

    def begin_reads(self) -> list[Call[GpuReading]]:
        """Start reading every GPU that is not stuck."""
        if not self._session.is_open:
            return []
        begun = (device.begin(self._driver.read, session=self._session.number) for device in self.devices)
        return [call for call in begun if call is not None]

    def end_reads(self, now_s: float, wall_s: float, events: list[SourceEvent]) -> list[GpuInterval]:
        """Return what every GPU gave; one that lost its driver takes the others along until the next look."""
        intervals = []
        gone: SourceError | None = None
        for device in list(self.devices):
            device.is_paused = not self._session.is_open
            before_s = device.last_success_s
            try:
                intervals.append(device.collect(wall_s=wall_s, events=events))
            except (DriverGoneError, DriverReplacedError) as exc:
                intervals.append(device.missed())
                gone = exc if device.session == self._session.number else gone
                continue
            if device.last_success_s != before_s:
                self._last_success_s, self._pause_s = wall_s, _FIRST_PAUSE_S
            elif device.error is not None and device.is_listed and device.failures == 1:
                self._next_look_s = min(self._next_look_s, now_s + _FIRST_PAUSE_S)
            if not device.is_listed and now_s - device.read_at_s > _GONE_AFTER_S:
                self._forget(device)
        if gone is None and self._is_hopeless():
            gone = DriverGoneError(self.name, "no GPU can be read")
        if gone is not None and self._session.is_open:
            self._failed(gone, now_s, events)
        return intervals

    def _is_hopeless(self) -> bool:
        """Whether no GPU answers for no reason of its own: as a container that lost its devices sees it."""
        listed = [device for device in self.devices if device.is_listed]
        return bool(listed) and all(
            device.failures >= _HOPELESS_READS and type(device.error) is SourceError for device in listed
        )

    def _forget(self, device: GpuDevice) -> None:
        if device.energy.state is not None:
            self._saved[domain_key(device.facts)] = device.energy.state
        device.end()
        del self._devices[device.facts.uuid]

    def is_working(self) -> bool:
        """Whether some GPU was read when last tried."""
        return any(device.finding().state in {"up", "degraded"} for device in self.devices)

    def release(self, until_s: float) -> None:
        """Let go of the driver until ``until_s`` on the boot clock (0: take it again now)."""
        if until_s > 0:
            self._session.close()
        self._released_until_s = until_s
        self._next_look_s = until_s

    def close(self) -> None:
        """Release the driver and let the threads go."""
        self._session.close()
        for device in self.devices:
            device.end()
        self._session.end()

    def findings(self, *, now_s: float, absent_state: State) -> list[Finding]:
        """Return the state of the driver, of each GPU and of what is missing of them."""
        if now_s < self._released_until_s:
            detail = f"let go on request, for another {self._released_until_s - now_s:.0f} s"
            return [self._finding("down", detail, "SIGUSR2 takes it again")]
        if isinstance(self._error, SourceUnsupportedError) and not self._was_up:
            return [self._finding(absent_state, str(self._error))]
        if self._session.has_pending_look and not self._devices:
            remedy = "a call that never returns holds one thread; see the kernel's log, and restart the driver"
            return [self._finding("down", "opening the driver has not returned", remedy)]
        items = [device.finding() for device in self.devices]
        items += self._driver.unusable() if self._error is None else ()
        return [self._summary(items), *items, *self._capabilities()]

    def _summary(self, items: Sequence[Finding]) -> Finding:
        if self._error is not None:
            remedy = self._remedy(self._error)
            return self._finding("down", str(self._error), remedy)
        good = sum(item.state == "up" for item in items)
        usable = sum(item.state in {"up", "degraded"} for item in items)
        state: State = "up" if good == len(items) else "degraded" if usable else "down"
        return self._finding(state, f"{usable} of {len(items)} GPUs can be read")

    @staticmethod
    def _remedy(error: SourceError) -> str:
        if isinstance(error, DriverReplacedError):
            return _REPLACED_REMEDY
        if isinstance(error, SourcePermissionError):
            return "give the agent the GPU's device files: NVIDIA_VISIBLE_DEVICES=all, or the nvidia runtime class"
        return "it is looked for again by itself"

    def _finding(self, state: State, detail: str, remedy: str = "") -> Finding:
        return Finding(source=self.name, state=state, detail=detail, remedy=remedy, last_success_s=self._last_success_s)

    def _capabilities(self) -> list[Finding]:
        return [
            replace(finding, source=self.name)
            for device in self.devices
            if device.is_listed and not device.is_stuck
            for finding in self._driver.findings(device.facts)
        ]
