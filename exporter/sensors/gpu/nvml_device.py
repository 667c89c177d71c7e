"""One NVIDIA GPU as its driver answers for it: the handle, what it refuses for good, and how to put that in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from exporter.errors import (
    DeviceLostError,
    DriverGoneError,
    DriverReplacedError,
    SourceBusyError,
    SourceError,
    SourcePermissionError,
    SourceUnsupportedError,
)
from exporter.health import Finding
from exporter.sensors.gpu.nvml_calls import Handle
from exporter.sensors.gpu.records import GpuFacts

__all__ = ["NvmlDevice"]

_T = TypeVar("_T")
_SOURCE = "nvml"
_PATIENCE = 3
"""Reads in a row that are given up for want of an answer that is awaited; then the rest is read without it."""
_GRAVE = (DeviceLostError, DriverGoneError, DriverReplacedError)
"""What concerns the whole GPU, so that no other call needs to be tried."""


class _Words(NamedTuple):
    """What is missing if a call is refused, and what that means; empty words: not worth a finding."""

    item: str
    without: str
    remedy: str = ""


_DEVICE_FILES = "give the agent the GPU's device files: NVIDIA_VISIBLE_DEVICES=all, or the nvidia runtime class"
_MIG_MONITOR = "run the container privileged and with NVIDIA_MIG_MONITOR_DEVICES=all"
_WORDS = {
    "total_energy_mj": _Words("energy counter", "its power is integrated instead", _DEVICE_FILES),
    "power_usage_mw": _Words("power", "there is nothing to check its energy by", _DEVICE_FILES),
    "compute_processes": _Words("process list", "its energy cannot be split", _MIG_MONITOR),
    "use_samples": _Words("utilisation by process", "processes that share it are charged alike", _DEVICE_FILES),
    "mig_handle": _Words("MIG devices", "its energy cannot be split among instances", _MIG_MONITOR),
    "has_gpm": _Words("activity of MIG devices", "instances with a process are weighed by size alone"),
    "gpm_sample": _Words("activity of MIG devices", "instances with a process are weighed by size alone", _MIG_MONITOR),
}


class NvmlDevice:
    """A GPU and what is known of its answers. One thread asks; another may call ``findings`` meanwhile.

    Attributes:
        handle: NVML's pointer to it; replaced at every look.
    """

    def __init__(self, handle: Handle) -> None:
        self.handle = handle
        self._absent: dict[str, SourceError] = {}
        self._awaited: dict[str, int] = {}

    def ask(
        self,
        call: Callable[[Handle], _T],
        *,
        handle: Handle | None = None,
        kept_as: str = "",
        is_awaited: bool = False,
        is_vital: bool = False,
    ) -> _T | None:
        """Return the answer to ``call``; None where the GPU has none, or none this time.

        What is not supported, not in the library or not permitted is not asked again until ``forget``.

        Args:
            call: a function of one handle, with a name.
            handle: what to ask about, if not the GPU itself.
            kept_as: under which name a refusal is kept, if not the call's own.
            is_awaited: whether the read is given up, a few times, where there is no answer right now.
            is_vital: whether it is given up whatever the failure, and as often as it takes.

        Raises:
            DeviceLostError, DriverGoneError, DriverReplacedError: whatever was asked.
            SourceError: the read is to be given up.
        """
        name = kept_as or call.__name__
        if name in self._absent:
            return None
        try:
            answer = call(self.handle if handle is None else handle)
        except _GRAVE:
            raise
        except (SourceUnsupportedError, SourcePermissionError) as exc:
            self._absent[name] = exc
            return None
        except SourceError as exc:
            if is_vital or (is_awaited and isinstance(exc, SourceBusyError) and self._waits_for(name)):
                raise
            return None
        self._awaited.pop(name, None)
        return answer

    def _waits_for(self, name: str) -> bool:
        self._awaited[name] = self._awaited.get(name, 0) + 1
        return self._awaited[name] <= _PATIENCE

    def is_refused(self, name: str) -> bool:
        """Whether the call of this name was refused for good."""
        return name in self._absent

    def forget(self) -> None:
        """Ask for everything again, as after a change of the GPU's mode."""
        self._absent.clear()
        self._awaited.clear()

    def findings(self, gpu: GpuFacts) -> Sequence[Finding]:
        """Return what is refused, one finding each."""
        found = {}
        for name, error in list(self._absent.items()):
            words = _WORDS.get(name.partition(" ")[0])  # "compute_processes gi1/ci0" is a partition's
            if words is None:
                continue
            is_denied = isinstance(error, SourcePermissionError)
            found[words.item] = Finding(
                source=_SOURCE,
                state="degraded" if is_denied else "absent",
                item=f"gpu {gpu.index} {gpu.uuid} {words.item}",
                detail=f"{error}; {words.without}",
                remedy=words.remedy if is_denied else "",
            )
        return list(found.values())
