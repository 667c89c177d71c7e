"""Where a run ran: what survives in the state file, and what an older file does not know."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import StateError
from exporter.ledger.accounts import Account, LeafKey, RunRecord
from exporter.ledger.history import History
from exporter.ledger.places import NO_PLACE, RunPlace, place_from_json, place_to_json
from exporter.ledger.saved import StateChanges
from exporter.ledger.store import Store
from exporter.workloads.records import RunFacts, RunKey, WorkloadId

RUN = RunKey("abc")
PLACE = RunPlace("AMD EPYC 7763", "SE-SE3", 1.12, "SEK")
GPUS = {"NVIDIA H100 80GB HBM3": 4}
texts = st.text(st.characters(codec="utf-8"), max_size=20)
places = st.builds(RunPlace, texts, texts, st.none() | st.floats(1, 10), texts)


@given(place=places, gpus=st.dictionaries(texts, st.integers(0, 64), max_size=3))
def test_any_place_survives_as_text(place: RunPlace, gpus: dict[str, int]) -> None:
    assert (place, gpus) == place_from_json(place_to_json(place, gpus))


@pytest.mark.parametrize("text", ["", "{}"])
def test_what_was_not_noted_is_unknown(text: str) -> None:
    assert place_from_json(text) == (NO_PLACE, {})


def _save(path: Path) -> Store:
    store = Store(path, boot_id="boot")
    facts = RunFacts(key=RUN, name="nightly", framework="torchrun", account="physics")
    record = RunRecord(facts, born_s=0.0, seen_s=50.0, seen_wall_s=2000.0, place=PLACE, gpus=GPUS)
    account = Account([1.0] * 7, [3.0, 0.5], (), [2.5, 0.75, 0.1])
    key = LeafKey(WorkloadId("unit", "", "a"), RUN)
    changes = StateChanges(
        leaves={key}, runs={RUN}, now_s=50.0, accounts={key: account}, run_records={RUN: record},
        footprint={"market_g": 3.5, "cost": 0.25}, currency="SEK", budgets={"physics": 7.125},
    )  # fmt: skip
    store.save(changes, run_totals={RUN: account}, domains={}, learned={}, meta={})
    return store


def test_footprint_budgets_currency_and_places_survive_a_restart_bit_for_bit(tmp_path: Path) -> None:
    _save(tmp_path / "state.db").close()
    store = Store(tmp_path / "state.db", boot_id="boot")
    loaded = store.load(now_s=60.0)
    store.close()

    [account] = loaded.accounts.values()
    assert account.footprint == [2.5, 0.75, 0.1]
    assert (loaded.footprint, loaded.currency) == ({"market_g": 3.5, "cost": 0.25}, "SEK")
    assert loaded.budgets == {"physics": 7.125}
    assert (loaded.runs[0].place, loaded.runs[0].gpus, loaded.runs[0].facts.account) == (PLACE, GPUS, "physics")


def test_another_boot_starts_budgets_and_footprint_at_zero_and_keeps_the_history(tmp_path: Path) -> None:
    _save(tmp_path / "state.db").close()
    store = Store(tmp_path / "state.db", boot_id="boot-2")
    loaded = store.load(now_s=60.0)
    store.close()

    assert (loaded.footprint, loaded.currency, loaded.budgets) == ({}, "", {})
    [run] = History(tmp_path / "state.db").runs()
    assert (run.footprint, run.place, run.gpus) == ((2.5, 0.75, 0.1), PLACE, GPUS)


def test_a_place_that_no_agent_wrote_is_a_clear_error(tmp_path: Path) -> None:
    _save(tmp_path / "state.db").close()
    with closing(sqlite3.connect(tmp_path / "state.db")) as db:
        db.execute("UPDATE run SET place = '[1]'")
        db.commit()

    with pytest.raises(StateError, match="expected an object"):
        History(tmp_path / "state.db").runs()
