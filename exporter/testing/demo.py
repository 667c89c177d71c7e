"""A simulated node with eight GPUs and three training runs, advanced in real time: what ``wattribute demo`` shows.

One run that works (four ranks, a GPU each), one that holds two GPUs and does nothing, one that shares a GPU with an
inference server; the eighth GPU is free. Several nodes can be made: the first run then spans them all.
"""

from __future__ import annotations

import math
import random
import threading
from pathlib import Path
from typing import NamedTuple

from exporter.clock import Clock
from exporter.testing.fake_clock import FakeClock
from exporter.testing.simulated_gpus import SimulatedGpu, SimulatedGpuDriver
from exporter.testing.simulated_node import SimulatedNode
from exporter.testing.simulated_power import RaplPackage
from exporter.testing.simulated_processes import SimulatedProcess

__all__ = ["Demo"]

_GPUS = 8
_RANKS = 4
_STEP_S = 0.1
_JOB = "/system.slice/slurmstepd.scope/job_4711/step_0/user/task_{rank}"
_NOTEBOOK = "/user.slice/user-59999.slice/session-7.scope"
_FINE_TUNING = "/system.slice/slurmstepd.scope/job_4712/step_0/user/task_0"
_SERVER = (
    "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0a1b2c3d_1111_2222_3333_444455556666.slice"
    f"/cri-containerd-{'5c' * 32}.scope"
)


class _Load(NamedTuple):
    """A process and how busy it keeps its GPU: on average, how far that swings, and over how many seconds."""

    process: SimulatedProcess
    gpu: SimulatedGpu
    activity_ratio: float
    swing_ratio: float
    period_s: float


class Demo:
    """A simulated node that lives in real time while it is running.

    Args:
        directory: an empty or missing directory for its files.
        clock: the time of whoever reads it.
        node: number of this node, from 0.
        nodes: how many there are; the first run has four ranks on each.

    Attributes:
        node: the files of the node; its ``roots`` are what an agent reads.
        gpus: its GPUs.
        driver: their driver.
    """

    def __init__(self, directory: Path, clock: Clock, *, node: int = 0, nodes: int = 1) -> None:
        self._clock = clock
        self._own_clock = FakeClock(monotonic_s=clock.monotonic_s(), wall_s=clock.wall_s())
        package = RaplPackage(idle_w=95.0, joules_per_cpu_s=6.0, dram_idle_w=12.0, dram_joules_per_cpu_s=0.8)
        self.node = SimulatedNode(
            directory,
            packages=[package, package],
            cpu_count=64,
            clock=self._own_clock,
            boot_id=f"00000000-0000-4000-8000-{node:012d}",
        )
        self.gpus = [
            SimulatedGpu(index=i, uuid=f"GPU-51900000-0000-4000-{node:04d}-{i:012d}", seed=node) for i in range(_GPUS)
        ]
        self.driver = SimulatedGpuDriver(self.gpus, clock)
        self._chance = random.Random(node)  # noqa: S311 - a load that changes
        self._loads = [*self._training(node, nodes), *self._notebook(), *self._shared()]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="simulation", daemon=True)

    def start(self) -> None:
        """Let time pass for the node as it does for everybody."""
        self._thread.start()

    def stop(self) -> None:
        """Let the node stand still."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5.0)

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass at once."""
        moment_s = self._own_clock.monotonic_s()
        for load in self._loads:
            swing = load.swing_ratio * math.sin(2 * math.pi * moment_s / load.period_s)
            noise = self._chance.uniform(-0.02, 0.02) if load.activity_ratio else 0.0
            activity = min(max(load.activity_ratio + swing + noise, 0.0), 1.0)
            load.gpu.open(load.process.pid, activity_ratio=activity, memory_bytes=load.process.resident_bytes)
            load.process.demand_cpus = 0.05 + 2.0 * activity
        for gpu in self.gpus:
            gpu.advance(seconds)
        self.node.advance(seconds)

    def _run(self) -> None:
        while not self._stop.wait(_STEP_S):
            self.advance(max(self._clock.monotonic_s() - self._own_clock.monotonic_s(), 0.0))

    def _training(self, node: int, nodes: int) -> list[_Load]:
        """Return a run that uses what it holds: four ranks of a Slurm job under torchrun."""
        launcher = self.node.spawn(
            "pt_elastic",
            cgroup=_JOB.format(rank=0),
            environment=_slurm("4711", "llama-pretrain", 0),
            arguments=("python3", "torchrun", f"--nproc-per-node={_RANKS}", "train.py"),
        )
        loads = []
        for local in range(_RANKS):
            rank = node * _RANKS + local
            process = self._trainer(
                _JOB.format(rank=0),
                _slurm("4711", "llama-pretrain", node) | _ranks(rank, local, nodes * _RANKS),
                parent_pid=launcher.pid,
                memory_gib=62,
            )
            loads.append(_Load(process, self.gpus[local], 0.93, 0.05, 41.0 + local))
        return loads

    def _notebook(self) -> list[_Load]:
        """Return a run that holds two GPUs and does nothing with them."""
        environment = {"WATTRIBUTE_RUN": "forgotten-notebook"}
        processes = [self._trainer(_NOTEBOOK, environment, memory_gib=18) for _ in range(2)]
        return [_Load(process, self.gpus[4 + i], 0.0, 0.0, 60.0) for i, process in enumerate(processes)]

    def _shared(self) -> list[_Load]:
        """Return a run and a server that take turns on one GPU."""
        environment = _slurm("4712", "bert-finetune", 0) | _ranks(0, 0, 1)
        run = self._trainer(_FINE_TUNING, environment, memory_gib=22)
        server = self.node.spawn("server", cgroup=_SERVER, resident_bytes=9 << 30, arguments=("server",))
        return [_Load(run, self.gpus[6], 0.45, 0.25, 90.0), _Load(server, self.gpus[6], 0.3, 0.1, 33.0)]

    def _trainer(
        self, cgroup: str, environment: dict[str, str], *, memory_gib: int, parent_pid: int = 1
    ) -> SimulatedProcess:
        return self.node.spawn(
            "python3",
            cgroup=cgroup,
            parent_pid=parent_pid,
            resident_bytes=memory_gib << 30,
            arguments=("python3", "-u", "train.py"),
            environment=environment,
        )


def _slurm(job_id: str, name: str, node: int) -> dict[str, str]:
    return {
        "SLURM_JOB_ID": job_id,
        "SLURM_JOB_NAME": name,
        "SLURM_CLUSTER_NAME": "simulated",
        "SLURM_PROCID": str(node),
        "SLURM_NTASKS": "1",
    }


def _ranks(rank: int, local_rank: int, world_size: int) -> dict[str, str]:
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(local_rank),
        "WORLD_SIZE": str(world_size),
        "LOCAL_WORLD_SIZE": str(min(world_size, _RANKS)),
        "MASTER_ADDR": "10.0.0.1",
        "MASTER_PORT": "29500",
    }
