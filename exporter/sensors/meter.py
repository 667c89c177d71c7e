"""One register of the hardware, kept open: its descriptor, its unwrapped total, and how its reads go.

Knows nothing of where registers are found (``rapl``, ``hwmon``) nor of what they are good for (``components``).
"""

from __future__ import annotations

import os
from typing import Literal, NamedTuple

from exporter.errors import DeviceLostError, SourceError, SourceFormatError
from exporter.health import Finding
from exporter.sensors.counter import Step, integrate, unwrap
from exporter.sensors.records import CounterState, DomainKey
from exporter.sensors.sysfs import open_attribute, read_register
from exporter.units import MICROWATTS_PER_WATT

__all__ = ["Found", "Look", "Meter", "Reading", "Role", "RoleKind"]

RoleKind = Literal["package", "dram", "inside", "psys", "rail", "module", "platform"]
"""package: a whole CPU package; rail: one of several supplies that make up a package; inside: part of a package;
psys: a platform domain of unclear extent; module: CPU and GPU together; platform: the whole machine."""


class Role(NamedTuple):
    """What a domain measures, as far as the source can tell.

    Attributes:
        kind: see ``RoleKind``.
        place: which package: ``0``, ``0-die-1``; empty where that means nothing.
        rank: preference among domains that measure the same thing; the lowest is used.
    """

    kind: RoleKind
    place: str
    rank: int = 0


class Found(NamedTuple):
    """One register that a look at the hardware found.

    Attributes:
        key: the domain it belongs to.
        path: the attribute to read.
        unit: whether it counts microjoules or holds microwatts.
        range_uj: where a counter starts again, or None where that is not known.
        max_power_w: highest plausible mean power.
        role: what it measures.
        note: what is wrong with it although it can be read; empty if nothing is.
    """

    key: DomainKey
    path: str
    unit: Literal["energy", "power"]
    range_uj: int | None
    max_power_w: float
    role: Role
    note: str = ""


class Look(NamedTuple):
    """What one look at the hardware found.

    Attributes:
        found: every register, readable or not, in a stable order; keys may repeat if the hardware's names do.
        findings: what stands in the way of finding more.
    """

    found: list[Found]
    findings: list[Finding]


class Meter:
    """A register that is read at every sample.

    Attributes:
        key: the domain, unique in its source even where the hardware repeats a name.
        found: where it is and what it measures; replaced when it is found again at another place.
        state: the last good reading and the total, or None before the first.
        error: the last error, or None after a good read.
        failures: bad reads in a row.
        unchanged: reads in a row that gave the same value while the machine was busy.
        feeds: whether a component is fed from this register; only then an unchanging one is suspicious.
    """

    __slots__ = ("_descriptor", "error", "failures", "feeds", "found", "key", "state", "unchanged")

    def __init__(self, found: Found, *, key: DomainKey | None = None) -> None:
        self.found = found
        self.key = key or found.key
        self.state: CounterState | None = None
        self.error: SourceError | None = None
        self.failures = 0
        self.unchanged = 0
        self.feeds = False
        self._descriptor = -1

    @property
    def is_open(self) -> bool:
        """Whether the register's file could be opened."""
        return self._descriptor >= 0

    @property
    def total_j(self) -> float:
        """Joules since the domain was first read on this boot; never decreasing."""
        return self.state.total_j if self.state else 0.0

    def open(self) -> None:
        """Open the register again; where that fails ``error`` says why."""
        self.close()
        try:
            self._descriptor = open_attribute(self.found.path, source=self.found.key.source)
        except SourceError as exc:
            self.error = exc

    def lose(self) -> None:
        """Note that the domain is no longer listed by the kernel."""
        self.close()
        self.error = DeviceLostError(self.found.key.source, f"{self.found.path}: no longer there")

    def close(self) -> None:
        """Release the descriptor."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def read(self, now_s: float, *, is_busy: bool) -> Step | None:
        """Read the register and move the total on; None where there is nothing to report yet.

        There is nothing at the first read of all, and nothing while a register that should move stands still: its
        last reading is kept, so that the joules it owes come with its next step.

        Raises:
            SourceError: it could not be read; total and last reading stay as they were.
        """
        found = self.found
        raw = read_register(self._descriptor, source=found.key.source, path=found.path)
        if found.unit == "power":
            self._check_power(raw)
        before = self.state
        self.error, self.failures = None, 0
        if before is None:
            self.state = CounterState(raw, now_s, 0.0)
            return None
        if raw == before.raw and is_busy and self.feeds and found.unit == "energy":
            self.unchanged += 1
            return None
        self.unchanged = 0
        step = self._step(before, raw, now_s)
        self.state = CounterState(raw, now_s, before.total_j + step.energy_j)
        return step

    def _step(self, before: CounterState, raw: int, now_s: float) -> Step:
        found = self.found
        if found.unit == "power":
            return integrate(before, raw, now_s)
        return unwrap(before, raw, now_s, range_uj=found.range_uj, max_power_w=found.max_power_w)

    def _check_power(self, raw_uw: int) -> None:
        """Refuse what a meter of a running machine cannot say: a BMC without data answers 0 W or all ones."""
        if not 0 < raw_uw <= self.found.max_power_w * MICROWATTS_PER_WATT:
            raise SourceFormatError(self.found.key.source, f"{self.found.path}: no meter reads {raw_uw} microwatts")


class Reading(NamedTuple):
    """The joules one meter counted since its previous good reading, over ``interval_s`` seconds."""

    meter: Meter
    energy_j: float
    interval_s: float
