"""``wattribute advise`` in front of fake grid APIs on loopback and a state file as an agent writes it."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from exporter.cli import main
from exporter.cli.advise_command import run_advise
from exporter.cli.arguments import parse
from exporter.cli.live_outlook import ask_providers
from exporter.errors import ConfigError
from exporter.ledger.store import Store
from exporter.testing import FakeClock
from exporter.testing.grid_apis import ElectricityMapsApi, WattTimeApi
from exporter.units import JOULES_PER_KILOWATT_HOUR
from tests.cli.test_runs_command import run, save

HOUR_S = 3600.0
NOON_S = 1_764_072_000.0
"""2025-11-25 12:00 UTC."""
LEVEL = {"DE": 400.0, "FR": 60.0, "PL": 700.0, "SE-SE3": 25.0}
Capture = pytest.CaptureFixture[str]
Document = Mapping[str, Any]  # JSON of another shape for each key


@pytest.fixture(autouse=True)
def no_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATTRIBUTE_CONFIG_FILE", raising=False)


def daily(zone: str, at_s: float) -> float:
    """Return a level that falls to a half around four in the morning."""
    hour = at_s % 86_400 / HOUR_S
    return LEVEL.get(zone, 300.0) * (0.75 - 0.25 * math.cos((hour - 16) / 24 * 2 * math.pi - math.pi))


class Grid(NamedTuple):
    """A configuration whose provider is a fake Electricity Maps at noon."""

    api: ElectricityMapsApi
    config: Path
    clock: FakeClock

    def advise(self, capsys: Capture, *flags: str) -> Document:
        options = parse(["advise", f"--config.file={self.config}", "--output=json", *flags])
        assert run_advise(options, options.settings(), clock=self.clock, environ={}) == 0
        found: Document = json.loads(capsys.readouterr().out)
        return found

    def text(self, capsys: Capture, *flags: str) -> str:
        options = parse(["advise", f"--config.file={self.config}", *flags])
        assert run_advise(options, options.settings(), clock=self.clock, environ={}) == 0
        return capsys.readouterr().out


CONFIG = """\
carbon:
  grid_zone: DE
  pue_ratio: 1.25
  reference_zones: [FR, PL]
  providers:
    - {{kind: electricity_maps, url: "{url}", key_file: "{key}"}}
"""


@pytest.fixture
def grid(tmp_path: Path) -> Iterator[Grid]:
    clock = FakeClock(wall_s=NOON_S)
    with ElectricityMapsApi(daily, now_s=clock.wall_s) as api:
        key = tmp_path / "key"
        key.write_text(api.key)
        key.chmod(0o600)
        config = tmp_path / "wattribute.yaml"
        config.write_text(CONFIG.format(url=api.url, key=key))
        yield Grid(api, config, clock)


def advise(capsys: Capture, *flags: str) -> Document:
    assert main(["advise", "--output=json", *flags]) == 0
    found: Document = json.loads(capsys.readouterr().out)
    return found


def mistakes(capsys: Capture, *flags: str) -> str:
    assert main(["advise", *flags]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err


def places(offers: Sequence[Document]) -> list[str]:
    return [offer["place"] for offer in offers]


def test_zones_are_ranked_by_their_yearly_means(capsys: Capture) -> None:
    found = advise(capsys, "--energy=100", "--grid-zone=DE", "--zones=PL,FR,SE", "--pue=1.2")

    assert places(found["where"]) == ["SE", "FR", "DE", "PL"]
    france, germany = found["where"][1], found["where"][2]
    assert found["now"] == germany
    assert france["saving_g"] == pytest.approx(germany["emissions_g"] - france["emissions_g"])
    assert found["when"] == []


def test_all_regions_of_a_cloud_come_with_their_pue(capsys: Capture) -> None:
    found = advise(capsys, "--energy=100", "--grid-zone=gcp:europe-west3", "--regions=gcp")
    own = [offer for offer in found["where"] if offer["is_own"] == "yes"]

    assert len(found["where"]) > 20
    assert places(own) == ["gcp:europe-west3"]
    assert len(set(places(found["where"]))) == len(found["where"])
    assert {offer["pue_ratio"] for offer in found["where"]} > {1.1}


def test_the_plan_of_an_estimate_gives_the_energy(capsys: Capture) -> None:
    found = advise(capsys, "--accelerator=H100", "--count=8", "--duration=10h", "--grid-zone=DE", "--zones=FR")

    assert found["it_energy_kwh"] == pytest.approx(56)
    assert found["duration_s"] == 36_000
    assert any("the energy is estimated, 30.2 kWh to 84.0 kWh" in remark for remark in found["remarks"])


def test_without_providers_it_is_said_that_nothing_says_when(capsys: Capture) -> None:
    found = advise(capsys, "--energy=1", "--grid-zone=DE", "--zones=FR", "--duration=30h")

    assert any("nothing says when" in remark for remark in found["remarks"])
    assert any("shrinks as runs get long beside a day" in remark for remark in found["remarks"])
    assert any("(marginal) differs" in remark for remark in found["remarks"])


def test_the_best_start_is_by_the_forecast(capsys: Capture, grid: Grid) -> None:
    """Reference zones are compared by default; the curve is lowest at four in the morning."""
    found = grid.advise(capsys, "--energy=100", "--duration=2h")
    best = found["when"][0]

    assert (best["place"], best["starts"], best["kind"]) == ("FR", "2025-11-26T03:00:00Z", "forecast")
    assert best["provider"] == "electricity_maps"
    assert found["now_live"]["place"] == "DE"
    later = next(offer for offer in found["when"] if offer["place"] == "DE" and offer["starts"])
    assert later["starts"] == best["starts"]
    assert later["saving_ratio"] == pytest.approx(
        1 - later["intensity_g_per_kwh"] / found["now_live"]["intensity_g_per_kwh"]
    )
    assert sorted(set(places(found["when"]))) == ["DE", "FR", "PL"]


def test_a_deadline_moves_the_start(capsys: Capture, grid: Grid) -> None:
    found = grid.advise(capsys, "--energy=100", "--duration=2h", "--deadline=10h", "--zones=FR")

    assert found["when"][0]["starts"] == "2025-11-25T20:00:00Z"


def test_a_run_longer_than_the_forecast_gets_the_present_value(capsys: Capture, grid: Grid) -> None:
    found = grid.advise(capsys, "--energy=100", "--duration=30d")

    assert {offer["kind"] for offer in found["when"]} == {"present"}
    assert all(offer["starts"] is None for offer in found["when"])


@pytest.mark.parametrize(
    ("fault", "reason"), [("server_error", "server"), ("unauthorized", "auth"), ("truncated", "format")]
)
def test_a_provider_that_fails_is_seen(capsys: Capture, grid: Grid, fault: Any, reason: str) -> None:
    grid.api.fail(fault)

    text = grid.text(capsys, "--energy=100", "--duration=2h")
    found = grid.advise(capsys, "--energy=100", "--duration=2h")

    assert re.search(rf"electricity_maps failed \({reason}\)|electricity_maps failed \(io\)", text)
    assert {offer["kind"] for offer in found["when"]} == {"yearly"}
    assert places(found["where"]) == ["FR", "DE", "PL"]


def test_a_zone_that_the_provider_does_not_have_keeps_its_yearly_mean(capsys: Capture, grid: Grid) -> None:
    grid.api.zones = frozenset({"DE"})

    found = grid.advise(capsys, "--energy=100", "--duration=2h", "--zones=FR")
    france = next(offer for offer in found["when"] if offer["place"] == "FR")

    assert (france["kind"], france["is_comparable"], france["saving_g"]) == ("yearly", "no", None)
    assert "electricity_maps failed (not_found)" in france["remarks"]


def test_a_provider_that_hangs_costs_the_time_limit_and_is_named(grid: Grid) -> None:
    grid.api.fail("hang")
    settings = parse(["advise", f"--config.file={grid.config}"]).settings()
    began_s = time.monotonic()

    live = ask_providers(settings.carbon, ["DE", "FR"], now_s=NOON_S, timeout_s=0.15)

    assert time.monotonic() - began_s < 5
    assert [(one.series, one.problem) for one in live.values()] == [
        (None, "electricity_maps did not answer in time"),
    ] * 2


def test_the_first_provider_that_answers_counts_and_the_failure_is_named(grid: Grid, tmp_path: Path) -> None:
    key = tmp_path / "wrong"
    key.write_text("wrong")
    key.chmod(0o600)
    text = grid.config.read_text()
    wrong = f'    - {{kind: electricity_maps, url: "{grid.api.url}", key_file: "{key}"}}\n'
    grid.config.write_text(text.replace("  providers:\n", f"  providers:\n{wrong}"))
    settings = parse(["advise", f"--config.file={grid.config}"]).settings()

    live = ask_providers(settings.carbon, ["DE"], now_s=NOON_S, timeout_s=5)

    assert live["DE"].series is not None
    assert live["DE"].problem == "electricity_maps failed (auth)"


def test_a_fixed_value_speaks_for_the_own_zone_only(grid: Grid) -> None:
    grid.config.write_text(
        "carbon: {grid_zone: DE, providers: [{kind: fixed, signal: average, intensity_g_per_kwh: 123}]}\n"
    )
    settings = parse(["advise", f"--config.file={grid.config}"]).settings()

    live = ask_providers(settings.carbon, ["DE", "FR"], now_s=NOON_S, timeout_s=5)

    assert live["DE"].series is not None
    assert live["DE"].series.points[0].intensity_g_per_kwh == 123
    assert live["FR"] == (None, "fixed does not cover it", None)


def test_the_marginal_signal_is_shown_beside(capsys: Capture, grid: Grid, tmp_path: Path) -> None:
    with WattTimeApi(lambda _region, _at_s: 850.0, now_s=grid.clock.wall_s) as api:
        user, password = tmp_path / "user", tmp_path / "password"
        for path, secret in ((user, api.username), (password, api.password)):
            path.write_text(secret)
            path.chmod(0o600)
        grid.config.write_text(
            f'{grid.config.read_text()}    - {{kind: watttime, signal: marginal, url: "{api.url}", '
            f'username_file: "{user}", password_file: "{password}"}}\n'
        )

        found = grid.advise(capsys, "--energy=100", "--duration=2h")

    marginal = {offer["place"]: offer["marginal_g_per_kwh"] for offer in found["when"]}
    assert marginal["DE"] == pytest.approx(850)
    assert found["when"][0]["place"] == "FR"


def test_no_secret_is_printed(capsys: Capture, grid: Grid) -> None:
    grid.api.fail("forbidden_json")

    assert grid.api.key not in grid.text(capsys, "--energy=100", "--duration=2h")


def test_only_so_many_zones_are_asked_for(capsys: Capture, grid: Grid) -> None:
    """A free key has some fifty calls an hour."""
    found = grid.advise(capsys, "--energy=100", "--duration=2h", "--regions=aws")

    asked = {request.query["zone"] for request in grid.api.requests if "zone" in request.query}
    assert len(asked) == 12
    assert "DE" in asked
    assert any("providers were asked for 12 of" in remark for remark in found["remarks"])


def test_text_shows_both_tables_and_marks_the_own_place(capsys: Capture, grid: Grid) -> None:
    text = grid.text(capsys, "--energy=100", "--duration=2h")

    assert "where, by yearly means" in text
    assert re.search(r"when, by what providers say now\nPLACE +START \(UTC\)", text)
    assert re.search(r"FR +Wed 03:00, in 15 h 0 min +\d+ +1\.25", text)
    assert re.search(r"DE \(you\) +now ", text)


def test_long_tables_are_cut_and_say_so(capsys: Capture) -> None:
    assert main(["advise", "--energy=1", "--grid-zone=DE", "--regions=aws", "--limit=2"]) == 0
    text = capsys.readouterr().out

    assert len(re.findall(r"^aws:", text, re.MULTILINE)) == 4
    assert re.search(r"^and \d+ more: --limit$", text, re.MULTILINE)
    assert "DE (you)" in text


def test_csv_has_all_rows_of_both_tables(capsys: Capture, grid: Grid) -> None:
    options = parse(["advise", f"--config.file={grid.config}", "--output=csv", "--energy=100", "--duration=2h"])
    assert run_advise(options, options.settings(), clock=grid.clock, environ={}) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))

    assert [row["place"] for row in rows if row["question"] == "where"] == ["FR", "DE", "PL"]
    assert {row["provider"] for row in rows if row["question"] == "when"} == {"electricity_maps"}


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Keep a run of 20 kWh that wasted 5 kWh on idle GPUs, an older one of that name, and one without GPUs."""
    path = tmp_path / "state.db"
    store = Store(path, boot_id="boot")
    kwh = JOULES_PER_KILOWATT_HOUR
    old = run("a" * 12, "llama", NOON_S - 90 * HOUR_S, is_alive=False)
    save(store, old, seen_s=NOON_S - 80 * HOUR_S, energy_j=kwh)
    new = run("b" * 12, "llama", NOON_S - 4 * HOUR_S, is_alive=False)
    gpu = (32 * HOUR_S, 8 * HOUR_S, 5 * kwh)
    save(store, new, seen_s=NOON_S, energy_j=20 * kwh, grams=8000.0, gpu=gpu)
    save(store, run("c" * 12, "plain", NOON_S - HOUR_S), seen_s=NOON_S, energy_j=2 * kwh)
    save(store, run("d" * 12, "nothing", NOON_S - HOUR_S), seen_s=NOON_S, energy_j=0.0)
    store.close()
    return path


def test_a_run_of_the_past_gives_energy_and_length(capsys: Capture, grid: Grid, state: Path) -> None:
    found = grid.advise(capsys, "--run=llama", f"--state.file={state}")

    assert found["run"] == {"key": "b" * 12, "name": "llama", "matches": 2}
    assert (found["it_energy_kwh"], found["duration_s"]) == (pytest.approx(20), pytest.approx(4 * HOUR_S))
    assert found["when"][0]["place"] == "FR"


def test_idle_gpus_of_a_run_are_a_line_of_their_own(capsys: Capture, grid: Grid, state: Path) -> None:
    """A quarter of its energy went to GPUs on which nothing ran: a quarter of its grams."""
    found = grid.advise(capsys, "--run=llama", f"--state.file={state}")
    text = grid.text(capsys, "--run=llama", f"--state.file={state}")

    assert found["unused_gpus"] == pytest.approx(
        {"gpu_hours": 8, "share_of_gpu_hours_ratio": 0.25, "it_energy_kwh": 5, "emissions_g": 2000}
    )
    assert "releasing idle GPUs would have saved 5.00 kWh and 2.00 kgCO2e" in text
    assert "8.0 GPU-hours, 25% of those held" in text
    assert "llama: 20.0 kWh of IT energy over 4 h 0 min, which emitted 8.00 kgCO2e" in text
    assert "the newest of 2 runs that match" in text


def test_a_run_without_idle_gpus_has_no_such_line(capsys: Capture, grid: Grid, state: Path) -> None:
    assert grid.advise(capsys, "--run=plain", f"--state.file={state}")["unused_gpus"] is None
    assert "releasing idle GPUs" not in grid.text(capsys, "--run=plain", f"--state.file={state}")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--run=nobody",), "--run: no run in"),
        (("--run=nothing",), "--run: the run used no energy that was measured"),
        (("--run=llama", "--energy=3"), "--energy: the run states the energy; remove it or --run"),
    ],
)
def test_mistakes_about_runs(grid: Grid, state: Path, flags: tuple[str, ...], said: str) -> None:
    options = parse(["advise", f"--config.file={grid.config}", f"--state.file={state}", *flags])

    with pytest.raises(ConfigError, match=re.escape(said)):
        run_advise(options, options.settings(), clock=grid.clock, environ={})


def test_a_missing_state_file_is_no_mistake_of_the_command_line(capsys: Capture, tmp_path: Path) -> None:
    assert main(["advise", "--run=x", f"--state.file={tmp_path / 'none.db'}", "--grid-zone=DE"]) == 1
    assert "does not exist" in capsys.readouterr().err


def test_all_mistakes_are_told_at_once(capsys: Capture) -> None:
    said = mistakes(
        capsys, "--zones=GERMNY,DE,aws:mars", "--regions=foo", "--deadline=3", "--limit=0", "--pue=9x", "--duration=1h"
    )

    for line in (
        "--zones: no grid zone 'GERMNY' is known; did you mean DE",
        "--zones: no region 'aws:mars' is known",
        "--regions: expected one of aws, azure, gcp, ovh, ovhcloud, scaleway, found 'foo'",
        "--deadline: expected a duration",
        "--limit: expected a whole number above 0, found '0'",
        "--pue: expected a number from 1 to 10",
    ):
        assert line in said


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--energy=1",), "--grid-zone: say where the energy would be used now"),
        (("--grid-zone=DE",), "the power is not stated"),
        (("--energy=1", "--grid-zone=DE", "--duration=3h", "--deadline=2h"), "--deadline: is shorter than the run"),
        (("--energy=1", "--grid-zone=DE", "--deadline=2h"), "--deadline: needs the length of the run"),
    ],
)
def test_what_is_lacking_is_a_mistake(capsys: Capture, flags: tuple[str, ...], said: str) -> None:
    assert said in mistakes(capsys, *flags)
