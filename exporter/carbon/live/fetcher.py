"""The threads that ask providers: one for each client, so that a server that hangs delays nobody else's."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable

from exporter.carbon.live.poller import Poller
from exporter.carbon.records import IntensityClient
from exporter.clock import Clock

__all__ = ["Fetcher"]

_log = logging.getLogger(__name__)
_LONGEST_SLEEP_S = 15.0
"""After a sleep of the machine, or a new key file, the next question comes within so many seconds."""
_SAVE_INTERVAL_S = 60.0


class Fetcher:
    """Polls pollers when they are due. Thread-safe. Reading a poller's ``series`` needs no lock and never waits.

    Args:
        pollers: what is asked from the start.
        clock: the boot clock that the pollers are due by.
        save: keeps what is known; called in a fetching thread after an answer, at most once a minute. Never raises.
    """

    def __init__(self, pollers: Iterable[Poller], clock: Clock, *, save: Callable[[], None] | None = None) -> None:
        self._clock = clock
        self._save = save
        self._lock = threading.Lock()
        self._lanes: dict[int, _Lane] = {}
        self._is_started = self._is_stopped = False
        self._saving = threading.Lock()
        self._has_news = False
        self._next_save_s = 0.0
        for poller in pollers:
            self.add(poller)

    def start(self) -> None:
        """Start the threads; further calls do nothing."""
        with self._lock:
            if self._is_stopped or self._is_started:
                return
            self._is_started = True
            lanes = list(self._lanes.values())
        for lane in lanes:
            lane.start()

    def stop(self) -> None:
        """Ask nobody any more; return at once. A question under way ends on its own and is forgotten."""
        with self._lock:
            self._is_stopped = True
            lanes = list(self._lanes.values())
        for lane in lanes:
            lane.stop()

    def add(self, poller: Poller) -> None:
        """Poll ``poller``, too, from now on."""
        with self._lock:
            lane = self._lanes.get(id(poller.client))
            is_new = lane is None
            if lane is None:
                lane = self._lanes[id(poller.client)] = _Lane(poller.client, self._clock, self._note_answer)
            lane.pollers = (*lane.pollers, poller)
            must_start = is_new and self._is_started and not self._is_stopped
        if must_start:
            lane.start()
        lane.wake.set()

    def remove(self, poller: Poller) -> None:
        """Poll ``poller`` no more; its client's thread stays for others of the client."""
        with self._lock:
            lane = self._lanes.get(id(poller.client))
            if lane is not None:
                lane.pollers = tuple(one for one in lane.pollers if one is not poller)

    def _note_answer(self, *, is_new: bool) -> None:
        """Save what is known if something is new, unless that was done a moment ago or is being done."""
        self._has_news = self._has_news or is_new
        if self._save is None or not self._has_news or not self._saving.acquire(blocking=False):
            return
        try:
            now_s = self._clock.monotonic_s()
            if now_s >= self._next_save_s and not self._is_stopped:
                self._next_save_s = now_s + _SAVE_INTERVAL_S
                self._has_news = False
                self._save()
        finally:
            self._saving.release()


class _Lane:
    """The thread of one client and the pollers that it asks in turn, the longest due first."""

    def __init__(self, client: IntensityClient, clock: Clock, note_answer: Callable[..., None]) -> None:
        self.client = client
        self.pollers: tuple[Poller, ...] = ()
        self.wake = threading.Event()
        self._clock = clock
        self._note_answer = note_answer
        self._is_stopped = False

    def start(self) -> None:
        threading.Thread(target=self._run, name=f"carbon-{self.client.provider}", daemon=True).start()

    def stop(self) -> None:
        self._is_stopped = True
        self.wake.set()

    def _run(self) -> None:
        while not self._is_stopped:
            try:
                wait_s = self._ask_who_is_due()
            except MemoryError:
                raise
            except Exception:  # noqa: BLE001 - the top of the thread: a defect here must not end the fetching for good
                _log.exception("fetching failed", extra={"source": self.client.provider})
                wait_s = _LONGEST_SLEEP_S
            self.wake.wait(min(max(wait_s, 0.0), _LONGEST_SLEEP_S))
            self.wake.clear()

    def _ask_who_is_due(self) -> float:
        """Poll who is due now; return the seconds until somebody is."""
        is_new = False
        for poller in sorted(self.pollers, key=lambda poller: poller.due_s):
            if self._is_stopped:
                return 0.0
            if poller.due_s <= self._clock.monotonic_s():
                before = poller.series
                poller.poll()
                is_new = is_new or poller.series is not before
        self._note_answer(is_new=is_new)
        now_s = self._clock.monotonic_s()
        return min((poller.due_s - now_s for poller in self.pollers), default=_LONGEST_SLEEP_S)
