"""The stand-in itself, and what only a process of its own can show: missing libraries and functions."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from exporter.testing.simulated_nvml import (
    NVML_STATE_VARIABLE,
    MigSlice,
    NoCompilerError,
    NvidiaBoard,
    SimulatedNvml,
    build_standin,
    load_standin,
    standin_environment,
)
from tests.sensors.gpu.standin import ENERGY, SAMPLES, NvidiaNode, run_python

LOOK = """
from exporter.clock import SystemClock
from exporter.errors import SourceError
from exporter.sensors.gpu.nvml import NvmlDriver
driver = NvmlDriver(SystemClock())
try:
    gpus = driver.look()
except SourceError as exc:
    print(type(exc).__name__, exc)
else:
    reading = driver.read(gpus[0])
    print({expression})
"""


def look(expression: str) -> str:
    return LOOK.replace("{expression}", expression)


def test_the_counter_integrates_power_over_time(node: NvidiaNode) -> None:
    gpu = node.gpus[0]
    gpu.start(10, load=0.5)
    gpu.start(11, load=0.25)
    node.advance(10)
    gpu.stop(10)
    node.advance(10)

    assert gpu.energy_j == pytest.approx(70 * 20 + 530 * (0.75 * 10 + 0.25 * 10))
    assert gpu.active_j == pytest.approx({10: 530 * 5, 11: 530 * 5})


def test_a_reset_of_the_counter_leaves_the_truth(node: NvidiaNode) -> None:
    node.look()
    node.advance(10)
    node.gpus[0].set_counter(0)
    node.advance(1)

    assert node.read().energy_uj == 70_000_000
    assert node.gpus[0].energy_j == pytest.approx(770.0)


def test_the_ring_keeps_seventy_two_samples(node: NvidiaNode) -> None:
    """Twelve seconds at six a second: what a slow reader gets."""
    node.look()
    node.gpus[0].start(10, load=1.0)
    node.read()
    node.advance(60)

    assert dict(node.read().samples) == {10: 7200.0}


def test_samples_are_the_same_in_every_run(tmp_path: Path) -> None:
    def taken(path: Path) -> bytes:
        nvml = SimulatedNvml(path, seed=7)
        nvml.gpus[0].start(10, load=0.3)
        nvml.gpus[0].start(11, load=0.3)
        nvml.advance(10)
        return path.read_bytes()

    assert taken(tmp_path / "one") == taken(tmp_path / "two")


def test_a_partition_draws_by_its_slices(node: NvidiaNode) -> None:
    half = MigSlice(1, 3, "3g.40gb")
    node.gpus[0].divide([half])
    node.gpus[0].start(10, load=1.0, on=half)

    assert node.gpus[0].power_w == pytest.approx(70 + 530 * 3 / 7)


def test_too_many_gpus_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at most 16"):
        SimulatedNvml(tmp_path / "state", [NvidiaBoard()] * 17)


def test_too_many_faults_are_refused(node: NvidiaNode) -> None:
    for number in range(64):
        node.nvml.fail(f"nvmlCall{number}", 3)

    with pytest.raises(ValueError, match="no more faults"):
        node.nvml.fail("nvmlCall64", 3)


def test_a_missing_compiler_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(NoCompilerError, match="no C compiler"):
        build_standin(tmp_path)


def test_another_process_reads_what_this_one_simulates(standin_library: Path, tmp_path: Path) -> None:
    nvml = SimulatedNvml(tmp_path / "state", [NvidiaBoard(idle_w=123.0)])
    said = run_python(look("reading.power_w"), standin_environment(standin_library, nvml.path))

    assert said == "123.0"
    assert nvml.calls("nvmlDeviceGetPowerUsage") == 1


def test_a_state_nobody_named_is_a_driver_that_is_not_loaded(standin_library: Path, tmp_path: Path) -> None:
    environment = dict(standin_environment(standin_library, tmp_path / "none"))

    assert "no NVIDIA driver is loaded" in run_python(look("0"), environment)
    assert NVML_STATE_VARIABLE in environment


def test_a_machine_without_the_library_has_no_driver() -> None:
    """Skipped in name only where a real driver is installed: it then answers for itself."""
    said = run_python(look("'there is one'"), {"LD_LIBRARY_PATH": ""})

    expected = (
        "SourceUnsupportedError loading the library: no NVIDIA driver: libnvidia-ml.so.1 not found (NVML code 12)"
    )
    assert said in {expected, "there is one"}


@pytest.mark.parametrize(
    ("missing", "expression", "expected"),
    [
        ((ENERGY,), "reading.energy_uj, reading.power_w", "None 70.0"),
        ((SAMPLES,), "reading.has_samples, reading.has_processes", "False True"),
        (("nvmlDeviceGetComputeRunningProcesses_v3",), "[one.pid for one in reading.processes]", "[10]"),
        (("nvmlDeviceGetRunningProcessDetailList",), "[one.pid for one in reading.processes]", "[10]"),
        (
            ("nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetComputeRunningProcesses_v2"),
            "gpus[0].restricted, reading.has_processes",
            "no_processes False",
        ),
        (("nvmlDeviceGetFieldValues",), "reading.cross_check_power_w, reading.power_w", "None 70.0"),
        (("nvmlDeviceGetMigMode",), "gpus[0].is_partitioned", "False"),
        (("nvmlDeviceGetVirtualizationMode", "nvmlDeviceGetMinorNumber"), "gpus[0].minor", "None"),
    ],
)
def test_a_function_that_the_library_lacks_is_absent(
    standin_library: Path, tmp_path: Path, missing: tuple[str, ...], expression: str, expected: str
) -> None:
    nvml = SimulatedNvml(tmp_path / "state")
    nvml.gpus[0].start(10)
    library = build_standin(tmp_path, without=missing)

    assert run_python(look(expression), standin_environment(library, nvml.path)) == expected


def test_odd_drivers_are_asked_for_the_lists_whose_layout_is_known(standin_library: Path, tmp_path: Path) -> None:
    """Drivers 530 to 535.98 have 8 bytes more per record in the newest lists."""
    nvml = SimulatedNvml(tmp_path / "state")
    library = build_standin(tmp_path, without=("nvmlDeviceGetRunningProcessDetailList",))
    run_python(look("0"), standin_environment(library, nvml.path))

    assert nvml.calls("nvmlDeviceGetComputeRunningProcesses_v3") == 0
    assert nvml.calls("nvmlDeviceGetComputeRunningProcesses_v2") > 0


def test_importing_the_driver_module_imports_no_binding() -> None:
    script = "import sys, exporter.sensors.gpu.nvml; print('pynvml' in sys.modules)"

    assert run_python(script, {}) == "False"


@pytest.mark.parametrize("call", ["nvmlInitWithFlags", "nvmlDeviceGetName"])
def test_a_call_hangs_until_it_recovers(standin_library: Path, tmp_path: Path, call: str) -> None:
    nvml = SimulatedNvml(tmp_path / "state")
    nvml.hang(call)
    environment = {**os.environ, **standin_environment(standin_library, nvml.path)}
    with subprocess.Popen(
        [sys.executable, "-c", look("len(gpus)")], env=environment, stdout=subprocess.PIPE
    ) as process:
        while nvml.calls(call) == 0 and process.poll() is None:
            time.sleep(0.01)
        is_hanging = process.poll() is None
        nvml.recover(call)
        said, _ = process.communicate(timeout=30)

    assert (is_hanging, said) == (True, b"1\n")


def test_a_compiler_that_fails_is_told_in_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "/bin/false")

    with pytest.raises(RuntimeError, match=r"/bin/false cannot build nvml_standin\.c"):
        build_standin(tmp_path)


def test_a_second_build_cannot_take_the_place_of_the_first(node: NvidiaNode, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="is loaded in this process"):
        load_standin(build_standin(tmp_path))
