"""The driver as the checks ask it: through the agent's own calls, and bare where a return code is what matters."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from exporter.clock import SystemClock
from exporter.errors import SourceError
from exporter.sensors.gpu.nvml import NvmlDriver
from exporter.sensors.gpu.nvml_calls import Field, Handle, NvmlCalls
from exporter.sensors.gpu.records import GpuFacts

__all__ = ["AVERAGE", "INSTANT", "FieldAnswer", "Row", "ValidatedGpu", "code_name"]

AVERAGE, INSTANT = Field(185, 0), Field(186, 0)
_SUCCESS = 0
_VALUE_MEMBERS: Mapping[int, str] = {0: "dVal", 1: "uiVal", 2: "ulVal", 3: "ullVal", 4: "sllVal", 5: "siVal"}
_ROOM = 1024


class FieldAnswer(NamedTuple):
    """What one (field, scope) pair gave: return code by name, value, its type, and the driver's own latency."""

    code: str
    value: float | None
    value_type: int | None
    latency_us: int | None


class Row(NamedTuple):
    """One row of the utilisation samples, as it came."""

    pid: int
    stamp: int
    sm: int
    memory: int


class _Row(ctypes.Structure):
    """nvmlProcessUtilizationSample_t."""

    _fields_ = (
        ("pid", ctypes.c_uint),
        ("stamp", ctypes.c_ulonglong),
        ("sm", ctypes.c_uint),
        ("memory", ctypes.c_uint),
        ("encoder", ctypes.c_uint),
        ("decoder", ctypes.c_uint),
    )


class ValidatedGpu:
    """The GPU under test.

    Attributes:
        calls: the agent's own calls into NVML.
        handle: NVML's pointer to it.
        driver: the agent's own driver, opened.
        facts: what the agent's driver says of it.
        binding: pynvml, for what the agent has no call for.
    """

    def __init__(self, index: int) -> None:
        """Open the driver.

        Raises:
            SourceError: there is no driver or no GPU; the message says which.
            IndexError: there are GPUs, and none with this number.
        """
        self.driver = NvmlDriver(SystemClock())
        self.facts: GpuFacts = self.driver.look()[index]
        self.calls = NvmlCalls()
        self.calls.open(was_open=False)
        self.handle: Handle = self.calls.handle(self.facts.index)
        import pynvml  # type: ignore[import-untyped]  # NVIDIA ships no types

        self.binding: Any = pynvml  # untyped, as above
        self._library = ctypes.CDLL("libnvidia-ml.so.1")

    def power_w(self, field: Field = INSTANT) -> float | None:
        """Return a power field in watts, or None where it is not served."""
        try:
            value_mw = self.calls.field_values(self.handle, [field])[0]
        except SourceError:
            return None
        return None if value_mw is None else value_mw / 1000

    def energy_j(self) -> float:
        """Return the energy counter in joules."""
        return self.calls.total_energy_mj(self.handle) / 1000

    def energy_edge(self, *, timeout_s: float = 1.0) -> tuple[float, float]:
        """Wait for the counter's next step; return time and joules there, so that its step size does not matter."""
        first_j, end_s = self.energy_j(), time.perf_counter() + timeout_s
        while True:
            energy_j, now_s = self.energy_j(), time.perf_counter()
            if energy_j != first_j or now_s > end_s:
                return now_s, energy_j

    def field(self, field: Field) -> FieldAnswer:
        """Ask for one field on its own, with its return code."""
        try:
            value = self.binding.nvmlDeviceGetFieldValues(self.handle, [tuple(field)])[0]
        except self.binding.NVMLError as exc:
            return FieldAnswer(code_name(self.binding, int(exc.value)), None, None, None)
        code, kind = int(value.nvmlReturn), int(value.valueType)
        member = _VALUE_MEMBERS.get(kind)
        number = float(getattr(value.value, member)) if code == _SUCCESS and member else None
        return FieldAnswer(code_name(self.binding, code), number, kind, int(value.latencyUsec))

    def rows(self, last_stamp: int) -> tuple[str, list[Row]]:
        """Return the code and the rows of one query for utilisation samples, unfiltered."""
        rows, found = (_Row * _ROOM)(), ctypes.c_uint(_ROOM)
        code = self._library.nvmlDeviceGetProcessUtilization(
            self.handle, rows, ctypes.byref(found), ctypes.c_ulonglong(last_stamp)
        )
        taken = rows[: min(found.value, _ROOM)] if code == _SUCCESS else []
        return code_name(self.binding, code), [Row(one.pid, one.stamp, one.sm, one.memory) for one in taken]

    def newest_stamp(self) -> int:
        """Return the newest stamp in the ring; 0: it is empty."""
        return max((row.stamp for row in self.rows(0)[1]), default=0)

    def listed(self) -> dict[str, list[int]]:
        """Return the pids of each process list; a list that is refused is empty."""
        lists = {
            "compute": self.calls.compute_processes,
            "graphics": self.calls.graphics_processes,
            "mps": self.calls.mps_processes,
        }
        found: dict[str, list[int]] = {}
        for name, ask in lists.items():
            try:
                found[name] = sorted(context.pid for context in ask(self.handle))
            except SourceError:
                found[name] = []
        return found

    def contexts(self) -> Sequence[int]:
        """Return every pid in any list."""
        return sorted({pid for pids in self.listed().values() for pid in pids})

    def utilization(self) -> int:
        """Return the GPU's utilisation in percent; 0 where it is not told."""
        try:
            return self.calls.utilization_percent(self.handle)
        except SourceError:
            return 0


def code_name(binding: Any, code: int) -> str:  # noqa: ANN401 - untyped pynvml
    """Return the name of one of NVML's return codes, without its prefix."""
    for name in dir(binding):
        if name.startswith("NVML_ERROR_") and getattr(binding, name) == code:
            return name.removeprefix("NVML_ERROR_")
    return "SUCCESS" if code == _SUCCESS else str(code)
