"""Asks a baseboard management controller (BMC) for the machine's power, in a thread of its own and never in the tick.

A BMC takes whole seconds to answer, or never does. Owns when it is asked, how a failing one is left in peace, and what
its last answer was; what to ask is given (``ipmi_dcmi``, ``redfish``).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import NamedTuple

from exporter.clock import Clock
from exporter.errors import SourceError

__all__ = ["HIGHEST_POWER_W", "IPMI_DCMI", "REDFISH", "BmcAnswer", "BmcError", "BmcPoller", "MeanPower", "Polled"]

REDFISH = "redfish"
IPMI_DCMI = "ipmi_dcmi"

HIGHEST_POWER_W = 100_000.0
"""Watts above which an answer is an error code and not a machine: a rack."""

_LONGEST_WAIT_S = 300.0
"""Seconds between two questions to a BMC that fails, or that refused us: many lock an account after a few tries."""
_LONGEST_MEAN_S = 120.0
"""Seconds over which a mean of an energy counter may stand for the power of now."""
_MOST_ERRORS = 100


class BmcAnswer(NamedTuple):
    """What a BMC said of the whole machine: its power, or where it has none, a running energy.

    Attributes:
        what: which of its values this is, in words.
        power_w: watts, above 0, or None.
        energy_j: joules since some moment in the past, or None.
        doubt: why the value is less sure than it looks; empty if nothing speaks against it.
    """

    what: str
    power_w: float | None = None
    energy_j: float | None = None
    doubt: str = ""


class BmcError(SourceError):
    """A BMC gave no power.

    Attributes:
        reason: auth, busy, format, io, missing, not_found, permission, redirect, server, timeout, too_large,
            unsupported or internal.
        remedy: what to do about it; empty if nothing is known.
        is_lasting: whether asking again soon is useless or harmful.
    """

    def __init__(self, source: str, reason: str, message: str, *, remedy: str = "", is_lasting: bool = False) -> None:
        super().__init__(source, message)
        self.reason = reason
        self.remedy = remedy
        self.is_lasting = is_lasting


class Polled(NamedTuple):
    """A power in watts and when it was asked for, on both clocks."""

    power_w: float
    asked_at_s: float
    asked_wall_s: float
    what: str
    doubt: str


class MeanPower:
    """Turns a running energy into the mean power from one of its steps to the next.

    Between its steps a counter says nothing, so what it shows at first is no edge: the time to the first step is only
    part of the time that the step stands for.
    """

    def __init__(self) -> None:
        self._energy_j = 0.0
        self._at_s: float | None = None
        self._asked_s = -math.inf
        self._is_edge = False

    def update(self, energy_j: float, at_s: float) -> float | None:
        """Return watts, or None while nothing can be said: without a step, and at the first after a start or pause."""
        before_j, before_s, is_edge = self._energy_j, self._at_s, self._is_edge
        is_pause, self._asked_s = at_s - self._asked_s > _LONGEST_MEAN_S, at_s
        if before_s is None or energy_j < before_j or is_pause:
            self._energy_j, self._at_s, self._is_edge = energy_j, at_s, False
            return None
        if energy_j == before_j or at_s <= before_s:
            return None
        self._energy_j, self._at_s, self._is_edge = energy_j, at_s, True
        power_w = (energy_j - before_j) / (at_s - before_s)
        return power_w if is_edge and 0 < power_w <= HIGHEST_POWER_W else None


class BmcPoller:
    """Asks every ``interval_s`` seconds from ``start`` on, less often while that fails. Thread-safe.

    Args:
        source: the source's fixed name.
        ask: the question; blocks, with limits of its own; raises ``BmcError``.
        clock: stamps the answers.
        interval_s: seconds from an answer to the next question.
    """

    def __init__(self, source: str, ask: Callable[[], BmcAnswer], clock: Clock, *, interval_s: float) -> None:
        self.source = source
        self.interval_s = interval_s
        self._ask = ask
        self._clock = clock
        self._mean = MeanPower()
        self._lock = threading.Lock()
        self._latest: Polled | None = None
        self._error: BmcError | None = None
        self._reasons: list[str] = []
        self._failures = 0
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def latest(self) -> Polled | None:
        """The last power it gave, however old."""
        with self._lock:
            return self._latest

    @property
    def error(self) -> BmcError | None:
        """Why the last question was not answered, or None if it was."""
        with self._lock:
            return self._error

    def take_reasons(self) -> list[str]:
        """Return the reason of every failure since the last call."""
        with self._lock:
            reasons, self._reasons = self._reasons, []
        return reasons

    def start(self) -> None:
        """Begin to ask; once is enough."""
        if self._thread is None and not self._stopping.is_set():
            self._thread = threading.Thread(target=self._run, name=f"bmc-{self.source}", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Ask no more. A question that is under way ends by its own limits."""
        self._stopping.set()

    def poll(self) -> float:
        """Ask once and return the seconds to wait before the next question."""
        at_s, wall_s = self._clock.monotonic_s(), self._clock.wall_s()
        try:
            answer = self._ask()
        except BmcError as exc:
            return self._failed(exc)
        except Exception as exc:  # noqa: BLE001 - the isolation line: the thread must outlive every fault
            return self._failed(BmcError(self.source, "internal", f"{type(exc).__name__} in this agent's own code"))
        power_w = answer.power_w
        if power_w is None and answer.energy_j is not None:
            power_w = self._mean.update(answer.energy_j, at_s)
        with self._lock:
            self._error, self._failures = None, 0
            if power_w is not None:
                self._latest = Polled(power_w, at_s, wall_s, answer.what, answer.doubt)
        return self.interval_s

    def _failed(self, error: BmcError) -> float:
        with self._lock:
            self._error = error
            self._failures += 1
            if len(self._reasons) < _MOST_ERRORS:
                self._reasons.append(error.reason)
            backed_off_s = self.interval_s * 2.0 ** min(self._failures - 1, 10)
        return max(self.interval_s, _LONGEST_WAIT_S if error.is_lasting else min(backed_off_s, _LONGEST_WAIT_S))

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._stopping.wait(self.poll())
