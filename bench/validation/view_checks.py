"""What this user may see: pids from another PID namespace, and the counters of the multiprocessors (GPM)."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.validation.driver import code_name
from bench.validation.report import Numbers, Skipped, rounded
from bench.validation.setting import Setting
from exporter.errors import SourceError

__all__ = ["gpm", "pid_view"]

_GPM_METRICS = {"GRAPHICS_UTIL": 1, "SM_UTIL": 2, "SM_OCCUPANCY": 3, "ANY_TENSOR": 5, "DRAM_BW": 10}
_GPM_PAUSE_S = 0.3
_UNSHARE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
_VIEW_TIMEOUT_S = 120.0


def pid_view(setting: Setting) -> Numbers:
    """List the pids here, with a load outside, and from within a PID namespace, with a load inside."""
    if not shutil.which(_UNSHARE[0]):
        raise Skipped("there is no unshare (util-linux)")
    allowed = subprocess.run([*_UNSHARE, "true"], capture_output=True, text=True, check=False)
    if allowed.returncode != 0:
        raise Skipped(f"this user may not make a PID namespace: {allowed.stderr.strip()}")
    with ExitStack() as stack:
        outside: int | None = None
        if setting.loads.can_run():
            outside = stack.enter_context(setting.loads.running("steady")).pid
        elif not setting.gpu.contexts():
            raise Skipped("no process has a context on the GPU, and no load can be put on it")
        here = setting.gpu.listed()
        command = [sys.executable, "-m", "bench.validation.pid_view", str(setting.gpu.facts.index)]
        done = subprocess.run(
            [*_UNSHARE, *command, *setting.loads.command],
            capture_output=True,
            text=True,
            timeout=_VIEW_TIMEOUT_S,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"the view from within ended with {done.returncode}: {done.stderr[-500:]}")
        inside = json.loads(done.stdout)
        sampled = sorted({row.pid for row in setting.gpu.rows(0)[1]})
    namespace = str(Path("/proc/self/ns/pid").readlink())
    return {
        "outside": {"namespace": namespace, "own_load": outside, "listed": here, "sampled": sampled},
        "inside": inside,
        "outside_pid_is_listed_inside": outside in inside["listed"]["compute"],
        "inside_pid_is_listed_inside": inside["own_load"] in inside["listed"]["compute"],
        "outside_pid_is_sampled_inside": outside in inside["sampled"],
    }


def gpm(setting: Setting) -> Numbers:
    """Take two samples as this user, and ask for a few metrics between them."""
    gpu = setting.gpu
    try:
        is_supported = gpu.calls.has_gpm(gpu.handle)
    except SourceError as exc:
        return {"uid": os.geteuid(), "support": str(exc)}
    found: Numbers = {"uid": os.geteuid(), "support": is_supported}
    if is_supported:
        found["metrics"] = _metrics(gpu.binding, gpu.handle)
    return found


def _metrics(binding: Any, handle: object) -> object:  # noqa: ANN401 - untyped pynvml
    """Return each metric's code and value, or the code at which it ended."""
    samples: list[object] = []
    try:
        for _ in range(2):
            samples.append(binding.nvmlGpmSampleAlloc())
            binding.nvmlGpmSampleGet(handle, samples[-1])
            time.sleep(_GPM_PAUSE_S)
        query = binding.c_nvmlGpmMetricsGet_t()
        query.version, query.numMetrics = binding.NVML_GPM_METRICS_GET_VERSION, len(_GPM_METRICS)
        query.sample1, query.sample2 = samples
        for place, number in enumerate(_GPM_METRICS.values()):
            query.metrics[place].metricId = number
        binding.nvmlGpmMetricsGet(query)
        return {
            name: {"code": code_name(binding, int(one.nvmlReturn)), "value": rounded(float(one.value))}
            for name, one in zip(_GPM_METRICS, query.metrics, strict=False)
        }
    except binding.NVMLError as exc:
        return code_name(binding, int(exc.value))
    except (ctypes.ArgumentError, AttributeError) as exc:
        return f"{type(exc).__name__}: {exc}"
    finally:
        for sample in samples:
            binding.nvmlGpmSampleFree(sample)
