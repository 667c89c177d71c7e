"""One account per leaf: the smallest unit on which joules and grams are booked.

A leaf is (workload, run or none). Every total that is ever shown is a sum over accounts, so totals cannot disagree.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from exporter.attribution.records import Mode
from exporter.ledger.places import NO_PLACE, RunPlace
from exporter.ledger.snapshot import ENERGY_COLUMNS, FOOTPRINT_COLUMNS, GPU_COLUMNS, NO_GPU_USE, SCOPES, WorkloadTotals
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
    "added_up",
    "totals_by_run",
]

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
        key: the leaf they are of; None for sums and for processes.
        energy_j: joules by ``ENERGY_COLUMNS``.
        emissions_g: grams by ``SCOPES``.
        gpu: GPUs held, by ``GPU_COLUMNS``.
        footprint: by ``FOOTPRINT_COLUMNS``.
        gpu_born_s: boot-clock time at which it first held one; infinite: it never did.
        power_w: watts booked in the last interval.
        shown: the totals as last shown, or None since they changed.
    """

    __slots__ = ("emissions_g", "energy_j", "footprint", "gpu", "gpu_born_s", "key", "power_w", "shown")

    def __init__(
        self,
        energy_j: Iterable[float] = (),
        emissions_g: Iterable[float] = (),
        gpu: Iterable[float] = (),
        footprint: Iterable[float] = (),
        *,
        key: LeafKey | None = None,
    ) -> None:
        self.key = key
        self.energy_j = list(energy_j) or [0.0] * len(ENERGY_COLUMNS)
        self.emissions_g = list(emissions_g) or [0.0] * len(SCOPES)
        self.gpu = list(gpu) or [0.0] * len(GPU_COLUMNS)
        self.footprint = list(footprint) or [0.0] * len(FOOTPRINT_COLUMNS)
        self.gpu_born_s = -math.inf if any(self.gpu) else math.inf
        self.power_w = 0.0
        self.shown: WorkloadTotals | None = None

    def gpu_use(self, now_s: float) -> tuple[float, ...] | None:
        """Return ``gpu`` as it is shown: None for who never held one, zeros when it is shown first."""
        if math.isinf(self.gpu_born_s) and self.gpu_born_s > 0:
            return None
        return NO_GPU_USE if self.gpu_born_s == now_s else tuple(self.gpu)

    def absorb(self, other: Account) -> None:
        """Add the totals of ``other``, which is to be dropped afterwards. Rounds up: no sum over accounts may fall."""
        for i, joules in enumerate(other.energy_j):
            self.energy_j[i] = _sum_rounded_up(self.energy_j[i], joules)
        for i, grams in enumerate(other.emissions_g):
            self.emissions_g[i] = _sum_rounded_up(self.emissions_g[i], grams)
        for i, amount in enumerate(other.gpu):
            self.gpu[i] = _sum_rounded_up(self.gpu[i], amount)
        for i, amount in enumerate(other.footprint):
            self.footprint[i] = _sum_rounded_up(self.footprint[i], amount)
        self.gpu_born_s = min(self.gpu_born_s, other.gpu_born_s)
        self.power_w += other.power_w
        self.shown = None


class RunRecord:
    """A run as the ledger knows it.

    Attributes:
        facts: as last seen; ``is_alive`` tells whether it still runs.
        born_s: boot-clock time at which its series first appeared.
        seen_s: boot-clock time at which it was last alive.
        seen_wall_s: the same on the wall clock.
        place: the node around it when it was last alive.
        gpus: by model, the most GPUs it held at once.
    """

    __slots__ = ("born_s", "facts", "gpus", "place", "seen_s", "seen_wall_s")

    def __init__(
        self,
        facts: RunFacts,
        *,
        born_s: float,
        seen_s: float,
        seen_wall_s: float,
        place: RunPlace = NO_PLACE,
        gpus: Mapping[str, int] | None = None,
    ) -> None:
        self.facts = facts
        self.born_s = born_s
        self.seen_s = seen_s
        self.seen_wall_s = seen_wall_s
        self.place = place
        self.gpus = dict(gpus or {})


def added_up(accounts: Sequence[Account]) -> Account:
    """Return the sum of ``accounts``, which are not touched; of a single one itself.

    The sum is correctly rounded, so it neither depends on the order, which a restart changes, nor falls when one of
    the totals grows: a counter that stepped back by the last bit would be taken for a reset by Prometheus.
    """
    if len(accounts) == 1:
        return accounts[0]
    total = Account(
        [math.fsum(parts) for parts in zip(*[account.energy_j for account in accounts], strict=True)],
        [math.fsum(parts) for parts in zip(*[account.emissions_g for account in accounts], strict=True)],
        [math.fsum(parts) for parts in zip(*[account.gpu for account in accounts], strict=True)],
        [math.fsum(parts) for parts in zip(*[account.footprint for account in accounts], strict=True)],
    )
    total.gpu_born_s = min([account.gpu_born_s for account in accounts], default=math.inf)
    total.power_w = sum([account.power_w for account in accounts])
    return total


def totals_by_run(accounts: Mapping[LeafKey, Account], runs: Iterable[RunKey]) -> Mapping[RunKey, Account]:
    """Return the totals of each of ``runs`` over all its leaves; every run in ``accounts`` must be among them."""
    parts: dict[RunKey, list[Account]] = {key: [] for key in runs}
    for key, account in accounts.items():
        if key.run is not None:
            parts[key.run].append(account)
    return {key: added_up(of_run) if of_run else Account() for key, of_run in parts.items()}


def _sum_rounded_up(one: float, other: float) -> float:
    total = one + other
    return math.nextafter(total, math.inf) if math.fsum((one, other, -total)) > 0 else total
