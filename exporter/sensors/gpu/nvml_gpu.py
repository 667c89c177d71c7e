"""One NVIDIA GPU: its facts, what its energy and power cover, and one reading of it.

Grace superchips (GH200, GB200, GB300) put a CPU and GPUs on one module. Their energy counter is the module's according
to Zeus (pull request 172), so it is not taken for a GPU's: GPU-scope power is integrated instead, where it is served.
Source: NVML reference; nvml.h on NVML_POWER_SCOPE_*.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import NamedTuple

from exporter.clock import Clock
from exporter.sensors.gpu.nvml_calls import Field, Handle, NvmlCalls
from exporter.sensors.gpu.nvml_device import NvmlDevice
from exporter.sensors.gpu.nvml_mig import NvmlMig
from exporter.sensors.gpu.nvml_processes import NvmlProcesses, Residents
from exporter.sensors.gpu.records import GpuFacts, GpuReading, GpuScope, Restricted
from exporter.sensors.sysfs import clean_name
from exporter.units import MICROJOULES_PER_JOULE, MICROWATTS_PER_WATT

__all__ = ["NvmlGpu"]

_SOURCE = "nvml"
_SLOW_EVERY = 12
"""Reads between two looks at what rarely changes: the power limit, the partitions."""
_MICROJOULES_PER_MILLIJOULE = MICROJOULES_PER_JOULE // 1000
_MILLIWATTS_PER_WATT = MICROWATTS_PER_WATT // 1000
_PERCENT = 100
_UNKNOWN_MAX_W = {"gpu": 2000.0, "module": 4000.0}
_OVER_LIMIT_RATIO = 1.5
_ABSURD_RATIO = 4.0
_NO_POWER_MW = 2**32 - 1
_GRACE = ("GH200", "GB200", "GB300", "Grace")
_RESTRICTED: dict[int, Restricted] = {2: "vgpu_guest", 3: "vgpu_host", 4: "vgpu_host"}

_GPU, _MODULE = 0, 1
_AVERAGE, _INSTANT, _LIMIT = 185, 186, 190
_MEAN_OF_GPU = Field(_AVERAGE, _GPU)
_SCOPES = (_MEAN_OF_GPU, Field(_INSTANT, _GPU), Field(_AVERAGE, _MODULE), Field(_INSTANT, _MODULE))


class _Sensors(NamedTuple):
    """What a GPU's energy and power are read from; ``power`` empty: the plain power call."""

    scope: GpuScope
    has_counter: bool
    power: tuple[Field, ...]


class NvmlGpu:
    """A GPU between looks: caches, stamps and samples. One thread at a time, except for ``device.findings``."""

    def __init__(self, calls: NvmlCalls, clock: Clock, handle: Handle) -> None:
        self.device = NvmlDevice(handle)
        self._calls = calls
        self._clock = clock
        self._processes = NvmlProcesses(calls, self.device)
        self._mig = NvmlMig(calls, self.device)
        self._sensors = _Sensors("gpu", has_counter=True, power=())
        self._limit_w: float | None = None
        self._is_mig = False
        self._served: set[Field] = set()
        self._facts: GpuFacts | None = None
        self._reads = 0
        self._in_use = threading.Lock()

    def facts(self, *, uuid: str, index: int) -> GpuFacts:
        """Look at the GPU and return what it is; while a read of it hangs, what it was.

        Raises:
            DeviceLostError, DriverGoneError, DriverReplacedError: it does not answer.
        """
        if not self._in_use.acquire(blocking=False):
            return replace(self._facts or self._bare_facts(uuid, index), index=index)
        try:
            self._facts = self._found(uuid, index)
        finally:
            self._in_use.release()
        return self._facts

    @staticmethod
    def _bare_facts(uuid: str, index: int) -> GpuFacts:
        return GpuFacts(source=_SOURCE, uuid=uuid, index=index, vendor="NVIDIA", model="GPU")

    def _found(self, uuid: str, index: int) -> GpuFacts:
        ask, calls = self.device.ask, self._calls
        name = clean_name((ask(calls.name) or "NVIDIA GPU").encode())
        self._sensors = self._found_sensors(name)
        self._look_again()
        if self._sensors.has_counter:
            ask(calls.total_energy_mj)
        if not self._is_mig:
            ask(calls.compute_processes)
        scope = self._sensors.scope
        mode = ask(calls.virtualization_mode) or 0
        return replace(
            self._bare_facts(uuid, index),
            model=name.removeprefix("NVIDIA ").strip(),
            minor=ask(calls.minor_number),
            pci_bus_id=ask(calls.pci_bus_id) or "",
            scope=scope,
            restricted="module" if scope == "module" else self._restricted(mode),
            is_partitioned=self._is_mig,
            max_power_w=_UNKNOWN_MAX_W[scope] if self._limit_w is None else self._limit_w * _OVER_LIMIT_RATIO,
        )

    def _restricted(self, mode: int) -> Restricted:
        if mode in _RESTRICTED:
            return _RESTRICTED[mode]
        is_silent = self.device.is_refused("compute_processes") and not self._is_mig
        return "no_processes" if is_silent else ""

    def _found_sensors(self, name: str) -> _Sensors:
        """Decide what the counter covers: the module on Grace, and wherever power is served for the module alone."""
        self._served |= {field for field, value_mw in self._fields(_SCOPES).items() if value_mw}
        of_gpu = tuple(field for field in _SCOPES if field.scope == _GPU and field in self._served)
        of_module = tuple(field for field in _SCOPES if field.scope == _MODULE and field in self._served)
        is_grace = any(mark in name for mark in _GRACE)
        if not is_grace and (of_gpu or not of_module):
            return _Sensors("gpu", has_counter=True, power=())
        if of_gpu:
            return _Sensors("gpu", has_counter=False, power=of_gpu)
        return _Sensors("module", has_counter=True, power=of_module)

    def _fields(self, fields: tuple[Field, ...]) -> dict[Field, float | None]:
        values = self.device.ask(lambda handle: self._calls.field_values(handle, fields), kept_as="field_values")
        return dict(zip(fields, values, strict=True)) if values else dict.fromkeys(fields)

    def _look_again(self) -> None:
        """Ask for what rarely changes; what was refused in another mode of the GPU may be allowed now."""
        is_mig = self.device.ask(self._calls.is_mig)
        if is_mig is None:
            is_mig = self._is_mig and not self.device.is_refused("is_mig")
        if is_mig != self._is_mig:
            self._is_mig = is_mig
            self.device.forget()
        if is_mig:
            self._mig.enumerate()
        else:
            self._mig.drop()
        self._limit_w = self._limit() or self._limit_w

    def _limit(self) -> float | None:
        if self._sensors.scope == "module":
            limit_mw = self._fields((Field(_LIMIT, _MODULE),)).popitem()[1]
        else:
            limit_mw = self.device.ask(self._calls.power_limit_mw)
        is_told = limit_mw is not None and 0 < limit_mw < _NO_POWER_MW
        return limit_mw / _MILLIWATTS_PER_WATT if limit_mw is not None and is_told else None

    def read(self) -> GpuReading:
        """Return a reading.

        Raises:
            DeviceLostError, DriverGoneError, DriverReplacedError: it does not answer.
            SourceError: it has nothing to say right now.
        """
        with self._in_use:
            return self._read()

    def _read(self) -> GpuReading:
        self._reads += 1
        if self._reads % _SLOW_EVERY == 0 or self._mig.is_outdated:
            self._look_again()
        ask, calls = self.device.ask, self._calls
        energy_mj = ask(calls.total_energy_mj, is_vital=True) if self._sensors.has_counter else None
        read_at_s = self._clock.monotonic_s()
        power_w, mean_w = self._power()
        percent = None if self._is_mig else ask(calls.utilization_percent)
        memory = ask(calls.memory_bytes)
        residents = self._processes.residents(self._mig.devices)
        self._mig.is_outdated |= self._is_mig and not residents.is_known and not self._processes.are_refused
        used = self._used(residents, is_busy=bool(percent))
        return GpuReading(
            read_at_s=read_at_s,
            energy_uj=None if energy_mj is None else energy_mj * _MICROJOULES_PER_MILLIJOULE,
            power_w=power_w,
            cross_check_power_w=mean_w,
            power_limit_w=self._limit_w,
            utilization_ratio=percent / _PERCENT if percent is not None and percent <= _PERCENT else None,
            memory_used_bytes=memory[0] if memory else None,
            memory_total_bytes=memory[1] if memory else None,
            temperature_celsius=ask(calls.temperature_celsius),
            processes=residents.processes,
            has_processes=residents.is_known,
            samples=used or {},
            has_samples=used is not None,
            is_mps=residents.is_mps,
            instances=self._mig.read(),
        )

    def _used(self, residents: Residents, *, is_busy: bool) -> dict[int, float] | None:
        if self._is_mig:
            return None
        was_refused = self.device.is_refused("use_samples")
        used = self._processes.used(residents, is_busy=is_busy)
        if self.device.is_refused("use_samples") and not was_refused:
            self._mig.is_outdated = True  # a GPU that was divided a moment ago refuses samples just so
        return None if used is None else dict(used)

    def _power(self) -> tuple[float | None, float | None]:
        """Return the power now, and a mean of the last second that is read in another way, in watts."""
        sensors = self._sensors
        values = self._fields(tuple(dict.fromkeys((*sensors.power, _MEAN_OF_GPU))))
        if sensors.power:
            power_mw = next((values[field] for field in sensors.power if values[field]), None)
        else:
            power_mw = self.device.ask(self._calls.power_usage_mw)
        mean_mw = values[_MEAN_OF_GPU] if not sensors.power else None
        return self._plausible_w(power_mw), self._plausible_w(mean_mw)

    def _plausible_w(self, power_mw: float | None) -> float | None:
        """Return watts; None for what no board draws. Transients exceed the limit, but not by so much."""
        if power_mw is None or not 0 < power_mw < _NO_POWER_MW:
            return None
        power_w = power_mw / _MILLIWATTS_PER_WATT
        return power_w if self._limit_w is None or power_w <= self._limit_w * _ABSURD_RATIO else None

    def close(self) -> None:
        """Give back what the library holds for this GPU, unless a read that hangs still uses it."""
        if self._in_use.acquire(blocking=False):
            self._mig.drop()
            self._in_use.release()
