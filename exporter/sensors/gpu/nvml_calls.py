"""The calls into NVML that this agent makes, with its own types and errors; the only module that knows ``pynvml``.

``pynvml`` is NVIDIA's own package nvidia-ml-py. Its import takes time and memory, so it happens when the driver is
opened first. It never unloads the library, whose version therefore stays that of the process's first opening.
Source: NVML API reference; the structure layouts are those of nvml.h.
"""

from __future__ import annotations

import ctypes
from collections.abc import Collection, Sequence
from types import ModuleType
from typing import Any, NamedTuple

from exporter.errors import SourceBusyError, SourceError, SourceFormatError, SourceUnsupportedError
from exporter.sensors.gpu.nvml_errors import (
    FUNCTION_NOT_FOUND,
    INSUFFICIENT_SIZE,
    INVALID_ARGUMENT,
    LIBRARY_NOT_FOUND,
    NOT_FOUND,
    SUCCESS,
    translated,
)

__all__ = ["Context", "Field", "Handle", "NvmlCalls", "UseSample"]

_SOURCE = "nvml"
_LIBRARY = "libnvidia-ml.so.1"
_SAMPLE_SLOTS = 128
"""More than the 72 samples that the kernel keeps per GPU, so that one call fetches all."""
_TRIES = 3
_INIT_NO_GPUS = 1
_TEMPERATURE_OF_GPU = 0
_GPM_SM_UTIL = 2
_NO_ID = 0xFFFF_FFFF
_VALUE_MEMBERS = {0: "dVal", 1: "uiVal", 2: "ulVal", 3: "ullVal", 4: "sllVal", 5: "siVal", 6: "usVal"}

Handle = object
"""NVML's opaque pointer to a GPU or a MIG device; only good for passing back."""


class Field(NamedTuple):
    """One of NVML's numbered fields, and what part of the board it is asked for (0: GPU, 1: module)."""

    number: int
    scope: int


class Context(NamedTuple):
    """A process as a list of NVML shows it; ids None where the GPU is not divided."""

    pid: int
    memory_bytes: int | None
    gpu_instance: int | None
    compute_instance: int | None


class UseSample(NamedTuple):
    """Which process was seen on the multiprocessors, when (an opaque stamp) and how much in percent."""

    pid: int
    stamp: int
    sm_percent: int


class _UseSample(ctypes.Structure):
    """nvmlProcessUtilizationSample_t."""

    _fields_ = (
        ("pid", ctypes.c_uint),
        ("timeStamp", ctypes.c_ulonglong),
        ("smUtil", ctypes.c_uint),
        ("memUtil", ctypes.c_uint),
        ("encUtil", ctypes.c_uint),
        ("decUtil", ctypes.c_uint),
    )


class NvmlCalls:
    """One method per NVML function; all raise ``SourceError`` in the kind that the error table gives.

    Threads may call at the same time once ``open`` has returned. ctypes lets other threads run during a call.
    """

    def __init__(self, binding: ModuleType | None = None) -> None:
        self._given = binding
        self._binding: Any = None  # pynvml has no types
        self._library: ctypes.CDLL | None = None
        self._lists_version = "_v3"

    def open(self, *, was_open: bool) -> None:
        """Import the binding where that is still to do, and initialise the library.

        Raises:
            SourceUnsupportedError: no usable binding, or no driver.
            DriverGoneError, DriverReplacedError: there was a driver, or there is another one now.
        """
        if self._binding is None and self._given is None:
            _require_library()
        self._binding = self._binding or self._given or _imported()
        if not hasattr(self._binding, "nvmlDeviceGetTotalEnergyConsumption"):
            message = "the Python package pynvml is another than NVIDIA's: uninstall pynvml, install nvidia-ml-py"
            raise SourceUnsupportedError(_SOURCE, message)
        try:
            self._binding.nvmlInitWithFlags(_INIT_NO_GPUS)
        except self._binding.NVMLError as exc:
            call = "nvmlInitWithFlags"
            raise translated(int(exc.value), call=call, is_opening=True, was_open=was_open) from exc
        self._library = ctypes.CDLL(_LIBRARY)  # the one that pynvml has loaded: the loader gives the same again
        self._lists_version = _lists_version(self._library)

    def close(self) -> None:
        """Shut the library down.

        Raises:
            SourceError: it refuses.
        """
        self._ask("nvmlShutdown")

    def _ask(self, call: str, *arguments: object, nothing: Collection[int] = ()) -> Any:  # noqa: ANN401 - untyped pynvml
        """Return what ``call`` returns; None for the codes in ``nothing``."""
        mismatch: type[Exception] = getattr(self._binding, "NVMLLibraryMismatchError", self._binding.NVMLError)
        try:
            return getattr(self._binding, call)(*arguments)
        except self._binding.NVMLError as exc:
            if int(exc.value) in nothing:
                return None
            raise translated(int(exc.value), call=call) from exc
        except (mismatch, AttributeError) as exc:  # a library, or a binding, that is too old for the call
            raise translated(FUNCTION_NOT_FOUND, call=call) from exc
        except UnicodeDecodeError as exc:
            raise SourceFormatError(_SOURCE, f"{call}: expected UTF-8, read {exc.object[:40]!r}") from exc

    def count(self) -> int:
        """Return how many GPUs the driver has, those that cannot be opened included."""
        return int(self._ask("nvmlDeviceGetCount"))

    def handle(self, index: int) -> Handle:
        """Return the GPU with the driver's number ``index``."""
        return self._ask("nvmlDeviceGetHandleByIndex", index)

    def uuid(self, handle: Handle) -> str:
        """Return ``GPU-…``, or ``MIG-…`` of a MIG device."""
        return str(self._ask("nvmlDeviceGetUUID", handle))

    def name(self, handle: Handle) -> str:
        """Return the product's name; a MIG device's ends in ``MIG 3g.40gb``."""
        return str(self._ask("nvmlDeviceGetName", handle))

    def minor_number(self, handle: Handle) -> int:
        """Return the N of ``/dev/nvidiaN``."""
        return int(self._ask("nvmlDeviceGetMinorNumber", handle))

    def pci_bus_id(self, handle: Handle) -> str:
        """Return the address as the kernel writes it: ``0000:3b:00.0``."""
        place = self._ask("nvmlDeviceGetPciInfo", handle)
        return f"{place.domain:04x}:{place.bus:02x}:{place.device:02x}.0"  # NVML's own text has more digits of domain

    def virtualization_mode(self, handle: Handle) -> int:
        """Return 0 bare metal, 1 passed through, 2 a virtual GPU's guest, 3 or 4 the host of virtual GPUs."""
        return int(self._ask("nvmlDeviceGetVirtualizationMode", handle))

    def total_energy_mj(self, handle: Handle) -> int:
        """Return millijoules since the driver was loaded."""
        return int(self._ask("nvmlDeviceGetTotalEnergyConsumption", handle))

    def power_usage_mw(self, handle: Handle) -> int:
        """Return milliwatts, of the last second or of now, depending on the generation."""
        return int(self._ask("nvmlDeviceGetPowerUsage", handle))

    def power_limit_mw(self, handle: Handle) -> int:
        """Return the limit in force, in milliwatts."""
        return int(self._ask("nvmlDeviceGetEnforcedPowerLimit", handle))

    def field_values(self, handle: Handle, fields: Sequence[Field]) -> list[float | None]:
        """Return the fields' values in order; None for one that is not served."""
        values = self._ask("nvmlDeviceGetFieldValues", handle, [tuple(field) for field in fields])
        return [_field_value(value) for value in values]

    def utilization_percent(self, handle: Handle) -> int:
        """Return the share of the last period in which any kernel ran."""
        return int(self._ask("nvmlDeviceGetUtilizationRates", handle).gpu)

    def memory_bytes(self, handle: Handle) -> tuple[int, int]:
        """Return the memory in use, and all there is."""
        memory = self._ask("nvmlDeviceGetMemoryInfo", handle)
        return int(memory.used), int(memory.total)

    def temperature_celsius(self, handle: Handle) -> int:
        """Return the chip's temperature."""
        return int(self._ask("nvmlDeviceGetTemperature", handle, _TEMPERATURE_OF_GPU))

    def compute_processes(self, handle: Handle) -> list[Context]:
        """Return every process with a compute context."""
        return self._listed("nvmlDeviceGetComputeRunningProcesses", handle)

    def graphics_processes(self, handle: Handle) -> list[Context]:
        """Return every process with a graphics context."""
        return self._listed("nvmlDeviceGetGraphicsRunningProcesses", handle)

    def mps_processes(self, handle: Handle) -> list[Context]:
        """Return every client of an MPS server."""
        return self._listed("nvmlDeviceGetMPSComputeRunningProcesses", handle)

    def _listed(self, unversioned: str, handle: Handle) -> list[Context]:
        call = unversioned + self._lists_version
        for _ in range(_TRIES):  # pynvml leaves room for twice as many as there were; a burst may need more
            listed = self._ask(call, handle, nothing=(INSUFFICIENT_SIZE,))
            if listed is not None:
                return [_context(process) for process in listed]
        raise translated(INSUFFICIENT_SIZE, call=call)

    def use_samples(self, handle: Handle, last_stamp: int) -> list[UseSample]:
        """Return the samples after ``last_stamp``; 0: all that are kept.

        Calls the library itself: pynvml's wrapper asks twice, sizes its buffer exactly, and raises "SUCCESS" where
        there is nothing.
        """
        call = "nvmlDeviceGetProcessUtilization"
        function = getattr(self._library, call, lambda *_: FUNCTION_NOT_FOUND)
        slots = _SAMPLE_SLOTS
        for _ in range(_TRIES):
            samples, found = (_UseSample * slots)(), ctypes.c_uint(slots)
            code = function(handle, samples, ctypes.byref(found), ctypes.c_ulonglong(last_stamp))
            if code == NOT_FOUND:
                return []
            if code == SUCCESS:
                return [UseSample(one.pid, one.timeStamp, one.smUtil) for one in samples[: min(found.value, slots)]]
            if code != INSUFFICIENT_SIZE:
                raise translated(code, call=call)
            slots = max(found.value, slots) * 2
        raise translated(INSUFFICIENT_SIZE, call=call)

    def is_mig(self, handle: Handle) -> bool:
        """Return whether the GPU is divided now."""
        return bool(self._ask("nvmlDeviceGetMigMode", handle)[0])

    def mig_places(self, handle: Handle) -> int:
        """Return how many MIG devices the GPU can have, which is the number of its compute slices."""
        return int(self._ask("nvmlDeviceGetMaxMigDeviceCount", handle))

    def mig_handle(self, handle: Handle, place: int) -> Handle | None:
        """Return the MIG device at ``place``; None where there is a hole."""
        found: Handle | None = self._ask(
            "nvmlDeviceGetMigDeviceHandleByIndex", handle, place, nothing=(NOT_FOUND, INVALID_ARGUMENT)
        )
        return found

    def mig_ids(self, mig: Handle) -> tuple[int, int]:
        """Return the ids of the GPU instance and of the compute instance."""
        return (
            int(self._ask("nvmlDeviceGetGpuInstanceId", mig)),
            int(self._ask("nvmlDeviceGetComputeInstanceId", mig)),
        )

    def mig_compute_slices(self, mig: Handle) -> int:
        """Return the size of a MIG device, in compute slices of the GPU."""
        return int(self._ask("nvmlDeviceGetAttributes", mig).computeInstanceSliceCount)

    def has_gpm(self, handle: Handle) -> bool:
        """Return whether the GPU counts the work of its multiprocessors (Hopper and newer)."""
        return bool(self._ask("nvmlGpmQueryDeviceSupport", handle).isSupportedDevice)

    def gpm_sample(self, handle: Handle, gpu_instance: int) -> object:
        """Return the counters of a GPU instance now; to be given to ``gpm_free`` at the end."""
        sample = self._ask("nvmlGpmSampleAlloc")
        try:
            self._ask("nvmlGpmMigSampleGet", handle, gpu_instance, sample)
        except SourceError:
            self.gpm_free(sample)
            raise
        return sample

    def gpm_activity_ratio(self, before: object, after: object) -> float:
        """Return how busy the multiprocessors were between two samples, 0–1."""
        query = self._binding.c_nvmlGpmMetricsGet_t()
        query.version = self._binding.NVML_GPM_METRICS_GET_VERSION
        query.numMetrics, query.sample1, query.sample2 = 1, before, after
        query.metrics[0].metricId = _GPM_SM_UTIL
        metric = self._ask("nvmlGpmMetricsGet", query).metrics[0]
        percent = float(metric.value)
        if metric.nvmlReturn != SUCCESS or not 0.0 <= percent <= 100.0:  # noqa: PLR2004 - percent
            raise SourceBusyError(_SOURCE, f"nvmlGpmMetricsGet: code {metric.nvmlReturn}, {percent} %")
        return percent / 100

    def gpm_free(self, sample: object) -> None:
        """Give a sample's memory back."""
        self._ask("nvmlGpmSampleFree", sample)


def _require_library() -> None:
    """Look for the library before the binding is imported, which costs a few MiB on every machine without a GPU."""
    try:
        ctypes.CDLL(_LIBRARY)
    except OSError as exc:
        raise translated(LIBRARY_NOT_FOUND, call="loading the library", is_opening=True) from exc


def _imported() -> ModuleType:
    try:
        import pynvml  # type: ignore[import-untyped]  # NVIDIA ships no types
    except ImportError as exc:
        raise SourceUnsupportedError(_SOURCE, f"the Python package nvidia-ml-py cannot be imported: {exc}") from exc
    module: ModuleType = pynvml
    return module


def _lists_version(library: ctypes.CDLL) -> str:
    """Return which form of the process lists to ask for: the newest, unless it is missing or odd.

    In drivers 530 to 535.98 its records have 8 bytes more than before and after; those drivers have the first of the
    functions below and not yet the second (as nvitop tells them apart). The form before it is the same everywhere.
    """
    has_long_records = hasattr(library, "nvmlDeviceGetConfComputeMemSizeInfo") and not hasattr(
        library, "nvmlDeviceGetRunningProcessDetailList"
    )
    is_old = not hasattr(library, "nvmlDeviceGetComputeRunningProcesses_v3")
    return "_v2" if is_old or has_long_records else "_v3"


def _field_value(value: Any) -> float | None:  # noqa: ANN401 - a structure of pynvml
    member = _VALUE_MEMBERS.get(value.valueType)
    if value.nvmlReturn != SUCCESS or member is None:
        return None
    return float(getattr(value.value, member))


def _context(process: Any) -> Context:  # noqa: ANN401 - an object of pynvml
    memory, gpu, compute = process.usedGpuMemory, process.gpuInstanceId, process.computeInstanceId
    return Context(
        pid=int(process.pid),
        memory_bytes=None if memory is None or memory >= 2**63 else int(memory),  # 2**64 - 1: not available
        gpu_instance=None if gpu == _NO_ID else int(gpu),
        compute_instance=None if compute == _NO_ID else int(compute),
    )
