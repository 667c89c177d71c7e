"""Random lives of a node: what the leaves used is what was used, whatever comes and goes."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from exporter.testing import CgroupLayout, SimulatedNode, SimulatedProcess
from exporter.workloads import WorkloadCollector, WorkloadSettings
from tests.workloads.following import Follower, rank, total_s

_GROUPS = (
    "/",
    "/system.slice/a.service",
    "/system.slice/a.service/inner",
    "/system.slice/slurmstepd.scope/job_7/step_0/user/task_0",
    f"/kubepods/burstable/pod0a1b2c3d-1111-2222-3333-444455556666/{'ab' * 32}",
    "/user.slice/user-1000.slice/session-1.scope",
)
_TICKS = 60
_SEEDS = range(6)


class _Life:
    """Lets things happen to a node."""

    def __init__(self, directory: Path, *, seed: int, layout: CgroupLayout) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - a trace, not a secret
        self.node = SimulatedNode(directory, layout=layout, cpu_count=128)
        for group in _GROUPS:
            self.node.spawn("first", cgroup=group, demand_cpus=0.1)

    def step(self) -> None:
        for _ in range(self.chance.randrange(5)):
            self.chance.choice(
                [self._spawn, self._spawn, self._exit, self._reuse, self._short, self._move, self._remake]
            )()

    def _living(self) -> SimulatedProcess | None:
        living = [process for process in self.node.processes.values() if process.pid > 2]
        return self.chance.choice(living) if living else None

    def _spawn(self, pid: int | None = None) -> None:
        if len(self.node.processes) < 40:
            self.node.spawn(
                self.chance.choice(["python3", "server", "a) b"]),
                pid=pid,
                cgroup=self.chance.choice(_GROUPS),
                demand_cpus=self.chance.choice([0.0, 0.003, 0.5, 2.0]),
                environment=rank(0, run=self.chance.choice("ab")) if self.chance.random() < 0.5 else {},
            )

    def _exit(self) -> None:
        process = self._living()
        if process:
            self.node.exit(process)

    def _reuse(self) -> None:
        process = self._living()
        if process:
            self.node.exit(process)
            self._spawn(process.pid)

    def _short(self) -> None:
        parent = self._living()
        group = parent.cgroup if parent else "/"
        self.node.run_and_exit(cgroup=group, cpu_s=0.05, count=self.chance.randrange(1, 9), parent=parent)

    def _move(self) -> None:
        process = self._living()
        if process:
            self.node.move(process, self.chance.choice(_GROUPS))

    def _remake(self) -> None:
        group = self.chance.choice(_GROUPS[1:])
        if self.node.cgroups.exists(group):
            self.node.remove_cgroup(group)
            if self.chance.random() < 0.5:
                self.node.spawn("again", cgroup=group, demand_cpus=0.7)


def _true_s(node: SimulatedNode) -> float:
    return sum(node.truth.cgroup_cpu_s.values())


@pytest.mark.parametrize("layout", ["v1", "v2", "hybrid"])
@pytest.mark.parametrize("seed", _SEEDS)
def test_all_leaves_and_the_system_together_used_what_was_used(tmp_path: Path, seed: int, layout: CgroupLayout) -> None:
    """Whole at every tick, never negative; F37, F47, F51, F52 in random order."""
    life = _Life(tmp_path, seed=seed, layout=layout)
    true_s = 0.0
    with Follower(life.node) as follower:
        for _ in range(_TICKS):
            life.step()
            sample = follower.tick(life.chance.choice([1.0, 2.5, 5.0]))
            used_s, true_s = _true_s(life.node) - true_s, _true_s(life.node)

            assert total_s(sample) == pytest.approx(used_s, rel=1e-9, abs=1e-5)
            assert sample.system_cpu_s >= 0
            assert min(leaf.cpu_s for leaf in sample.leaves) >= 0
            assert len({(leaf.workload, leaf.run) for leaf in sample.leaves}) == len(sample.leaves)
            assert all(sample.leaves[usage.leaf].run == usage.run for usage in sample.processes)


@pytest.mark.parametrize("seed", _SEEDS)
def test_two_readers_that_tick_at_other_times_count_the_same(tmp_path: Path, seed: int) -> None:
    """What one sees in many steps the other sees in few: nothing that is short-lived is lost in between."""
    life = _Life(tmp_path, seed=seed, layout="v2")
    rare = WorkloadCollector(life.node.roots, life.node.clock, WorkloadSettings())
    rare.sample(with_memory=False)
    with Follower(life.node) as follower:
        for _ in range(_TICKS):
            life.step()
            follower.tick(1.0)
        seen_s = total_s(follower.total())
    rarely_s = total_s(rare.sample(with_memory=False))
    rare.close()

    assert seen_s == pytest.approx(rarely_s, abs=1e-4)
