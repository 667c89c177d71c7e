"""Who is behind a GPU driver's pid: exits, reuse, newcomers, a used-up budget."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.testing import SimulatedNode, SimulatedProcess
from exporter.testing.kernel_files import create_text, overwrite
from exporter.workloads import UsageSample, WorkloadSettings
from exporter.workloads.gpu_users import parse_mps_share
from exporter.workloads.records import WorkloadId
from tests.workloads.following import Follower, RecordingClock, finding, rank, total_s

_JOB = "/system.slice/slurmstepd.scope/job_42/step_0/user/task_0"
_SERVICE = "/system.slice/batch.service"


def _train(node: SimulatedNode, number: int = 0, *, pid: int | None = None, cgroup: str = _SERVICE) -> SimulatedProcess:
    return node.spawn("python3", pid=pid, cgroup=cgroup, environment=rank(number), demand_cpus=0.5)


def _workload(sample: UsageSample, pid: int) -> WorkloadId:
    return sample.leaves[sample.gpu_users[pid].leaf].workload


def test_a_known_process_is_told_with_its_leaf_run_and_rank(tmp_path: Path) -> None:
    node = SimulatedNode(tmp_path)
    trainer = _train(node, 3)
    with Follower(node) as follower:
        sample = follower.tick(gpu_pids=[trainer.pid])

    user = sample.gpu_users[trainer.pid]
    (run,) = sample.runs
    assert (user.run, user.rank, user.command, user.is_alive) == (run, "3", "python3", True)
    assert user.start_ticks == trainer.start_ticks
    assert user.mps_share_ratio is None
    assert sample.leaves[user.leaf].run == run
    assert sample.leaves[user.leaf].cpu_s == pytest.approx(2.5)


def test_only_pids_that_were_asked_for_are_told(tmp_path: Path) -> None:
    node = SimulatedNode(tmp_path)
    trainer = _train(node)
    with Follower(node) as follower:
        sample = follower.tick()
        asked = follower.tick(gpu_pids=[trainer.pid, 999_999, 0, -1])

    assert (dict(sample.gpu_users), list(asked.gpu_users)) == ({}, [trainer.pid])


def test_the_first_sample_tells_users_too(tmp_path: Path) -> None:
    node = SimulatedNode(tmp_path)
    trainer = _train(node)
    with Follower(node, gpu_pids=[trainer.pid]) as follower:
        assert follower.samples[0].gpu_users[trainer.pid].rank == "0"


def test_a_kernel_thread_is_nobody(tmp_path: Path) -> None:
    node = SimulatedNode(tmp_path)
    thread = node.spawn("nvidia-modeset", cgroup="/", parent_pid=2, is_kernel_thread=True)
    with Follower(node) as follower:
        known = follower.tick(gpu_pids=[thread.pid])
        other = node.spawn("irq/90-nvidia", cgroup="/", parent_pid=2, is_kernel_thread=True)
        new = follower.tick(gpu_pids=[other.pid])

    assert (dict(known.gpu_users), dict(new.gpu_users)) == ({}, {})


def test_a_threads_id_is_no_process(tmp_path: Path) -> None:
    """/proc shows a thread's directory to those who ask for it, and in it the time of the whole process."""
    node = SimulatedNode(tmp_path)
    trainer = _train(node)
    with Follower(node) as follower:
        (node.roots.procfs / "60000").symlink_to(str(trainer.pid))
        follower.collector._table.refresh(tick=1, forks=node._forks, previous_s=None)
        follower.collector._table.remove(follower.collector._table.processes[60000])
        process = follower.collector._table.look_now(60000, tick=2, previous_s=None)

    assert process is None


def test_a_process_that_began_since_the_last_tick_is_told_at_once(tmp_path: Path) -> None:
    node = SimulatedNode(tmp_path)
    with Follower(node) as follower:
        follower.tick()
        trainer = _train(node)
        sample = follower.tick(gpu_pids=[trainer.pid])

    assert sample.gpu_users[trainer.pid].run in sample.runs
    assert sample.leaves[sample.gpu_users[trainer.pid].leaf].cpu_s == pytest.approx(2.5)


def test_a_gpus_user_is_looked_at_when_the_budget_for_new_processes_is_used_up(tmp_path: Path) -> None:
    """Its CPU time counts once, for its run, whether it was found by the list or by the driver's word."""
    clock = RecordingClock(step_s=0.0)
    node = SimulatedNode(tmp_path, clock=clock)
    with Follower(node, WorkloadSettings(new_process_budget_s=0.01)) as follower:
        follower.tick()
        for _ in range(300):
            node.spawn("fork", cgroup="/system.slice/web.service")
        trainer = _train(node)
        clock.step_s = 0.001
        sample = follower.tick(gpu_pids=[trainer.pid])
        clock.step_s = 0.0
        later = follower.tick(gpu_pids=[trainer.pid])

    assert finding(sample, "process_table").state == "degraded"
    assert sample.gpu_users[trainer.pid].run in sample.runs
    assert later.gpu_users == sample.gpu_users
    assert total_s(sample) == total_s(later) == pytest.approx(2.5)


def test_new_users_are_looked_at_up_to_a_limit_and_the_rest_follow(tmp_path: Path) -> None:
    clock = RecordingClock(step_s=0.0)
    node = SimulatedNode(tmp_path, clock=clock)
    with Follower(node, WorkloadSettings(new_process_budget_s=0.0)) as follower:
        follower.tick()
        pids = [node.spawn("fork", cgroup=_SERVICE).pid for _ in range(600)]
        clock.step_s = 0.001
        first = follower.tick(gpu_pids=pids)
        second = follower.tick(gpu_pids=pids)

    assert (len(first.gpu_users), len(second.gpu_users)) == (512, 600)


def test_a_user_that_ended_is_told_a_few_times_more_and_then_no_longer(tmp_path: Path) -> None:
    node = SimulatedNode(tmp_path)
    trainer = _train(node, 5)
    with Follower(node) as follower:
        alive = follower.tick(gpu_pids=[trainer.pid])
        node.exit(trainer)
        ended = follower.tick(gpu_pids=[trainer.pid])
        *_, last_told, after = (follower.tick(gpu_pids=[trainer.pid]) for _ in range(6))

    before, last = alive.gpu_users[trainer.pid], ended.gpu_users[trainer.pid]
    assert last._replace(leaf=0) == before._replace(leaf=0, is_alive=False)
    assert _workload(ended, trainer.pid) == _workload(alive, trainer.pid)
    assert set(last_told.gpu_users) == {trainer.pid}
    assert dict(after.gpu_users) == {}


def test_a_process_that_used_the_gpu_only_after_the_last_tick_and_ended_is_told(tmp_path: Path) -> None:
    """The driver names it for the first time when it is gone; that it was there is known."""
    node = SimulatedNode(tmp_path)
    trainer = _train(node)
    with Follower(node) as follower:
        follower.tick()
        node.exit(trainer)
        ended = follower.tick(gpu_pids=[trainer.pid])
        *_, after = (follower.tick(gpu_pids=[trainer.pid]) for _ in range(6))

    assert ended.gpu_users[trainer.pid].is_alive is False
    assert ended.gpu_users[trainer.pid].run in ended.runs
    assert dict(after.gpu_users) == {}


def test_a_process_that_nobody_saw_is_absent(tmp_path: Path) -> None:
    node = SimulatedNode(tmp_path)
    with Follower(node) as follower:
        follower.tick()
        trainer = _train(node)
        node.exit(trainer)
        sample = follower.tick(gpu_pids=[trainer.pid])

    assert dict(sample.gpu_users) == {}


def test_a_reused_pid_is_the_new_process_at_once(tmp_path: Path) -> None:
    """Nobody forks in between and the slow rotation is far away: the start time tells."""
    node = SimulatedNode(tmp_path)
    for _ in range(200):
        node.spawn("sleep", cgroup="/system.slice/web.service")
    old = _train(node, 1)
    with Follower(node) as follower:
        follower.tick(gpu_pids=[old.pid])
        follower.tick(gpu_pids=[old.pid])
        node.exit(old)
        new = node.spawn("stranger", pid=old.pid, cgroup="/system.slice/other.service", demand_cpus=1.0)
        node._forks -= 1
        sample = follower.tick(gpu_pids=[old.pid])

    user = sample.gpu_users[old.pid]
    assert (user.command, user.run, user.rank, user.is_alive) == ("stranger", None, "", True)
    assert user.start_ticks == new.start_ticks != old.start_ticks
    assert _workload(sample, old.pid) == WorkloadId("unit", "", "other.service")


def test_a_pid_reused_by_a_kernel_thread_is_the_old_process_for_the_last_time(tmp_path: Path) -> None:
    node = SimulatedNode(tmp_path)
    old = _train(node)
    with Follower(node) as follower:
        follower.tick(gpu_pids=[old.pid])
        node.exit(old)
        node.spawn("kworker", pid=old.pid, cgroup="/", is_kernel_thread=True)
        ended = follower.tick(gpu_pids=[old.pid])
        *_, after = (follower.tick(gpu_pids=[old.pid]) for _ in range(6))

    assert (ended.gpu_users[old.pid].command, ended.gpu_users[old.pid].is_alive) == ("python3", False)
    assert dict(after.gpu_users) == {}


def test_a_user_that_became_another_program_is_told_under_its_new_name(tmp_path: Path) -> None:
    node = SimulatedNode(tmp_path)
    process = node.spawn("bash", cgroup=_SERVICE)
    for _ in range(200):
        node.spawn("sleep", cgroup="/system.slice/web.service")
    with Follower(node) as follower:
        for _ in range(3):
            follower.tick()
        node.execute(process, "python3", environment=rank(2), arguments=("python3", "train.py"))
        sample = follower.tick(gpu_pids=[process.pid])

    assert (sample.gpu_users[process.pid].command, sample.gpu_users[process.pid].rank) == ("python3", "2")


def test_a_process_whose_files_cannot_be_read_is_absent(tmp_path: Path) -> None:
    node = SimulatedNode(tmp_path)
    with Follower(node) as follower:
        trainer = _train(node)
        (node.roots.procfs / str(trainer.pid) / "cgroup").unlink()
        sample = follower.tick(gpu_pids=[trainer.pid])

    assert dict(sample.gpu_users) == {}


def test_a_leaf_that_nothing_else_shows_is_added_without_cpu_time(tmp_path: Path) -> None:
    """A job's process without a run whose job is known to another hierarchy than the accounting one."""
    node = SimulatedNode(tmp_path, layout="v1")
    process = node.spawn("sleep", cgroup="/system.slice/slurmd.service")
    lines = b"5:devices:/slurm/uid_0/job_7/step_extern\n2:cpu,cpuacct:/system.slice/slurmd.service\n"
    overwrite(node.roots.procfs / str(process.pid) / "cgroup", lines)
    with Follower(node) as follower:
        without = follower.tick()
        sample = follower.tick(gpu_pids=[process.pid, 1])

    job = WorkloadId("slurm_job", "", "7")
    assert job not in {leaf.workload for leaf in without.leaves}
    assert _workload(sample, process.pid) == job
    assert sample.leaves[sample.gpu_users[process.pid].leaf].cpu_s == 0.0
    assert len(sample.leaves) == len({(leaf.workload, leaf.run) for leaf in sample.leaves})
    assert len(follower.collector._idle) == len(without.leaves)


@pytest.mark.parametrize(("text", "ratio"), [("50", 0.5), ("100", 1.0), (" 12.5 ", 0.125), ("0", None), ("101", None)])
def test_the_declared_share_of_threads_is_read_as_a_ratio(text: str, ratio: float | None) -> None:
    assert ratio == parse_mps_share(text)


def test_a_users_declared_share_is_told(tmp_path: Path) -> None:
    node = SimulatedNode(tmp_path)
    client = node.spawn("python3", cgroup=_JOB, environment={"CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "25"})
    with Follower(node) as follower:
        sample = follower.tick(gpu_pids=[client.pid])

    assert sample.gpu_users[client.pid].mps_share_ratio == 0.25


@given(st.one_of(st.text(), st.floats().map(str), st.integers().map(str)))
def test_any_text_is_a_ratio_or_nothing(text: str) -> None:
    ratio = parse_mps_share(text)

    assert ratio is None or 0.0 < ratio <= 1.0


def test_garbage_in_proc_is_nobody(tmp_path: Path) -> None:
    node = SimulatedNode(tmp_path)
    with Follower(node) as follower:
        follower.tick()
        create_text(node.roots.procfs / "77777/stat", b"\xff not a stat")
        create_text(node.roots.procfs / "77777/status", "Name:\tx\nTgid:\t77777\n")
        sample = follower.tick(gpu_pids=[77777])

    assert dict(sample.gpu_users) == {}
