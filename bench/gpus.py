"""The GPU rows of the benchmark: the real agent on the NVML stand-in, beside a C program that makes the same calls.

The stand-in answers from memory, so the rows say what the agent adds to a driver, never what a driver costs: a real one
takes tens of microseconds to milliseconds per call, the same for both.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bench.measure import running_agent
from exporter.host import Roots
from exporter.testing.simulated_nvml import (
    MigSlice,
    NoCompilerError,
    NvidiaBoard,
    SimulatedNvml,
    build_standin,
    standin_environment,
)

__all__ = ["GPU_COLUMNS", "GpuRow", "build_floor", "count_calls", "exported", "measure_gpus"]

GPU_COLUMNS = (
    *("GPUs", "tick ms", "GPU part ms", "NVML calls", "floor calls", "floor ms", "floor share"),
    *("wall p50 ms", "wall p99 ms", "PSS MiB", "threads"),
)
_HERE = Path(__file__).parent
_PROCESSES_PER_GPU = 4
_SLICES = (MigSlice(1, 3, "3g.40gb"), MigSlice(2, 2, "2g.20gb"), MigSlice(3, 2, "2g.20gb"))
_STEP_S = 0.1
_SAMPLES, _PAUSE_S = 120, 0.05
_OFF = "nvml off"
_NO_DRIVER = "no driver"
_MIG_MARK = "m"


class GpuRow(NamedTuple):
    """One size; None where there is no driver to call."""

    label: str
    tick_ms: float
    part_ms: float | None
    calls: float | None
    floor_calls: float | None
    floor_ms: float | None
    wall_p50_ms: float | None
    wall_p99_ms: float | None
    pss_mib: float
    threads: int

    def cells(self) -> list[str]:
        """Return the columns as text."""
        share = self.floor_ms / self.part_ms if self.part_ms and self.floor_ms else None
        return [
            *(self.label, _text(self.tick_ms), _text(self.part_ms), _text(self.calls, 1), _text(self.floor_calls, 1)),
            *(_text(self.floor_ms, 3), "–" if share is None else f"{share:.1%}"),
            *(_text(self.wall_p50_ms), _text(self.wall_p99_ms), _text(self.pss_mib, 1), str(self.threads)),
        ]


def _text(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def measure_gpus(sizes: Sequence[str], *, build: Path, ticks: int, port: int) -> list[GpuRow]:
    """Return a row without NVML, one without a driver, and one for each size: ``8``, or ``8m`` for 8 divided by MIG."""
    try:
        library = build_standin(build)
    except NoCompilerError as exc:
        print(f"no GPU rows: {exc}", file=sys.stderr)
        return []
    floor = build_floor(build)
    rows = []
    for label in (_OFF, _NO_DRIVER):
        print(f"measuring an agent with {label} …", file=sys.stderr, flush=True)
        rows.append(_without_gpus(label, build=build, ticks=ticks, port=port))
    for size in sizes:
        print(f"measuring {size} GPUs …", file=sys.stderr, flush=True)
        rows.append(_with_gpus(size, library=library, floor=floor, ticks=ticks, port=port))
    return rows


def build_floor(directory: Path) -> Path:
    """Compile the C program that makes a tick's calls, and return its path."""
    floor, include = directory / "nvml_floor", _HERE.parent / "exporter/testing"
    command = ["gcc", "-O2", "-Wall", f"-I{include}", "-o", str(floor), str(_HERE / "nvml_floor.c"), "-ldl"]
    subprocess.run(command, check=True)
    return floor


def _without_gpus(label: str, *, build: Path, ticks: int, port: int) -> GpuRow:
    configuration = build / "off.yaml"
    configuration.write_text("sensors:\n  disabled_sources: [nvml]\n", encoding="utf-8")
    arguments = [f"--config.file={configuration}"] if label == _OFF else []
    with running_agent(Roots(), port=port, state=build / "gpu.db", arguments=arguments) as agent:
        tick_ms = agent.tick_ms(ticks)
        return GpuRow(label, tick_ms, None, None, None, None, None, None, agent.pss_mib(), agent.threads())


def _with_gpus(size: str, *, library: Path, floor: Path, ticks: int, port: int) -> GpuRow:
    is_mig = size.endswith(_MIG_MARK)
    nvml = SimulatedNvml(library.parent / f"nvml-{size}", [NvidiaBoard()] * int(size.removesuffix(_MIG_MARK)))
    functions = exported(library)
    environment = standin_environment(library, nvml.path)
    with _busy(nvml, is_mig=is_mig), _advancing(nvml):
        with running_agent(Roots(), port=port, state=library.parent / "gpu.db", environment=environment) as agent:
            agent.tick_ms(1)
            ticks_before, calls_before = agent.ticks(), count_calls(nvml, functions)
            tick_ms = agent.tick_ms(ticks)
            calls = (count_calls(nvml, functions) - calls_before) / (agent.ticks() - ticks_before)
            pss_mib, threads = agent.pss_mib(), agent.threads()
        part: Mapping[str, float] = json.loads(
            _output([sys.executable, "-m", "bench.gpu_part", str(_SAMPLES), str(_PAUSE_S)], environment)
        )
        pause_us = str(round(_PAUSE_S * 1e6))
        floor_ms, floor_calls = map(
            float, _output([str(floor), str(library), str(_SAMPLES), pause_us], environment).split()
        )
    return GpuRow(
        label=f"{size.removesuffix(_MIG_MARK)}{' (MIG)' if is_mig else ''}",
        tick_ms=tick_ms,
        part_ms=part["cpu_ms"],
        calls=calls,
        floor_calls=floor_calls if nvml.gpus else 0.0,
        floor_ms=floor_ms if nvml.gpus else None,
        wall_p50_ms=part["wall_p50_ms"],
        wall_p99_ms=part["wall_p99_ms"],
        pss_mib=pss_mib,
        threads=threads,
    )


def _output(command: Sequence[str], environment: Mapping[str, str]) -> str:
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})
    return done.stdout


def exported(library: Path) -> list[str]:
    """Return every function that the stand-in exports and counts."""
    listed = subprocess.run(["nm", "-D", "--defined-only", str(library)], check=True, capture_output=True, text=True)
    return re.findall(r" T (nvml\w+)$", listed.stdout, re.MULTILINE)


def count_calls(nvml: SimulatedNvml, functions: Sequence[str]) -> int:
    """Return how often these functions were called so far, by any process."""
    return sum(nvml.calls(function) for function in functions)


@contextmanager
def _busy(nvml: SimulatedNvml, *, is_mig: bool) -> Iterator[None]:
    """Let a few real processes, which sleep, have contexts on every GPU, and load it by the simulation."""
    sleepers: list[subprocess.Popen[bytes]] = []
    try:
        for gpu in nvml.gpus:
            if is_mig:
                gpu.divide(_SLICES)
            for number in range(_PROCESSES_PER_GPU):
                sleepers.append(subprocess.Popen(["sleep", "3600"]))
                place = _SLICES[number % len(_SLICES)] if is_mig else None
                gpu.start(sleepers[-1].pid, load=0.8 / _PROCESSES_PER_GPU, on=place)
        yield
    finally:
        for sleeper in sleepers:
            sleeper.kill()
            sleeper.wait()


@contextmanager
def _advancing(nvml: SimulatedNvml, *, step_s: float = _STEP_S) -> Iterator[None]:
    """Let the simulated state follow the real clock meanwhile."""
    stop = threading.Event()

    def follow() -> None:
        before_s = time.monotonic()
        while not stop.wait(step_s):
            now_s = time.monotonic()
            nvml.advance(now_s - before_s)
            before_s = now_s

    thread = threading.Thread(target=follow, name="advance", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
