"""The benchmark's C program for GPUs makes the calls that the agent makes: without that, the ratio means nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.gpus import build_floor, count_calls, exported
from exporter.testing.simulated_nvml import (
    MigSlice,
    NoCompilerError,
    NvidiaBoard,
    SimulatedNvml,
    build_standin,
    standin_environment,
)

PASSES = 240
PAUSE = "0"
MIG = (MigSlice(1, 3, "3g.40gb"), MigSlice(2, 4, "4g.40gb"))


@pytest.mark.parametrize("is_mig", [False, True])
def test_the_floor_makes_the_calls_of_a_tick(tmp_path: Path, *, is_mig: bool) -> None:
    try:
        library = build_standin(tmp_path)
    except NoCompilerError as exc:
        pytest.skip(str(exc))
    floor = build_floor(tmp_path)
    nvml = SimulatedNvml(tmp_path / "state", [NvidiaBoard(), NvidiaBoard()])
    for gpu in nvml.gpus:
        gpu.divide(MIG if is_mig else None)
        gpu.start(10, load=0.5, on=MIG[0] if is_mig else None)
    nvml.advance(20)

    def calls_of(command: Sequence[str]) -> int:
        before = count_calls(nvml, exported(library))
        environment = {**os.environ, **standin_environment(library, nvml.path)}
        subprocess.run(command, check=True, env=environment, cwd=Path(__file__).parents[2], stdout=subprocess.DEVNULL)
        return count_calls(nvml, exported(library)) - before

    agent = calls_of([sys.executable, "-m", "bench.gpu_part", str(PASSES), PAUSE])
    floor_calls = calls_of([str(floor), str(library), str(PASSES), PAUSE])

    assert floor_calls == pytest.approx(agent, rel=0.05)
