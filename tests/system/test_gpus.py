"""The whole agent as a process, with GPUs through the unmodified pynvml: what is charged, and how drivers end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.system.gpu_machine import GpuMachine
from tests.system.programs import Agent, agent_running, wait_for

pytestmark = pytest.mark.system

ENERGY = "nvmlDeviceGetTotalEnergyConsumption"
CONFIG = "gpus: {read_timeout_s: 0.3, rescan_interval_s: 1s}\n"

Page = dict[str, dict[frozenset[tuple[str, str]], float]]


def page(agent: Agent) -> Page:
    found: Page = {}
    for family in text_string_to_metric_families(agent.get()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return found


def value(found: Page, name: str, **labels: str) -> float | None:
    """Return the one series whose labels include ``labels``."""
    hits = [number for key, number in found.get(name, {}).items() if set(labels.items()) <= key]
    assert len(hits) <= 1, (name, labels, hits)
    return hits[0] if hits else None


def gpu_j(agent: Agent, gpu: int) -> float | None:
    return value(page(agent), "wattribute_gpu_energy_joules_total", gpu=str(gpu))


def running(tmp_path: Path, machine: GpuMachine) -> AbstractContextManager[Agent]:
    return agent_running(tmp_path, machine.node.roots, config=CONFIG, environ=machine.environ)


def wait_for_energy(agent: Agent, gpu: int, above_j: float) -> float:
    return wait_for(
        f"GPU {gpu} above {above_j} J", lambda: joules if (joules := gpu_j(agent, gpu) or 0.0) > above_j else None
    )


def test_runs_are_charged_and_the_page_adds_up(tmp_path: Path, machine: GpuMachine) -> None:
    with running(tmp_path, machine) as agent:
        wait_for_energy(agent, 0, 3000.0)
        found = page(agent)

    keys = {dict(labels)["name"]: dict(labels)["run"] for labels in found["wattribute_run_info"]}
    charged = found["wattribute_run_energy_joules_total"]
    of_run = {
        name: sum(j for labels, j in charged.items() if {("run", key), ("component", "gpu")} <= labels)
        for name, key in keys.items()
    }
    workloads = sum(
        j for labels, j in found["wattribute_workload_energy_joules_total"].items() if ("component", "gpu") in labels
    )
    rest = sum(
        j
        for labels, j in found["wattribute_node_unattributed_energy_joules_total"].items()
        if ("component", "gpu") in labels
    )
    ended = value(found, "wattribute_ended_energy_joules", component="gpu") or 0.0
    node = value(found, "wattribute_node_energy_joules_total", component="gpu")
    assert node == pytest.approx(workloads + rest + ended, rel=1e-9)
    assert of_run["good"] == pytest.approx(value(found, "wattribute_gpu_energy_joules_total", gpu="0"), rel=0.5)
    assert of_run["good"] > 5 * of_run["hog"] > 0
    assert value(found, "wattribute_run_unused_gpus", run=keys["hog"]) == 1
    assert value(found, "wattribute_run_unused_gpus", run=keys["good"]) == 0
    assert value(found, "wattribute_source_up", source="nvml") == 1


def test_check_lists_every_gpu_and_says_how_processes_are_seen(machine: GpuMachine) -> None:
    roots = machine.node.roots
    command = [
        *(sys.executable, "-m", "exporter.cli", "check", "--output=json", "--wait=1s"),
        *(f"--path.procfs={roots.procfs}", f"--path.sysfs={roots.sysfs}", f"--path.cgroupfs={roots.cgroupfs}"),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **machine.environ}, timeout=60, check=False
    )

    findings = json.loads(done.stdout)["findings"]
    items = {f["item"]: f["state"] for f in findings if f["source"] == "nvml"}
    assert [items[item] for item in items if item.startswith("gpu ")] == ["up", "up"]
    assert [f["state"] for f in findings if f["source"] == "pid_view"] == ["up"]


def test_a_call_that_never_returns_delays_no_scrape_and_no_other_gpu(tmp_path: Path, machine: GpuMachine) -> None:
    """F29."""
    with running(tmp_path, machine) as agent:
        before_j = wait_for_energy(agent, 1, 0.0)
        machine.nvml.hang(ENERGY, gpu=0)
        wait_for_energy(agent, 1, before_j + 350.0)
        started_s = time.monotonic()
        found = page(agent)
        scrape_s = time.monotonic() - started_s
        stuck_j = value(found, "wattribute_gpu_energy_joules_total", gpu="0")
        threads = len(list(Path(f"/proc/{agent.pid}/task").iterdir()))
        time.sleep(3.0)
        assert len(list(Path(f"/proc/{agent.pid}/task").iterdir())) == threads

        machine.nvml.recover()
        after_j = wait_for_energy(agent, 0, stuck_j or 0.0)

    assert scrape_s < 1.0
    assert value(found, "wattribute_gpu_power_watts", gpu="0") is None
    assert after_j - (stuck_j or 0.0) > 3 * 500.0  # what was drawn meanwhile comes with the next answer


def test_an_agent_ends_in_time_while_a_call_hangs(tmp_path: Path, machine: GpuMachine) -> None:
    with running(tmp_path, machine) as agent:
        wait_for_energy(agent, 0, 0.0)
        machine.nvml.hang(ENERGY, gpu=0)
        time.sleep(1.5)
        started_s = time.monotonic()

        assert agent.stop() == 0
        assert time.monotonic() - started_s < 5.0


def test_a_lost_gpu_stands_still_and_the_other_goes_on(tmp_path: Path, machine: GpuMachine) -> None:
    """F28."""
    with running(tmp_path, machine) as agent:
        wait_for_energy(agent, 0, 0.0)
        machine.nvml.gpus[0].lose()
        lost_j = wait_for("the GPU to be lost", lambda: _lost_j(page(agent)))
        other_j = gpu_j(agent, 1) or 0.0
        wait_for_energy(agent, 1, other_j + 100.0)

        found = page(agent)
        assert gpu_j(agent, 0) == lost_j
        assert [value(found, "wattribute_gpu_up", gpu=gpu) for gpu in ("0", "1")] == [0, 1]


def _lost_j(found: Page) -> float | None:
    is_lost = value(found, "wattribute_gpu_power_watts", gpu="0") is None
    return value(found, "wattribute_gpu_energy_joules_total", gpu="0") if is_lost else None


def test_a_driver_that_was_loaded_again_counts_on(tmp_path: Path, machine: GpuMachine) -> None:
    """F31: the driver goes away, comes back with its counters at zero, and no counter of ours falls."""
    with running(tmp_path, machine) as agent:
        before_j = wait_for_energy(agent, 0, 500.0)
        machine.nvml.fail("*", 9)
        wait_for("the source to be down", lambda: _is_down(page(agent)))
        for gpu in machine.nvml.gpus:
            gpu.set_counter(0)
        machine.nvml.recover()

        after_j = wait_for_energy(agent, 0, before_j + 1000.0)
        resets = page(agent)["wattribute_source_resets_total"]

    assert after_j > before_j
    assert sum(resets.values()) == 2


def _is_down(found: Page) -> bool | None:
    return value(found, "wattribute_source_up", source="nvml") == 0 or None


def test_an_upgraded_driver_ends_the_agent_with_its_own_code_and_everything_saved(
    tmp_path: Path, machine: GpuMachine
) -> None:
    with running(tmp_path, machine) as agent:
        before_j = wait_for_energy(agent, 0, 500.0)
        machine.nvml.fail("*", 18)

        assert agent.wait() == 3

        machine.nvml.recover()
        agent.start()
        wait_for("the agent to serve", agent.get)
        assert wait_for_energy(agent, 0, 0.0) >= before_j
    assert "driver" in agent.log.read_text()


def test_the_driver_is_let_go_on_a_signal_and_taken_again_on_another(tmp_path: Path, machine: GpuMachine) -> None:
    with running(tmp_path, machine) as agent:
        before_j = wait_for_energy(agent, 0, 0.0)
        closed = machine.nvml.calls("nvmlShutdown")
        agent.signal(signal.SIGUSR1)
        wait_for("the library to be closed", lambda: machine.nvml.calls("nvmlShutdown") > closed or None)
        opened = machine.nvml.calls("nvmlInitWithFlags")
        time.sleep(2.5)
        assert machine.nvml.calls("nvmlInitWithFlags") == opened

        agent.signal(signal.SIGUSR2)
        after_j = wait_for_energy(agent, 0, before_j)

    assert after_j - before_j > 2.5 * 500.0  # the counter tells what was drawn meanwhile


def test_a_clean_end_closes_the_library(tmp_path: Path, machine: GpuMachine) -> None:
    with running(tmp_path, machine) as agent:
        wait_for_energy(agent, 0, 0.0)
        before = machine.nvml.calls("nvmlShutdown")

        assert agent.stop() == 0

    assert machine.nvml.calls("nvmlShutdown") == before + 1


def test_a_machine_without_the_driver_measures_the_rest(tmp_path: Path, machine: GpuMachine) -> None:
    """F27."""
    empty = tmp_path / "empty"
    empty.mkdir()
    with agent_running(tmp_path, machine.node.roots, environ={"LD_LIBRARY_PATH": str(empty)}) as agent:
        found = wait_for("a sample", lambda: p if (p := page(agent)).get("wattribute_node_power_watts") else None)

    assert value(found, "wattribute_source_up", source="nvml") == 0
    assert value(found, "wattribute_node_power_watts", component="cpu") is not None
    assert "wattribute_gpu_energy_joules_total" not in found
    assert agent.log.read_text().count("source=nvml") == 1
