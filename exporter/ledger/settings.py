"""Settings of the ledger: how long series stay, how many there may be, where the state is kept."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LedgerSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerSettings:
    """What is kept in memory and on disk, for how long, and how much of it."""

    state_path: str | None = None
    """SQLite file that keeps the counters over a restart, and the history of runs.

    None: the first writable of ``$STATE_DIRECTORY/state.db``, ``/var/lib/wattribute/state.db`` and
    ``$XDG_STATE_HOME/wattribute/state.db``. Empty: nothing is kept. Must be on a local file system."""
    checkpoint_interval_s: float = 0.0
    """Seconds between saves. 0: every tick, before the tick's values are shown, so that a kill loses nothing that
    Prometheus has seen. A longer interval lets counters step back after a kill. Not negative."""
    retention_s: float = 900.0
    """Seconds for which the series of a workload, run or process stay after its end. At least three scrape
    intervals; the default suits intervals up to five minutes."""
    max_workloads: int = 2000
    """Workloads with series of their own; newcomers beyond are booked into the workload ``overflow``. At least 1."""
    max_runs: int = 200
    """Runs with series of their own; newcomers beyond are booked into the run ``overflow``. At least 1."""
    max_processes: int = 256
    """Training processes with series of their own; the energy of the others is in their run. 0: none."""
    history_days: int = 400
    """Days for which finished runs stay in the history. At least 1."""
