"""Which process is whose: exits, reuse, strange names, hidden processes, many at once."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.testing import SimulatedNode
from exporter.testing.kernel_files import overwrite
from exporter.workloads import WorkloadCollector, WorkloadSettings
from tests.workloads.following import (
    Follower,
    RecordingClock,
    finding,
    rank,
    run_seconds,
    total_s,
    workload_seconds,
)

_SHARED = "/system.slice/batch.service"
_OTHER = "/system.slice/web.service"


def test_a_process_that_dies_between_listing_and_reading_is_skipped_in_silence(tmp_path: Path) -> None:
    """F36: /proc lists it, its files are gone."""
    node = SimulatedNode(tmp_path)
    with Follower(node) as follower:
        (node.roots.procfs / "4711").mkdir()
        sample = follower.tick()
        (node.roots.procfs / "4711").rmdir()

    assert sample.events == []
    assert finding(sample, "process_table").state == "up"


def test_a_process_whose_files_vanish_one_after_the_other_is_skipped_in_silence(tmp_path: Path) -> None:
    """F36: stat was read, cgroup and cmdline are gone."""
    node = SimulatedNode(tmp_path)
    process = node.spawn("python3", cgroup=_SHARED, environment=rank(0))
    for name in ("cgroup", "cmdline", "environ"):
        (node.roots.procfs / str(process.pid) / name).unlink()
    with Follower(node) as follower:
        sample = follower.tick()

    assert (sample.events, sample.runs) == ([], {})


def test_a_reused_pid_gives_no_credit_to_the_old_run(tmp_path: Path) -> None:
    """F37: between two ticks a rank ends and a stranger gets its pid; another process keeps the group mixed."""
    node = SimulatedNode(tmp_path, layout="v1")
    node.spawn("server", cgroup=_SHARED, demand_cpus=0.5)
    old = node.spawn("python3", cgroup=_SHARED, environment=rank(0), demand_cpus=1.0)
    with Follower(node) as follower:
        follower.tick()
        before_s = run_seconds(follower.total())
        node.exit(old)
        node.spawn("stranger", pid=old.pid, cgroup=_SHARED, demand_cpus=2.0)
        for _ in range(4):
            sample = follower.tick()

        assert run_seconds(follower.total()) == before_s
    assert before_s == pytest.approx(5.0)
    assert (sample.runs, sample.processes) == ({}, [])


def test_a_pid_reused_by_another_run_is_credited_to_the_new_one(tmp_path: Path) -> None:
    """F37: nobody forks in between, so only the start time tells."""
    node = SimulatedNode(tmp_path, layout="v1")
    node.spawn("server", cgroup=_SHARED, demand_cpus=0.5)
    for _ in range(200):
        node.spawn("sleep", cgroup=_OTHER)  # the slow rotation does not come round in this test
    old = node.spawn("python3", cgroup=_SHARED, environment=rank(0, run="old"), demand_cpus=1.0)
    with Follower(node) as follower:
        follower.tick()
        (old_key,) = follower.samples[-1].runs
        node.exit(old)
        node.spawn("python3", pid=old.pid, cgroup=_SHARED, environment=rank(0, run="new"), demand_cpus=1.0)
        for _ in range(4):
            sample = follower.tick()

    (new_key,) = sample.runs
    old_s = sum(leaf.cpu_s for leaf in follower.total().leaves if leaf.run == old_key)
    assert new_key != old_key
    assert old_s == pytest.approx(5.0)
    assert [(usage.run, usage.pid) for usage in sample.processes] == [(new_key, old.pid)]
    assert sum(leaf.cpu_s for leaf in sample.leaves if leaf.run == new_key) == pytest.approx(5.0)


def test_a_zombie_stays_what_it_was(tmp_path: Path) -> None:
    """F38: a zombie has neither command line nor environment."""
    node = SimulatedNode(tmp_path)
    process = node.spawn("python3", cgroup=_SHARED, environment=rank(0), demand_cpus=1.0, arguments=("python3", "t.py"))
    with Follower(node) as follower:
        follower.tick()
        overwrite(node.roots.procfs / str(process.pid) / "cmdline", b"")
        overwrite(node.roots.procfs / str(process.pid) / "environ", b"")
        for _ in range(3):
            sample = follower.tick()

    assert [usage.rank for usage in sample.processes] == ["0"]


def test_kernel_threads_are_the_systems_and_no_workload(tmp_path: Path) -> None:
    """F38: a thread of the kernel has neither command line nor environment nor workload."""
    node = SimulatedNode(tmp_path)
    node.spawn("kworker/0:1", cgroup="/", parent_pid=2, is_kernel_thread=True, demand_cpus=0.5)
    with Follower(node) as follower:
        sample = follower.tick()

    assert sample.system_cpu_s == pytest.approx(2.5)
    assert "command" not in {leaf.workload.kind for leaf in sample.leaves}


def test_a_process_without_a_command_line_counts_for_its_group(tmp_path: Path) -> None:
    """F38."""
    node = SimulatedNode(tmp_path)
    node.spawn("daemon", cgroup=_SHARED, demand_cpus=1.0, arguments=())
    with Follower(node) as follower:
        sample = follower.tick()

    assert workload_seconds(sample)["unit", "batch.service"] == pytest.approx(5.0)


def test_a_command_of_strange_bytes_is_read_and_cleaned(tmp_path: Path) -> None:
    """F39: closing bracket, newline, space and bytes that are no UTF-8 in the name of a process of the root group."""
    node = SimulatedNode(tmp_path)
    process = node.spawn("placeholder", cgroup="/", demand_cpus=1.0)
    with Follower(node) as follower:
        path = node.roots.procfs / str(process.pid) / "stat"
        node.advance(5.0)
        overwrite(path, path.read_bytes().replace(b"placeholder", b"a) b\nc\xff(d"))
        collector = WorkloadCollector(node.roots, node.clock, WorkloadSettings())
        collector.sample(with_memory=False)
        node.cgroups.use("/", 2_000_000_000)
        node.cgroups.write()
        text = path.read_bytes().replace(b" 0000000438 ", b" 0000000638 ")
        overwrite(path, text)
        sample = collector.sample(with_memory=False)
        collector.close()

    assert workload_seconds(sample)["command", "a) b?c\N{REPLACEMENT CHARACTER}(d"] == pytest.approx(2.0)
    assert follower.samples[0].events == []


_AS_NOBODY = """
import os
from pathlib import Path
from exporter.clock import SystemClock
from exporter.host import Roots
from exporter.workloads import WorkloadCollector, WorkloadSettings
def look():
    collector = WorkloadCollector(Roots(cgroupfs=Path("/nowhere")), SystemClock(), WorkloadSettings())
    sample = collector.sample(with_memory=False)
    collector.close()
    for finding in sample.findings:
        if finding.source == "environment":
            print(finding.state, sum(event.source == 'environment' for event in sample.events), finding.remedy)
look()
os.setgroups([]); os.setgid(65534); os.setuid(65534)
look()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs real hardware: root, to become another user")
def test_environments_that_may_not_be_read_give_one_finding_with_the_remedy() -> None:
    """F40: the running kernel, an agent of another user without capabilities."""
    root = Path(__file__).parents[2]
    result = subprocess.run(
        [sys.executable, "-c", _AS_NOBODY], capture_output=True, text=True, check=True, cwd=root, timeout=60
    )
    as_root, as_nobody = result.stdout.splitlines()

    assert as_root.startswith("up 0")
    assert as_nobody.startswith("degraded 0 give the agent both CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH")


def test_hidden_kernel_threads_mean_that_not_all_processes_are_visible(tmp_path: Path) -> None:
    """F48: hidepid, or a process namespace of its own; groups still count."""
    node = SimulatedNode(tmp_path)
    node.spawn("server", cgroup=_OTHER, demand_cpus=1.0)
    node.exit(node.processes[2])
    with Follower(node) as follower:
        sample = follower.tick()

    assert finding(sample, "process_table").state == "degraded"
    assert "hostPID" in finding(sample, "process_table").remedy
    assert workload_seconds(sample)["unit", "web.service"] == pytest.approx(5.0)


def test_no_process_at_all_means_that_the_table_is_down(tmp_path: Path) -> None:
    """F48: the wrong directory was mounted; groups still count."""
    node = SimulatedNode(tmp_path)
    node.spawn("server", cgroup=_OTHER, demand_cpus=1.0)
    with Follower(node) as follower:
        node.advance(5.0)
        for process in list(node.processes.values()):
            node.exit(process)
        sample = follower.collector.sample(with_memory=False)

    assert finding(sample, "process_table").state == "down"
    assert workload_seconds(sample)["unit", "web.service"] == pytest.approx(5.0)


def test_thirty_thousand_new_processes_are_looked_at_over_several_ticks(tmp_path: Path) -> None:
    """F46: a tick is bounded by its budget, the rest carries over, events tell, and no CPU second is lost."""
    clock = RecordingClock(step_s=0.0)
    node = SimulatedNode(tmp_path, clock=clock)
    parent = node.spawn("bomb", cgroup=_SHARED, demand_cpus=3.0)
    with Follower(node, WorkloadSettings(new_process_budget_s=0.5)) as follower:
        follower.tick()
        for pid in range(40_000, 70_000):
            (node.roots.procfs / str(pid)).symlink_to(str(parent.pid))
        node.spawn("fork", cgroup=_SHARED)
        clock.step_s = 0.0001
        node.advance(5.0)
        started_s = clock.wall_s()
        first = follower.collector.sample(with_memory=False)
        took_s = clock.wall_s() - started_s
        known = len(follower.collector._table.processes)
        second = follower.tick()

        assert known < len(follower.collector._table.processes) < 30_000
    assert took_s < 0.6
    assert ("process_table", "error", "truncated", 1.0) in [tuple(event) for event in first.events]
    assert finding(first, "process_table").state == "degraded"
    for sample in (first, second):
        assert workload_seconds(sample)["unit", "batch.service"] == pytest.approx(15.0)


def test_training_processes_are_capped_and_ranks_come_first(tmp_path: Path) -> None:
    node = SimulatedNode(tmp_path)
    launcher = node.spawn("torchrun", cgroup=_SHARED, arguments=("python3", "torchrun", "t.py"), environment=rank(0))
    for number in range(4):
        node.spawn("loader", cgroup=_SHARED, parent_pid=launcher.pid)
        node.spawn("python3", cgroup=_SHARED, parent_pid=launcher.pid, environment=rank(number + 1))
    with Follower(node, WorkloadSettings(max_training_processes=3)) as follower:
        follower.tick()
        sample = follower.tick()

    assert len(sample.processes) == 3
    assert all(usage.rank for usage in sample.processes)


def test_a_shell_that_becomes_a_launcher_late_is_noticed(tmp_path: Path) -> None:
    """Same pid, same start time, no fork: only its name and command line changed."""
    node = SimulatedNode(tmp_path)
    shell = node.spawn("bash", cgroup=_SHARED, arguments=("bash", "job.sh"), demand_cpus=1.0)
    with Follower(node) as follower:
        for _ in range(3):
            before = follower.tick()
        node.execute(shell, "torchrun", arguments=("python3", "torchrun", "t.py"), environment=rank(0))
        for _ in range(3):
            sample = follower.tick()

    assert (before.runs, run_seconds(before)) == ({}, 0.0)
    assert len(sample.runs) == 1
    assert run_seconds(sample) == pytest.approx(5.0)


def test_short_lived_children_in_a_shared_group_belong_to_the_run_that_reaped_them(tmp_path: Path) -> None:
    """Nobody sees a process of 50 ms; its parent's time of waited-for children does."""
    node = SimulatedNode(tmp_path, layout="v1")
    node.spawn("server", cgroup=_SHARED, demand_cpus=0.5)
    trainer = node.spawn("python3", cgroup=_SHARED, environment=rank(0), demand_cpus=0.2)
    with Follower(node) as follower:
        follower.tick()
        for _ in range(10):
            node.run_and_exit(cgroup=_SHARED, cpu_s=0.05, count=20, parent=trainer)
            sample = follower.tick()

    assert run_seconds(sample) == pytest.approx(0.2 * 5 + 20 * 0.05, abs=0.02)
    assert run_seconds(follower.total()) == pytest.approx(11 * 1.0 + 10 * 1.0, abs=0.05)


def test_a_child_that_was_counted_is_not_counted_again_when_it_is_reaped(tmp_path: Path) -> None:
    node = SimulatedNode(tmp_path, layout="v1")
    node.spawn("server", cgroup=_SHARED, demand_cpus=2.0)
    trainer = node.spawn("python3", cgroup=_SHARED, environment=rank(0), demand_cpus=0.2)
    child = node.spawn("loader", cgroup=_SHARED, parent_pid=trainer.pid, demand_cpus=0.5)
    with Follower(node) as follower:
        for _ in range(3):
            follower.tick()
        node.exit(child)
        for _ in range(3):
            follower.tick()

    assert run_seconds(follower.total()) == pytest.approx(6 * 1.0 + 3 * 2.5, abs=0.05)


def test_a_process_that_changes_its_group_is_not_counted_twice(tmp_path: Path) -> None:
    """F47: the time before counts for the old group, the time after for the new one."""
    node = SimulatedNode(tmp_path)
    node.spawn("server", cgroup=_OTHER)
    process = node.spawn("python3", cgroup=_SHARED, environment=rank(0), demand_cpus=1.0)
    with Follower(node) as follower:
        follower.tick()
        node.advance(2.0)
        node.move(process, _OTHER)
        moved = follower.tick(3.0)
        for _ in range(3):
            sample = follower.tick()

    assert workload_seconds(moved)["unit", "batch.service"] == pytest.approx(2.0)
    assert workload_seconds(moved)["unit", "web.service"] == pytest.approx(3.0)
    assert total_s(moved) == pytest.approx(5.0)
    assert run_seconds(sample) == pytest.approx(5.0)


def test_processes_of_the_root_group_are_grouped_by_command(tmp_path: Path) -> None:
    node = SimulatedNode(tmp_path)
    for _ in range(2):
        node.spawn("sshd", cgroup="/", demand_cpus=0.5)
    node.spawn("cron", cgroup="/", demand_cpus=0.1)
    with Follower(node) as follower:
        follower.tick()
        sample = follower.tick()

    assert workload_seconds(sample)["command", "sshd"] == pytest.approx(5.0, abs=0.02)
    assert workload_seconds(sample)["command", "cron"] == pytest.approx(0.5, abs=0.02)
    assert total_s(sample) == pytest.approx(5.5)


def test_without_any_control_groups_processes_are_read_one_by_one(tmp_path: Path) -> None:
    node = SimulatedNode(tmp_path)
    node.spawn("sshd", cgroup="/", demand_cpus=0.5)
    node.spawn("python3", cgroup="/", environment=rank(0), demand_cpus=1.0)
    with Follower(node, roots=replace(node.roots, cgroupfs=tmp_path / "nowhere")) as follower:
        follower.tick()
        sample = follower.tick()

    assert finding(sample, "cgroups").state == "down"
    assert workload_seconds(sample)["command", "sshd"] == pytest.approx(2.5, abs=0.02)
    assert run_seconds(sample) == pytest.approx(5.0, abs=0.02)
    assert total_s(sample) == pytest.approx(sample.busy_cpu_s)


def test_without_the_roots_own_time_the_rest_of_the_busy_time_is_the_systems(tmp_path: Path) -> None:
    """Version 2 of old kernels has no cpu.stat in the root."""
    node = SimulatedNode(tmp_path, layout="v2")
    node.spawn("server", cgroup=_OTHER, demand_cpus=1.0)
    node.spawn("kworker/0:1", cgroup="/", parent_pid=2, is_kernel_thread=True, demand_cpus=0.4)
    with Follower(node) as follower:
        node.advance(5.0)
        overwrite(node.roots.cgroupfs / "cpu.stat", b"")
        follower.collector.sample(with_memory=False)
        node.advance(5.0)
        overwrite(node.roots.cgroupfs / "cpu.stat", b"")
        sample = follower.collector.sample(with_memory=False)

    assert workload_seconds(sample)["unit", "web.service"] == pytest.approx(5.0)
    assert sample.system_cpu_s == pytest.approx(2.0)
