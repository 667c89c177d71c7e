"""One thread per device that may hang in a driver call without holding up anybody else.

A call cannot be cancelled: it is waited for until a deadline, and as long as it has not returned no second one is
started, so there is at most one stuck thread per device. The threads are daemons and end with the process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from typing import Generic, TypeVar

__all__ = ["Call", "Worker", "wait_for"]

_T = TypeVar("_T")


class Call(Generic[_T]):
    """A call that was handed to a worker."""

    def __init__(self, function: Callable[[], _T]) -> None:
        self._function = function
        self._done = threading.Event()
        self._value: _T | None = None
        self._error: BaseException | None = None

    def run(self) -> None:
        """Make the call; whatever it raises is kept for ``result``."""
        try:
            self._value = self._function()
        except BaseException as exc:  # noqa: BLE001 - the thread's top: the caller of ``result`` gets it
            self._error = exc
        finally:
            self._done.set()

    def is_done(self, timeout_s: float = 0.0) -> bool:
        """Wait at most ``timeout_s`` and tell whether it has returned."""
        return self._done.wait(max(timeout_s, 0.0))

    def result(self) -> _T:
        """Return what the call returned, or raise what it raised. To be called once it is done."""
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]  # set by ``run`` where there is no error


class Worker:
    """A thread that makes one call after the other."""

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[Call[object] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def start(self, function: Callable[[], _T]) -> Call[_T]:
        """Begin a call, after those that were begun before."""
        call = Call(function)
        self._calls.put(call)  # type: ignore[arg-type]  # the queue does not care what a call returns
        return call

    def end(self) -> None:
        """Let the thread end once its call has returned; does not wait."""
        self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call.run()


def wait_for(calls: Iterable[Call[_T]], *, timeout_s: float) -> bool:
    """Wait for all of ``calls``, at most ``timeout_s`` together; return whether all have returned."""
    deadline_s = time.monotonic() + timeout_s
    return all(call.is_done(deadline_s - time.monotonic()) for call in calls)
