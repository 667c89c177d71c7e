"""One simulated NVIDIA GPU: its power model, its processes and partitions, and what it really drew for whom."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from exporter.testing.nvml_state import MAX_PLACES, SAMPLE_SLOTS, GpuMemory, StandinState
from exporter.units import MICROSECONDS_PER_SECOND

__all__ = ["MigSlice", "NvidiaBoard", "ProcessKind", "SimulatedNvidiaGpu"]

ProcessKind = Literal["compute", "graphics", "mps"]

_KINDS: Mapping[ProcessKind, int] = {"compute": 1, "graphics": 2, "mps": 4}
_NO_ID = 0xFFFF_FFFF
_NOT_TOLD = 2**64 - 1
_MILLI = 1000
_SAMPLE_US = MICROSECONDS_PER_SECOND // 6
_GIBIBYTE = 1024**3
_LIMIT_FIELD = 190


class MigSlice(NamedTuple):
    """A partition to be made; ``slices`` of compute; ``place`` None: the next free one."""

    gpu_instance: int
    slices: int
    profile: str
    compute_instance: int = 0
    place: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NvidiaBoard:
    """What a simulated GPU is.

    Attributes:
        name: NVML's name of it.
        uuid: empty: made from its place.
        idle_w, active_w: watts without load, and on top of them at full load.
        limit_w: power limit in force.
        memory_bytes: of its own memory.
        start_mj: what the energy counter holds at the start.
        other_w: what else is on its module; in module power, and in the counter if ``counter_covers_module``.
        counter_covers_module: as on Grace superchips.
        power_fields: (field, scope) pairs that serve power: 185 mean, 186 now; scope 0 GPU, 1 module.
        module_limit_w: power limit of the module, or 0 for none.
        mig_places: how many partitions it can have; 0: it cannot be divided.
        has_gpm: whether multiprocessors count their work, as since Hopper.
        virtualization: 0 none, 1 passed through, 2 guest of a virtual GPU, 3 host of virtual GPUs.
        refuses: functions that are not supported on it.
    """

    name: str = "NVIDIA H100 80GB HBM3"
    uuid: str = ""
    idle_w: float = 70.0
    active_w: float = 530.0
    limit_w: float = 700.0
    memory_bytes: int = 80 * _GIBIBYTE
    start_mj: int = 1_000_000
    other_w: float = 0.0
    counter_covers_module: bool = False
    power_fields: tuple[tuple[int, int], ...] = ((185, 0), (186, 0))
    module_limit_w: float = 0.0
    mig_places: int = 7
    has_gpm: bool = True
    virtualization: int = 0
    refuses: tuple[str, ...] = ()


@dataclass(slots=True)
class _Running:
    load: float
    memory_bytes: int | None
    kinds: int
    gpu_instance: int
    compute_instance: int
    sm_percent: int


class SimulatedNvidiaGpu:
    """A GPU that draws ``idle_w + active_w × load``, loads of all processes added, at most 1.

    Attributes:
        uuid: its UUID.
        energy_j: joules drawn by the GPU itself since it was made: the truth.
        active_j: joules above idle drawn for each pid, by load: the truth.
    """

    def __init__(self, state: StandinState, slot: int, board: NvidiaBoard, chance: random.Random) -> None:
        self.uuid = board.uuid or f"GPU-{slot:08x}-1111-2222-3333-444444444444"
        self.energy_j = 0.0
        self.active_j: dict[int, float] = {}
        self._state, self._slot, self._board, self._chance = state, slot, board, chance
        self._running: dict[int, _Running] = {}
        self._slices: list[MigSlice] = []
        self._fixed_w: float | None = None
        self._counter_mj = float(board.start_mj)
        memory = self._memory
        memory.uuid, memory.name = self.uuid.encode(), board.name.encode()
        memory.bus = f"00000000:{0x10 + slot:02X}:00.0".encode()
        memory.minor, memory.limit_mw = slot, round(board.limit_w * _MILLI)
        memory.memory_total, memory.virtualization = board.memory_bytes, board.virtualization
        memory.mig_places, memory.gpm, memory.celsius = board.mig_places, int(board.has_gpm), 40
        self._show()

    @property
    def _memory(self) -> GpuMemory:
        return self._state.gpu(self._slot)

    @property
    def power_w(self) -> float:
        """Watts it draws now."""
        if self._fixed_w is not None:
            return self._fixed_w
        return self._board.idle_w + self._board.active_w * min(sum(self._loads().values()), 1.0)

    def _loads(self) -> dict[int, float]:
        """Return the load of each process on the whole GPU; a partition's is worth its slices."""
        worth = {one.gpu_instance: one.slices / max(self._board.mig_places, 1) for one in self._slices}
        return {pid: one.load * worth.get(one.gpu_instance, 1.0) for pid, one in self._running.items()}

    def start(
        self,
        pid: int,
        *,
        load: float = 0.0,
        memory_bytes: int | None = _GIBIBYTE,
        kinds: Iterable[ProcessKind] = ("compute",),
        on: MigSlice | None = None,
        sm_percent: int = 100,
    ) -> None:
        """Open a context for host process ``pid``, or change it.

        Args:
            pid: on the host.
            load: share of the GPU's (or partition's) multiprocessors that it uses, 0–1.
            memory_bytes: None: the driver does not tell.
            kinds: the lists that show it.
            on: the partition it is on.
            sm_percent: what a sample of it says.
        """
        ids = (on.gpu_instance, on.compute_instance) if on else (_NO_ID, _NO_ID)
        bits = sum(_KINDS[kind] for kind in set(kinds))
        self._running[pid] = _Running(load, memory_bytes, bits, *ids, sm_percent)
        self._show()

    def stop(self, pid: int) -> None:
        """Close the context of ``pid``; its samples stay in the ring."""
        del self._running[pid]
        self._show()

    def draw(self, power_w: float | None) -> None:
        """Let it draw this power whatever its load; None: by its load again."""
        self._fixed_w = power_w
        self._show()

    def set_limit(self, limit_w: float) -> None:
        """Change the power limit."""
        with self._state.writing():
            self._memory.limit_mw = round(limit_w * _MILLI)

    def set_counter(self, energy_mj: int) -> None:
        """Let the energy counter go on from this, as a driver that is loaded again does from 0; the truth goes on."""
        self._counter_mj = float(energy_mj)
        self._show()

    def lose(self, *, is_lost: bool = True) -> None:
        """Let every call answer that the GPU is lost; or bring it back."""
        self._memory.lost = int(is_lost)

    def divide(self, slices: Iterable[MigSlice] | None, *, access: Literal["all", "own", "none"] = "all") -> None:
        """Turn MIG on with these partitions, or off.

        Args:
            slices: the partitions; None: MIG is off.
            access: all: every list is told; own: the whole GPU's is not; none: partitions are refused too.
        """
        with self._state.writing():
            memory = self._memory
            memory.mig_mode, memory.mig_access = int(slices is not None), ("all", "own", "none").index(access)
            self._slices = list(slices or ())
            for place in range(MAX_PLACES):
                memory.migs[place].present = 0
            for number, one in enumerate(self._slices):
                mig = memory.migs[number if one.place is None else one.place]
                mig.present, mig.gpu_instance, mig.compute_instance = 1, one.gpu_instance, one.compute_instance
                mig.slices, mig.busy_s = one.slices, 0.0
                mig.uuid = f"MIG-{self._slot:08x}-{one.gpu_instance:04x}-{one.compute_instance:04x}".encode()
                mig.name = f"{self._board.name} MIG {one.profile}".encode()
        self._show()

    def add_sample(self, pid: int, sm_percent: int, *, stamp: int | None = None) -> None:
        """Put a sample into the ring, as it is."""
        self._sampled(pid, sm_percent, int(self._state.memory.now_us) if stamp is None else stamp)

    def pass_time(self, start_us: int, end_us: int) -> None:
        """Draw power and take samples; called inside a write of the state."""
        seconds, board, loads = (end_us - start_us) / MICROSECONDS_PER_SECOND, self._board, self._loads()
        self.energy_j += self.power_w * seconds
        counted_w = self.power_w + (board.other_w if board.counter_covers_module else 0.0)
        self._counter_mj += counted_w * seconds * _MILLI
        total = max(sum(loads.values()), 1.0)
        active_j = max(self.power_w - board.idle_w, 0.0) * seconds
        for pid, load in loads.items():
            self.active_j[pid] = self.active_j.get(pid, 0.0) + active_j * load / (sum(loads.values()) or 1.0)
        for mig in self._memory.migs:
            here = (one.load for one in self._running.values() if one.gpu_instance == mig.gpu_instance)
            mig.busy_s += min(sum(here), 1.0) * seconds if mig.present else 0.0
        for stamp in range(start_us - start_us % _SAMPLE_US + _SAMPLE_US, end_us + 1, _SAMPLE_US):
            point = self._chance.random() * total
            for pid, load in loads.items():
                point -= load
                if point < 0:
                    self._sampled(pid, self._running[pid].sm_percent, stamp)
                    break
        self._fill()

    def _sampled(self, pid: int, sm_percent: int, stamp: int) -> None:
        memory = self._memory
        if memory.sample_count == SAMPLE_SLOTS:
            memory.drop_oldest_sample()
        sample = memory.samples[memory.sample_count]
        sample.pid, sample.sm, sample.stamp = pid, sm_percent, stamp
        memory.sample_count += 1

    def _show(self) -> None:
        with self._state.writing():
            self._fill()

    def _fill(self) -> None:
        memory, board = self._memory, self._board
        memory.energy_mj, memory.power_mw = int(self._counter_mj), round(self.power_w * _MILLI)
        memory.percent = min(round(100 * sum(self._loads().values())), 100)
        fields = [(number, scope, self.power_w + board.other_w * scope) for number, scope in board.power_fields]
        if board.module_limit_w:
            fields.append((_LIMIT_FIELD, 1, board.module_limit_w))
        memory.field_count = len(fields)
        for place, (number, scope, power_w) in enumerate(fields):
            field = memory.fields[place]
            field.number, field.scope, field.mw = number, scope, round(power_w * _MILLI)
        memory.memory_used = sum(one.memory_bytes or 0 for one in self._running.values())
        memory.process_count = len(self._running)
        for place, (pid, one) in enumerate(self._running.items()):
            shown = memory.processes[place]
            shown.pid, shown.kinds = pid, one.kinds
            shown.memory = _NOT_TOLD if one.memory_bytes is None else one.memory_bytes
            shown.gpu_instance, shown.compute_instance = one.gpu_instance, one.compute_instance
