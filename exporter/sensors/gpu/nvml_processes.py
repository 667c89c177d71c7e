"""Who is on one NVIDIA GPU and who used it since the last read, from NVML's lists and its ring of samples.

The ring keeps 72 samples, about ten seconds of them; each names the one process seen on the multiprocessors at that
moment. Stamps are opaque: the wall clock in most drivers, time since boot in others.
Source: NVML reference, nvmlDeviceGetProcessUtilization; NV0000_CTRL GPU perfmon samples of open-gpu-kernel-modules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from exporter.sensors.gpu.nvml_calls import Context, NvmlCalls
from exporter.sensors.gpu.nvml_device import NvmlDevice
from exporter.sensors.gpu.nvml_mig import MigDevice
from exporter.sensors.gpu.records import GpuProcess

__all__ = ["NvmlProcesses", "Residents"]

_GRAPHICS_EVERY = 12
"""Reads between two looks at graphics contexts, which training nodes rarely have."""
_SILENT_READS = 12
"""Reads of a busy GPU without one sample, after which its stamps are taken to have stepped back."""
_MAX_PERCENT = 100
_OF_ALL_INSTANCES = "processes_of_all_instances"
"""The list of a divided GPU, which needs more rights than those of its partitions; its refusal is no loss as such."""


class Residents(NamedTuple):
    """The processes of a GPU; ``is_known``: whether the driver told; ``is_mps``: whether an MPS server serves it."""

    processes: Sequence[GpuProcess]
    is_known: bool
    is_mps: bool


class NvmlProcesses:
    """What is remembered of one GPU's processes between two reads.

    Attributes:
        are_refused: whether the processes of some partition are refused for good.
    """

    def __init__(self, calls: NvmlCalls, device: NvmlDevice) -> None:
        self.are_refused = False
        self._calls = calls
        self._device = device
        self._graphics: Sequence[Context] = ()
        self._reads = 0
        self._pids: frozenset[int] = frozenset()
        self._last_stamp: int | None = None
        self._silent_reads = 0

    def residents(self, instances: Sequence[MigDevice]) -> Residents:
        """Return who has a context now.

        Raises:
            SourceBusyError: the driver cannot tell right now.
        """
        kept_as = _OF_ALL_INSTANCES if instances else "compute_processes"
        compute = self._device.ask(self._calls.compute_processes, is_awaited=True, kept_as=kept_as)
        if compute is None and instances:
            compute = self._by_instance(instances)
        mps = self._device.ask(self._calls.mps_processes) or []
        if self._graphics or self._reads % _GRAPHICS_EVERY == 0:
            self._graphics = self._device.ask(self._calls.graphics_processes) or []
        self._reads += 1
        listed = (*(compute or ()), *mps, *self._graphics)
        processes = _merged(listed, {context.pid for context in mps})
        return Residents(processes, compute is not None, bool(mps))

    def _by_instance(self, instances: Sequence[MigDevice]) -> list[Context] | None:
        """Return the processes as the MIG devices tell of them; the GPU itself tells privileged callers only."""
        found: list[Context] = []
        for instance in instances:
            kept_as = f"compute_processes {instance.name}"
            listed = self._device.ask(self._calls.compute_processes, handle=instance.handle, kept_as=kept_as)
            if listed is None:
                self.are_refused = self._device.is_refused(kept_as)
                return None
            ids = {"gpu_instance": instance.gpu_instance, "compute_instance": instance.compute_instance}
            found += [context._replace(**ids) for context in listed]
        return found

    def used(self, residents: Residents, *, is_busy: bool) -> Mapping[int, float] | None:
        """Return how much each process used of the GPU since the last call; None where the driver does not tell.

        The first call only finds out where the ring is: what is in it happened before this agent looked.

        Raises:
            SourceBusyError: the driver cannot tell right now; the next call catches up.
        """
        last = self._last_stamp or 0
        rows = self._device.ask(
            lambda handle: self._calls.use_samples(handle, last), is_awaited=True, kept_as="use_samples"
        )
        pids = frozenset(process.pid for process in residents.processes)
        before, self._pids = self._pids, pids
        if rows is None:
            return None
        is_first = self._last_stamp is None
        fresh = [row for row in rows if row.stamp > last and 0 <= row.sm_percent <= _MAX_PERCENT]
        self._last_stamp = max((row.stamp for row in fresh), default=last)
        self._silent_reads = 0 if fresh or not is_busy else self._silent_reads + 1
        if self._silent_reads >= _SILENT_READS:
            self._last_stamp, self._silent_reads = None, 0
        if is_first:
            return {}
        used: dict[int, float] = {}
        for row in fresh:
            if row.pid and row.sm_percent and (not residents.is_known or row.pid in pids or row.pid in before):
                used[row.pid] = used.get(row.pid, 0.0) + row.sm_percent
        return used


def _merged(contexts: Iterable[Context], clients: Iterable[int]) -> list[GpuProcess]:
    """Return one process per pid and instance; it holds the most memory that any list shows."""
    found: dict[tuple[int, str], int | None] = {}
    for context in contexts:
        if context.pid == 0:
            continue
        key = (context.pid, _instance(context))
        amounts = [amount for amount in (found.get(key), context.memory_bytes) if amount is not None]
        found[key] = max(amounts, default=None)
    clients = set(clients)
    return [GpuProcess(pid, memory, instance, pid in clients) for (pid, instance), memory in found.items()]


def _instance(context: Context) -> str:
    if context.gpu_instance is None or context.compute_instance is None:
        return ""
    return f"gi{context.gpu_instance}/ci{context.compute_instance}"
