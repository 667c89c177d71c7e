"""GPUs whose true energy is known, behind the same interface as a vendor's driver.

Power is a bare floor, more while a context is resident, and the rest up to the limit by how busy the processes keep the
GPU. Utilisation is told as drivers tell it: about six samples a second, each naming the one process that owned the GPU
at that instant, of which the last 72 are kept. So a split that is right on average is noisy over seconds.

    gpus = [SimulatedGpu(index=i) for i in range(8)]
    driver = SimulatedGpuDriver(gpus, clock)
    gpus[0].open(pid=4711, activity_ratio=0.9)
    gpus[0].advance(5.0)
"""

from __future__ import annotations

import random
import threading
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from exporter.clock import Clock
from exporter.errors import SourceError
from exporter.health import Finding
from exporter.sensors.gpu.records import GpuFacts, GpuInstance, GpuProcess, GpuReading
from exporter.units import MICROJOULES_PER_JOULE

__all__ = ["GpuTruth", "SimulatedGpu", "SimulatedGpuDriver"]

_RING_SAMPLES = 72
_SAMPLES_PER_S = 6.0
_LIMIT_W = 700.0


@dataclass(slots=True)
class GpuTruth:
    """Where the joules of one GPU really went.

    Attributes:
        active_j: joules above idle by the pid that caused them.
        bare_j: joules of the bare floor.
        context_j: joules on top of it while a context was resident.
    """

    active_j: dict[int, float] = field(default_factory=lambda: defaultdict(float))
    bare_j: float = 0.0
    context_j: float = 0.0


@dataclass(slots=True)
class _Context:
    activity_ratio: float
    memory_bytes: int
    instance: str
    is_mps_client: bool


class SimulatedGpu:
    """One GPU. Thread-safe: a driver may read it while it is advanced.

    Attributes:
        truth: where its joules went.
        error: raised by the next reads, if set.
        hang: reads wait for it while it is set (``threading.Event`` that is not set), if not None.
    """

    def __init__(
        self,
        *,
        index: int = 0,
        uuid: str = "",
        model: str = "Simulated H100 80GB",
        bare_w: float = 70.0,
        context_w: float = 45.0,
        limit_w: float = _LIMIT_W,
        has_counter: bool = True,
        is_mps: bool = False,
        instances: Sequence[GpuInstance] = (),
        seed: int = 0,
    ) -> None:
        self.facts = GpuFacts(
            source="simulated",
            uuid=uuid or f"GPU-51900000-0000-4000-8000-{index:012d}",
            index=index,
            vendor="NVIDIA",
            model=model,
            minor=index,
            pci_bus_id=f"0000:{index + 1:02x}:00.0",
            is_partitioned=bool(instances),
            max_power_w=1.5 * limit_w,
        )
        self.truth = GpuTruth()
        self.error: SourceError | None = None
        self.hang: threading.Event | None = None
        self.is_mps = is_mps
        self.instances = list(instances)
        self.has_counter = has_counter
        self.is_frozen = False
        self.bare_w, self.context_w, self.limit_w = bare_w, context_w, limit_w
        self._energy_j = 0.0
        self._shown_uj = 0
        self._power_w = bare_w
        self._contexts: dict[int, _Context] = {}
        self._ring: deque[tuple[int, int]] = deque(maxlen=_RING_SAMPLES)
        self._sampled = 0
        self._owed_samples = 0.0
        self._chance = random.Random(seed * 1009 + index)  # noqa: S311 - a simulation
        self._lock = threading.Lock()

    @property
    def energy_j(self) -> float:
        """Joules drawn since the start, whatever the counter shows."""
        return self._energy_j

    def open(
        self,
        pid: int,
        *,
        activity_ratio: float = 0.0,
        memory_bytes: int = 2 << 30,
        instance: str = "",
        is_mps_client: bool = False,
    ) -> None:
        """Let a process open a context, or change how busy it keeps the GPU: the share of time it owns it."""
        with self._lock:
            self._contexts[pid] = _Context(activity_ratio, memory_bytes, instance, is_mps_client)

    def close(self, pid: int) -> None:
        """Let a process close its context."""
        with self._lock:
            self._contexts.pop(pid, None)

    def reset_counter(self) -> None:
        """Let the energy counter start again at zero, as a reload of the driver does."""
        with self._lock:
            self._shown_uj = 0

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        with self._lock:
            busy = {pid: context.activity_ratio for pid, context in self._contexts.items()}
            total = sum(busy.values())
            scale = 1 / total if total > 1 else 1.0
            context_w = self.context_w if self._contexts else 0.0
            span_w = self.limit_w - self.bare_w - self.context_w
            self._power_w = self.bare_w + context_w + span_w * total * scale
            self.truth.bare_j += self.bare_w * seconds
            self.truth.context_j += context_w * seconds
            for pid, ratio in busy.items():
                self.truth.active_j[pid] += span_w * ratio * scale * seconds
            self._energy_j += self._power_w * seconds
            if not self.is_frozen:
                self._shown_uj += round(self._power_w * seconds * MICROJOULES_PER_JOULE)
            self._sample(busy, scale, seconds)

    def _sample(self, busy: dict[int, float], scale: float, seconds: float) -> None:
        self._owed_samples += seconds * _SAMPLES_PER_S
        while self._owed_samples >= 1:
            self._owed_samples -= 1
            self._sampled += 1
            drawn = self._chance.random()
            for pid, ratio in busy.items():
                drawn -= ratio * scale
                if drawn < 0:
                    self._ring.append((self._sampled, pid))
                    break

    def read(self, *, clock: Clock, since: int) -> tuple[GpuReading, int]:
        """Return a reading with the samples after number ``since``, and the number of the last one."""
        if self.hang is not None:
            self.hang.wait()
        with self._lock:
            if self.error is not None:
                raise self.error
            samples: dict[int, float] = defaultdict(float)
            for number, pid in self._ring:
                if number > since:
                    samples[pid] += 1.0
            activity = min(sum(context.activity_ratio for context in self._contexts.values()), 1.0)
            is_whole = not self.instances
            reading = GpuReading(
                read_at_s=clock.monotonic_s(),
                energy_uj=self._shown_uj if self.has_counter else None,
                power_w=self._power_w,
                cross_check_power_w=self._power_w,
                power_limit_w=self.limit_w,
                utilization_ratio=activity if is_whole else None,
                memory_used_bytes=sum(context.memory_bytes for context in self._contexts.values()),
                memory_total_bytes=80 << 30,
                temperature_celsius=30.0 + 50.0 * (self._power_w / self.limit_w),
                processes=[
                    GpuProcess(pid, context.memory_bytes, context.instance, context.is_mps_client)
                    for pid, context in self._contexts.items()
                ],
                has_processes=True,
                samples=samples if is_whole else {},
                has_samples=is_whole,
                is_mps=self.is_mps,
                instances=tuple(self.instances),
            )
            return reading, self._sampled


class SimulatedGpuDriver:
    """Implements ``GpuDriver`` over simulated GPUs.

    Attributes:
        gpus: what the next look finds; change it to plug GPUs in and out.
        error: raised by the next looks and reads, if set.
        is_open: whether the driver is in use.
    """

    source = "simulated"

    def __init__(self, gpus: Sequence[SimulatedGpu], clock: Clock) -> None:
        self.gpus = list(gpus)
        self.error: SourceError | None = None
        self.is_open = False
        self._clock = clock
        self._since: dict[str, int] = {}

    def look(self) -> Sequence[GpuFacts]:
        """Return every GPU that is plugged in."""
        if self.error is not None:
            raise self.error
        self.is_open = True
        return [gpu.facts for gpu in self.gpus]

    def read(self, gpu: GpuFacts) -> GpuReading:
        """Return a reading of ``gpu``; its samples are those since the previous reading."""
        if self.error is not None:
            raise self.error
        device = next(one for one in self.gpus if one.facts.uuid == gpu.uuid)
        since = self._since.get(gpu.uuid, 0)
        reading, self._since[gpu.uuid] = device.read(clock=self._clock, since=since)
        return reading

    def findings(self, gpu: GpuFacts) -> Sequence[Finding]:
        """Return nothing: a simulated GPU lacks nothing."""
        del gpu
        return ()

    def unusable(self) -> Sequence[Finding]:
        """Return nothing: all of them can be used."""
        return ()

    def release(self) -> None:
        """Let go."""
        self.is_open = False
