"""Resident memory and reserved CPUs of workloads."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.testing import CgroupLayout, SimulatedNode
from exporter.testing.kernel_files import create_text, overwrite
from exporter.workloads import UsageSample, WorkloadSettings
from exporter.workloads.memory import memory_total_bytes
from tests.workloads.following import Follower, rank

_OUTER = "/system.slice/app.service"
_INNER = "/system.slice/app.service/worker"
_CONTAINER = f"/kubepods/burstable/pod0a1b2c3d-1111-2222-3333-444455556666/{'ab' * 32}"
_JOB = "/slurm/uid_1000/job_42/step_0/task_0"


def _resident(sample: UsageSample, *, of_runs: bool = False) -> float:
    return sum(leaf.resident_bytes for leaf in sample.leaves if (leaf.run is not None) == of_runs)


@pytest.mark.parametrize("layout", ["v1", "v2"])
def test_memory_is_exclusive_of_the_groups_below(tmp_path: Path, layout: CgroupLayout) -> None:
    node = SimulatedNode(tmp_path, layout=layout)
    node.spawn("server", cgroup=_OUTER, resident_bytes=3 << 20)
    node.spawn("python3", cgroup=_INNER, resident_bytes=5 << 20, environment=rank(0))
    with Follower(node) as follower:
        sample = follower.tick(with_memory=True)

    assert (_resident(sample), _resident(sample, of_runs=True)) == (3 << 20, 5 << 20)
    assert sample.memory_total_bytes == 64 << 30


def test_memory_is_read_no_more_often_than_its_interval(tmp_path: Path) -> None:
    node = SimulatedNode(tmp_path)
    node.spawn("server", cgroup=_OUTER, resident_bytes=3 << 20)
    with Follower(node, WorkloadSettings(memory_interval_s=30.0)) as follower:
        follower.tick(with_memory=True)
        node.spawn("server", cgroup=_OUTER, resident_bytes=1 << 20)
        soon = follower.tick(with_memory=True)
        later = follower.tick(30.0, with_memory=True)

    assert (_resident(soon), _resident(later)) == (3 << 20, 4 << 20)


def test_memory_is_not_read_where_nobody_asks(tmp_path: Path) -> None:
    node = SimulatedNode(tmp_path)
    node.spawn("server", cgroup=_OUTER, resident_bytes=3 << 20)
    with Follower(node) as follower:
        sample = follower.tick()

    assert _resident(sample) == 0


def test_memory_that_is_no_number_keeps_the_last_reading(tmp_path: Path) -> None:
    node = SimulatedNode(tmp_path)
    node.spawn("server", cgroup=_OUTER, resident_bytes=3 << 20)
    with Follower(node, WorkloadSettings(memory_interval_s=1.0)) as follower:
        follower.tick(with_memory=True)
        node.advance(5.0)
        overwrite(node.roots.cgroupfs / _OUTER[1:] / "memory.stat", b"anon lots\n")
        sample = follower.collector.sample(with_memory=True)

    assert _resident(sample) == 3 << 20


def test_a_batch_jobs_cpu_set_is_its_request_where_it_is_smaller_than_the_node(tmp_path: Path) -> None:
    node = SimulatedNode(tmp_path, layout="v1", cpu_count=32)
    node.spawn("simulation", cgroup=_JOB, demand_cpus=1.0)
    node.cgroups.restrict(_JOB, "0-3,8")
    node.spawn("simulation", cgroup=_JOB.replace("42", "43"), demand_cpus=1.0)
    with Follower(node) as follower:
        sample = follower.tick()

    cores = {leaf.workload.name: leaf.requested_cores for leaf in sample.leaves if leaf.workload.kind == "slurm_job"}
    assert cores == {"42": 5.0, "43": 0.0}


@pytest.mark.parametrize(("shares", "cores"), [("2048\n", 2.0), ("many\n", 0.0), ("999999\n", 32.0)])
def test_a_v1_containers_shares_are_its_request(tmp_path: Path, shares: str, cores: float) -> None:
    node = SimulatedNode(tmp_path, layout="v1", cpu_count=32)
    node.spawn("server", cgroup=_CONTAINER)
    create_text(node.roots.cgroupfs / "cpu,cpuacct" / _CONTAINER[1:] / "cpu.shares", shares)
    with Follower(node) as follower:
        sample = follower.tick()

    assert [leaf.requested_cores for leaf in sample.leaves if leaf.workload.kind == "pod"] == [cores]


def test_installed_memory_is_unknown_where_it_is_not_told(tmp_path: Path) -> None:
    create_text(tmp_path / "meminfo", "MemFree: 1 kB\nMemTotal: lots\n")

    assert memory_total_bytes(str(tmp_path)) == 0.0
    assert memory_total_bytes(str(tmp_path / "missing")) == 0.0
