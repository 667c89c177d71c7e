"""The validation script on the NVML stand-in: it must find out what the stand-in was told, and say it was simulated."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from exporter.testing.simulated_nvml import (
    NVML_STATE_VARIABLE,
    NoCompilerError,
    NvidiaBoard,
    SimulatedNvml,
    build_standin,
    standin_environment,
)

STEP_S = 0.01
LOADS = {"context": 0.0, "steady": 0.8, "square": 0.8, "train": 0.6, "train_half": 0.3}
HALF_PERIOD_S = 0.05
IDLE_W, ACTIVE_W = 70.0, 500.0
SERVED = ((185, 0), (186, 0), (186, 1))
BOARD = NvidiaBoard(idle_w=IDLE_W, active_w=ACTIVE_W, power_fields=SERVED)
TIMEOUT_S = 100


class Outcome(NamedTuple):
    report: dict[str, Any]
    summary: str

    def section(self, name: str) -> dict[str, Any]:
        return next(one for one in self.report["sections"] if one["name"] == name)

    def numbers(self, name: str) -> dict[str, Any]:
        """Return what a section found; it must have been measured."""
        section = self.section(name)
        assert section["status"] == "measured", section["reason"]
        numbers: dict[str, Any] = section["numbers"]
        return numbers


def run_script(directory: Path, environment: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench.validate_gpu", "--quick", "--output", str(directory), *arguments],
        cwd=Path(__file__).parents[2],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


@contextmanager
def passing_time(nvml: SimulatedNvml, loads: Path) -> Iterator[None]:
    """Let simulated time follow the real one, and let the load programs have their load on the first GPU."""
    stop, gpu = threading.Event(), nvml.gpus[0]

    def follow() -> None:
        running: dict[int, str] = {}
        before_s = time.monotonic()
        while not stop.wait(STEP_S):
            claims = {int(file.name): file.read_text() for file in loads.iterdir() if file.name.isdigit()}
            for pid in running.keys() - claims.keys():
                gpu.stop(pid)
                (loads / f"{pid}.on").unlink()
            now_s = time.monotonic()
            for pid, mode in claims.items():
                is_on = mode != "square" or int(now_s / HALF_PERIOD_S) % 2 == 0
                gpu.start(pid, load=LOADS.get(mode, 0.0) if is_on else 0.0)
                (loads / f"{pid}.on").touch()
            running = claims
            nvml.advance(now_s - before_s)
            before_s = now_s

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        return build_standin(tmp_path_factory.mktemp("nvml"))
    except NoCompilerError as exc:
        pytest.skip(str(exc))


@pytest.fixture(scope="module")
def outcome(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Run the script once, with loads, on a GPU whose ring is full of somebody who has ended."""
    directory = tmp_path_factory.mktemp("validation")
    nvml = SimulatedNvml(directory / "state", [BOARD], seed=3)
    nvml.gpus[0].start(77, load=1.0)
    nvml.advance(20)
    nvml.gpus[0].stop(77)
    loads = directory / "loads"
    loads.mkdir()
    environment = {**standin_environment(library, nvml.path), "SIMULATED_LOADS": str(loads)}
    command = f"{sys.executable} -m tests.bench.simulated_load"
    with passing_time(nvml, loads):
        done = run_script(directory, environment, "--load", command)
    assert done.returncode == 0, done.stderr
    numbers, summary = map(Path, done.stdout.split())
    return Outcome(json.loads(numbers.read_text()), summary.read_text())


def test_every_section_is_measured_or_says_why_not(outcome: Outcome) -> None:
    ends = {one["name"]: (one["status"], bool(one["reason"])) for one in outcome.report["sections"]}

    assert set(ends.values()) <= {("measured", False), ("skipped", True)}
    assert ends["mps"] == ("skipped", True)


def test_nothing_simulated_passes_for_measured_on_a_gpu(outcome: Outcome) -> None:
    assert outcome.report["simulated"]
    assert "Nothing on this page was measured on a GPU" in outcome.summary


@pytest.mark.parametrize(
    ("name", "power_w"),
    [
        ("energy_idle", IDLE_W),
        ("energy_steady", IDLE_W + 0.8 * ACTIVE_W),
    ],
)
def test_the_counter_agrees_with_power(outcome: Outcome, name: str, power_w: float) -> None:
    found = outcome.numbers(name)

    assert found["counter_w"] == pytest.approx(power_w, rel=0.02)
    for series in ("instant", "average", "power_usage"):
        assert found[f"counter_over_{series}"] == pytest.approx(1.0, abs=0.02)


def test_a_square_wave_gives_its_mean(outcome: Outcome) -> None:
    found = outcome.numbers("energy_square")

    assert found["counter_w"] == pytest.approx(IDLE_W + 0.4 * ACTIVE_W, rel=0.15)
    assert found["counter_over_instant"] == pytest.approx(1.0, abs=0.15)


def test_the_counter_moves_as_often_as_simulated_time(outcome: Outcome) -> None:
    found = outcome.numbers("counter_step")

    assert STEP_S * 1000 <= found["period_ms_p50"] * 1.05 < 60
    assert found["step_mj_p50"] == pytest.approx(IDLE_W * found["period_ms_p50"], rel=0.2)
    assert found["backward_steps"] == 0


def test_the_field_table_is_what_the_board_serves(outcome: Outcome) -> None:
    table = outcome.numbers("field_scopes")

    served = {pair for pair, answer in table.items() if answer["code"] == "SUCCESS"}
    assert served == {f"{number}/{scope}" for number, scope in SERVED}
    assert len(table) == 16


def test_the_ring_is_described(outcome: Outcome) -> None:
    found = outcome.numbers("samples_in_the_ring")

    assert found["rows"] == 72
    assert found["samples_per_s"] == pytest.approx(6.0, rel=0.01)
    assert found["is_one_row_per_pid"] is False
    assert found["stamps_are_of_clock"] == "none of wall, monotonic, boot"


def test_the_answer_at_idle_is_named(outcome: Outcome) -> None:
    found = outcome.numbers("samples_at_idle")

    assert list(found["codes"]) == ["NOT_FOUND"]
    assert found["code_for_last_seen_0"] == "SUCCESS"


def test_calls_that_the_gpu_refuses_are_told(outcome: Outcome) -> None:
    found = outcome.numbers("call_latency")

    assert found["total_energy_mj"]["p50_us"] > 0
    assert found["a whole reading"]["p99_us"] >= found["a whole reading"]["p50_us"]
    assert outcome.numbers("gpm")["metrics"] == "FUNCTION_NOT_FOUND"  # the stand-in has no samples of a whole GPU


def test_idle_power_is_found_and_settles(outcome: Outcome) -> None:
    assert outcome.numbers("idle_power")["counter_w"] == pytest.approx(IDLE_W, rel=0.02)
    assert outcome.numbers("context_power")["contexts"] == 1
    assert outcome.numbers("settling_time")["final_w"] == pytest.approx(IDLE_W)


def test_the_agent_accounts_for_two_processes(outcome: Outcome) -> None:
    """Shares come from a few dozen samples in quick mode, hence the wide tolerance; sums are exact."""
    found = outcome.numbers("attribution")

    assert found["runs_found"] == ["validate-whole", "validate-half"]
    assert found["worst_conservation_error_ratio"] < 1e-9
    assert found["board_over_counter"] == pytest.approx(1.0, abs=0.1)
    assert found["work_share"] == pytest.approx(2 / 3, abs=0.02)
    assert abs(found["share_error_points"]) < 30


def test_without_cuda_what_needs_a_load_is_skipped(library: Path, tmp_path: Path) -> None:
    nvml = SimulatedNvml(tmp_path / "state", [BOARD])
    loads = tmp_path / "loads"
    loads.mkdir()
    with passing_time(nvml, loads):
        done = run_script(tmp_path, standin_environment(library, nvml.path))

    assert done.returncode == 0, done.stderr
    outcome = Outcome(json.loads(Path(done.stdout.split()[0]).read_text()), "")
    for name in ("energy_steady", "energy_square", "samples_of_two", "context_power", "settling_time", "attribution"):
        assert outcome.section(name)["status"] == "skipped"
        assert "no load can be put on the GPU: " in outcome.section(name)["reason"]
    assert outcome.numbers("energy_idle")["counter_over_instant"] == pytest.approx(1.0, abs=0.02)


def test_one_section_that_fails_leaves_the_others(library: Path, tmp_path: Path) -> None:
    nvml = SimulatedNvml(tmp_path / "state", [BOARD])
    nvml.fail("nvmlDeviceGetTotalEnergyConsumption", 3)

    done = run_script(tmp_path, standin_environment(library, nvml.path), "--load", "false")

    assert done.returncode == 1
    outcome = Outcome(json.loads(Path(done.stdout.split()[0]).read_text()), "")
    assert outcome.section("counter_step")["status"] == "failed"
    assert outcome.section("field_scopes")["status"] == "measured"


def test_without_a_driver_it_ends_with_one_sentence(library: Path, tmp_path: Path) -> None:
    environment = {"LD_LIBRARY_PATH": str(library.parent), NVML_STATE_VARIABLE: str(tmp_path / "missing")}
    done = run_script(tmp_path / "out", environment)

    assert done.returncode == 1
    assert done.stderr.startswith("there is no NVIDIA GPU to validate on this machine: ")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()
