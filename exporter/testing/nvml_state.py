"""The memory that a test and the NVML stand-in share: what ``nvml_standin.h`` declares, and consistent writes to it.

Writes happen under a sequence number that is odd meanwhile; the stand-in copies again until it saw an even one twice.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["ALL_GPUS", "MAX_GPUS", "MAX_PLACES", "SAMPLE_SLOTS", "GpuMemory", "StandinState"]

ALL_GPUS = -1
MAX_GPUS = 16
MAX_PLACES = 8
SAMPLE_SLOTS = 72

_TEXT = ctypes.c_char * 96
_U32, _U64 = ctypes.c_uint32, ctypes.c_uint64


class _Process(ctypes.Structure):
    _fields_ = (
        ("memory", _U64),
        ("pid", _U32),
        ("kinds", _U32),
        ("gpu_instance", _U32),
        ("compute_instance", _U32),
    )


class _Sample(ctypes.Structure):
    _fields_ = (("stamp", _U64), ("pid", _U32), ("sm", _U32))


class _Field(ctypes.Structure):
    _fields_ = (("number", _U32), ("scope", _U32), ("code", _U32), ("mw", _U32))


class _Mig(ctypes.Structure):
    _fields_ = (
        ("busy_s", ctypes.c_double),
        ("present", _U32),
        ("gpu_instance", _U32),
        ("compute_instance", _U32),
        ("slices", _U32),
        ("uuid", _TEXT),
        ("name", _TEXT),
    )


class GpuMemory(ctypes.Structure):
    """What the stand-in answers for one GPU."""

    _fields_ = (
        *((name, _U64) for name in ("energy_mj", "memory_used", "memory_total", "virtualization")),
        *((name, _U32) for name in ("power_mw", "limit_mw", "percent", "celsius", "minor", "mig_mode", "mig_places")),
        *((name, _U32) for name in ("mig_access", "gpm", "lost")),
        *((name, _U32) for name in ("process_count", "sample_count", "field_count", "padding")),
        *((name, _TEXT) for name in ("uuid", "name", "bus")),
        ("processes", _Process * 96),
        ("samples", _Sample * SAMPLE_SLOTS),
        ("migs", _Mig * MAX_PLACES),
        ("fields", _Field * 16),
    )

    def drop_oldest_sample(self) -> None:
        """Make room at the end of the ring."""
        start, step = ctypes.addressof(self.samples), ctypes.sizeof(_Sample)
        self.sample_count -= 1
        ctypes.memmove(start, start + step, step * self.sample_count)


class _Fault(ctypes.Structure):
    _fields_ = (("call", _TEXT), ("slot", ctypes.c_int32), ("code", _U32), ("remaining", _U32), ("hangs", _U32))


class _Counted(ctypes.Structure):
    _fields_ = (("call", _TEXT), ("used", _U32), ("count", _U32))


class _View(ctypes.Structure):
    _fields_ = (("pid", _U32), ("seen_as", _U32))


class _Memory(ctypes.Structure):
    _fields_ = (
        ("size", _U64),
        ("now_us", _U64),
        *((name, _U32) for name in ("sequence", "lock", "gpu_count", "fault_count", "view_count")),
        *((name, _U32) for name in ("lists_are_translated", "samples_are_translated", "empty_code")),
        ("order", _U32 * MAX_GPUS),
        ("faults", _Fault * 64),
        ("counted", _Counted * 64),
        ("views", _View * 128),
        ("gpus", GpuMemory * MAX_GPUS),
    )


class StandinState:
    """The shared memory, in a file.

    Attributes:
        memory: what is shared; to be changed inside ``writing``.
    """

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(ctypes.sizeof(_Memory)))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), ctypes.sizeof(_Memory))
        self.memory = _Memory.from_buffer(self._map)
        self.memory.size = ctypes.sizeof(_Memory)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Let readers wait until the changes are complete."""
        self.memory.sequence += 1
        try:
            yield
        finally:
            self.memory.sequence += 1

    def gpu(self, slot: int) -> GpuMemory:
        """Return what is shared about one GPU."""
        memory: GpuMemory = self.memory.gpus[slot]
        return memory

    def add_fault(self, call: str, *, slot: int, code: int, times: int, hangs: bool) -> None:
        """Let calls of this name fail or hang; a fault of the same call and GPU is replaced.

        Raises:
            ValueError: there are too many.
        """
        self.remove_faults(call, slot=slot)
        free = next((fault for fault in self.memory.faults if not fault.call), None)
        if free is None:
            raise ValueError("the stand-in keeps no more faults than these")
        free.slot, free.code, free.remaining, free.hangs = slot, code, times, int(hangs)
        free.call = call.encode()

    def remove_faults(self, call: str | None = None, *, slot: int | None = None) -> None:
        """End faults, all that fit; calls that hang in one go on."""
        for fault in self.memory.faults:
            fits = call is None or fault.call == call.encode()
            if fault.call and fits and (slot is None or fault.slot == slot):
                fault.call = b""

    def count(self, call: str) -> int:
        """Return how often a function was called, by its exported name."""
        return next((int(one.count) for one in self.memory.counted if one.call == call.encode()), 0)
