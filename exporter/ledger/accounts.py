"""One account per leaf: the smallest unit on which joules and grams are booked.

A leaf is (workload, run or none). Every total that is ever shown is a sum over accounts, so totals cannot disagree.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, TypeVar

from exporter.attribution.records import Mode
from exporter.ledger.snapshot import ENERGY_COLUMNS, SCOPES
from exporter.sensors.records import Component
from exporter.workloads.records import RunFacts, RunKey, WorkloadId

__all__ = [
    "ACTIVE_COLUMN",
    "COLUMNS_OF",
    "ENDED",
    "IDLE_COLUMN",
    "OVERFLOW_RUN",
    "OVERFLOW_WORKLOAD",
    "Account",
    "LeafKey",
    "ProcessKey",
    "RunRecord",
    "add_up",
]

_Key = TypeVar("_Key", WorkloadId, RunKey)

ACTIVE_COLUMN = {component: i for i, (component, mode) in enumerate(ENERGY_COLUMNS) if mode is Mode.ACTIVE}
IDLE_COLUMN = {component: i for i, (component, mode) in enumerate(ENERGY_COLUMNS) if mode is Mode.IDLE}
COLUMNS_OF = {
    component: tuple(i for i, column in enumerate(ENERGY_COLUMNS) if column[0] is component) for component in Component
}

ENDED = WorkloadId("ended", "", "")
"""Where the joules of expired workloads go; shown as a gauge, never as a workload."""
OVERFLOW_WORKLOAD = WorkloadId("overflow", "", "overflow")
"""What newcomers are booked into, from their first joule, once there are too many workloads."""
OVERFLOW_RUN = RunKey("overflow")
"""The same for runs."""


class LeafKey(NamedTuple):
    """The part of a workload that belongs to one run, or to none."""

    workload: WorkloadId
    run: RunKey | None


class ProcessKey(NamedTuple):
    """A training process as its series name it."""

    run: RunKey
    rank: str
    pid: int


class Account:
    """Running totals.

    Attributes:
        energy_j: joules by ``ENERGY_COLUMNS``.
        emissions_g: grams by ``SCOPES``.
        power_w: watts booked in the last interval.
    """

    __slots__ = ("emissions_g", "energy_j", "power_w")

    def __init__(self, energy_j: Iterable[float] = (), emissions_g: Iterable[float] = ()) -> None:
        self.energy_j = list(energy_j) or [0.0] * len(ENERGY_COLUMNS)
        self.emissions_g = list(emissions_g) or [0.0] * len(SCOPES)
        self.power_w = 0.0

    def absorb(self, other: Account) -> None:
        """Add the totals of ``other``, which is to be dropped afterwards."""
        for i, joules in enumerate(other.energy_j):
            self.energy_j[i] += joules
        for i, grams in enumerate(other.emissions_g):
            self.emissions_g[i] += grams
        self.power_w += other.power_w


class RunRecord:
    """A run as the ledger knows it.

    Attributes:
        facts: as last seen; ``is_alive`` tells whether it still runs.
        born_s: boot-clock time at which its series first appeared.
        seen_s: boot-clock time at which it was last alive.
        seen_wall_s: the same on the wall clock.
    """

    __slots__ = ("born_s", "facts", "seen_s", "seen_wall_s")

    def __init__(self, facts: RunFacts, *, born_s: float, seen_s: float, seen_wall_s: float) -> None:
        self.facts = facts
        self.born_s = born_s
        self.seen_s = seen_s
        self.seen_wall_s = seen_wall_s


def add_up(sums: dict[_Key, Account], key: _Key, account: Account, merged: set[int]) -> None:
    """Add ``account`` to ``sums[key]`` without touching the account itself.

    Most keys have one account only, which then is the sum. ``merged`` holds the ids of the sums made here.
    """
    first = sums.get(key)
    if first is None:
        sums[key] = account
        return
    if id(first) not in merged:
        total = Account(first.energy_j, first.emissions_g)
        total.power_w = first.power_w
        merged.add(id(total))
        sums[key] = first = total
    first.absorb(account)
