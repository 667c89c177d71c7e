"""Time as an argument: durations from the boot clock, timestamps from the wall clock.

``CLOCK_BOOTTIME`` is used instead of ``CLOCK_MONOTONIC`` because it goes on while the machine sleeps and
is the same for every process of one boot, so that a restarted agent can tell how long it was away.
Source: clock_gettime(2).
"""

from __future__ import annotations

import time
from typing import Protocol

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """What the agent needs to know of time."""

    def monotonic_s(self) -> float:
        """Return seconds since boot; never steps back within one boot."""
        ...

    def wall_s(self) -> float:
        """Return seconds since the Unix epoch; may jump."""
        ...


class SystemClock:
    """The clock of the running kernel."""

    def monotonic_s(self) -> float:
        """Return seconds since boot, sleep included."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def wall_s(self) -> float:
        """Return seconds since the Unix epoch."""
        return time.time()
