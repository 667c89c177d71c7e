from __future__ import annotations

import csv
import io
import json
import time
from pathlib import Path

import pytest

from exporter.cli import main
from exporter.ledger.accounts import Account, LeafKey, RunRecord
from exporter.ledger.saved import StateChanges
from exporter.ledger.store import Store
from exporter.units import JOULES_PER_KILOWATT_HOUR
from exporter.workloads.records import RunFacts, RunKey, WorkloadId

HOUR_S = 3600.0


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Write a state file as an agent does: one run that runs, one that ended, one that was not seen for long."""
    path = tmp_path / "state.db"
    store = Store(path, boot_id="boot")
    now_s = time.time()
    save(store, run("a" * 12, "nightly", now_s - 2 * HOUR_S), seen_s=now_s, energy_j=2.5 * JOULES_PER_KILOWATT_HOUR)
    save(store, run("b" * 12, "=cmd()", now_s - 5 * HOUR_S, is_alive=False), seen_s=now_s - 3 * HOUR_S, energy_j=900.0)
    save(store, run("c" * 12, "lost\x1b[2J", now_s - 90 * HOUR_S), seen_s=now_s - 80 * HOUR_S, energy_j=0.0, grams=0.0)
    store.close()
    return path


def run(key: str, name: str, started_s: float, *, is_alive: bool = True) -> RunFacts:
    return RunFacts(
        key=RunKey(key), name=name, framework="torchrun", user="ada", is_alive=is_alive, started_s=started_s
    )


def save(store: Store, facts: RunFacts, *, seen_s: float, energy_j: float, grams: float = 3.0) -> None:
    account = Account([energy_j] + [0.0] * 6, [grams, 0.0])
    changes = StateChanges(
        leaves={LeafKey(WorkloadId("unit", "", "x"), facts.key)},
        processes=set(),
        runs={facts.key},
        now_s=50.0,
        accounts={LeafKey(WorkloadId("unit", "", "x"), facts.key): account},
        process_accounts={},
        run_records={facts.key: RunRecord(facts, born_s=0.0, seen_s=50.0, seen_wall_s=seen_s)},
        emissions_g={},
        event_counts={},
    )
    store.save(changes, run_totals={facts.key: account}, domains={}, learned={}, meta={})


def names(capsys: pytest.CaptureFixture[str], state: Path, *flags: str) -> list[str]:
    assert main(["runs", f"--state.file={state}", "--output=json", *flags]) == 0
    return [row["name"] for row in json.loads(capsys.readouterr().out)]


def test_the_table_has_fitting_units_and_tells_what_runs(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", f"--state.file={state}"]) == 0

    head, nightly, ended, lost = capsys.readouterr().out.splitlines()
    assert head.split()[:2] == ["RUN", "KEY"]
    assert "2 h 0 min" in nightly
    assert "2.50 kWh" in nightly
    assert nightly.endswith("3.00 gCO2e  running")
    assert "250 mWh" in ended
    assert ended.endswith("ended")
    assert "–  not seen for 3 d 8 h" in lost
    assert "\x1b" not in lost


def test_a_file_that_an_agent_writes_can_be_read_meanwhile(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    writer = Store(state, boot_id="boot")
    try:
        assert len(names(capsys, state)) == 3
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--since=1h"], ["nightly"]),
        (["--since=4h"], ["nightly", "=cmd()"]),
        (["--name=night*"], ["nightly"]),
        (["--name=bbbb*"], ["=cmd()"]),
        (["--finished"], ["=cmd()"]),
        (["--running", "--limit=1"], ["nightly"]),
        (["--limit=0"], []),
    ],
)
def test_filters(state: Path, capsys: pytest.CaptureFixture[str], flags: list[str], expected: list[str]) -> None:
    assert expected == names(capsys, state, *flags)


def test_csv_holds_the_json_rows_and_no_formula(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["runs", f"--state.file={state}", "--output=json"])
    documents = json.loads(capsys.readouterr().out)
    main(["runs", f"--state.file={state}", "--output=csv"])
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))

    assert [list(document) for document in documents] == [list(row) for row in rows]
    assert [row["name"] for row in rows] == ["nightly", "'=cmd()", "lost\ufffd[2J"]
    assert float(rows[0]["cpu_energy_j"]) == documents[0]["energy_j"] == 2.5 * JOULES_PER_KILOWATT_HOUR
    assert rows[2]["emissions_g"] == ""


@pytest.mark.parametrize("flag", ["--since=yesterday", "--since=0", "--limit=-1", "--running=1"])
def test_a_wrong_filter_exits_2(flag: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["runs", "--state.file=x", flag])

    assert caught.value.code == 2


def test_no_match_is_said(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", f"--state.file={state}", "--name=nothing"]) == 0
    assert "no runs match" in capsys.readouterr().out
