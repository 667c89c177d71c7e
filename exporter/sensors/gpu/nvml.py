"""NVIDIA GPUs through NVML: opening and letting go of the driver, and finding its GPUs again by UUID.

What one GPU answers is ``nvml_gpu``'s. An open NVML keeps the driver from being unloaded, hence ``release``.
Source: NVML API reference, "Initialization and Cleanup".
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from types import ModuleType

from exporter.clock import Clock
from exporter.errors import (
    DeviceLostError,
    DriverGoneError,
    DriverReplacedError,
    SourceError,
    SourcePermissionError,
    SourceUnsupportedError,
)
from exporter.health import Finding
from exporter.sensors.gpu.nvml_calls import Handle, NvmlCalls
from exporter.sensors.gpu.nvml_gpu import NvmlGpu
from exporter.sensors.gpu.records import GpuFacts, GpuReading

__all__ = ["NvmlDriver"]

_SOURCE = "nvml"
_UNUSABLE_REMEDY = "drain the node if it is lost; give this process its device file if it may not be opened"


class NvmlDriver:
    """NVIDIA's driver, as ``GpuDriver``. Different GPUs may be read from different threads at once.

    Attributes:
        source: ``nvml``.
    """

    def __init__(self, clock: Clock, binding: ModuleType | None = None) -> None:
        self.source = _SOURCE
        self._clock = clock
        self._calls = NvmlCalls(binding)
        self._gpus: Mapping[str, NvmlGpu] = {}
        self._failures: Mapping[int, SourceError] = {}
        self._is_open = False
        self._was_open = False
        self._guard = threading.Lock()

    def look(self) -> Sequence[GpuFacts]:
        """Return every GPU that answers, in the driver's order.

        A GPU that is lost, or that this process may not open, is left out; the others are unharmed.

        Raises:
            SourceUnsupportedError: there is no NVIDIA driver, or no GPU.
            DriverGoneError, DriverReplacedError: the driver went away, or came back as another.
            SourceError: there are GPUs, and none of them can be used; the kind says why.
        """
        if not self._is_open:
            self._calls.open(was_open=self._was_open)
            self._is_open = self._was_open = True
        count = self._calls.count()
        if count == 0:
            self.release()
            raise SourceUnsupportedError(_SOURCE, "the NVIDIA driver is loaded and has no GPU")
        found: dict[str, NvmlGpu] = {}
        facts: list[GpuFacts] = []
        failures: dict[int, SourceError] = {}
        for index in range(count):
            try:
                one = self._looked_at(index, found)
            except (DriverGoneError, DriverReplacedError):
                raise
            except SourceError as exc:
                failures[index] = exc
            else:
                facts.append(one)
        self._replace(found)
        self._failures = failures
        if not facts:
            raise self._none_usable(list(failures.values()))
        return facts

    def _looked_at(self, index: int, found: dict[str, NvmlGpu]) -> GpuFacts:
        """Return the facts of the GPU at ``index``; GPUs that were known go on with what is remembered of them."""
        handle = self._calls.handle(index)
        uuid = self._uuid(handle, index)
        gpu = self._gpus.get(uuid)
        if gpu is None:
            gpu = NvmlGpu(self._calls, self._clock, handle)
        gpu.device.handle = handle
        found[uuid] = gpu  # also if it fails below: it is there, and a later look goes on with it
        return gpu.facts(uuid=uuid, index=index)

    def _uuid(self, handle: Handle, index: int) -> str:
        try:
            return self._calls.uuid(handle)
        except SourceUnsupportedError:
            return f"nvidia-{index}"  # a Jetson's GPU, of which there is one

    def _replace(self, found: Mapping[str, NvmlGpu]) -> None:
        with self._guard:
            gone = [gpu for uuid, gpu in self._gpus.items() if uuid not in found]
            self._gpus = found
        for gpu in gone:
            gpu.close()

    @staticmethod
    def _none_usable(failures: Sequence[SourceError]) -> SourceError:
        first = failures[0]
        for kind in (SourcePermissionError, DeviceLostError):
            if all(isinstance(failure, kind) for failure in failures):
                return kind(_SOURCE, f"none of {len(failures)} GPUs can be used: {first}")
        return SourceError(_SOURCE, f"none of {len(failures)} GPUs can be used: {first}")

    def read(self, gpu: GpuFacts) -> GpuReading:
        """Return a reading of ``gpu``.

        Raises:
            DeviceLostError: it fell off, or the last look did not find it.
            DriverGoneError, DriverReplacedError: it is about the driver, not this GPU.
            SourceError: this read failed; the next may work.
        """
        known = self._gpus.get(gpu.uuid)
        if known is None:
            raise DeviceLostError(_SOURCE, f"{gpu.uuid} is not among the driver's GPUs")
        return known.read()

    def findings(self, gpu: GpuFacts) -> Sequence[Finding]:
        """Return what ``gpu`` refuses to this process."""
        known = self._gpus.get(gpu.uuid)
        return known.device.findings(gpu) if known else []

    def unusable(self) -> Sequence[Finding]:
        """Return the GPUs that the last look had to leave out: lost, or closed to this process."""
        return [
            Finding(source=_SOURCE, state="down", item=f"gpu {index}", detail=str(failure), remedy=_UNUSABLE_REMEDY)
            for index, failure in self._failures.items()
        ]

    def release(self) -> None:
        """Shut NVML down, so that the driver can be unloaded; forget what the GPUs refused. Never raises."""
        if not self._is_open:
            return
        self._is_open = False
        self._failures = {}
        try:
            self._replace({})
            self._calls.close()
        except SourceError:
            return  # a driver that went away has nothing left to shut down
