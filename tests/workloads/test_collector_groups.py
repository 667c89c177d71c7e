"""Which group used what: groups that come and go, hierarchies of every kind, limits."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.testing import CgroupLayout, SimulatedNode
from exporter.testing.kernel_files import create_text, overwrite
from exporter.workloads import WorkloadSettings
from tests.workloads.following import Follower, finding, rank, run_seconds, total_s, workload_seconds

_JOB = "/system.slice/slurmstepd.scope/job_42/step_0/user/task_0"
_SERVICE = "/system.slice/batch.service"
_POD = "/kubepods/burstable/pod0a1b2c3d-1111-2222-3333-444455556666"
_LAYOUTS: tuple[CgroupLayout, ...] = ("v1", "v2", "hybrid")


@pytest.mark.parametrize("layout", _LAYOUTS)
def test_a_group_whose_processes_are_all_a_runs_is_the_runs_with_all_that_exited(
    tmp_path: Path, layout: CgroupLayout
) -> None:
    node = SimulatedNode(tmp_path, layout=layout)
    node.spawn("python3", cgroup=_JOB, environment=rank(0), demand_cpus=1.0)
    with Follower(node) as follower:
        node.run_and_exit(cgroup=_JOB, cpu_s=0.05, count=20)
        sample = follower.tick()

    assert run_seconds(sample) == pytest.approx(6.0)
    assert total_s(sample) == pytest.approx(6.0)


def test_a_removed_group_keeps_what_it_used_after_its_last_reading(tmp_path: Path) -> None:
    """F51: its value is gone, the growth of the group above tells."""
    node = SimulatedNode(tmp_path)
    node.spawn("python3", cgroup=f"{_SERVICE}/inner", environment=rank(0), demand_cpus=1.0)
    with Follower(node) as follower:
        follower.tick()
        node.advance(3.0)
        node.remove_cgroup(f"{_SERVICE}/inner")
        sample = follower.tick(2.0)

    assert run_seconds(sample) == pytest.approx(3.0)
    assert total_s(sample) == pytest.approx(3.0)


def test_of_several_removed_groups_the_group_above_gets_the_last_use(tmp_path: Path) -> None:
    """F51: who of them used it cannot be told."""
    node = SimulatedNode(tmp_path)
    for name in ("a", "b"):
        node.spawn(name, cgroup=f"/system.slice/{name}.service", demand_cpus=1.0)
    with Follower(node) as follower:
        follower.tick()
        node.advance(3.0)
        for name in ("a", "b"):
            node.remove_cgroup(f"/system.slice/{name}.service")
        sample = follower.tick(2.0)

    assert workload_seconds(sample)["slice", "system.slice"] == pytest.approx(6.0)


def test_a_group_made_and_removed_between_two_ticks_is_charged(tmp_path: Path) -> None:
    """F51: nobody ever saw its files."""
    node = SimulatedNode(tmp_path)
    node.spawn("server", cgroup=_SERVICE)
    with Follower(node) as follower:
        follower.tick()
        node.spawn("cron", cgroup="/system.slice/cron.service", demand_cpus=1.0)
        node.advance(1.0)
        node.remove_cgroup("/system.slice/cron.service")
        sample = follower.tick(1.0)

    assert workload_seconds(sample)["unit", "cron.service"] == pytest.approx(1.0)


@pytest.mark.parametrize("layout", _LAYOUTS)
def test_a_group_made_again_under_its_name_starts_at_zero(tmp_path: Path, layout: CgroupLayout) -> None:
    """F52: nothing negative, nothing lost, and its processes are found."""
    node = SimulatedNode(tmp_path, layout=layout)
    node.spawn("first", cgroup=_SERVICE, demand_cpus=2.0)
    with Follower(node) as follower:
        follower.tick()
        node.remove_cgroup(_SERVICE)
        node.spawn("python3", cgroup=_SERVICE, environment=rank(0), demand_cpus=1.0)
        again = follower.tick()
        later = follower.tick()

    assert workload_seconds(again)["unit", "batch.service"] == pytest.approx(5.0)
    assert [run_seconds(again), run_seconds(later)] == pytest.approx([5.0, 5.0])
    assert min(leaf.cpu_s for sample in follower.samples for leaf in sample.leaves) >= 0


def test_a_group_found_through_its_process_stays_the_one_that_its_event_tells_of(tmp_path: Path) -> None:
    """The process is seen before the event of its group is read: the event must not make a second group of it."""
    node = SimulatedNode(tmp_path)
    with Follower(node) as follower:
        follower.tick()
        process = node.spawn("python3", cgroup=_SERVICE, environment=rank(0), demand_cpus=1.0)
        node.advance(1.0)
        tree = follower.collector._tree
        assert tree is not None
        found = tree.find(process.cgroup)
        tree.refresh(walk=False)

        assert tree.find(process.cgroup) is found
        assert run_seconds(follower.tick(4.0)) == pytest.approx(5.0)


@pytest.mark.parametrize("garbage", [b"", b"nr_periods 0\n", b"usage_usec many\n", b"usage_usec -5\n", b"\xff" * 600])
def test_a_value_that_is_no_number_is_skipped_and_what_was_used_counts_later(tmp_path: Path, garbage: bytes) -> None:
    """F53: missing or text."""
    node = SimulatedNode(tmp_path)
    node.spawn("server", cgroup=_SERVICE, demand_cpus=1.0)
    with Follower(node) as follower:
        follower.tick()
        node.advance(5.0)
        overwrite(node.roots.cgroupfs / _SERVICE[1:] / "cpu.stat", garbage)
        broken = follower.collector.sample(with_memory=False)
        for _ in range(2):
            follower.tick()
        events = [event for event in broken.events if event.source == "cgroups"]
        leaves = [*follower.total().leaves, *broken.leaves]

    assert [(event.kind, event.reason) for event in events] == ([("error", "format")] if garbage else [])
    assert min(leaf.cpu_s for leaf in leaves) >= 0
    assert sum(leaf.cpu_s for leaf in leaves) == pytest.approx(20.0)


def test_a_smaller_value_is_counted_and_skipped(tmp_path: Path) -> None:
    """F53: never negative, and no jump when the value is right again."""
    node = SimulatedNode(tmp_path)
    node.spawn("server", cgroup=_SERVICE, demand_cpus=1.0)
    with Follower(node) as follower:
        follower.tick()
        overwrite(node.roots.cgroupfs / _SERVICE[1:] / "cpu.stat", b"usage_usec 17\n")
        overwrite(node.roots.cgroupfs / "system.slice/cpu.stat", b"usage_usec 18\n")
        overwrite(node.roots.cgroupfs / "cpu.stat", b"usage_usec 19\n")
        smaller = follower.collector.sample(with_memory=False)
        after = follower.tick()

    assert total_s(smaller) == 0.0
    assert ("cgroups", "error", "format") in [event[:3] for event in smaller.events]
    assert total_s(after) == pytest.approx(5.0)


def test_groups_beyond_the_limit_count_for_the_nearest_one_above(tmp_path: Path) -> None:
    """F54: bounded, said, and no CPU second is lost; a run in a group that is not followed is still a run."""
    node = SimulatedNode(tmp_path)
    for number in range(60):
        node.spawn("server", cgroup=f"/system.slice/s{number:02d}.service", demand_cpus=0.1)
    node.spawn("python3", cgroup="/system.slice/train.service", environment=rank(0), demand_cpus=1.0)
    with Follower(node, WorkloadSettings(max_cgroups=3, rescan_interval_s=5.0)) as follower:
        follower.tick()
        sample = follower.tick()
        tree = follower.collector._tree
        assert tree is not None
        followed = len(tree.nodes)
        for number in range(60):
            node.remove_cgroup(f"/system.slice/s{number:02d}.service")
        node.remove_cgroup("/system.slice/train.service")
        room = follower.tick()

    assert followed == 3
    assert finding(sample, "cgroups").state == "degraded"
    assert "max_cgroups" in finding(sample, "cgroups").remedy
    assert total_s(sample) == pytest.approx(60 * 0.5 + 5.0)
    assert run_seconds(sample) == pytest.approx(5.0, abs=0.05)
    assert finding(room, "cgroups").state == "up"


def test_deep_groups_with_long_and_strange_names_are_followed(tmp_path: Path) -> None:
    """F54: depth 40, a name of 255 bytes with a backslash, a path that is longer than a page."""
    strange = "x\\x2d" * 51
    deep = "/deep.slice" + "".join(f"/level{number:02d}" for number in range(38))
    node = SimulatedNode(tmp_path / "n")
    node.spawn("server", cgroup=f"/{strange}", demand_cpus=0.5)
    node.spawn("python3", cgroup=deep, environment=rank(0), demand_cpus=1.0)
    with Follower(node) as follower:
        sample = follower.tick()

    assert len(strange) == 255
    assert total_s(sample) == pytest.approx(7.5)
    assert run_seconds(sample) == pytest.approx(5.0)


def test_a_process_in_many_long_v1_hierarchies_is_found(tmp_path: Path) -> None:
    """F54: all lines together are longer than a page, and the accounting one is the last."""
    node = SimulatedNode(tmp_path, layout="v1")
    process = node.spawn("python3", cgroup=_JOB, environment=rank(0), demand_cpus=1.0)
    lines = b"".join(b"%d:name=h%d:/%s\n" % (n, n, b"y" * 250) for n in range(20))
    overwrite(node.roots.procfs / str(process.pid) / "cgroup", lines + node.cgroups.membership(process.cgroup).encode())
    with Follower(node) as follower:
        sample = follower.tick()

    assert run_seconds(sample) == pytest.approx(5.0)


def test_the_hybrid_hierarchy_with_an_unused_v2_is_followed_through_v1(tmp_path: Path) -> None:
    """F49: every process shows ``0::/`` there."""
    node = SimulatedNode(tmp_path, layout="hybrid")
    node.spawn("python3", cgroup=_JOB, environment=rank(0), demand_cpus=1.0)
    with Follower(node) as follower:
        sample = follower.tick()

    assert finding(sample, "cgroups").detail == f"cgroup v1 at {node.roots.cgroupfs}/cpu,cpuacct"
    assert run_seconds(sample) == pytest.approx(5.0)


def test_a_v2_hierarchy_beside_empty_v1_controllers_is_followed(tmp_path: Path) -> None:
    """F49: the other hybrid: systemd's groups are in ``unified``, v1 has none."""
    node = SimulatedNode(tmp_path, layout="v2")
    node.spawn("python3", cgroup=_JOB, environment=rank(0), demand_cpus=1.0)
    beside = tmp_path / "mounted"
    create_text(beside / "cpuacct/cpuacct.usage", "12345\n")
    (beside / "unified").symlink_to(node.roots.cgroupfs)
    with Follower(node, roots=replace(node.roots, cgroupfs=beside)) as follower:
        sample = follower.tick()

    assert finding(sample, "cgroups").detail == f"cgroup v2 at {beside}/unified"
    assert run_seconds(sample) == pytest.approx(5.0)


def _see_from(node: SimulatedNode, own: str) -> None:
    """Show every process's path as a reader in a cgroup namespace rooted at ``own`` sees it."""
    for process in node.processes.values():
        seen = os.path.relpath(process.cgroup, own)
        text = f"0::/{'' if seen == '.' else seen}\n"
        overwrite(node.roots.procfs / str(process.pid) / "cgroup", text.encode())


def test_paths_of_a_private_cgroup_namespace_are_resolved(tmp_path: Path) -> None:
    """F50: ``/../..`` paths; this reader finds itself by its pid in the mounted tree."""
    node = SimulatedNode(tmp_path)
    own = f"{_POD}/{'ab' * 32}"
    agent = node.spawn("agent", cgroup=own)
    node.spawn("python3", cgroup=f"{_POD}/{'cd' * 32}", environment=rank(0), demand_cpus=1.0)
    node.spawn("server", cgroup=f"{_POD}/{'cd' * 32}", demand_cpus=0.5)
    _see_from(node, own)
    overwrite(node.roots.cgroupfs / own[1:] / "cgroup.procs", f"{agent.pid}\n".encode())
    (node.roots.procfs / "self").unlink()
    (node.roots.procfs / "self").symlink_to(str(agent.pid))
    with Follower(node) as follower:
        follower.tick()
        sample = follower.tick()

    assert run_seconds(sample) == pytest.approx(5.0, abs=0.02)
    assert total_s(sample) == pytest.approx(7.5)


def test_paths_of_a_private_cgroup_namespace_are_resolved_by_their_ending_too(tmp_path: Path) -> None:
    """F50: the reader cannot be found in the mounted tree."""
    node = SimulatedNode(tmp_path)
    node.spawn("python3", cgroup=f"{_POD}/{'cd' * 32}", environment=rank(0), demand_cpus=1.0)
    node.spawn("server", cgroup=f"{_POD}/{'cd' * 32}", demand_cpus=0.5)
    _see_from(node, f"{_POD}/{'ab' * 32}")
    with Follower(node) as follower:
        follower.tick()
        sample = follower.tick()

    assert run_seconds(sample) == pytest.approx(5.0, abs=0.02)
    assert total_s(sample) == pytest.approx(7.5)


@pytest.mark.parametrize(
    "path",
    [
        "/system.slice/slurmstepd.scope/job_42/step_batch/user/task_0",
        "/system.slice/slurmstepd.scope/job_42/step_extern/user/task_special",
        "/system.slice/node1_slurmstepd.scope/job_42/step_0/slurm",
        "/slurm/uid_1000/job_42/step_0/task_1",
    ],
)
def test_every_group_of_a_slurm_job_is_the_jobs(tmp_path: Path, path: str) -> None:
    """F55."""
    node = SimulatedNode(tmp_path)
    node.spawn("simulation", cgroup=path, demand_cpus=1.0)
    with Follower(node) as follower:
        sample = follower.tick()

    assert workload_seconds(sample)["slurm_job", "42"] == pytest.approx(5.0)


@pytest.mark.parametrize("has_neighbour", [True, False])
def test_a_job_that_shows_only_in_another_hierarchy_is_charged(tmp_path: Path, has_neighbour: bool) -> None:
    """F55: version 1, where Slurm constrains memory but does not account for CPU time."""
    node = SimulatedNode(tmp_path, layout="v1")
    step = node.spawn("python3", cgroup=_SERVICE, environment=rank(0), demand_cpus=1.0)
    if has_neighbour:
        node.spawn("slurmd", cgroup=_SERVICE, demand_cpus=0.2)
    lines = f"4:memory:/slurm/uid_1000/job_42/step_0\n2:cpu,cpuacct:{_SERVICE}\n"
    overwrite(node.roots.procfs / str(step.pid) / "cgroup", lines.encode())
    with Follower(node) as follower:
        for _ in range(3):
            sample = follower.tick()

    assert workload_seconds(sample)["slurm_job", "42"] == pytest.approx(5.0, abs=0.02)
    assert [sample.leaves[usage.leaf].workload.kind for usage in sample.processes] == ["slurm_job"]


@pytest.mark.parametrize("inner", [f"crio-conmon-{'ab' * 32}.scope", f"crio-{'ab' * 32}.scope/container"])
def test_what_runs_beside_and_inside_of_a_container_is_the_pods(tmp_path: Path, inner: str) -> None:
    """F56."""
    node = SimulatedNode(tmp_path)
    node.spawn("conmon", cgroup=f"{_POD}/{inner}", demand_cpus=1.0)
    with Follower(node) as follower:
        sample = follower.tick()

    assert workload_seconds(sample)["pod", _POD.rpartition("pod")[2]] == pytest.approx(5.0)


_FEW_DESCRIPTORS = """
import resource, sys
from pathlib import Path
from exporter.testing import SimulatedNode
from exporter.workloads import WorkloadCollector, WorkloadSettings
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[2]), int(sys.argv[2])))
node = SimulatedNode(Path(sys.argv[1]))
for n in range(60):
    run = {"RANK": "0", "WORLD_SIZE": "1", "TORCHELASTIC_RUN_ID": str(n)} if n % 2 else {}
    group = f"/system.slice/s{n // 4}.service"
    node.spawn("python3", cgroup=group, demand_cpus=0.1 + n / 100, environment=run)
collector = WorkloadCollector(node.roots, node.clock, WorkloadSettings())
for _ in range(4):
    sample = collector.sample(with_memory=True)
    node.advance(5.0)
    print(sorted((leaf.workload.name, str(leaf.run is None), round(leaf.cpu_s, 9)) for leaf in sample.leaves))
collector.close()
"""


def test_few_descriptors_give_the_same_numbers(tmp_path: Path) -> None:
    """F71: with 64 descriptors most files are opened for each reading."""
    outputs = []
    for limit in ("64", "4096"):
        result = subprocess.run(
            [sys.executable, "-c", _FEW_DESCRIPTORS, str(tmp_path / limit), limit],
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[2],
            timeout=60,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        outputs.append(result.stdout)

    assert outputs[0] == outputs[1]
    assert outputs[0].count("s14.service") == 12
