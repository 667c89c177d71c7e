from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.cli import main
from exporter.ledger import Snapshot
from exporter.node import Node
from exporter.sensors.gpu.gpu_set import GpuSet
from exporter.testing import FakeClock
from exporter.testing.demo import Demo
from tests.reports.report_server import FakeServer, Fault, serving
from tests.system.accounts import settings_for

TICKS, STEP_S = 20, 30.0
NAMES = {"llama-pretrain", "forgotten-notebook", "bert-finetune"}
HEADS = ("wattribute_run_start_timestamp_seconds", "wattribute_run_last_seen_timestamp_seconds")
ENERGY = "wattribute_run_energy_joules_total"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Snapshot]:
    """Return the state file of a simulated node with eight GPUs and three runs, and its last snapshot."""
    directory = tmp_path_factory.mktemp("history")
    clock = FakeClock(wall_s=time.time() - TICKS * STEP_S)
    demo = Demo(directory / "node", clock, node=0, nodes=2)
    path = directory / "state.db"
    accounts = Node(
        settings_for(state=path),
        roots=demo.node.roots,
        clock=clock,
        make_gpus=lambda settings, _roots, clock: GpuSet([demo.driver], clock, settings.gpus),
    )
    accounts.start()
    for _ in range(TICKS):
        clock.advance(STEP_S)
        demo.advance(STEP_S)
        snapshot = accounts.tick()
    accounts.close()
    return path, snapshot


def report(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main(["report", "--output=json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_history_holds_what_the_agent_counted(
    node: tuple[Path, Snapshot], capsys: pytest.CaptureFixture[str]
) -> None:
    path, snapshot = node
    runs = {run["name"]: run for run in report(capsys, f"--state.file={path}", "--all")["runs"]}

    assert runs.keys() == NAMES
    for totals in snapshot.runs:
        run = runs[totals.facts.name]
        assert run["key"] == totals.facts.key
        assert run["energy"]["total_j"] == pytest.approx(sum(totals.energy_j), rel=1e-12)
        assert run["emissions"]["operational_location_based_g"] == pytest.approx(totals.emissions_g[0], rel=1e-12)
        assert totals.gpu is not None
        assert run["gpus"]["held_hours"] == pytest.approx(totals.gpu[0] / 3600)
        assert run["emissions"]["average_intensity_g_per_kwh"] == pytest.approx(329.65, rel=1e-6)
    assert runs["forgotten-notebook"]["gpus"]["unused_ratio"] == 1.0
    assert runs["llama-pretrain"]["hardware"] == [{"gpus": 4, "model": "Simulated H100 80GB"}]


def test_a_part_of_a_run_is_called_a_part(node: tuple[Path, Snapshot], capsys: pytest.CaptureFixture[str]) -> None:
    """The run has eight ranks, of which four ran on this node."""
    path, _ = node
    (run,) = report(capsys, f"--state.file={path}", "llama-pretrain")["runs"]

    assert any("4 of the run's 8 ranks" in note and "--prometheus.url" in note for note in run["notes"])


def test_the_first_screen_tells_it(node: tuple[Path, Snapshot], capsys: pytest.CaptureFixture[str]) -> None:
    path, _ = node
    assert main(["report", f"--state.file={path}", "llama-*"]) == 0

    text = capsys.readouterr().out
    shown = [line.split("  ")[0].strip() for line in text.splitlines()[:20]]
    assert shown[0].startswith("Run llama-pretrain (")
    assert [head for head in shown if head.isupper()] == ["ENERGY", "GPU HOURS", "EMISSIONS"]
    assert "not configured" in text
    assert "Not covered" in text
    assert max(map(len, text.splitlines())) <= 110


def test_csv_has_a_row_for_each_run(node: tuple[Path, Snapshot], capsys: pytest.CaptureFixture[str]) -> None:
    path, _ = node
    assert main(["report", f"--state.file={path}", "--all", "--output=csv"]) == 0

    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {row["name"] for row in rows} == NAMES
    assert all(float(row["energy_kwh"]) > 0 and row["grid_zones"] == "DE" for row in rows)
    assert all(row["operational_market_based_t"] == "" for row in rows)


def test_a_model_card_is_read_by_its_keys(node: tuple[Path, Snapshot], capsys: pytest.CaptureFixture[str]) -> None:
    path, snapshot = node
    card = ["--output=model-card", "--training-type=fine-tuning", "--location=Frankfurt: Germany\n# x"]
    assert main(["report", f"--state.file={path}", "bert-finetune", *card]) == 0

    _, front, prose = capsys.readouterr().out.split("---\n")
    block = yaml.safe_load(front)["co2_eq_emissions"]
    (grams,) = [run.emissions_g[0] for run in snapshot.runs if run.facts.name == "bert-finetune"]
    assert block["emissions"] == pytest.approx(grams, rel=1e-5)
    assert block["training_type"] == "fine-tuning"
    assert block["geographical_location"] == "Frankfurt: Germany\ufffd# x"
    assert block["hardware_used"] == "1 x Simulated H100 80GB"
    assert "bert-finetune" in prose


def test_several_matches_are_listed(node: tuple[Path, Snapshot], capsys: pytest.CaptureFixture[str]) -> None:
    path, snapshot = node
    assert main(["report", f"--state.file={path}", "*e*"]) == 2

    said = capsys.readouterr().err
    assert "--last or --all" in said
    assert all(run.facts.key in said for run in snapshot.runs)


def test_the_last_of_several_is_one(node: tuple[Path, Snapshot], capsys: pytest.CaptureFixture[str]) -> None:
    path, _ = node

    assert len(report(capsys, f"--state.file={path}", "*e*", "--last")["runs"]) == 1
    assert len(report(capsys, f"--state.file={path}", "*e*", "--all")["runs"]) == 3


@pytest.mark.parametrize("wanted", ["nothing", "no\x1b[2Jthing"])
def test_no_match_exits_1_and_says_what_to_do(
    node: tuple[Path, Snapshot], capsys: pytest.CaptureFixture[str], wanted: str
) -> None:
    path, _ = node
    assert main(["report", f"--state.file={path}", wanted]) == 1

    said = capsys.readouterr().err
    assert "--since=90d" in said
    assert "\x1b" not in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "RUN: give a run's key or name"),
        (["x", "--since=yesterday"], "--since: expected a duration"),
        (["x", "--until=2999-99-99"], "--until: expected a duration"),
        (["x", "--since=2026-01-02", "--until=2026-01-01"], "must be before --until"),
        (["x", "--match=cluster"], "--match: has no effect without --prometheus.url"),
        (["x", "--prometheus.url=http://h", '--match=cluster="a"} or vector(1) #'], "--match: expected matchers"),
        (["x", "--prometheus.url=http://h", "--prometheus.header=X"], "expected NAME=VALUE"),
        (["x", "--prometheus.url=http://h", "--prometheus.header=Authorization=Bearer s3cret"], "every user"),
        (["x", "--prometheus.url=http://h", "--prometheus.timeout=soon"], "--prometheus.timeout: expected"),
        (["x", "--prometheus.url=host:9090"], "--prometheus.url: expected http://HOST"),
        (["--all", "--output=model-card"], "a card is about one run"),
    ],
)
def test_mistakes_exit_2(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    assert main(["report", *arguments]) == 2

    errors = capsys.readouterr().err
    assert said in errors
    assert "s3cret" not in errors


def test_all_mistakes_are_told_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--since=x", "--until=y", "--match=z", "--prometheus.header=q", "--prometheus.url=http://h"]
    assert main(["report", *flags]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 5


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """Serve one run on two nodes, of which one has no PUE, and a second run whose name is an attack."""
    fake = FakeServer()
    now_s = float(int(time.time()))
    times = [now_s - 3600 + 60 * minute for minute in range(60)]
    for run, name, instances in (("r1", "llama", ("a:9", "b:9")), ("r2", "=evil\x1b[2J: {x}\n---", ("c:9",))):
        for number, instance in enumerate(instances):
            place = {"run": run, "instance": instance}
            fake.put("wattribute_run_info", {**place, "name": name, "user": "ada", "world_size": "2"}, flat(times, 1))
            for family in HEADS:
                value = times[0] if "start" in family else times[-1]
                fake.put(family, place, flat(times, value))
            for mode, joules in (("active", 3.6e6), ("idle", 7.2e6)):
                samples = [(at_s, joules * at / 59) for at, at_s in enumerate(times)]
                fake.put(ENERGY, {**place, "component": "gpu", "mode": mode}, samples)
            grams = [(at_s, 3 * 1.25 * 400 * at / 59) for at, at_s in enumerate(times)]
            fake.put("wattribute_run_emissions_grams_total", {**place, "scope": "operational"}, grams)
            if number == 0:
                fake.put("wattribute_pue_ratio", {"instance": instance}, flat(times, 1.25))
            fake.put(
                "wattribute_energy_uncertainty_ratio", {"instance": instance, "component": "gpu"}, flat(times, 0.05)
            )
            fake.put("wattribute_run_ranks", place, flat(times, 1))
    with serving(fake) as served:
        yield served


def flat(times: list[float], value: float) -> list[tuple[float, float]]:
    return [(at_s, float(value)) for at_s in times]


def test_nodes_are_summed_and_what_is_unknown_is_null(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    (run,) = report(capsys, f"--prometheus.url={server.url}", "llama")["runs"]

    assert run["energy"]["total_kwh"] == pytest.approx(6.0)
    assert (run["energy"]["active_kwh"], run["energy"]["idle_kwh"]) == pytest.approx((2.0, 4.0))
    assert run["energy"]["uncertainty_ratio"] == pytest.approx(0.05)
    assert run["emissions"]["operational_location_based_t"] == pytest.approx(0.003)
    assert run["emissions"]["average_intensity_g_per_kwh"] is None
    assert (run["ranks"], run["world_size"], run["hardware"]) == (2, 2, [])
    assert (run["is_running"], run["nodes"]) == (True, ["a:9", "b:9"])
    assert run["emissions"]["operational_market_based_t"] is run["emissions"]["embodied_t"] is run["cost"] is None


def test_the_address_can_come_from_the_environment(
    server: FakeServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATTRIBUTE_PROMETHEUS_URL", server.url)
    arguments = ["r1", '--match=job=~"w|v|"', "--prometheus.header=X-Scope-OrgID=team"]

    assert report(capsys, *arguments)["runs"][0]["name"] == "llama"
    assert all(headers["x-scope-orgid"] == "team" for _, _, headers, _ in server.asked)
    assert all('job=~"w|v|"' in query for *_, query in server.asked)


@pytest.mark.parametrize("output", ["text", "json", "csv", "model-card"])
def test_names_of_users_do_no_harm(server: FakeServer, capsys: pytest.CaptureFixture[str], output: str) -> None:
    """No control character reaches a terminal, no formula a spreadsheet, no text the structure of YAML."""
    assert main(["report", f"--prometheus.url={server.url}", "r2", f"--output={output}"]) == 0

    text = capsys.readouterr().out
    assert text.replace("\n", "").isprintable()
    if output == "csv":
        (row,) = csv.DictReader(io.StringIO(text))
        assert row["name"].startswith("'=evil")
    if output == "model-card":
        assert text.count("\n---\n") == 1


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault(401, "who?"), "--prometheus.bearer-token-file"),
        (Fault(500, '{"status":"error","errorType":"internal","error":"boom"}'), "boom"),
        (Fault(200, "<html>"), "not JSON"),
        (Fault(200, '{"status":"success","data":{"resultType":"vector","result":[]}}'), "no run is called"),
        (Fault(422, '{"status":"error","errorType":"execution","error":"too many samples"}'), "too many samples"),
    ],
)
def test_a_server_that_fails_exits_1_with_a_remedy(
    server: FakeServer, capsys: pytest.CaptureFixture[str], fault: Fault, said: str
) -> None:
    server.fault = fault
    assert main(["report", f"--prometheus.url={server.url}", "llama"]) == 1
    assert said in capsys.readouterr().err


def test_partial_answers_are_said(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.warnings = ["store 10.0.0.7 is away"]
    (run,) = report(capsys, f"--prometheus.url={server.url}", "llama")["runs"]

    assert "The server warned: store 10.0.0.7 is away." in run["notes"]


def test_a_run_without_energy_is_said(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    series: Mapping[Any, Any] = {key: of for key, of in server.series.items() if key[0] != ENERGY}
    server.series = dict(series)
    assert main(["report", f"--prometheus.url={server.url}", "llama"]) == 1
    assert "holds no energy of run r1" in capsys.readouterr().err


def test_a_card_without_emissions_is_refused(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.series = {key: of for key, of in server.series.items() if "emissions" not in key[0]}
    assert main(["report", f"--prometheus.url={server.url}", "llama", "--output=model-card"]) == 1
    assert "carbon.grid_zone" in capsys.readouterr().err
