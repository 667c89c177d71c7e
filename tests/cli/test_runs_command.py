from __future__ import annotations

import csv
import io
import json
import re
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


@pytest.fixture
def gpu_state(state: Path) -> Path:
    """Add two runs that held GPUs: one wasted three quarters of what it held, one nothing."""
    store = Store(state, boot_id="boot")
    now_s = time.time()
    hog = run("d" * 12, "forgotten-notebook", now_s - HOUR_S)
    save(store, hog, seen_s=now_s, energy_j=9e6, gpu=(2 * HOUR_S, 1.5 * HOUR_S, 0.5 * JOULES_PER_KILOWATT_HOUR))
    busy = run("e" * 12, "llama", now_s - HOUR_S)
    save(store, busy, seen_s=now_s, energy_j=9e6, gpu=(800 * HOUR_S, 0.0, 0.0))
    store.close()
    return state


def save(
    store: Store,
    facts: RunFacts,
    *,
    seen_s: float,
    energy_j: float,
    grams: float = 3.0,
    gpu: tuple[float, ...] = (),
) -> None:
    account = Account([energy_j] + [0.0] * 6, [grams, 0.0], gpu)
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


def test_gpu_columns_are_there_only_if_a_listed_run_held_one(
    gpu_state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["runs", f"--state.file={gpu_state}", "--name=nightly"])
    assert "GPU" not in capsys.readouterr().out

    main(["runs", f"--state.file={gpu_state}"])
    head, *lines = capsys.readouterr().out.splitlines()
    shown = {line.split()[0]: line for line in lines}
    assert "GPU HOURS  IDLE  WASTED    ENERGY" in head
    assert "     2.00   75%  500 Wh  2.50 kWh" in shown["forgotten-notebook"]
    assert "   800.00    0%    0 Wh  2.50 kWh" in shown["llama"]
    assert "        –     –       –  2.50 kWh" in shown["nightly"]


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (40, ["RUN", "RAN FOR", "ENERGY", "STATE"]),
        (60, ["RUN", "RAN FOR", "GPU HOURS", "IDLE", "ENERGY", "STATE"]),
        (80, ["RUN", "RAN FOR", "GPU HOURS", "IDLE", "WASTED", "ENERGY", "STATE"]),
        (100, ["RUN", "STARTED (UTC)", "RAN FOR", "GPU HOURS", "IDLE", "WASTED", "ENERGY", "EMISSIONS", "STATE"]),
    ],
)
def test_the_table_of_runs_with_gpus_fits_the_terminal(
    gpu_state: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    width: int,
    expected: list[str],
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(width))
    main(["runs", f"--state.file={gpu_state}"])

    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in capsys.readouterr().out.splitlines()]
    assert max(map(len, lines)) <= width
    assert re.split(r" {2,}", lines[0].strip()) == expected
    assert [cells[0][:7] for cells in map(str.split, lines[1:])] == [
        "llama",
        "forgott",
        "nightly",
        "=cmd()",
        "lost\ufffd[2",
    ]
    assert lines[1].rstrip().endswith("2.50 kWh  3.00 gCO2e  running" if width >= 100 else "2.50 kWh  running")


def test_json_holds_what_was_held_and_zeros_for_who_held_none(
    gpu_state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["runs", f"--state.file={gpu_state}", "--output=json"])
    documents = {document["name"]: document for document in json.loads(capsys.readouterr().out)}

    names = ("gpu_held_s", "gpu_unused_s", "gpu_unused_j")
    assert [documents["forgotten-notebook"][name] for name in names] == [7200.0, 5400.0, 1.8e6]
    assert [documents["nightly"][name] for name in names] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("flag", ["--since=yesterday", "--since=0", "--limit=-1", "--running=1"])
def test_a_wrong_filter_exits_2(flag: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["runs", "--state.file=x", flag])

    assert caught.value.code == 2


def test_no_match_is_said(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", f"--state.file={state}", "--name=nothing"]) == 0
    assert "no runs match" in capsys.readouterr().out
