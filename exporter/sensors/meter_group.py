"""All registers of one source: kept open, found again after hot-plug, read together, and each failing alone.

Does not know what the source is: where to look is given, and what the joules are good for is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import NamedTuple

from exporter.errors import DeviceLostError, SourceError, SourcePermissionError
from exporter.health import Finding, SourceEvent, State
from exporter.sensors.counter import Step
from exporter.sensors.meter import Found, Look, Meter, Reading
from exporter.sensors.records import CounterState, DomainKey

__all__ = ["MeterGroup"]

_PERMISSION_REMEDY = (
    "the kernel gives this file mode 0400 (CVE-2020-8694): run the agent as uid 0 or with CAP_DAC_READ_SEARCH"
)


class _Condition(NamedTuple):
    """What a meter's finding depends on; findings are made anew only when one of these changes."""

    state: State
    error: type[SourceError] | None
    feeds: bool


class MeterGroup:
    """The meters of one source.

    Attributes:
        name: the source's fixed name.
    """

    def __init__(self, name: str, look: Callable[[], Look], *, down_after_samples: int) -> None:
        self.name = name
        self._look = look
        self._down_after = down_after_samples
        self._meters: dict[DomainKey, Meter] = {}
        self._saved: dict[DomainKey, CounterState] = {}
        self._notices: list[Finding] = []
        self._last_success_s: float | None = None
        self._conditions: list[_Condition] = []
        self._items: list[Finding] = []
        self._is_look_due = True

    @property
    def meters(self) -> Collection[Meter]:
        """Every meter ever found, those that are gone included."""
        return self._meters.values()

    @property
    def is_look_due(self) -> bool:
        """Whether a read has just begun to fail, so that a look may find out why."""
        return self._is_look_due

    def restore(self, states: Mapping[DomainKey, CounterState]) -> None:
        """Keep the saved states until their domains are found. To be called before the first look."""
        self._saved = {key: state for key, state in states.items() if key.source == self.name}

    def states(self) -> dict[DomainKey, CounterState]:
        """Return the state of every domain that was ever read, also in the agent's life before."""
        return self._saved | {meter.key: meter.state for meter in self.meters if meter.state}

    def look(self, events: list[SourceEvent]) -> None:
        """Look at the hardware again: open what is new or failing, follow what moved, let go of what is gone.

        Not to be listed is not to be gone: a look may fail for want of descriptors while open registers still answer.
        """
        self._is_look_due = False
        look = self._look()
        self._notices = look.findings
        here = self._matched(look.found)
        for meter in self.meters:
            if meter.key not in here and meter.error is not None:
                meter.lose()
        for key, found in here.items():
            meter = self._meters.get(key) or self._added(key, found)
            moved, meter.found = meter.found.path != found.path, found
            if moved or meter.error is not None or not meter.is_open:
                meter.open()
                if not meter.is_open and meter.error is not None:
                    events.append(SourceEvent(self.name, "error", meter.error.reason))
        self._conditions = []

    def _added(self, key: DomainKey, found: Found) -> Meter:
        meter = self._meters[key] = Meter(found, key=key)
        meter.state = self._saved.pop(key, None)
        return meter

    def _matched(self, found: list[Found]) -> dict[DomainKey, Found]:
        """Return what was found by unique key: a domain at its old place keeps its key, a twin gets a number."""
        by_path = {meter.found.path: meter for meter in self.meters if meter.is_open}
        here: dict[DomainKey, Found] = {}
        others = []
        for one in found:
            meter = by_path.get(one.path)
            if meter is not None and meter.found.key == one.key and meter.key not in here:
                here[meter.key] = one
            else:
                others.append(one)
        for one in others:
            key, number = one.key, 1
            while key in here:
                number += 1
                key = one.key._replace(device=f"{one.key.device}~{number}")
            here[key] = one
        return here

    def read(
        self, now_s: float, wall_s: float, *, is_busy: bool, readings: list[Reading], events: list[SourceEvent]
    ) -> None:
        """Read every open meter once and append what they gave to ``readings`` and what happened to ``events``.

        A failing meter leaves the others alone. One gap is told per call, the longest: the domains share the time.
        """
        gap_s = 0.0
        for meter in self.meters:
            if not meter.is_open:
                meter.failures += 1
                continue
            try:
                step = meter.read(now_s, is_busy=is_busy)
            except SourceError as exc:
                self._failed(meter, exc, events)
                continue
            self._last_success_s = wall_s
            if step is None:
                if meter.unchanged == self._down_after:
                    events.append(SourceEvent(self.name, "error", "frozen"))
            elif step.kind == "gap":
                gap_s = max(gap_s, step.interval_s) if meter.feeds else gap_s
            else:
                self._took(meter, step, readings, events)
        if gap_s > 0:
            events.append(SourceEvent(self.name, "gap_seconds", "too_long", gap_s))

    def _took(self, meter: Meter, step: Step, readings: list[Reading], events: list[SourceEvent]) -> None:
        if step.kind == "jump":
            events.append(SourceEvent(self.name, "error", "implausible"))
            return
        if step.kind == "reset":
            events.append(SourceEvent(self.name, "reset", "counter"))
        if step.interval_s > 0 or step.energy_j > 0:
            readings.append(Reading(meter, step.energy_j, step.interval_s))

    def _failed(self, meter: Meter, error: SourceError, events: list[SourceEvent]) -> None:
        meter.error = error
        meter.failures += 1
        events.append(SourceEvent(self.name, "error", error.reason))
        self._is_look_due = self._is_look_due or meter.failures == 1

    def is_failing(self, meter: Meter) -> bool:
        """Whether ``meter`` gave nothing for so long that it counts as down (or frozen)."""
        return max(meter.failures, meter.unchanged) >= self._down_after

    def findings(self, *, absent_state: State, remark: Callable[[Meter], str]) -> list[Finding]:
        """Return the state of the source and of each of its domains; ``remark`` says what a domain is used for."""
        if not self._meters:
            return [replace(notice, state=absent_state) for notice in self._notices]
        conditions = [self._condition(meter) for meter in self.meters]
        if conditions != self._conditions:
            self._conditions = conditions
            pairs = zip(self.meters, conditions, strict=True)
            self._items = [self._item(meter, condition, remark(meter)) for meter, condition in pairs]
        return [self._summary(conditions), *self._items]

    def _condition(self, meter: Meter) -> _Condition:
        state: State = "up"
        if not meter.is_open or meter.failures >= self._down_after:
            state = "down"
        elif meter.unchanged >= self._down_after or meter.found.note:
            state = "degraded"
        return _Condition(state, type(meter.error) if state == "down" and meter.error else None, meter.feeds)

    def _summary(self, conditions: list[_Condition]) -> Finding:
        used = [condition for condition in conditions if condition.feeds] or conditions
        bad = sum(condition.state != "up" for condition in used)
        state: State = "up" if not bad else "degraded"
        if all(condition.state == "down" for condition in used):
            state = "down"
        denied = any(condition.error is SourcePermissionError for condition in used)
        return Finding(
            source=self.name,
            state=state,
            detail=f"{len(used) - bad} of {len(used)} domains in use work",
            remedy=_PERMISSION_REMEDY if denied else "",
            last_success_s=self._last_success_s,
        )

    def _item(self, meter: Meter, condition: _Condition, remark: str) -> Finding:
        detail, remedy = remark, ""
        if condition.state == "down" and meter.error is not None:
            detail = f"{meter.error}; {remark}"
            if condition.error is SourcePermissionError:
                remedy = _PERMISSION_REMEDY
            elif condition.error is DeviceLostError:
                remedy = "none if the CPU was taken offline; its series goes on when it is back"
            else:
                remedy = "see the kernel's log; the total stands still until the register can be read again"
        elif condition.state == "degraded":
            detail = f"{meter.found.note or 'the register stands still while the CPU is busy'}; {remark}"
            remedy = "the energy of this domain is a lower bound" if meter.found.note else "look for a firmware update"
        return Finding(
            source=self.name,
            state=condition.state,
            item=f"{meter.key.domain} {meter.key.device}",
            detail=detail,
            remedy=remedy,
            last_success_s=None,
        )

    def close(self) -> None:
        """Release every descriptor."""
        for meter in self.meters:
            meter.close()
