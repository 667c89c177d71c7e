"""Runs a simulated node in real time: ``python -m exporter.testing DIRECTORY``, and an agent can be pointed at it.

A training run of four ranks, a Kubernetes pod, a system service that forks short processes, and kernel work, with
loads that change from second to second.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path

from exporter.clock import SystemClock
from exporter.testing.fake_clock import FakeClock
from exporter.testing.simulated_node import SimulatedNode
from exporter.testing.simulated_power import AMD_RANGE_UJ, RaplPackage
from exporter.testing.simulated_processes import SimulatedProcess

__all__ = ["demo_node", "main"]

_TRAINING = "/system.slice/slurmstepd.scope/job_4711/step_0/user/task_0"
_POD = (
    "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0a1b2c3d_1111_2222_3333_444455556666.slice"
    f"/cri-containerd-{'5c' * 32}.scope"
)
_SERVICE = "/system.slice/backup.service"


def demo_node(directory: Path, *, clock: FakeClock) -> tuple[SimulatedNode, list[SimulatedProcess]]:
    """Return a two-socket node with its load, and the processes whose demand changes."""
    package = RaplPackage(
        idle_w=55.0, joules_per_cpu_s=6.0, dram_idle_w=4.0, dram_joules_per_cpu_s=0.5, range_uj=AMD_RANGE_UJ
    )
    node = SimulatedNode(directory, packages=[package, package], clock=clock, cpu_count=32)
    launcher = node.spawn(
        "pt_elastic", cgroup=_TRAINING, run="training", arguments=("python3", "torchrun", "--nproc-per-node=4", "t.py")
    )
    ranks = [
        node.spawn(
            "python3",
            cgroup=_TRAINING,
            parent_pid=launcher.pid,
            run="training",
            demand_cpus=2.0,
            resident_bytes=2 << 30,
            arguments=("python3", "-u", "t.py"),
            environment=_rank_environment(rank),
        )
        for rank in range(4)
    ]
    pod = node.spawn("server", cgroup=_POD, demand_cpus=1.5, resident_bytes=1 << 30, arguments=("server",))
    service = node.spawn("backup", cgroup=_SERVICE, demand_cpus=0.2, arguments=("backup",))
    worker = node.spawn("kworker/0:1", cgroup="/", parent_pid=2, demand_cpus=0.1, is_kernel_thread=True)
    return node, [*ranks, pod, service, worker]


def main(argv: list[str] | None = None) -> int:
    """Run until interrupted, or for ``--seconds``."""
    parser = argparse.ArgumentParser(prog="python -m exporter.testing", description=__doc__)
    parser.add_argument("directory", type=Path, help="empty or missing; proc, sys and cgroup are made in it")
    parser.add_argument("--step", type=float, default=0.05, metavar="SECONDS", help="time between two updates")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after this long")
    parser.add_argument("--seed", type=int, default=1, help="of the changing load")
    arguments = parser.parse_args(argv)
    system = SystemClock()
    clock = FakeClock(monotonic_s=system.monotonic_s(), wall_s=system.wall_s())
    node, changing = demo_node(arguments.directory, clock=clock)
    print(_hint(arguments.directory), flush=True)  # noqa: T201 - a command
    try:
        _run(node, changing, system, random.Random(arguments.seed), step_s=arguments.step, seconds=arguments.seconds)  # noqa: S311 - load, not secrets
    except KeyboardInterrupt:
        return 130
    return 0


def _run(
    node: SimulatedNode,
    changing: list[SimulatedProcess],
    system: SystemClock,
    chance: random.Random,
    *,
    step_s: float,
    seconds: float,
) -> None:
    end_s = system.monotonic_s() + seconds
    while system.monotonic_s() < end_s:
        time.sleep(step_s)
        for process in changing:
            process.demand_cpus = max(process.demand_cpus + chance.uniform(-0.05, 0.05), 0.05)
            process.demand_cpus = min(process.demand_cpus, 3.0)
        if chance.random() < step_s:
            node.run_and_exit(cgroup=_SERVICE)
        node.advance(max(system.monotonic_s() - node.clock.monotonic_s(), 0.0))


def _rank_environment(rank: int) -> dict[str, str]:
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "4",
        "LOCAL_WORLD_SIZE": "4",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "29500",
        "TORCHELASTIC_RUN_ID": "demo",
        "SLURM_JOB_ID": "4711",
        "SLURM_JOB_NAME": "demo",
        "SLURM_PROCID": str(rank),
    }


def _hint(directory: Path) -> str:
    roots = " ".join(f"--path.{name}={directory}/{place}" for name, place in _PLACES)
    return f"point an agent at it: wattribute agent {roots} --state.file={directory}/state.db"


_PLACES = (("procfs", "proc"), ("sysfs", "sys"), ("cgroupfs", "cgroup"))

if __name__ == "__main__":
    sys.exit(main())
