"""The partitions (MIG devices) of one NVIDIA GPU: which there are, how large, and how busy on Hopper and newer.

Only the GPU as a whole has energy, power and utilisation; a partition has processes and, since Hopper, counters of its
multiprocessors' work (GPM). Those belong to the GPU instance, so compute instances within one share its activity.
Source: NVIDIA Multi-Instance GPU User Guide; NVML reference, "GPM Functions".
"""

from __future__ import annotations

from typing import NamedTuple

from exporter.errors import SourceError
from exporter.sensors.gpu.nvml_calls import Handle, NvmlCalls
from exporter.sensors.gpu.nvml_device import NvmlDevice
from exporter.sensors.gpu.records import GpuInstance

__all__ = ["MigDevice", "NvmlMig"]

_MARK = " MIG "


class MigDevice(NamedTuple):
    """A partition; ``share`` is its compute slices over all of the GPU's."""

    handle: Handle
    gpu_instance: int
    compute_instance: int
    uuid: str
    profile: str
    share: float

    @property
    def name(self) -> str:
        """How processes refer to it."""
        return f"gi{self.gpu_instance}/ci{self.compute_instance}"


class NvmlMig:
    """The layout of one GPU as last enumerated, and the last GPM sample of each GPU instance.

    Attributes:
        devices: its partitions; empty if it has none, or none that this process may see.
        is_outdated: whether the layout is to be enumerated before the next read.
    """

    def __init__(self, calls: NvmlCalls, device: NvmlDevice) -> None:
        self.devices: tuple[MigDevice, ...] = ()
        self.is_outdated = False
        self._calls = calls
        self._device = device
        self._samples: dict[int, object] = {}

    def enumerate(self) -> None:
        """Look for partitions anew; they can be made and removed at any time."""
        self.is_outdated = False
        places = self._device.ask(self._calls.mig_places) or 0
        found: list[tuple[Handle, int, int, int]] = []
        for place in range(places):
            mig = self._at(place)
            if mig is None:
                continue
            ids = self._device.ask(self._calls.mig_ids, handle=mig)
            slices = self._device.ask(self._calls.mig_compute_slices, handle=mig)
            if ids is not None:
                found.append((mig, *ids, slices or 1))
        # The number of places is that of the smallest partitions, hence of compute slices: 7 on A100 and H100, 4 on
        # A30. Slices that nobody has made a partition of stay nobody's.
        total = max(places, sum(slices for *_, slices in found), 1)
        self.devices = tuple(self._described(*one, total) for one in found)
        self._drop_samples(keep={device.gpu_instance for device in self.devices})

    def _at(self, place: int) -> Handle | None:
        return self._device.ask(lambda handle: self._calls.mig_handle(handle, place), kept_as="mig_handle")

    def _described(self, mig: Handle, gpu_instance: int, compute_instance: int, slices: int, total: int) -> MigDevice:
        name = self._device.ask(self._calls.name, handle=mig, kept_as="mig name") or ""
        return MigDevice(
            handle=mig,
            gpu_instance=gpu_instance,
            compute_instance=compute_instance,
            uuid=self._device.ask(self._calls.uuid, handle=mig, kept_as="mig uuid") or "",
            profile=name.rpartition(_MARK)[2] if _MARK in name else "",
            share=slices / total,
        )

    def read(self) -> list[GpuInstance]:
        """Return the partitions and how busy each was since the last call."""
        busy = self._activity() if self.devices else {}
        return [
            GpuInstance(one.name, one.uuid, one.profile, one.share, busy.get(one.gpu_instance)) for one in self.devices
        ]

    def _activity(self) -> dict[int, float]:
        if not self._device.ask(self._calls.has_gpm):
            return {}
        busy: dict[int, float] = {}
        for gpu_instance in sorted({device.gpu_instance for device in self.devices}):
            now = self._sample(gpu_instance)
            before = self._samples.pop(gpu_instance, None)
            if now is None:
                self._free(before)
                self.is_outdated = True  # the usual reason is that the instance is gone
                continue
            self._samples[gpu_instance] = now
            if before is not None:
                ratio = self._between(before, now)
                self._free(before)
                if ratio is not None:
                    busy[gpu_instance] = ratio
        return busy

    def _sample(self, gpu_instance: int) -> object | None:
        return self._device.ask(lambda handle: self._calls.gpm_sample(handle, gpu_instance), kept_as="gpm_sample")

    def _between(self, before: object, now: object) -> float | None:
        return self._device.ask(lambda _: self._calls.gpm_activity_ratio(before, now), kept_as="gpm_activity_ratio")

    def _drop_samples(self, *, keep: set[int]) -> None:
        for gpu_instance in set(self._samples) - keep:
            self._free(self._samples.pop(gpu_instance))

    def _free(self, sample: object | None) -> None:
        if sample is None:
            return
        try:
            self._calls.gpm_free(sample)
        except SourceError:
            return  # a library that was shut down has freed it

    def drop(self) -> None:
        """Forget all partitions, as when the GPU is no longer divided; gives the samples back."""
        self.devices, self.is_outdated = (), False
        self._drop_samples(keep=set())
