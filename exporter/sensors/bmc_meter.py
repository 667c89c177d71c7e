"""The power a BMC gives, integrated to joules tick by tick, with the face of a ``MeterGroup``.

Each reading covers exactly one tick, with the power last heard: the rest of the same tick can be taken from it, and
two BMC meters can stand in for each other without counting a second twice.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from exporter.health import Finding, SourceEvent, State
from exporter.sensors.bmc_poll import HIGHEST_POWER_W, BmcPoller, Polled
from exporter.sensors.meter import Found, Meter, Reading, Role
from exporter.sensors.records import CounterState, DomainKey
from exporter.units import MICROWATTS_PER_WATT

__all__ = ["BmcGroup"]

_LONGEST_TICK_S = 180.0
"""Ticks may be further apart than polls; a longer time between two ticks is a gap whatever the BMC says."""
_POLLS_TO_GAP = 3
"""A power older than this many polls says nothing of now."""


class _BmcMeter(Meter):
    """A meter without a file: ``is_fresh`` says whether its power is of now."""

    __slots__ = ("is_fresh",)

    def __init__(self, found: Found) -> None:
        super().__init__(found)
        self.is_fresh = False

    @property
    def is_open(self) -> bool:
        """Whether the BMC gave a power lately."""
        return self.is_fresh

    def open(self) -> None:
        """Do nothing: the poller holds what there is to hold."""


class BmcGroup:
    """The one meter of one BMC interface.

    Attributes:
        name: the source's fixed name.

    Args:
        poller: asks the BMC; started at the first look.
        where: how the BMC is reached, for people.
        is_configured: whether the operator named it, so that silence is a fault and not a normal outcome.
        note: what is wrong with the way it is asked; empty if nothing is.
    """

    def __init__(self, poller: BmcPoller, *, where: str, is_configured: bool, note: str = "") -> None:
        self.name = poller.source
        self._poller = poller
        self._where = where
        self._is_configured = is_configured
        self._note = note
        self._key = DomainKey(self.name, "platform", "0")
        self._meter: _BmcMeter | None = None
        self._saved: CounterState | None = None
        self._read_at_s: float | None = None
        self._is_look_due = True

    @property
    def meters(self) -> Collection[Meter]:
        """The meter, from the BMC's first answer on."""
        return () if self._meter is None else (self._meter,)

    @property
    def is_look_due(self) -> bool:
        """Whether the BMC has begun or ceased to answer."""
        return self._is_look_due or (self._meter is None and self._poller.latest is not None)

    def restore(self, states: Mapping[DomainKey, CounterState]) -> None:
        """Keep the saved state until the BMC answers. To be called before the first look."""
        self._saved = states.get(self._key)

    def states(self) -> dict[DomainKey, CounterState]:
        """Return the state to save, also that of the agent's life before."""
        state = self._meter.state if self._meter else self._saved
        return {self._key: state} if state else {}

    def look(self, events: list[SourceEvent]) -> None:  # noqa: ARG002 - the face of a MeterGroup
        """Begin to ask; have a meter once there was an answer."""
        self._is_look_due = False
        self._poller.start()
        if self._meter is None and self._poller.latest is not None:
            found = Found(
                key=self._key,
                path=self._where,
                unit="power",
                range_uj=None,
                max_power_w=HIGHEST_POWER_W,
                role=Role("platform", ""),
            )
            self._meter = _BmcMeter(found)
            self._meter.state = self._saved
            self._read_at_s = self._saved.read_at_s if self._saved else None

    def read(
        self, now_s: float, wall_s: float, *, is_busy: bool, readings: list[Reading], events: list[SourceEvent]
    ) -> None:
        """Append the joules since the previous call, at the power last heard, or tell a gap."""
        del wall_s, is_busy
        events += [SourceEvent(self.name, "error", reason) for reason in self._poller.take_reasons()]
        meter, latest = self._meter, self._poller.latest
        if meter is None or latest is None:
            return
        was_fresh, meter.is_fresh = meter.is_fresh, now_s - latest.asked_at_s <= self._longest_s
        self._is_look_due = self._is_look_due or was_fresh != meter.is_fresh
        interval_s = 0.0 if self._read_at_s is None else now_s - self._read_at_s
        self._read_at_s = now_s
        total_j = meter.total_j
        if was_fresh and meter.is_fresh and 0 < interval_s <= max(self._longest_s, _LONGEST_TICK_S):
            energy_j = latest.power_w * interval_s
            total_j += energy_j
            readings.append(Reading(meter, energy_j, interval_s))
        elif interval_s > 0 and meter.feeds:
            events.append(SourceEvent(self.name, "gap_seconds", "stale", interval_s))
        meter.state = CounterState(round(latest.power_w * MICROWATTS_PER_WATT), now_s, total_j)

    @property
    def _longest_s(self) -> float:
        return _POLLS_TO_GAP * self._poller.interval_s

    def is_failing(self, meter: Meter) -> bool:
        """Whether the BMC gives nothing now."""
        return not meter.is_open

    def findings(self, *, absent_state: State, remark: Callable[[Meter], str]) -> list[Finding]:
        """Return the state of the source; ``remark`` says what its meter is used for."""
        meter, latest, error = self._meter, self._poller.latest, self._poller.error
        if meter is not None and latest is not None and meter.is_fresh:
            return [self._working(latest, remark(meter))]
        state: State = "down" if meter is not None or (self._is_configured and error is not None) else absent_state
        detail = f"{self._where}: " + (
            str(error) if error else "no answer yet" if latest is None else "no answer lately"
        )
        return [
            Finding(
                source=self.name,
                state=state,
                detail=detail,
                remedy=error.remedy if error else "",
                last_success_s=latest.asked_wall_s if latest else None,
            )
        ]

    def _working(self, latest: Polled, remark: str) -> Finding:
        doubts = [doubt for doubt in (latest.doubt, self._note) if doubt]
        return Finding(
            source=self.name,
            state="degraded" if doubts else "up",
            detail="; ".join([f"{self._where}: {latest.what}", *doubts, remark]),
            last_success_s=latest.asked_wall_s,
        )

    def close(self) -> None:
        """Ask no more."""
        self._poller.stop()
