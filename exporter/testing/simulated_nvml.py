"""NVIDIA's driver with simulated GPUs: what a test says of them is what the NVML stand-in answers, in any process.

Nothing moves but by ``advance``. ``build_standin`` and its companions make the library; see ``nvml_build``.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from exporter.testing.nvml_build import (
    NVML_STATE_VARIABLE,
    NoCompilerError,
    build_standin,
    load_standin,
    standin_environment,
)
from exporter.testing.nvml_state import ALL_GPUS, MAX_GPUS, StandinState
from exporter.testing.simulated_nvidia_gpu import MigSlice, NvidiaBoard, SimulatedNvidiaGpu
from exporter.units import MICROSECONDS_PER_SECOND

__all__ = [
    "NVML_STATE_VARIABLE",
    "MigSlice",
    "NoCompilerError",
    "NvidiaBoard",
    "PidView",
    "SimulatedNvidiaGpu",
    "SimulatedNvml",
    "build_standin",
    "load_standin",
    "standin_environment",
]

PidView = Literal["host", "mixed", "translated"]
"""How the driver shows pids. host: everybody's, as the host's; mixed (drivers 545 to 565, to a container): lists hold
the container's own, samples the host's; translated (570 and newer): the container's own, but the host's in samples of
others."""

_VIEWS: Mapping[PidView, tuple[bool, bool]] = {
    "host": (False, False),
    "mixed": (True, False),
    "translated": (True, True),
}
_START_US = 1_750_000_000 * MICROSECONDS_PER_SECOND
_NOT_SUPPORTED = 3


class SimulatedNvml:
    """The driver of a simulated machine.

    Attributes:
        path: the state's file.
        gpus: its GPUs, in the order in which they were given, whatever order the driver tells.
    """

    def __init__(self, path: Path, gpus: Sequence[NvidiaBoard] = (NvidiaBoard(),), *, seed: int = 0) -> None:
        if len(gpus) > MAX_GPUS:
            raise ValueError(f"expected at most {MAX_GPUS} GPUs, got {len(gpus)}")
        self.path = path
        self._state = StandinState(path)
        self._state.memory.now_us = _START_US
        chance = random.Random(seed)  # noqa: S311 - the same samples in every run
        self.gpus = [SimulatedNvidiaGpu(self._state, slot, board, chance) for slot, board in enumerate(gpus)]
        for slot, board in enumerate(gpus):
            for call in board.refuses:
                self.fail(call, _NOT_SUPPORTED, gpu=slot)
        self.reorder(range(len(gpus)))
        self.answer_empty_query(6)

    def advance(self, seconds: float) -> None:
        """Let time pass: counters count, samples are taken, multiprocessors work."""
        start_us = int(self._state.memory.now_us)
        end_us = start_us + round(seconds * MICROSECONDS_PER_SECOND)
        with self._state.writing():
            self._state.memory.now_us = end_us
            for gpu in self.gpus:
                gpu.pass_time(start_us, end_us)

    def reorder(self, slots: Sequence[int]) -> None:
        """Let the driver enumerate these GPUs, by their place in ``gpus``, in this order; others are gone."""
        with self._state.writing():
            self._state.memory.gpu_count = len(slots)
            for index, slot in enumerate(slots):
                self._state.memory.order[index] = slot

    def fail(self, call: str, code: int, *, gpu: int | None = None, times: int = 0) -> None:
        """Let a function return ``code``.

        Args:
            call: its name, with or without version suffix; ``*`` for every function.
            code: NVML's return code.
            gpu: for this GPU only, by its place in ``gpus``.
            times: how often; 0: until ``recover``.
        """
        self._state.add_fault(call, slot=ALL_GPUS if gpu is None else gpu, code=code, times=times, hangs=False)

    def hang(self, call: str, *, gpu: int | None = None) -> None:
        """Let a function not return until ``recover``."""
        self._state.add_fault(call, slot=ALL_GPUS if gpu is None else gpu, code=0, times=0, hangs=True)

    def recover(self, call: str | None = None, *, gpu: int | None = None) -> None:
        """End failures and hangs: all, those of a function, or those that were set for a GPU."""
        self._state.remove_faults(call, slot=gpu)

    def show_pids(self, view: PidView, visible: Mapping[int, int] | None = None) -> None:
        """Let the driver show pids as it does to a caller that sees host pid → own pid, ``visible``, and no others."""
        lists, samples = _VIEWS[view]
        pairs = list((visible or {}).items())
        with self._state.writing():
            memory = self._state.memory
            memory.lists_are_translated, memory.samples_are_translated = int(lists), int(samples)
            memory.view_count = len(pairs)
            for place, (pid, seen_as) in enumerate(pairs):
                memory.views[place].pid, memory.views[place].seen_as = pid, seen_as

    def answer_empty_query(self, code: int) -> None:
        """Let a query for samples that finds none return ``code``: 6 NOT_FOUND, or 0 SUCCESS as odd libraries do."""
        self._state.memory.empty_code = code

    def garble_name(self, gpu: int, name: bytes) -> None:
        """Let a GPU have a name that may be no text."""
        with self._state.writing():
            self._state.gpu(gpu).name = name

    def calls(self, function: str) -> int:
        """Return how often a function was called so far, by its exported name, from any process."""
        return self._state.count(function)
