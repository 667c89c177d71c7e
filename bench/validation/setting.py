"""What every check is given, and how long each may take."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from bench.validation.driver import ValidatedGpu
from bench.validation.loads import Loads
from exporter.units import MILLISECONDS_PER_SECOND

__all__ = ["FULL", "QUICK", "Setting", "Spans", "percentile", "polled", "timed_us"]

_T = TypeVar("_T")


class Spans(NamedTuple):
    """Seconds, but for ``calls``: repetitions."""

    tight_loop: float
    calls: int
    energy: float
    settle: float
    ring: float
    shared: float
    idle: float
    settling: float
    attribution: float
    tick: float


FULL = Spans(2.0, 200, 25.0, 4.0, 15.0, 30.0, 15.0, 30.0, 60.0, 2.0)
QUICK = Spans(0.5, 20, 1.5, 0.3, 1.5, 3.0, 1.0, 1.5, 5.0, 0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One GPU, what can load it, and the time there is."""

    gpu: ValidatedGpu
    loads: Loads
    spans: Spans


def polled(read: Callable[[], _T], *, seconds: float, every_s: float) -> list[tuple[float, _T]]:
    """Call ``read`` at an interval for so long; return what it gave with the seconds since the start."""
    start_s = time.perf_counter()
    taken: list[tuple[float, _T]] = []
    while True:
        now_s = time.perf_counter() - start_s
        taken.append((now_s, read()))
        if now_s >= seconds:
            return taken
        time.sleep(every_s)


def percentile(values: list[float], ratio: float) -> float:
    """Return the value below which ``ratio`` of ``values`` lie; they are not empty."""
    ordered = sorted(values)
    return ordered[min(int(ratio * len(ordered)), len(ordered) - 1)]


def timed_us(call: Callable[[], object]) -> float:
    """Return how long ``call`` takes in microseconds."""
    started_s = time.perf_counter()
    call()
    return (time.perf_counter() - started_s) * MILLISECONDS_PER_SECOND**2
