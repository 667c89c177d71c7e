"""A GPU that a real Slurm allotted is charged to its job, though nothing runs on it and no driver tells of the job."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporter.clock import SystemClock
from exporter.host import Roots
from exporter.testing.simulated_nvml import NvidiaBoard, SimulatedNvml, standin_environment
from tests.system.accounts import Counters
from tests.system.programs import Agent, agent_running, wait_for
from tests.system.slurm import needs_slurm, slurm_running

pytestmark = [pytest.mark.system, pytest.mark.timeout(120), *needs_slurm]

_CONFIG = "gpus: {read_timeout_s: 0.3, rescan_interval_s: 1s}\n"
_OPTIONS = ("--gres=gpu:1", "--output=/dev/null")
_NVIDIA_MAJOR = 195
_CONTAINER = ("c 1:* rwm", "c 5:* rwm", "c 136:* rwm", "c 195:0 rwm", "c 195:1 rwm", "c 195:255 rwm")
"""What a container with two GPUs may open: memory devices, terminals, the GPUs, the driver's control device."""


@contextmanager
def _idle_gpus(directory: Path, library: Path) -> Iterator[Mapping[str, str]]:
    """Let two GPUs draw their idle power in real time; yield the variables with which a process finds them."""
    nvml = SimulatedNvml(directory / "nvml", [NvidiaBoard(), NvidiaBoard()])
    is_over = threading.Event()

    def run() -> None:
        clock = SystemClock()
        last_s = clock.monotonic_s()
        while not is_over.wait(0.05):
            now_s = clock.monotonic_s()
            nvml.advance(now_s - last_s)
            last_s = now_s

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield standin_environment(library, directory / "nvml")
    finally:
        is_over.set()
        thread.join(timeout=5.0)


def _device_files(directory: Path) -> str:
    """Make the device files of two GPUs, outside of /dev, and return them as gres.conf takes them."""
    for number in range(2):
        os.mknod(directory / f"nvidia{number}", stat.S_IFCHR | 0o666, os.makedev(_NVIDIA_MAJOR, number))
    return f"{directory}/nvidia[0-1]"


def _devices_list(job: str) -> list[str]:
    """Return what the kernel shows of the devices that the task of a job may open."""
    (path,) = Path("/sys/fs/cgroup/devices").glob(f"slurm*/uid_0/job_{job}/step_0/task_0/devices.list")
    return path.read_text().splitlines()


def _page(agent: Agent) -> Counters:
    """Return every sample of a page, which adds up."""
    families = text_string_to_metric_families(agent.get())
    page = {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}
    parts = (
        "wattribute_workload_energy_joules_total",
        "wattribute_node_unattributed_energy_joules_total",
        "wattribute_ended_energy_joules",  # also the first tick's of a workload, which is shown at 0
    )
    charged_j = sum(_sum(page, name, component="gpu") for name in parts)
    assert charged_j == pytest.approx(_sum(page, "wattribute_node_energy_joules_total", component="gpu"), rel=1e-9)
    return page


def _sum(page: Counters, name: str, /, **labels: str) -> float:
    return sum(value for (found, pairs), value in page.items() if found == name and labels.items() <= pairs)


def _drawn_j(page: Counters) -> float:
    return _sum(page, "wattribute_gpu_energy_joules_total")


def _wait_for_holder(agent: Agent, job: str) -> None:
    name = "wattribute_workload_gpu_held_seconds_total"
    wait_for(f"job {job} to hold a GPU", lambda: _sum(_page(agent), name, name=job) or None)


def _after_ticks(agent: Agent, count: int) -> Counters:
    """Return the page of the tick that is ``count`` ticks from now."""

    def page_beyond(drawn_j: float) -> Counters:
        return wait_for("a tick", lambda: page if _drawn_j(page := _page(agent)) > drawn_j else None)

    page = _page(agent)
    for _ in range(count):
        page = page_beyond(_drawn_j(page))
    return page


class _Span:
    """What some ticks from now on add, when the present one, in which a job may have ended, is over."""

    def __init__(self, agent: Agent) -> None:
        self._first = _after_ticks(agent, 2)
        self._last = _after_ticks(agent, 3)

    def _added(self, name: str, /, **labels: str) -> float:
        return _sum(self._last, name, **labels) - _sum(self._first, name, **labels)

    def drawn_j(self, gpu: int) -> float:
        return self._added("wattribute_gpu_energy_joules_total", gpu=str(gpu))

    def nobodys_j(self) -> float:
        return self._added("wattribute_node_unattributed_energy_joules_total", component="gpu", reason="idle")

    def held_s(self, job: str) -> float:
        return self._added("wattribute_workload_gpu_held_seconds_total", kind="slurm_job", name=job)

    def idle_j(self, job: str) -> float:
        return self._added(
            "wattribute_workload_energy_joules_total", kind="slurm_job", name=job, component="gpu", mode="idle"
        )

    def idle_j_of_run(self, job: str) -> float:
        infos = (dict(labels) for name, labels in self._last if name == "wattribute_run_info")
        (run,) = (info["run"] for info in infos if info["owner"] == job)
        return self._added("wattribute_run_energy_joules_total", run=run, component="gpu", mode="idle")


def test_an_idle_gpu_is_the_jobs_that_it_was_allotted_to_while_it_lasts(tmp_path: Path, standin_library: Path) -> None:
    """Slurm denies a job the other GPUs one by one, which the kernel does not show: the job's variables tell."""
    script = (
        "#!/bin/sh\nexec srun sh -c 'for gpu in 0 1; do true <$0/nvidia$gpu; done 2>$0/denied-$SLURM_JOB_ID; "
        f"exec sleep 300' {tmp_path}\n"
    )
    with (
        _idle_gpus(tmp_path, standin_library) as environ,
        slurm_running(tmp_path, gpus=_device_files(tmp_path)) as slurm,
        agent_running(tmp_path, Roots(), config=_CONFIG, environ=environ) as agent,
    ):
        other, job = slurm.submit(script, *_OPTIONS), slurm.submit(script, *_OPTIONS)
        _wait_for_holder(agent, other)
        _wait_for_holder(agent, job)
        slurm.cancel(other)
        holding = _Span(agent)
        devices = _devices_list(job)
        slurm.cancel(job)
        after = _Span(agent)

    assert "nvidia0: Operation not permitted" in (tmp_path / f"denied-{job}").read_text()
    assert devices == ["a *:* rwm"]
    assert holding.held_s(job) > 1.5
    assert holding.idle_j(job) == pytest.approx(holding.drawn_j(1))
    assert holding.idle_j_of_run(job) == pytest.approx(holding.drawn_j(1))
    assert holding.nobodys_j() == pytest.approx(holding.drawn_j(0))
    assert (holding.held_s(other), holding.idle_j(other)) == (0, 0)
    assert (after.held_s(job), after.idle_j(job)) == (0, 0)
    assert after.nobodys_j() == pytest.approx(after.drawn_j(0) + after.drawn_j(1))


def test_a_job_that_says_it_has_all_gpus_gets_those_that_a_restricted_group_lists(
    tmp_path: Path, standin_library: Path
) -> None:
    """Where all of Slurm is in a container, the kernel shows what each job may open."""
    script = "#!/bin/sh\nexport SLURM_JOB_GPUS=0,1\nexec srun env SLURM_STEP_GPUS=0,1 sleep 300\n"
    with (
        _idle_gpus(tmp_path, standin_library) as environ,
        slurm_running(tmp_path, gpus=_device_files(tmp_path), allowed_devices=_CONTAINER) as slurm,
        agent_running(tmp_path, Roots(), config=_CONFIG, environ=environ) as agent,
    ):
        job = slurm.submit(script, *_OPTIONS)
        _wait_for_holder(agent, job)
        span = _Span(agent)
        devices = _devices_list(job)

    assert [line for line in devices if line.startswith("c 195:")] == ["c 195:0 rwm", "c 195:255 rwm"]
    assert span.idle_j(job) == pytest.approx(span.drawn_j(0))
    assert span.nobodys_j() == pytest.approx(span.drawn_j(1))
