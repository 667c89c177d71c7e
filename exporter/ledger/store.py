"""The state on disk: one SQLite file with the counters of this boot, what was learned, and the history of runs.

Write-ahead logging without a sync per commit: a killed process loses nothing that was committed, and a power cut
cannot damage the file; it only loses the last moments of a boot whose counters end with it anyway.
Source: https://www.sqlite.org/wal.html and https://www.sqlite.org/pragma.html#pragma_synchronous.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType

from exporter.attribution.baseline import LearnedPower
from exporter.attribution.gpu_floors import Floor, Floors
from exporter.attribution.records import Reason
from exporter.errors import StateError
from exporter.ledger.accounts import Account, LeafKey, ProcessKey, RunRecord
from exporter.ledger.places import place_from_json, place_to_json
from exporter.ledger.saved import SavedState, StateChanges
from exporter.ledger.schema import ENERGY_NAMES, GRAM_NAMES, MIGRATIONS, SCHEMA, SCHEMA_VERSION, TOTALS
from exporter.ledger.snapshot import FOOTPRINT_COLUMNS, GPU_COLUMNS, ComponentTotals
from exporter.sensors.records import Component, CounterState, DomainKey
from exporter.workloads.records import RunFacts, RunKey, WorkloadId

__all__ = ["Store"]

_RUNS_INTERVAL_S = 30.0
_TABLES_OF_BOOT = (
    "leaf", "process", "component", "unattributed", "emissions", "footprint", "budget", "event", "domain",
)  # fmt: skip
_SECONDS_PER_DAY = 86_400
_MARKS = ",".join("?" * len(TOTALS))
_PUT_LEAF = (  # fixed column names
    f"INSERT OR REPLACE INTO leaf(kind, namespace, name, container, run, {', '.join(TOTALS)}) "  # noqa: S608
    f"VALUES (?,?,?,?,?,{_MARKS})"
)
_GET_LEAVES = f"SELECT kind, namespace, name, container, run, {', '.join(TOTALS)} FROM leaf"  # noqa: S608
_PUT_PROCESS = f"INSERT OR REPLACE INTO process VALUES (?,?,?,{','.join('?' * len(ENERGY_NAMES))})"  # noqa: S608
_PUT_RUN = (  # fixed column names
    "UPDATE run SET started_s=?, seen_s=?, ended_s=?, is_live=1, facts=?, place=?, "  # noqa: S608
    f"{', '.join(f'{name}=?' for name in TOTALS)} WHERE id=?"
)


class Store:
    """An open state file, locked against a second agent.

    Attributes:
        path: the file.
        note: what had to be done about a damaged or foreign file, or empty.
    """

    def __init__(self, path: Path, *, boot_id: str, history_days: int = 400) -> None:
        """Open or create the file.

        Raises:
            StateError: it cannot be written, is in use by another agent, or is from a newer version.
        """
        self.path = path
        self.note = ""
        self._boot_id = boot_id
        self._history_days = history_days
        self._run_ids: dict[RunKey, int] = {}
        self._next_runs_s = 0.0
        try:
            path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            self._lock = _lock(path)
        except OSError as exc:
            raise StateError(f"state file {path}: {exc}; counters will restart with the agent") from exc
        try:
            self._db = self._open_or_replace()
        except (OSError, sqlite3.Error, StateError) as exc:
            self._unlock()
            raise StateError(f"state file {path}: {exc}; counters will restart with the agent") from exc

    def _open_or_replace(self) -> sqlite3.Connection:
        try:
            return _open(self.path)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as exc:
            return self._replace(exc)

    def _replace(self, reason: Exception) -> sqlite3.Connection:
        """Move a damaged file aside, where somebody may still look into it, and open a new one."""
        aside = Path(f"{self.path}.damaged")
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                Path(f"{self.path}{suffix}").replace(f"{aside}{suffix}")
        self.note = f"{self.path} was damaged ({reason}) and has been moved to {aside}; counters start again"
        return _open(self.path)

    def load(self, *, now_s: float) -> SavedState:
        """Return what an earlier process of this boot left, or an empty state; older runs are closed in the history.

        A file whose content makes no sense is moved aside, like one that is no database.

        Raises:
            StateError: the file cannot be read.
        """
        with self._translated("read"):
            try:
                return self._load(now_s=now_s)
            except (sqlite3.DatabaseError, ValueError, TypeError, KeyError) as exc:
                if isinstance(exc, sqlite3.OperationalError):
                    raise
                self._db.close()
                self._db = self._replace(exc)
                return SavedState()

    def _load(self, *, now_s: float) -> SavedState:
        learned = {
            Component(row[0]): LearnedPower(*row[1:])
            for row in self._db.execute("SELECT * FROM learned")
            if row[0] in set(Component)
        }
        gpu_floors = {
            row[0]: Floors(Floor(*row[1:3]), Floor(*row[3:5])) for row in self._db.execute("SELECT * FROM gpu_floor")
        }
        meta = dict(self._db.execute("SELECT key, value FROM meta"))
        saved_at_s = float(meta.get("saved_at_s", 0.0))
        if not self._boot_id or meta.get("boot_id") != self._boot_id or saved_at_s > now_s:
            self._forget_boot()
            return SavedState(learned=learned, gpu_floors=gpu_floors)
        return SavedState(
            saved_at_s=saved_at_s,
            ticks=int(meta.get("ticks", 0)),
            late_ticks=int(meta.get("late_ticks", 0)),
            learned=learned,
            gpu_floors=gpu_floors,
            components=self._components(),
            unattributed_j={
                (Component(row[0]), Reason(row[1])): row[2] for row in self._db.execute("SELECT * FROM unattributed")
            },
            emissions_g=dict(self._db.execute("SELECT * FROM emissions")),
            footprint=dict(self._db.execute("SELECT * FROM footprint")),
            currency=meta.get("currency", ""),
            is_embodied_counted=meta.get("is_embodied_counted") == "1",
            budgets=dict(self._db.execute("SELECT * FROM budget")),
            event_counts={tuple(row[:3]): row[3] for row in self._db.execute("SELECT * FROM event")},
            accounts=self._accounts(),
            processes={
                ProcessKey(RunKey(row[0]), row[1], row[2]): Account(row[3:])
                for row in self._db.execute("SELECT * FROM process")
            },
            runs=self._live_runs(saved_at_s),
            domains={
                DomainKey(*row[:3]): CounterState(int(row[3]), row[4], row[5])
                for row in self._db.execute("SELECT * FROM domain")
            },
        )

    def _components(self) -> dict[Component, ComponentTotals]:
        rows = self._db.execute("SELECT component, totals FROM component")
        return {Component(name): ComponentTotals(*json.loads(totals)) for name, totals in rows}

    def _accounts(self) -> dict[LeafKey, Account]:
        accounts = {}
        for row in self._db.execute(_GET_LEAVES):
            key = LeafKey(WorkloadId(*row[:4]), RunKey(row[4]) if row[4] else None)
            totals = dict(zip(TOTALS, row[5:], strict=True))
            groups = (ENERGY_NAMES, GRAM_NAMES, GPU_COLUMNS, FOOTPRINT_COLUMNS)
            accounts[key] = Account(*([totals[name] for name in names] for names in groups))
        return accounts

    def _live_runs(self, saved_at_s: float) -> list[RunRecord]:
        records = []
        for row_id, seen_s, ended_s, facts, place_text in self._db.execute(
            "SELECT id, seen_s, ended_s, facts, place FROM run WHERE is_live"
        ).fetchall():
            known = RunFacts(**json.loads(facts))
            self._run_ids[known.key] = row_id
            age_s = 0.0 if ended_s is None else max(self._wall_of_save() - seen_s, 0.0)
            place, gpus = place_from_json(place_text)
            born_s = float("-inf")
            records.append(
                RunRecord(known, born_s=born_s, seen_s=saved_at_s - age_s, seen_wall_s=seen_s, place=place, gpus=gpus)
            )
        return records

    def _wall_of_save(self) -> float:
        row = self._db.execute("SELECT value FROM meta WHERE key = 'saved_wall_s'").fetchone()
        return float(row[0]) if row else 0.0

    def _forget_boot(self) -> None:
        with self._db:
            for table in _TABLES_OF_BOOT:
                self._db.execute(f"DELETE FROM {table}")  # noqa: S608 - fixed names
            self._db.execute("UPDATE run SET is_live = 0, ended_s = COALESCE(ended_s, seen_s) WHERE is_live")

    def save(
        self,
        changes: StateChanges,
        *,
        run_totals: Mapping[RunKey, Account],
        domains: Mapping[DomainKey, CounterState],
        learned: Mapping[Component, LearnedPower],
        meta: Mapping[str, str],
        gpu_floors: Mapping[str, Floors] = MappingProxyType({}),
    ) -> None:
        """Write all changes in one transaction: after a crash either all or none of them are there.

        Raises:
            StateError: nothing was written; the caller should pass a full set of changes next time.
        """
        with self._translated("written"), self._db:
            put = self._db.executemany
            if changes.is_full:
                self._db.execute("DELETE FROM leaf")
                self._db.execute("DELETE FROM process")
            put(
                "DELETE FROM leaf WHERE kind=? AND namespace=? AND name=? AND container=? AND run=?",
                [(*key.workload, key.run or "") for key in changes.dropped_leaves],
            )
            put("DELETE FROM process WHERE run=? AND rank=? AND pid=?", changes.dropped_processes)
            put(_PUT_LEAF, _leaf_rows(changes))
            put(_PUT_PROCESS, [(*key, *changes.process_accounts[key].energy_j) for key in changes.processes])
            put(
                "INSERT OR REPLACE INTO component VALUES (?,?)",
                [(name, json.dumps(totals)) for name, totals in changes.components.items()],
            )
            put(
                "INSERT OR REPLACE INTO unattributed VALUES (?,?,?)",
                [(*key, joules) for key, joules in changes.unattributed_j.items()],
            )
            put("INSERT OR REPLACE INTO emissions VALUES (?,?)", changes.emissions_g.items())
            put("INSERT OR REPLACE INTO footprint VALUES (?,?)", changes.footprint.items())
            put("INSERT OR REPLACE INTO budget VALUES (?,?)", changes.budgets.items())
            put("INSERT OR REPLACE INTO event VALUES (?,?,?,?)", [(*k, v) for k, v in changes.event_counts.items()])
            put(
                "INSERT OR REPLACE INTO domain VALUES (?,?,?,?,?,?)",
                [(*key, str(state.raw), state.read_at_s, state.total_j) for key, state in domains.items()],
            )
            put(
                "INSERT OR REPLACE INTO learned VALUES (?,?,?,?,?,?,?,?)",
                [(component, *state) for component, state in learned.items()],
            )
            put(
                "INSERT OR REPLACE INTO gpu_floor VALUES (?,?,?,?,?)",
                [(uuid, *floors.bare, *floors.context) for uuid, floors in gpu_floors.items()],
            )
            put(
                "INSERT OR REPLACE INTO meta VALUES (?,?)",
                [
                    *meta.items(),
                    ("boot_id", self._boot_id),
                    ("saved_at_s", repr(changes.now_s)),
                    ("currency", changes.currency),
                    ("is_embodied_counted", str(int(changes.is_embodied_counted))),
                ],
            )
            self._save_runs(changes, run_totals)

    def runs_are_due(self, changes: StateChanges) -> bool:
        """Tell whether the next save writes runs, so that their totals are worth adding up."""
        return bool(changes.runs or changes.is_full) or changes.now_s >= self._next_runs_s

    def _save_runs(self, changes: StateChanges, totals: Mapping[RunKey, Account]) -> None:
        keys = set(changes.runs)
        if changes.is_full or changes.now_s >= self._next_runs_s:
            self._next_runs_s = changes.now_s + _RUNS_INTERVAL_S
            keys.update(changes.run_records)
        for key in keys & totals.keys():
            self._save_run(changes.run_records[key], totals[key])
        for key in changes.dropped_runs:
            row_id = self._run_ids.pop(key, None)
            self._db.execute("UPDATE run SET is_live = 0, ended_s = COALESCE(ended_s, seen_s) WHERE id = ?", (row_id,))

    def _save_run(self, record: RunRecord, totals: Account) -> None:
        facts = record.facts
        if facts.key not in self._run_ids:
            cursor = self._db.execute("INSERT INTO run(key, boot_id) VALUES (?,?)", (facts.key, self._boot_id))
            self._run_ids[facts.key] = cursor.lastrowid or 0
        ended_s = None if facts.is_alive else record.seen_wall_s
        place = place_to_json(record.place, record.gpus)
        values = (facts.started_s, record.seen_wall_s, ended_s, json.dumps(asdict(facts)), place)
        row_id = self._run_ids[facts.key]
        self._db.execute(_PUT_RUN, (*values, *_totals(totals), row_id))

    def forget_old_runs(self, *, wall_s: float) -> None:
        """Delete runs from the history that ended longer ago than the configured days."""
        with self._translated("written"), self._db:
            limit_s = wall_s - self._history_days * _SECONDS_PER_DAY
            self._db.execute("DELETE FROM run WHERE NOT is_live AND seen_s < ?", (limit_s,))

    def close(self) -> None:
        """Close the file and release the lock."""
        with suppress(sqlite3.Error):
            self._db.close()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = -1

    @contextmanager
    def _translated(self, done: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, ValueError, TypeError, KeyError) as exc:
            raise StateError(f"state file {self.path} cannot be {done}: {exc}") from exc


def _leaf_rows(changes: StateChanges) -> Iterator[tuple[object, ...]]:
    for key in changes.accounts if changes.is_full else changes.leaves:
        account = changes.accounts[key]
        yield (*key.workload, key.run or "", *_totals(account))


def _totals(account: Account) -> tuple[float, ...]:
    """Return an account's totals in the order of ``TOTALS``."""
    return (*account.energy_j, *account.emissions_g, *account.gpu, *account.footprint)


def _lock(path: Path) -> int:
    """Take the lock beside the file; the kernel drops it with the process. Source: flock(2)."""
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        os.close(lock)
        raise StateError(f"state file {path} is in use by another agent; give this one its own --state.file") from exc
    return lock


def _open(path: Path) -> sqlite3.Connection:
    """Open or create the database; who ran what is nobody else's business, so others may not read it."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640))
    db = sqlite3.connect(path, timeout=1.0, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA cache_size = -256")
        _migrate(db, path)
    except BaseException:
        db.close()
        raise
    return db


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise StateError(f"state file {path} is from a newer version of wattribute; move it away to go on")
    while version in MIGRATIONS:
        db.executescript(f"BEGIN;\n{MIGRATIONS[version]}PRAGMA user_version = {version + 1};\nCOMMIT;")
        version += 1
    db.executescript(SCHEMA)
    db.execute("SELECT count(*) FROM run").fetchone()
