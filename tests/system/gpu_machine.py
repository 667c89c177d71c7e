"""A simulated machine in real time whose GPUs the unmodified pynvml finds, through a stand-in for the driver."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from exporter.clock import SystemClock
from exporter.testing import FakeClock, SimulatedNode, SimulatedProcess
from exporter.testing.simulated_nvml import NvidiaBoard, SimulatedNvml, standin_environment

__all__ = ["GpuMachine", "gpu_machine"]

_STEP_S = 0.05


class GpuMachine:
    """Two GPUs, a run that trains on the first, and one that holds the second.

    Attributes:
        node: the machine's files.
        nvml: its GPUs.
        environ: what a process needs in its environment to find them.
        trainer, holder: the processes.
    """

    def __init__(self, directory: Path, library: Path) -> None:
        system = SystemClock()
        self._clock = FakeClock(monotonic_s=system.monotonic_s(), wall_s=system.wall_s())
        self.node = SimulatedNode(directory / "node", cpu_count=8, clock=self._clock)
        self.nvml = SimulatedNvml(directory / "nvml", [NvidiaBoard(), NvidiaBoard()])
        self.environ: Mapping[str, str] = standin_environment(library, directory / "nvml")
        self.trainer = self._spawn(7, "good")
        self.holder = self._spawn(8, "hog")
        self.nvml.gpus[0].start(self.trainer.pid, load=1.0)
        self.nvml.gpus[1].start(self.holder.pid, load=0.0)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _spawn(self, job: int, name: str) -> SimulatedProcess:
        environment = {"SLURM_JOB_ID": str(job), "SLURM_PROCID": "0", "SLURM_JOB_NAME": name, "RANK": "0"}
        cgroup = f"/system.slice/slurmstepd.scope/job_{job}/step_0/user/task_0"
        return self.node.spawn("python3", cgroup=cgroup, demand_cpus=0.5, environment=environment)

    def _run(self) -> None:
        system = SystemClock()
        while not self._stop.is_set():
            time.sleep(_STEP_S)
            passed_s = max(system.monotonic_s() - self._clock.monotonic_s(), 0.0)
            self.nvml.advance(passed_s)
            self.node.advance(passed_s)

    def stop(self) -> None:
        """Let time stand still, and calls that hang return."""
        self._stop.set()
        self._thread.join(timeout=5.0)
        self.nvml.recover()


@contextmanager
def gpu_machine(directory: Path, library: Path) -> Iterator[GpuMachine]:
    """Run a machine for as long as the block takes."""
    machine = GpuMachine(directory, library)
    try:
        yield machine
    finally:
        machine.stop()
