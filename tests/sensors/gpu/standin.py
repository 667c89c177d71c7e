"""The NVML stand-in in this process and in others, and a driver on it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from exporter.errors import SourceError
from exporter.sensors.gpu.nvml import NvmlDriver
from exporter.sensors.gpu.records import GpuFacts, GpuReading
from exporter.testing import FakeClock
from exporter.testing.simulated_nvml import NvidiaBoard, SimulatedNvml

ENERGY = "nvmlDeviceGetTotalEnergyConsumption"
POWER = "nvmlDeviceGetPowerUsage"
COMPUTE = "nvmlDeviceGetComputeRunningProcesses"
SAMPLES = "nvmlDeviceGetProcessUtilization"

MakeNode = Callable[..., "NvidiaNode"]


class NvidiaNode:
    """Simulated GPUs, the driver under test, and one clock for both."""

    def __init__(self, path: Path, boards: Sequence[NvidiaBoard]) -> None:
        self.nvml = SimulatedNvml(path, boards)
        self.gpus = self.nvml.gpus
        self.clock = FakeClock()
        self.driver = NvmlDriver(self.clock)

    def look(self) -> Sequence[GpuFacts]:
        return self.driver.look()

    def advance(self, seconds: float) -> None:
        self.nvml.advance(seconds)
        self.clock.advance(seconds)

    def read(self, place: int = 0) -> GpuReading:
        """Read the GPU with this place in ``gpus``, as the last look found it or as it may have been."""
        uuid = self.gpus[place].uuid
        return self.driver.read(GpuFacts(source="nvml", uuid=uuid, index=0, vendor="NVIDIA", model=""))

    def failure(self, place: int = 0) -> SourceError | None:
        """Read a GPU and return what went wrong."""
        try:
            self.read(place)
        except SourceError as exc:
            return exc
        return None


def run_python(script: str, environment: Mapping[str, str]) -> str:
    """Run ``script`` in a process of its own and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
