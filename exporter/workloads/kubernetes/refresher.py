"""Keeps the pod table fresh: a full list now and then, one sooner for pods that nobody knows, in a thread of its own.

Calls are bounded whatever happens: what stays unknown is asked for ever more rarely (a sandbox never appears in any
list, nor does the cgroup of a pod that is gone), pods that come and go share a budget, and a source that fails is left
alone for up to five minutes while the next one is asked.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from exporter.clock import Clock
from exporter.health import Finding, SourceEvent
from exporter.workloads.kubernetes.documents import PodPage
from exporter.workloads.kubernetes.pod_table import PodTable
from exporter.workloads.kubernetes.records import PodSourceError

__all__ = ["PodRefresher", "PodSource"]

_log = logging.getLogger(__name__)
_FIRST_RETRY_S = 5.0
_LONGEST_RETRY_S = 300.0
_MOST_TRIES = 6
_BURST_CALLS = 10.0
_LONGEST_SLEEP_S = 30.0
_SHORTEST_SLEEP_S = 0.1


class PodSource(Protocol):
    """One way to list the node's pods.

    Attributes:
        name: as in the settings.
        seconds_per_call: how far apart calls for unknown pods are in the long run.
        note: what is not as it should be although the source works, or empty.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 - see above
    @property
    def seconds_per_call(self) -> float: ...  # noqa: D102
    @property
    def note(self) -> str: ...  # noqa: D102

    def fetch(self) -> PodPage:
        """Return every pod of the node; blocks. Raises ``PodSourceError``."""
        ...


@dataclass(slots=True)
class _Health:
    """How one source fares.

    Attributes:
        failures: since the last success.
        retry_s: boot-clock time before which it is not asked.
        error: why it failed last, or None.
    """

    failures: int = 0
    retry_s: float = float("-inf")
    error: PodSourceError | None = None


@dataclass(slots=True)
class _Miss:
    """A pod or container that no list had: how often it was asked for, and when it is next."""

    tries: int = 0
    next_s: float = float("-inf")


class PodRefresher:
    """Asks the sources in order and fills the table.

    ``want``, ``findings``, ``take_events`` and ``is_working`` are for the sampling loop and never wait for a request.
    ``refresh_if_due`` does what the thread does once.

    Args:
        refresh_interval_s: between two lists without a reason.
        jitter: gives numbers of 0 to 1, so that nodes which started together do not ask together.
    """

    def __init__(
        self,
        sources: Sequence[PodSource],
        table: PodTable,
        clock: Clock,
        *,
        refresh_interval_s: float,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._sources = sources
        self._table = table
        self._clock = clock
        self._interval_s = refresh_interval_s
        self._jitter = jitter
        self._health = {source.name: _Health() for source in sources}
        self._current: PodSource | None = None
        self._next_full_s = float("-inf")
        self._misses: dict[str, _Miss] = {}
        self._budget, self._budget_at_s = _BURST_CALLS, clock.monotonic_s()
        self._events: dict[str, int] = {}
        self._skipped = 0
        self._last_success_s: float | None = None
        self._is_working: bool | None = None
        self._lock = threading.Lock()
        self._wake, self._answered = threading.Event(), threading.Event()
        self._is_closed = False
        self._thread: threading.Thread | None = None

    def start(self, *, wait_s: float = 0.0) -> None:
        """Begin to ask in a thread of its own, and wait up to ``wait_s`` for the first answer."""
        self._thread = threading.Thread(target=self._run, name="pods", daemon=True)
        self._thread.start()
        self._answered.wait(wait_s)

    def close(self) -> None:
        """End the thread; a request on its way is not waited for."""
        self._is_closed = True
        self._wake.set()

    def want(self, unknown: Collection[str]) -> None:
        """Say which pods and containers are on the node and in no list."""
        with self._lock:
            self._misses = {key: self._misses.get(key) or _Miss() for key in unknown}
        if unknown:
            self._wake.set()

    def is_working(self) -> bool:
        """Return whether the last attempt succeeded, or none was made yet."""
        return self._is_working is not False

    def _run(self) -> None:
        while not self._is_closed:
            try:
                self.refresh_if_due()
            except MemoryError:
                raise
            except Exception as exc:  # noqa: BLE001 - the thread's top: names go stale, the agent goes on
                _log.exception("pods cannot be listed")
                self._note_failure(PodSourceError("internal", f"{type(exc).__name__}: {exc}"[:200]))
            self._wake.clear()
            self._wake.wait(min(max(self._due_in_s(), _SHORTEST_SLEEP_S), _LONGEST_SLEEP_S))

    def _note_failure(self, error: PodSourceError) -> None:
        now_s = self._clock.monotonic_s()
        with self._lock:
            for source in self._sources:
                self._fail(source, error, now_s)
            self._is_working = False
        self._answered.set()

    def refresh_if_due(self) -> bool:
        """List the pods if there is a reason to; return whether a source was asked."""
        if self._due_in_s() > 0:
            return False
        now_s = self._clock.monotonic_s()
        if now_s < self._next_full_s:
            self._refill(now_s)
            self._budget = max(self._budget - 1.0, 0.0)
        is_asked = False
        for source in self._sources:
            if self._health[source.name].retry_s > now_s:
                continue
            is_asked = True
            try:
                page = source.fetch()
            except PodSourceError as exc:
                with self._lock:
                    self._fail(source, exc, now_s)
                continue
            self._table.update(page.pods, now_s=now_s)
            with self._lock:
                self._succeed(source, page, now_s)
            break
        else:
            with self._lock:
                self._is_working = False if is_asked else self._is_working
                self._current = None if is_asked else self._current
        self._answered.set()
        return is_asked

    def _due_in_s(self) -> float:
        """Return the seconds until there is a reason to ask and somebody who may be asked."""
        now_s = self._clock.monotonic_s()
        self._refill(now_s)
        with self._lock:
            free_s = min((health.retry_s for health in self._health.values()), default=float("inf"))
            wanted_s = min((miss.next_s for miss in self._misses.values()), default=float("inf"))
            if self._budget < 1.0:
                wanted_s = max(wanted_s, now_s + (1.0 - self._budget) * self._seconds_per_call())
            reason_s = min(self._next_full_s, wanted_s, self._better_s())
            return max(reason_s, free_s) - now_s

    def _better_s(self) -> float:
        """Return when a source that is preferred to the one in use may be asked again."""
        better_s = float("inf")
        for source in self._sources:
            if source is self._current:
                break
            better_s = min(better_s, self._health[source.name].retry_s)
        return better_s

    def _seconds_per_call(self) -> float:
        return (self._current or self._sources[0]).seconds_per_call

    def _refill(self, now_s: float) -> None:
        gained = (now_s - self._budget_at_s) / self._seconds_per_call()
        self._budget, self._budget_at_s = min(self._budget + gained, _BURST_CALLS), now_s

    def _fail(self, source: PodSource, error: PodSourceError, now_s: float) -> None:
        health = self._health[source.name]
        health.error = error
        pause_s = min(_FIRST_RETRY_S * 2.0 ** min(health.failures, 16), _LONGEST_RETRY_S)
        health.failures += 1
        health.retry_s = now_s + pause_s * (1.0 - 0.3 * self._jitter())
        self._events[error.reason] = self._events.get(error.reason, 0) + 1

    def _succeed(self, source: PodSource, page: PodPage, now_s: float) -> None:
        self._health[source.name] = _Health()
        self._current = source
        self._is_working = True
        self._last_success_s = self._clock.wall_s()
        self._next_full_s = now_s + self._interval_s * (0.9 + 0.2 * self._jitter())
        self._skipped = page.skipped
        if page.skipped and source.name != "log_directories":
            self._events["format"] = self._events.get("format", 0) + page.skipped
        known = self._table.pods
        containers = {key for pod in known.values() for key in pod.containers}
        for key, miss in self._misses.items():
            if key in known or key in containers:
                miss.next_s = float("inf")
                continue
            miss.tries += 1
            pause_s = _FIRST_RETRY_S * 2.0 ** (miss.tries - 1)
            miss.next_s = float("inf") if miss.tries >= _MOST_TRIES else now_s + pause_s

    def take_events(self) -> list[SourceEvent]:
        """Return the errors since the previous call."""
        with self._lock:
            events, self._events = self._events, {}
        return [SourceEvent("kubernetes", "error", reason, count) for reason, count in events.items()]

    def finding(self) -> Finding:
        """Return how pods are named at present."""
        with self._lock:
            current, last_success_s, skipped = self._current, self._last_success_s, self._skipped
            errors = [health.error for health in self._health.values() if health.error is not None]
        failed = "; ".join(str(error)[:300] for error in errors)
        remedy = next((error.remedy for error in errors if error.remedy), "")
        count = len(self._table.pods)
        if current is None:
            detail = f"{failed or 'no source has answered yet'}; energy goes on by UID, {count} names are kept"
            return Finding(
                source="kubernetes", state="down", detail=detail, remedy=remedy, last_success_s=last_success_s
            )
        detail = f"{count} pods known, from {current.name}"
        if current.note:
            detail += f"; {current.note}"
        if skipped and current.name != "log_directories":
            detail += f"; {skipped} entries were no pods"
        is_well = not errors and not current.note
        return Finding(
            source="kubernetes",
            state="up" if is_well else "degraded",
            detail=f"{detail}; {failed}" if errors else detail,
            remedy=remedy,
            last_success_s=last_success_s,
        )
