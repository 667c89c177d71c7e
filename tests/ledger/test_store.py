"""The state file: what survives, what is refused, what is thrown away."""

import os
import sqlite3
import stat
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.attribution import LearnedPower
from exporter.attribution.gpu_floors import Floor, Floors
from exporter.errors import StateError
from exporter.ledger import SavedState
from exporter.ledger.accounts import Account, LeafKey, ProcessKey, RunRecord
from exporter.ledger.history import History
from exporter.ledger.saved import StateChanges
from exporter.ledger.schema import SCHEMA_VERSION
from exporter.ledger.store import Store
from exporter.sensors.records import Component, CounterState, DomainKey
from exporter.workloads.records import RunFacts, RunKey, WorkloadId

DOMAIN = DomainKey("rapl", "package", "0")
RUN = RunKey("abc123def456")
GPU = (7200.0, 1800.5, 0.1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "state.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    store = Store(path, boot_id="boot-1")
    yield store
    store.close()


def save(
    store: Store,
    *,
    joules: float = 12.5,
    raw: int = 2**63 + 5,
    is_alive: bool = True,
    now_s: float = 50.0,
    gpu: tuple[float, ...] = GPU,
    gpu_floors: Mapping[str, Floors] | None = None,
) -> None:
    key = LeafKey(WorkloadId("unit", "", "a\n\"'", ""), RUN)
    account = Account([joules] + [0.1] * 6, [3.0, 0.0], gpu)
    facts = RunFacts(key=RUN, name="nightly", framework="torchrun", world_size=8, is_alive=is_alive, started_s=1000.0)
    changes = StateChanges(
        leaves={key},
        processes={ProcessKey(RUN, "3", 77)},
        runs={RUN},
        now_s=now_s,
        accounts={key: account},
        process_accounts={ProcessKey(RUN, "3", 77): Account([1.0] * 7)},
        run_records={RUN: RunRecord(facts, born_s=0.0, seen_s=now_s, seen_wall_s=2000.0)},
        emissions_g={"operational": 3.0},
        event_counts={("error", "rapl", "io"): 2.0},
    )
    store.save(
        changes,
        run_totals={RUN: account},
        domains={DOMAIN: CounterState(raw, now_s, 99.5)},
        learned={Component.CPU: LearnedPower(10.0, 0.5, 100.0, 1.0, 2.0, 1.2, 60.0)},
        meta={"ticks": "7", "late_ticks": "1", "saved_wall_s": "2000.0"},
        gpu_floors=gpu_floors or {},
    )


def reopened(store: Store, *, boot_id: str = "boot-1", now_s: float = 60.0) -> SavedState:
    store.close()
    again = Store(store.path, boot_id=boot_id)
    try:
        return again.load(now_s=now_s)
    finally:
        again.close()


def test_what_was_saved_is_loaded_again_bit_for_bit(store: Store) -> None:
    save(store)

    loaded = reopened(store)

    (key, account), *_ = loaded.accounts.items()
    assert key == LeafKey(WorkloadId("unit", "", "a\n\"'", ""), RUN)
    assert account.energy_j == [12.5] + [0.1] * 6
    assert account.emissions_g == [3.0, 0.0]
    assert account.gpu == list(GPU)
    assert loaded.domains == {DOMAIN: CounterState(2**63 + 5, 50.0, 99.5)}
    assert loaded.learned[Component.CPU].lowest_power_w == 60.0
    assert loaded.processes[ProcessKey(RUN, "3", 77)].energy_j == [1.0] * 7
    assert (loaded.ticks, loaded.late_ticks, loaded.saved_at_s) == (7, 1, 50.0)
    assert loaded.runs[0].facts.world_size == 8


@settings(deadline=None)  # writes files: how long that takes is the machine\'s affair
@given(joules=st.floats(0, 1e300), raw=st.integers(0, 2**64))
def test_any_total_and_any_register_survive(tmp_path_factory: pytest.TempPathFactory, joules: float, raw: int) -> None:
    store = Store(tmp_path_factory.mktemp("s") / "state.db", boot_id="boot-1")
    save(store, joules=joules, raw=raw)

    loaded = reopened(store)

    assert next(iter(loaded.accounts.values())).energy_j[0] == joules
    assert loaded.domains[DOMAIN].raw == raw


@settings(deadline=None)  # writes files: how long that takes is the machine\'s affair
@given(gpu=st.tuples(*[st.floats(0, 1e300)] * 3))
def test_any_gpu_totals_survive_in_the_leaf_and_in_the_run(
    tmp_path_factory: pytest.TempPathFactory, gpu: tuple[float, ...]
) -> None:
    store = Store(tmp_path_factory.mktemp("s") / "state.db", boot_id="boot-1")
    save(store, gpu=gpu)

    loaded = reopened(store)

    assert tuple(next(iter(loaded.accounts.values())).gpu) == gpu
    assert [run.gpu for run in History(store.path).runs()] == [gpu]


_floor = st.tuples(st.floats(0, 1e5), st.floats(0, 1e9)).map(lambda learned: Floor(*learned))
_floors = st.tuples(_floor, _floor).map(lambda both: Floors(*both))


@settings(deadline=None)  # writes files: how long that takes is the machine\'s affair
@given(floors=st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=50), _floors, max_size=3))
@pytest.mark.parametrize("boot_id", ["boot-1", "boot-2"])
def test_what_was_learned_of_each_gpu_survives_even_another_boot(
    tmp_path_factory: pytest.TempPathFactory, boot_id: str, floors: dict[str, Floors]
) -> None:
    store = Store(tmp_path_factory.mktemp("s") / "state.db", boot_id="boot-1")
    save(store, gpu_floors=floors)

    assert reopened(store, boot_id=boot_id).gpu_floors == floors


def test_a_gpu_is_not_taken_for_quiet_because_it_was_at_the_last_save(store: Store) -> None:
    """What it did in between nobody knows: it must settle again before its power is learned from."""
    save(store, gpu_floors={"GPU-1": Floors(Floor(70.0, 600.0), Floor(115.0, 60.0), "context", 45.0)})

    assert reopened(store).gpu_floors == {"GPU-1": Floors(Floor(70.0, 600.0), Floor(115.0, 60.0), "", 0.0)}


def test_a_gpu_that_was_not_there_at_the_last_save_keeps_what_was_learned(store: Store) -> None:
    first, second = Floors(Floor(70.0, 600.0)), Floors(Floor(30.0, 60.0))
    save(store, gpu_floors={"GPU-1": first})
    save(store, gpu_floors={"GPU-2": second}, now_s=55.0)

    assert reopened(store).gpu_floors == {"GPU-1": first, "GPU-2": second}


def test_another_boot_starts_at_zero_but_keeps_what_was_learned_and_the_history(store: Store) -> None:
    """F68: counters of another boot are not continued."""
    save(store)

    loaded = reopened(store, boot_id="boot-2")

    assert loaded.accounts == {}
    assert loaded.domains == {}
    assert Component.CPU in loaded.learned
    [run] = History(store.path).runs()
    assert run.ended_s == 2000.0


def test_a_state_from_the_future_of_this_boot_is_not_continued(store: Store) -> None:
    """F68."""
    save(store, now_s=500.0)

    assert reopened(store, now_s=60.0).accounts == {}


def test_an_unknown_boot_is_never_taken_for_the_same(tmp_path: Path) -> None:
    store = Store(tmp_path / "state.db", boot_id="")
    save(store)

    assert reopened(store, boot_id="").accounts == {}


@pytest.mark.parametrize(
    "content", [b"not a database at all, but long enough to be read as a header" * 20, b"\x00" * 4096]
)
def test_a_damaged_file_is_moved_aside_and_said_so(path: Path, content: bytes) -> None:
    """F68."""
    path.parent.mkdir(parents=True)
    path.write_bytes(content)

    store = Store(path, boot_id="boot-1")

    assert "damaged" in store.note
    assert Path(f"{path}.damaged").read_bytes() == content
    save(store)
    assert reopened(store).accounts


def test_a_file_cut_in_half_does_not_stop_the_agent(store: Store) -> None:
    """F67: a power cut may leave anything; the worst outcome is a fresh start."""
    save(store)
    store.close()
    for suffix in ("", "-wal"):
        part = Path(f"{store.path}{suffix}")
        if part.exists():
            os.truncate(part, part.stat().st_size // 2)

    again = Store(store.path, boot_id="boot-1")
    again.load(now_s=60.0)
    save(again, joules=3.0)

    assert next(iter(reopened(again).accounts.values())).energy_j[0] == 3.0


def test_a_file_with_foreign_content_in_our_tables_is_moved_aside(store: Store) -> None:
    """F67, F68: it opens as a database and holds what no agent wrote."""
    save(store)
    store.close()
    with closing(sqlite3.connect(store.path)) as db:
        db.execute("UPDATE meta SET value = 'soon' WHERE key = 'saved_at_s'")
        db.commit()

    again = Store(store.path, boot_id="boot-1")
    loaded = again.load(now_s=60.0)
    again.close()

    assert loaded.accounts == {}
    assert "damaged" in again.note


def test_a_second_agent_is_refused_with_the_remedy(store: Store) -> None:
    """F73: two agents on one node."""
    with pytest.raises(StateError, match=r"in use by another agent; give this one its own --state\.file"):
        Store(store.path, boot_id="boot-1")


def test_a_newer_file_is_left_alone(store: Store) -> None:
    store.close()
    with closing(sqlite3.connect(store.path)) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
        db.commit()

    with pytest.raises(StateError, match="newer version"):
        Store(store.path, boot_id="boot-1")


def test_a_path_that_cannot_be_made_names_it(tmp_path: Path) -> None:
    """F68: read-only root, missing rights: the parent is a file here, which root cannot write into either."""
    (tmp_path / "file").write_text("")

    with pytest.raises(StateError, match=r"file/state\.db"):
        Store(tmp_path / "file" / "state.db", boot_id="boot-1")


def test_a_full_disk_loses_nothing_that_was_saved_before(store: Store) -> None:
    """F68, F71: the write fails as a whole; the file keeps the old totals."""
    save(store, joules=1.0)
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count = {pages}")
    changes = StateChanges(now_s=55.0, run_records={}, event_counts={("error", "x" * 9000, "io"): 1.0})

    with pytest.raises(StateError, match="cannot be written: database or disk is full"):
        store.save(changes, run_totals={}, domains={}, learned={}, meta={})

    assert next(iter(reopened(store).accounts.values())).energy_j[0] == 1.0


def test_the_state_is_not_readable_by_everybody(store: Store) -> None:
    save(store)

    for path in (store.path.parent, *store.path.parent.iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) & stat.S_IRWXO == 0, path


def test_history_holds_running_and_finished_runs(store: Store) -> None:
    save(store)
    [running] = History(store.path).runs()
    save(store, is_alive=False, now_s=51.0)
    [finished] = History(store.path).runs()

    assert running.ended_s is None
    assert finished.ended_s == 2000.0
    assert finished.energy_by_component_j()[Component.CPU] == 12.6
    assert finished.emissions_by_scope_g() == {"operational": 3.0}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, 1),
        ({"name": "night*"}, 1),
        ({"name": "abc*"}, 1),
        ({"name": "other"}, 0),
        ({"since_s": 2001.0}, 0),
        ({"limit": 0}, 0),
    ],
)
def test_history_is_filtered(store: Store, query: dict[str, object], found: int) -> None:
    save(store)

    assert len(History(store.path).runs(**query)) == found  # type: ignore[arg-type]


def test_old_runs_leave_the_history(store: Store) -> None:
    save(store)
    store.load(now_s=60.0)
    store.forget_old_runs(wall_s=2000.0 + 500 * 86_400)
    assert len(History(store.path).runs()) == 1, "a live run stays"

    reopened(store, boot_id="boot-2")
    again = Store(store.path, boot_id="boot-2")
    again.forget_old_runs(wall_s=2000.0 + 500 * 86_400)
    again.close()
    assert History(store.path).runs() == []


def test_history_of_a_missing_or_foreign_file_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="does not exist"):
        History(tmp_path / "none.db").runs()
    (tmp_path / "text.db").write_text("hello" * 1000)
    with pytest.raises(StateError, match="cannot be read"):
        History(tmp_path / "text.db").runs()
