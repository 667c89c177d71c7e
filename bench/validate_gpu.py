"""Measures, on a machine with an NVIDIA GPU, what the agent takes for granted: ``make validate-gpu``.

Takes less than ten minutes, changes no setting of the device, and writes JSON and Markdown. Loads need PyTorch with
CUDA, or another program that talks as ``bench.validation.loads`` says; without, what needs a load is skipped.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bench.validation.attribution_check import attribution
from bench.validation.counter_checks import call_latency, counter_step, energy_against_power, field_scopes
from bench.validation.driver import ValidatedGpu
from bench.validation.idle_checks import context_power, idle_power, settling_time
from bench.validation.loads import Loads
from bench.validation.report import Numbers, Report, Section, run_check
from bench.validation.sample_checks import mps, samples_at_idle, samples_in_the_ring, samples_of_two
from bench.validation.setting import FULL, QUICK, Setting
from bench.validation.view_checks import gpm, pid_view
from exporter.errors import SourceError
from exporter.testing.simulated_nvml import NVML_STATE_VARIABLE

_OUTPUT = Path(__file__).parents[1] / "docs/validation"
_TORCH_LOAD = (sys.executable, "-m", "bench.validation.torch_load")
_SIMULATED = "NVML was this project's stand-in and the GPU a simulated one."


class _Check(NamedTuple):
    name: str
    title: str
    measure: Callable[[Setting], Numbers]


_CHECKS = (
    _Check("idle_power", "Idle power, bare", idle_power),
    _Check("counter_step", "Energy counter: step and period", counter_step),
    _Check("call_latency", "Latency of the calls", call_latency),
    _Check("energy_idle", "Counter against power: idle", partial(energy_against_power, mode=None)),
    _Check("energy_steady", "Counter against power: steady load", partial(energy_against_power, mode="steady")),
    _Check("energy_square", "Counter against power: 50 ms on, 50 ms off", partial(energy_against_power, mode="square")),
    _Check("field_scopes", "Fields by scope", field_scopes),
    _Check("samples_at_idle", "Utilisation samples: answer at idle", samples_at_idle),
    _Check("samples_in_the_ring", "Utilisation samples: ring", samples_in_the_ring),
    _Check("samples_of_two", "Utilisation samples: two processes", samples_of_two),
    _Check("mps", "MPS: whose pids", mps),
    _Check("gpm", "GPM as this user", gpm),
    _Check("context_power", "Idle power, with a context", context_power),
    _Check("settling_time", "Settling of power after a load", settling_time),
    _Check("pid_view", "Pids with and without a PID namespace", pid_view),
    _Check("attribution", "Attribution end to end", attribution),
)
"""Bare idle power comes first, while nothing has run yet."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every check, write both files, and return 0; 1 without a GPU or if a check failed."""
    parser = argparse.ArgumentParser(prog="python -m bench.validate_gpu", description=__doc__)
    parser.add_argument("--output", type=Path, default=_OUTPUT, metavar="DIR", help="default: docs/validation")
    parser.add_argument("--gpu", type=int, default=0, metavar="N", help="the driver's number of the GPU; default: 0")
    parser.add_argument("--quick", action="store_true", help="short durations: to see that it works, not to measure")
    parser.add_argument("--load", type=shlex.split, default=list(_TORCH_LOAD), metavar="COMMAND", help="a load program")
    asked = parser.parse_args(arguments)
    started_wall_s = time.time()
    try:
        gpu = ValidatedGpu(asked.gpu)
    except SourceError as exc:
        print(f"there is no NVIDIA GPU to validate on this machine: {exc}", file=sys.stderr)
        return 1
    except IndexError:
        print(f"the driver has no usable GPU number {asked.gpu}", file=sys.stderr)
        return 1
    spans = QUICK if asked.quick else FULL
    setting = Setting(gpu=gpu, loads=Loads(asked.load, gpu_uuid=gpu.facts.uuid), spans=spans)
    simulated = _SIMULATED if os.environ.get(NVML_STATE_VARIABLE) else ""
    facts = _facts(gpu, is_quick=asked.quick, started_wall_s=started_wall_s)
    title = f"{'simulated ' if simulated else ''}{gpu.facts.model} driver {facts['driver']}"
    stem = re.sub(r"[^a-z0-9.]+", "-", title.lower()).strip("-")
    sections: list[Section] = []
    for one in _CHECKS:
        sections.append(run_check(one.name, one.title, partial(one.measure, setting)))
        # After every section, so that a script that is ended early leaves what it has found.
        paths = Report(simulated=simulated, facts=facts, sections=sections).write(asked.output, stem=stem)
    print(*paths, sep="\n")
    return 1 if any(section.status == "failed" for section in sections) else 0


def _facts(gpu: ValidatedGpu, *, is_quick: bool, started_wall_s: float) -> dict[str, object]:
    facts, binding = gpu.facts, gpu.binding
    try:
        driver = str(binding.nvmlSystemGetDriverVersion())
    except binding.NVMLError:
        driver = "not told"
    return {
        "gpu": f"{facts.vendor} {facts.model}",
        "driver": driver,
        "scope": facts.scope,
        "restricted": facts.restricted,
        "is_partitioned": facts.is_partitioned,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "uid": os.geteuid(),
        "is_quick": is_quick,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started_wall_s)),
    }


if __name__ == "__main__":
    sys.exit(main())
