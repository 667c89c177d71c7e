"""The GPU part of a tick alone, in a process of its own: ``python -m bench.gpu_part SAMPLES PAUSE_S``.

Prints JSON: median and 99th percentile of a sample's wall time and the mean of its CPU time, in milliseconds.
"""

from __future__ import annotations

import json
import statistics
import sys
import time

from exporter.clock import SystemClock
from exporter.sensors.gpu.gpu_set import GpuSet
from exporter.sensors.gpu.nvml import NvmlDriver
from exporter.sensors.gpu.settings import GpuSettings
from exporter.units import MILLISECONDS_PER_SECOND


def main() -> int:
    """Sample as the loop does, with a pause between, and print what it cost."""
    samples, pause_s = int(sys.argv[1]), float(sys.argv[2])
    clock = SystemClock()
    gpus = GpuSet([NvmlDriver(clock)], clock, GpuSettings())
    gpus.resume({})
    wall_ms, cpu_ms = [], []
    for _ in range(samples):
        time.sleep(pause_s)
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        gpus.sample()
        wall_ms.append((time.perf_counter() - wall_s) * MILLISECONDS_PER_SECOND)
        cpu_ms.append((time.process_time() - cpu_s) * MILLISECONDS_PER_SECOND)
    gpus.close()
    found = {
        "wall_p50_ms": statistics.median(wall_ms),
        "wall_p99_ms": statistics.quantiles(wall_ms, n=100)[98],
        "cpu_ms": statistics.mean(cpu_ms),
    }
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
