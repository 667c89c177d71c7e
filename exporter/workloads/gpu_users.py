"""Who is behind the process ids that GPU drivers name: looked at anew each tick, because a pid may be another's by now.

A process that has ended is named a few times more, if it is asked for: drivers tell later of the work it did.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from exporter.workloads.leaf_places import LeafPlaces
from exporter.workloads.process import Process
from exporter.workloads.process_table import ProcessTable
from exporter.workloads.records import GpuUser
from exporter.workloads.text import clean_text
from exporter.workloads.usage import Leaf, leaf_of

__all__ = ["MPS_SHARE_VARIABLE", "GpuUsers", "parse_mps_share"]

MPS_SHARE_VARIABLE = "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"
"""What a client of MPS declares of the GPU's threads. Source: NVIDIA, Multi-Process Service, Environment Variables."""

_MOST_NEW_PER_TICK = 512
_TOLD_AFTER_END = 6
"""Samples in which a process that has ended is still told: a driver may be unread for some ticks."""
_WHOLE_PERCENT = 100.0
_PERCENTAGE = re.compile(r"[0-9]{1,3}(?:\.[0-9]{0,12})?")


class _Known(NamedTuple):
    """A GPU's user as told in a sample, with its leaf: the place in the next sample may be another."""

    leaf: Leaf
    user: GpuUser
    told_ended: int = 0  # samples in which it was told although it had ended


class GpuUsers:
    """The processes behind GPU drivers' pids, and who of them ended. Not thread-safe.

    Args:
        table: the process table; processes that it does not know yet are looked at through it.
        rank_of: gives the rank of a live process, or an empty string.
    """

    def __init__(self, table: ProcessTable, rank_of: Callable[[int], str]) -> None:
        self._table = table
        self._rank_of = rank_of
        self._alive: dict[int, Process] = {}
        self._asked: frozenset[int] = frozenset()
        self._before: dict[int, _Known] = {}
        self._gone: dict[int, Process] = {}

    def look(self, pids: Collection[int], *, tick: int, previous_s: float | None) -> None:
        """Find the processes, before the tables settle: at most 512 that are new, whatever the table's own budget."""
        self._asked = frozenset(pids)
        self._alive = {}
        new = 0
        for pid in sorted(self._asked):
            is_new = pid not in self._table.processes
            if is_new and new >= _MOST_NEW_PER_TICK:
                continue
            process = self._table.look_now(pid, tick=tick, previous_s=previous_s)
            new += is_new and process is not None
            if process is not None:
                self._alive[pid] = process

    def lose(self, gone: Iterable[Process]) -> None:
        """Take in who went since the last sample; the runs have forgotten them, their leaves are still known."""
        self._gone.update((process.pid, process) for process in gone if process.facts is not None)

    def users(self, places: LeafPlaces) -> dict[int, GpuUser]:
        """Return who is behind each pid that ``look`` was given, as far as known; for a few samples after its end."""
        alive = {pid: self._known(process) for pid, process in self._alive.items() if process.facts is not None}
        known = alive | {pid: ended for pid in self._asked - alive.keys() if (ended := self._ended(pid)) is not None}
        self._before, self._gone = known, {}
        return {pid: one.user._replace(leaf=places.place(one.leaf)) for pid, one in known.items()}

    def leaves(self) -> frozenset[Leaf]:
        """Return the leaves of those that were alive in this sample."""
        return frozenset(known.leaf for known in self._before.values() if known.user.is_alive)

    def _ended(self, pid: int) -> _Known | None:
        known = self._before.get(pid)
        if known is None and pid in self._gone:
            known = self._known(self._gone[pid])
        if known is None or known.told_ended >= _TOLD_AFTER_END:
            return None
        return _Known(known.leaf, known.user._replace(is_alive=False), known.told_ended + 1)

    def _known(self, process: Process) -> _Known:
        variables = (process.facts.environment if process.facts is not None else None) or {}
        user = GpuUser(
            leaf=-1,
            run=process.run,
            rank=self._rank_of(process.pid) if process.run is not None else "",
            start_ticks=process.start_ticks,
            command=clean_text(process.command),
            mps_share_ratio=parse_mps_share(variables.get(MPS_SHARE_VARIABLE, "")),
        )
        return _Known(leaf_of(process), user)


def parse_mps_share(text: str) -> float | None:
    """Return a percentage above 0 and up to 100 as a ratio; None for any other text."""
    text = text.strip()
    percent = float(text) if _PERCENTAGE.fullmatch(text) else 0.0
    return percent / _WHOLE_PERCENT if 0.0 < percent <= _WHOLE_PERCENT else None
