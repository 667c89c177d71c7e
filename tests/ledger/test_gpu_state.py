"""GPU seconds over restarts and folding, and state files from before they were counted."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.attribution import Baseline, attribute
from exporter.attribution.gpu import gpu_component_shares
from exporter.attribution.gpu_floors import GpuBaseline
from exporter.attribution.gpu_records import GpuShares, Holding
from exporter.attribution.records import Reason
from exporter.carbon.records import NO_CARBON
from exporter.errors import StateError
from exporter.ledger import Ledger, LedgerSettings, RunTotals, Snapshot, WorkloadTotals
from exporter.ledger.accounts import ENDED, Account, LeafKey
from exporter.ledger.history import History
from exporter.ledger.schema import SCHEMA_VERSION
from exporter.ledger.snapshot import GPU_COLUMNS, NO_GPU_USE
from exporter.ledger.store import Store
from exporter.sensors.records import Component, EnergySample
from exporter.workloads.records import LeafUsage, RunKey, WorkloadId
from tests.attribution.samples import component_energy, energy_sample, unit, usage_sample

RETENTION_S = 60.0
USED, IDLE = Holding(1.0, 0.0, 0.0), Holding(1.0, 1.0, 500.0)
R = RunKey("r")
A, B = LeafUsage(unit("a"), R, 1.0), LeafUsage(unit("b"), R, 1.0)  # two containers of one run
NO_RUN = LeafUsage(unit("a"), None, 1.0)


class Node:
    """A ledger and its state file, driven by hand: one call is one tick."""

    def __init__(self, path: Path) -> None:
        self.now_s = 100.0
        self.path = path
        self.truth = [0.0] * len(GPU_COLUMNS)
        self.accounts: Mapping[LeafKey, Account] = {}
        self._start()

    def _start(self) -> None:
        self._ledger = Ledger(LedgerSettings(retention_s=RETENTION_S))
        self._store = Store(self.path, boot_id="boot")
        self._ledger.restore(self._store.load(now_s=self.now_s))

    def tick(
        self, leaves: Sequence[LeafUsage] = (), *gpus: Mapping[int, Holding], after_s: float = 5.0, read: bool = True
    ) -> Snapshot:
        """Book one interval in which each of ``gpus`` was held by leaves (by index); not ``read``: no joules came."""
        self.now_s += after_s
        shares = [_shares(f"GPU-{i}", held, after_s if read else 0.0) for i, held in enumerate(gpus)]
        for share in shares:
            for holding in share.holdings.values():
                self.truth[0] += holding.share * share.interval_s
                self.truth[1] += holding.unused_share * share.interval_s
                self.truth[2] += holding.unused_j if share.interval_s else 0.0
        usage = usage_sample(leaves, interval_s=after_s)
        drawn_j = sum(share.energy_j for share in shares)
        gpu = component_energy(drawn_j, component=Component.GPU, interval_s=after_s)
        energy = energy_sample(component_energy(100.0, interval_s=after_s), gpu)
        of_cpu = attribute(energy.components[Component.CPU], usage, Baseline(10.0, "configured"))
        split = [of_cpu, gpu_component_shares(gpu, shares, leaves=len(leaves))]
        self._ledger.book(energy, split, usage, NO_CARBON, now_s=self.now_s, wall_s=self.now_s, gpus=shares)
        self._save(full=False)
        return self._ledger.snapshot()

    def restart(self, *, killed: bool = False) -> Snapshot:
        self.close(killed=killed)
        self.now_s += 1.0
        self._start()
        self._ledger.book_down_time(EnergySample(components={}), NO_CARBON, now_s=self.now_s, wall_s=self.now_s)
        self._save(full=True)
        return self._ledger.snapshot()

    def close(self, *, killed: bool = False) -> None:
        if not killed:
            self._save(full=True)
        self._store.close()

    def _save(self, *, full: bool) -> None:
        changes = self._ledger.take_changes(full=full)
        totals = self._ledger.run_totals() if self._store.runs_are_due(changes) else {}
        self._store.save(changes, run_totals=totals, domains={}, learned={}, meta={})
        self.accounts = changes.accounts


def _shares(uuid: str, held: Mapping[int, Holding], interval_s: float) -> GpuShares:
    idle_j = {leaf: holding.unused_j for leaf, holding in held.items() if interval_s}
    drawn_j = 1000.0 if interval_s else 0.0
    return GpuShares(
        uuid=uuid,
        energy_j=drawn_j + math.fsum(idle_j.values()),
        interval_s=interval_s,
        idle_j=idle_j,
        unattributed_j={Reason.UNKNOWN: drawn_j},
        holdings=held,
        method="exclusive",
        baseline=GpuBaseline(100.0, 0.0, "configured"),
        is_idle=False,
    )


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path / "state.db")
    node.tick()  # the node's own series appear
    yield node
    node.close()


def workload(snapshot: Snapshot, name: WorkloadId = A.workload) -> WorkloadTotals:
    return next(totals for totals in snapshot.workloads if totals.workload == name)


def run(snapshot: Snapshot, key: RunKey = R) -> RunTotals:
    return next(totals for totals in snapshot.runs if totals.facts.key == key)


def ended(node: Node) -> list[float]:
    parts = [account.gpu for key, account in node.accounts.items() if key.workload == ENDED]
    return [math.fsum(column) for column in zip(*parts, strict=True)] if parts else list(NO_GPU_USE)


def test_who_first_holds_a_gpu_appears_at_zero_and_its_first_seconds_are_on_the_next_page(node: Node) -> None:
    node.tick([A])
    first, second = node.tick([A], {0: IDLE}), node.tick([A], {0: IDLE})

    assert workload(first).gpu == run(first).gpu == NO_GPU_USE
    assert workload(second).gpu == run(second).gpu == (10.0, 10.0, 1000.0)


def test_who_never_held_one_has_none(node: Node) -> None:
    other = LeafUsage(unit("other"), RunKey("other"), 1.0)
    node.tick([A, other], {0: USED})
    before = node.tick([A, other], {0: USED})
    after = node.restart()

    for page in (before, after):
        assert workload(page, other.workload).gpu is run(page, RunKey("other")).gpu is None
        assert workload(page).gpu == run(page).gpu == (10.0, 0.0, 0.0)


def test_a_tick_without_a_reading_tells_who_holds_and_adds_no_seconds(node: Node) -> None:
    before = node.tick([A], {0: IDLE}, read=False)
    node.tick([A], {0: IDLE})
    node.tick([A], {0: IDLE}, read=False)
    after = node.tick([A], {0: IDLE}, read=False)

    assert (run(before).gpu, run(before).gpus, run(before).unused_gpus) == (None, 1, 1)
    assert (run(after).gpu, run(after).gpus, run(after).unused_gpus) == ((5.0, 5.0, 500.0), 1, 1)


@pytest.mark.parametrize("killed", [False, True])
def test_gpu_seconds_go_on_over_a_restart(node: Node, *, killed: bool) -> None:
    node.tick([A, B], {0: IDLE}, {1: USED})
    node.tick([A, B], {0: IDLE}, {1: USED})
    resumed = node.restart(killed=killed)
    after = node.tick([A, B], {0: USED}, {1: USED})

    assert run(resumed).gpu == (20.0, 10.0, 1000.0)
    assert run(after).gpu == (30.0, 10.0, 1000.0)
    assert workload(after, A.workload).gpu == (15.0, 10.0, 1000.0)
    assert workload(after, B.workload).gpu == (15.0, 0.0, 0.0)


def test_a_killed_agent_loses_no_gpu_seconds_of_who_draws_nothing(node: Node) -> None:
    """Holding without a joule must be saved, and shown, like any other change."""
    still = LeafUsage(unit("a"), R, 0.0)
    for _ in range(3):
        before = node.tick([still], {0: Holding(0.5, 0.5, 0.0)})
    after = node.restart(killed=True)

    assert sum(workload(before).energy_j) == 0.0
    assert workload(before).gpu == workload(after).gpu == run(after).gpu == (7.5, 7.5, 0.0)


def test_a_run_keeps_the_gpu_seconds_of_containers_that_are_gone(node: Node) -> None:
    """An elastic restart makes a new container; the old one's series expire, the run's counter must not fall."""
    node.tick([A], {0: IDLE})
    for _ in range(3):
        after = node.tick([B], {0: USED}, after_s=RETENTION_S)
    again = node.restart()

    held_s = 5.0 + 3 * RETENTION_S
    assert [totals.workload for totals in after.workloads] == [B.workload]
    assert run(after).gpu == run(again).gpu == (held_s, 5.0, 500.0)
    assert ended(node) == [5.0, 5.0, 500.0]
    [past] = History(node.path).runs()
    assert past.gpu == (held_s, 5.0, 500.0)


def test_a_workload_keeps_the_gpu_seconds_of_runs_that_are_gone(node: Node) -> None:
    node.tick([A, NO_RUN], {0: IDLE})
    for _ in range(3):
        after = node.tick([NO_RUN], after_s=RETENTION_S)
    again = node.restart()

    assert after.runs == []
    assert workload(after).gpu == workload(again).gpu == (5.0, 5.0, 500.0)
    assert ended(node) == list(NO_GPU_USE)
    [past] = History(node.path).runs()
    assert (past.gpu, past.ended_s is not None) == ((5.0, 5.0, 500.0), True)


def test_a_workload_that_comes_back_after_its_expiry_starts_without_gpu_seconds(node: Node) -> None:
    node.tick([A], {0: IDLE})
    for _ in range(3):
        node.tick(after_s=RETENTION_S)
    back = node.tick([A])

    assert workload(back).gpu is run(back).gpu is None
    assert ended(node) == [5.0, 5.0, 500.0]


_holding = st.builds(
    lambda share, unused, joules: Holding(share, share * unused, joules * unused),
    st.sampled_from([0.1, 1 / 7, 0.5, 1.0]),
    st.sampled_from([0.0, 0.3, 1.0]),
    st.floats(0, 1e5),
)

_cpu_s = st.sampled_from([0.0, 1.0])


_Tick = tuple[list[LeafUsage], list[dict[int, Holding]], float, bool, str]


@st.composite
def _ticks(draw: st.DrawFn) -> _Tick:
    keys = draw(st.lists(st.tuples(st.integers(0, 2), st.integers(-1, 1)), unique=True, max_size=5))
    leaves = [LeafUsage(unit(f"w{w}"), RunKey(f"r{r}") if r >= 0 else None, draw(_cpu_s)) for w, r in keys]
    held = st.dictionaries(st.integers(0, len(leaves) - 1), _holding) if leaves else st.just({})
    gpus = draw(st.lists(held, max_size=2))
    after_s = draw(st.sampled_from([0.5, 5.0, 40.0, 200.0]))
    return leaves, gpus, after_s, draw(st.booleans()), draw(st.sampled_from(["", "", "", "stop", "kill"]))


_Shown = dict[WorkloadId | RunKey, tuple[float, ...]]


def _shown(snapshot: Snapshot) -> _Shown:
    shown: _Shown = {totals.workload: totals.gpu for totals in snapshot.workloads if totals.gpu}
    return shown | {totals.facts.key: totals.gpu for totals in snapshot.runs if totals.gpu}


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(trace=st.lists(_ticks(), max_size=12))
def test_gpu_seconds_are_conserved_and_none_falls_whatever_happens(
    tmp_path_factory: pytest.TempPathFactory, trace: list[_Tick]
) -> None:
    """Exits, expiry, returns, stops and kills: every series begins at 0, none falls, all together are what was held."""
    node = Node(tmp_path_factory.mktemp("state") / "state.db")
    node.tick()
    seen: _Shown = {}
    for leaves, gpus, after_s, read, end in trace:
        pages = [node.tick(leaves, *gpus, after_s=after_s, read=read)]
        if end:
            pages.append(node.restart(killed=end == "kill"))
        for shown in map(_shown, pages):
            for key, totals in shown.items():
                assert all(now >= before for now, before in zip(totals, seen.get(key, NO_GPU_USE), strict=True)), key
                assert key in seen or totals == NO_GPU_USE, key
            seen = shown
    last = node.tick(after_s=0.5)
    node.close()

    parts = [ended(node), *(totals.gpu for totals in last.workloads if totals.gpu)]
    assert [math.fsum(column) for column in zip(*parts, strict=True)] == pytest.approx(node.truth, rel=1e-9, abs=1e-9)


_ENERGY_1 = """cpu_active_j REAL NOT NULL DEFAULT 0, cpu_idle_j REAL NOT NULL DEFAULT 0,
    dram_active_j REAL NOT NULL DEFAULT 0, dram_idle_j REAL NOT NULL DEFAULT 0, gpu_active_j REAL NOT NULL DEFAULT 0,
    gpu_idle_j REAL NOT NULL DEFAULT 0, other_idle_j REAL NOT NULL DEFAULT 0"""
_TOTALS_1 = f"{_ENERGY_1}, operational_g REAL NOT NULL DEFAULT 0, embodied_g REAL NOT NULL DEFAULT 0"
VERSION_1 = f"""
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE leaf(kind TEXT, namespace TEXT, name TEXT, container TEXT, run TEXT, {_TOTALS_1},
    PRIMARY KEY(kind, namespace, name, container, run)) WITHOUT ROWID;
CREATE TABLE process(run TEXT, rank TEXT, pid INTEGER, {_ENERGY_1},
    PRIMARY KEY(run, rank, pid)) WITHOUT ROWID;
CREATE TABLE component(component TEXT PRIMARY KEY, totals TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE unattributed(component TEXT, reason TEXT, energy_j REAL NOT NULL,
    PRIMARY KEY(component, reason)) WITHOUT ROWID;
CREATE TABLE emissions(scope TEXT PRIMARY KEY, emissions_g REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE event(kind TEXT, source TEXT, reason TEXT, amount REAL NOT NULL,
    PRIMARY KEY(kind, source, reason)) WITHOUT ROWID;
CREATE TABLE domain(source TEXT, domain TEXT, device TEXT, raw TEXT NOT NULL, read_at_s REAL NOT NULL,
    total_j REAL NOT NULL, PRIMARY KEY(source, domain, device)) WITHOUT ROWID;
CREATE TABLE learned(component TEXT PRIMARY KEY, weight_s REAL, mean_busy_ratio REAL, mean_power_w REAL,
    busy_spread REAL, power_spread REAL, joint_spread REAL, lowest_power_w REAL) WITHOUT ROWID;
CREATE TABLE run(id INTEGER PRIMARY KEY, key TEXT NOT NULL, boot_id TEXT NOT NULL, started_s REAL,
    seen_s REAL, ended_s REAL, is_live INTEGER NOT NULL DEFAULT 1, facts TEXT, {_TOTALS_1});
CREATE INDEX run_by_key ON run(key);
CREATE INDEX run_by_time ON run(seen_s);
PRAGMA user_version = 1;
"""
ROWS_1 = """
INSERT INTO meta VALUES ('boot_id', 'boot'), ('saved_at_s', '50.0'), ('ticks', '7');
INSERT INTO leaf VALUES ('unit', '', 'a', '', 'r', 1, 2, 3, 4, 5, 6, 7, 8, 9), ('unit', '', 'b', '', '', 9, 8, 7, 6, 5,
    4, 3, 2, 1);
INSERT INTO process VALUES ('r', '0', 77, 1, 2, 3, 4, 5, 6, 7);
INSERT INTO learned VALUES ('cpu', 10, 0.5, 100, 1, 2, 1.2, 60);
INSERT INTO run VALUES (4, 'old', 'boot-0', 10, 20, 20, 0,
    '{"key": "old", "name": "old", "framework": "torchrun", "is_alive": false}', 7, 6, 5, 4, 3, 2, 1, 0, 0);
INSERT INTO run VALUES (5, 'r', 'boot', 1000, 2000, NULL, 1,
    '{"key": "r", "name": "nightly", "framework": "torchrun"}', 1, 2, 3, 4, 5, 6, 7, 8, 9);
"""


@pytest.fixture
def old_path(tmp_path: Path) -> Path:
    """Write a state file as the agent did before it knew of GPUs."""
    path = tmp_path / "state.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(VERSION_1 + ROWS_1)
    return path


def dump(path: Path) -> list[str]:
    """Return all that is in the file, and how often its tables were changed."""
    with closing(sqlite3.connect(path)) as db:
        versions = [str(db.execute(f"PRAGMA {name}").fetchone()) for name in ("user_version", "schema_version")]
        return [*versions, *db.iterdump()]


def columns(path: Path) -> dict[str, list[str]]:
    with closing(sqlite3.connect(path)) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {table: sorted(row[1] for row in db.execute(f"PRAGMA table_info({table})")) for table in tables}


def test_an_older_file_is_brought_to_this_version_with_all_it_held(old_path: Path, tmp_path: Path) -> None:
    Store(tmp_path / "new.db", boot_id="boot").close()
    store = Store(old_path, boot_id="boot")
    loaded = store.load(now_s=60.0)
    store.close()

    a, b = LeafKey(unit("a"), R), LeafKey(unit("b"), None)
    accounts = {key: (account.energy_j, account.emissions_g, account.gpu) for key, account in loaded.accounts.items()}
    assert accounts == {
        a: ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], [8.0, 9.0], list(NO_GPU_USE)),
        b: ([9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0], [2.0, 1.0], list(NO_GPU_USE)),
    }
    assert all(account.gpu_use(60.0) is None for account in loaded.accounts.values())
    assert (loaded.ticks, loaded.saved_at_s, [record.facts.name for record in loaded.runs]) == (7, 50.0, ["nightly"])
    assert (len(loaded.processes), loaded.learned[Component.CPU].lowest_power_w) == (1, 60.0)
    assert (loaded.gpu_floors, store.note) == ({}, "")
    assert dump(old_path)[0] == f"({SCHEMA_VERSION},)"
    assert columns(old_path) == columns(tmp_path / "new.db")


def test_opening_a_migrated_file_again_changes_nothing(old_path: Path) -> None:
    Store(old_path, boot_id="boot").close()
    before = dump(old_path)
    Store(old_path, boot_id="boot").close()

    assert dump(old_path) == before


def test_gpu_seconds_are_saved_in_a_migrated_file(old_path: Path) -> None:
    node = Node(old_path)
    node.tick([A], {0: IDLE})
    page = node.restart()
    node.close()

    assert workload(page).gpu == run(page).gpu == (5.0, 5.0, 500.0)
    kept = {past.facts.key: past.gpu for past in History(old_path).runs()}
    assert kept == {"r": (5.0, 5.0, 500.0), "old": NO_GPU_USE}


def test_a_migration_that_fails_leaves_the_file_as_it_was(old_path: Path) -> None:
    with closing(sqlite3.connect(old_path)) as db:
        db.execute("DROP TABLE run")  # the second table to be migrated
    before = dump(old_path)

    with pytest.raises(StateError, match="no such table: run"):
        Store(old_path, boot_id="boot")

    assert dump(old_path) == before


def test_the_history_of_an_older_file_is_read_as_it_is(old_path: Path) -> None:
    """The run table has no GPU columns there, and only an agent may add them."""
    before = dump(old_path)

    runs = History(old_path).runs()

    assert [(past.facts.name, past.energy_j[0]) for past in runs] == [("nightly", 1.0), ("old", 7.0)]
    assert [past.gpu for past in runs] == [NO_GPU_USE, NO_GPU_USE]
    assert runs[0].emissions_g == (8.0, 9.0)
    assert dump(old_path) == before
