"""The accounts of training processes: a refinement inside their runs, capped, so never part of any sum."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from exporter.attribution.records import ComponentShares
from exporter.ledger.accounts import ACTIVE_COLUMN, IDLE_COLUMN, Account, ProcessKey
from exporter.ledger.saved import StateChanges
from exporter.ledger.snapshot import ENERGY_COLUMNS, ProcessTotals
from exporter.workloads.records import ProcessUsage, RunKey, UsageSample

__all__ = ["ProcessAccounts"]

_ZERO_ENERGY = (0.0,) * len(ENERGY_COLUMNS)


class ProcessAccounts:
    """Running totals of training processes.

    Attributes:
        accounts: totals by process.
        changed, dropped: keys to write and to remove since the last save.
    """

    def __init__(self) -> None:
        self.accounts: dict[ProcessKey, Account] = {}
        self.changed: set[ProcessKey] = set()
        self.dropped: set[ProcessKey] = set()
        self._born_s: dict[ProcessKey, float] = {}
        self._seen_s: dict[ProcessKey, float] = {}

    def restore(self, accounts: Mapping[ProcessKey, Account], *, seen_s: float) -> None:
        """Take over the totals of an earlier agent process on this boot."""
        self.accounts = dict(accounts)
        self._seen_s = dict.fromkeys(accounts, seen_s)
        self._born_s = dict.fromkeys(accounts, float("-inf"))

    def fill(self, changes: StateChanges) -> None:
        """Say what is to be written, all of it in a full set of changes, and start a new account of that."""
        changes.process_accounts = self.accounts
        changes.processes = set(self.accounts) if changes.is_full else self.changed
        changes.dropped_processes = self.dropped
        self.changed, self.dropped = set(), set()

    def book(
        self,
        shares: Sequence[ComponentShares],
        usage: UsageSample,
        *,
        runs: Collection[RunKey],
        limit: int,
        now_s: float,
    ) -> None:
        """Charge every process of ``runs`` its part of what its leaf was charged in this interval.

        GPU energy goes by what the process itself used and held, all other by CPU time.
        Newcomers beyond ``limit`` get no account. Processes are read at other instants than their group: where they
        used more than the leaf is known to have used, they share what it was charged.
        """
        used_s = _used_s(usage)
        for process in usage.processes:
            key = ProcessKey(process.run, process.rank, process.pid)
            if key not in self.accounts:
                if process.run not in runs or len(self.accounts) >= limit:
                    continue
                self.accounts[key] = Account()
                self._born_s[key] = now_s
            self._seen_s[key] = now_s
            self.changed.add(key)
            _charge(self.accounts[key], process, shares, leaf_cpu_s=used_s[process.leaf])

    def expire(self, *, before_s: float, runs: Collection[RunKey]) -> None:
        """Drop the processes that were last seen before ``before_s``, and all of ``runs``."""
        for key in [key for key, seen_s in self._seen_s.items() if seen_s < before_s or key.run in runs]:
            del self.accounts[key], self._seen_s[key], self._born_s[key]
            self.changed.discard(key)
            self.dropped.add(key)

    def totals(self, *, now_s: float) -> list[ProcessTotals]:
        """Return every process's totals; those first seen at ``now_s`` at zero."""
        born_s = self._born_s
        return [
            ProcessTotals(key.run, key.rank, key.pid, _ZERO_ENERGY if born_s[key] == now_s else tuple(account.energy_j))
            for key, account in self.accounts.items()
        ]


def _used_s(usage: UsageSample) -> dict[int, float]:
    """Return what each leaf with processes used, or what they used together, whichever is more."""
    claimed_s: dict[int, float] = {}
    for process in usage.processes:
        claimed_s[process.leaf] = claimed_s.get(process.leaf, 0.0) + process.cpu_s
    return {leaf: max(cpu_s, usage.leaves[leaf].cpu_s) for leaf, cpu_s in claimed_s.items()}


def _charge(account: Account, process: ProcessUsage, shares: Sequence[ComponentShares], *, leaf_cpu_s: float) -> None:
    part = process.cpu_s / leaf_cpu_s if process.cpu_s > 0 else 0.0
    for share in shares:
        if share.processes_j is None:
            active_j, idle_j = share.active_j[process.leaf] * part, share.idle_j[process.leaf] * part
        else:
            _, active_j, idle_j = share.processes_j.get(process.pid, (process.leaf, 0.0, 0.0))
        if share.component in ACTIVE_COLUMN:
            account.energy_j[ACTIVE_COLUMN[share.component]] += active_j
        account.energy_j[IDLE_COLUMN[share.component]] += idle_j
