"""Signals, taken by a thread of their own: none interrupts a thread that holds what stopping needs."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping

__all__ = ["ENDING", "block", "obey"]

ENDING = frozenset({signal.SIGTERM, signal.SIGINT})
_KILLED_BY = 128


def block(numbers: frozenset[signal.Signals]) -> None:
    """Hold back ``numbers``; to be called before any thread is started."""
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)


def obey(stop: Callable[[], None], others: Mapping[signal.Signals, Callable[[], None]]) -> None:
    """Do what blocked signals ask for, until the process ends: ``stop`` on a first ending one, end at a second."""
    is_stopping = False
    while True:
        number = signal.Signals(signal.sigwait({*ENDING, *others}))
        if number in others:
            others[number]()
        elif is_stopping:
            os._exit(_KILLED_BY + number)
        else:
            is_stopping = True
            stop()
