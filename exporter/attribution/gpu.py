"""Split one GPU's joules among who used it and who held it. DESIGN.md §3; pure, like ``split``.

The counter is the truth; what the driver says of processes only moves energy between the parts. Idle energy has two
layers: the bare floor goes to whoever holds the GPU (a scheduler's allotment, else whoever has a context), the rest of
it to whoever has a context. What is above is active energy and goes by use (``gpu_weights``).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from exporter.attribution.baseline import BaselineSettings
from exporter.attribution.gpu_activity import gpu_activity
from exporter.attribution.gpu_floors import GpuBaseline, gpu_baseline
from exporter.attribution.gpu_parts import Part, User, holder_of, parts_of
from exporter.attribution.gpu_records import GpuMemory, GpuShares, Holding, ProcessId
from exporter.attribution.gpu_weights import Weights, part_weights, user_weights
from exporter.attribution.records import BaselineOrigin, ComponentShares, Reason
from exporter.sensors.gpu.interval import GpuInterval
from exporter.sensors.gpu.records import GpuReading
from exporter.sensors.records import ComponentEnergy
from exporter.workloads.records import UsageSample

__all__ = ["gpu_component_shares", "split_gpu", "whole_gpu", "with_gpu_shares"]

_ROUNDING_RATIO = 1e-12
"""Share of the energy below which what is left of it is the rounding of a subtraction."""
_GAP_TICKS = 2
"""Ticks without a reading of the GPU from which on nobody knows who came and went meanwhile."""
_ORIGINS: tuple[BaselineOrigin, ...] = ("prior", "learned", "configured")  # the least sure first


def split_gpu(
    gpu: GpuInterval, usage: UsageSample, memory: GpuMemory, settings: BaselineSettings
) -> tuple[GpuShares, GpuMemory]:
    """Return who is charged for the joules of ``gpu``, and what to remember of it.

    Without joules in this tick the shares are empty but for who holds the GPU.
    """
    if gpu.facts.restricted not in {"", "no_processes"}:
        return whole_gpu(gpu, Reason.UNKNOWN), memory
    if gpu.is_down_time:
        return whole_gpu(gpu, Reason.AGENT_DOWN), memory
    energy_j, interval_s = gpu.energy_j or 0.0, gpu.interval_s
    is_gap = interval_s > max(settings.gpu_carry_s, _GAP_TICKS * usage.interval_s)
    parts = parts_of(gpu, usage, memory, is_gap=is_gap)
    reading = gpu.reading
    activity = gpu_activity(reading, parts, memory)
    power_w = energy_j / interval_s if interval_s > 0 else 0.0
    baseline = gpu_baseline(
        memory.floors,
        power_w=power_w,
        utilization_ratio=activity.utilization_ratio,
        has_context=any(part.has_context for part in parts),
        settings=settings,
    )
    split = _Split()
    bare_j = min(energy_j, baseline.bare_w * interval_s)
    context_j = min(energy_j - bare_j, baseline.context_w * interval_s)
    active_j = energy_j - bare_j - context_j
    if active_j <= _ROUNDING_RATIO * energy_j:
        bare_j, active_j = bare_j + active_j, 0.0
    unused_j = split.book_idle(parts, bare_j, context_j)
    weights = user_weights(parts, reading, memory, interval_s=interval_s, carry_s=settings.gpu_carry_s)
    split.book_active(parts, active_j, reading, weights)
    shares = GpuShares(
        uuid=gpu.facts.uuid,
        energy_j=energy_j,
        interval_s=interval_s if gpu.energy_j is not None or gpu.method != "none" else usage.interval_s,
        active_j=split.active_j,
        idle_j=split.idle_j,
        processes_j=split.processes_j,
        unattributed_j={reason: joules for reason, joules in split.unattributed_j.items() if joules > 0},
        holdings=_holdings(parts, unused_j, is_idle=activity.is_idle),
        method=weights.method,
        baseline=baseline,
        is_idle=activity.is_idle,
        is_known=reading is not None,
    )
    if reading is None:
        return shares, memory
    floors = memory.floors
    if gpu.energy_j is not None:
        floors = floors.after(
            activity.quiet, power_w=power_w, interval_s=interval_s, settling_s=max(settings.gpu_settling_s, 0.0)
        )
    return shares, GpuMemory(
        floors=floors,
        weights=weights.fresh or memory.weights,
        weights_age_s=0.0 if weights.fresh else memory.weights_age_s + interval_s,
        residents={user.process: part.name for part in parts for user in part.users},
        allotted=frozenset(holder_of(leaf, usage) for part in parts for leaf in part.allotted_now),
        utilization_ratio=activity.utilization_now,
    )


def whole_gpu(gpu: GpuInterval, reason: Reason) -> GpuShares:
    """Return the shares of a GPU whose joules are nobody's, for this ``reason``."""
    energy_j = gpu.energy_j or 0.0
    return GpuShares(
        uuid=gpu.facts.uuid,
        energy_j=energy_j,
        interval_s=gpu.interval_s,
        unattributed_j={reason: energy_j} if energy_j > 0 else {},
        method="device",
        baseline=GpuBaseline(0.0, 0.0, "prior"),
        is_idle=False,
        is_known=gpu.reading is not None,
    )


class _Split:
    """The joules of one GPU while they are dealt out."""

    def __init__(self) -> None:
        self.active_j: dict[int, float] = {}
        self.idle_j: dict[int, float] = {}
        self.processes_j: dict[ProcessId, tuple[int, float, float]] = {}
        self.unattributed_j: dict[Reason, float] = {}

    def book_idle(self, parts: Sequence[Part], bare_j: float, context_j: float) -> list[dict[int, float]]:
        """Deal out idle energy by slices; return what each part's leaves were charged."""
        resident = sum(part.share for part in parts if part.has_context)
        charged: list[dict[int, float]] = []
        for part in parts:
            leaves: dict[int, float] = {}
            holders = part.holders
            self._hold(bare_j * part.share, holders, leaves, has_unknown=part.holds_unknown)
            if part.has_context and resident > 0:
                slice_j = context_j * (part.share / resident)
                self._hold(slice_j, part.leaves, leaves, has_unknown=part.outsiders > 0)
            for leaf, joules in leaves.items():
                self._to_processes(joules, [user for user in part.users if user.leaf == leaf], is_active=False)
            charged.append(leaves)
        if not resident:
            self._leave(Reason.IDLE, context_j)
        return charged

    def _hold(self, joules: float, leaves: Collection[int], charged: dict[int, float], *, has_unknown: bool) -> None:
        """Deal ``joules`` equally among ``leaves``, and one more if somebody unknown holds it too."""
        count = len(leaves) + has_unknown
        if joules <= 0:
            return
        if not count:
            self._leave(Reason.IDLE, joules)
            return
        for leaf in leaves:
            self.idle_j[leaf] = self.idle_j.get(leaf, 0.0) + joules / count
            charged[leaf] = charged.get(leaf, 0.0) + joules / count
        if has_unknown:
            self._leave(Reason.UNKNOWN, joules / count)

    def book_active(self, parts: Sequence[Part], active_j: float, reading: GpuReading | None, weights: Weights) -> None:
        """Deal out active energy: among parts by slices and activity, within a part by use."""
        if active_j <= 0:
            return
        shares = part_weights(parts, reading)
        total = math.fsum(shares)
        if total <= 0:
            self._leave(Reason.UNKNOWN, active_j)
            return
        for share, used in zip(shares, weights.parts, strict=True):
            part_j = active_j * (share / total)
            whole = math.fsum(used.users.values()) + math.fsum(used.leaves.values()) + used.unknown
            if whole <= 0:
                self._leave(Reason.UNKNOWN, part_j)
                continue
            for user, weight in used.users.items():
                self._charge(user.leaf, part_j * (weight / whole))
                self._to_processes(part_j * (weight / whole), [user], is_active=True)
            for leaf, weight in used.leaves.items():
                self._charge(leaf, part_j * (weight / whole))
            self._leave(Reason.UNKNOWN, part_j * (used.unknown / whole))

    def _charge(self, leaf: int, joules: float) -> None:
        self.active_j[leaf] = self.active_j.get(leaf, 0.0) + joules

    def _leave(self, reason: Reason, joules: float) -> None:
        if joules > 0:
            self.unattributed_j[reason] = self.unattributed_j.get(reason, 0.0) + joules

    def _to_processes(self, joules: float, users: Sequence[User], *, is_active: bool) -> None:
        for user in users:
            part_j = joules / len(users)
            leaf, active_j, idle_j = self.processes_j.get(user.process, (user.leaf, 0.0, 0.0))
            booked = (leaf, active_j + part_j, idle_j) if is_active else (leaf, active_j, idle_j + part_j)
            self.processes_j[user.process] = booked


def _holdings(parts: Sequence[Part], charged: Sequence[Mapping[int, float]], *, is_idle: bool) -> dict[int, Holding]:
    holdings: dict[int, Holding] = {}
    for part, leaves in zip(parts, charged, strict=True):
        holders = part.holders
        is_unused = is_idle or part.activity_ratio == 0 or not (part.has_context or part.departed)
        for leaf in holders | leaves.keys():
            before = holdings.get(leaf, Holding())
            share = part.share / (len(holders) + part.holds_unknown) if leaf in holders else 0.0
            holdings[leaf] = Holding(
                before.share + share,
                before.unused_share + (share if is_unused else 0.0),
                before.unused_j + (leaves.get(leaf, 0.0) if is_unused else 0.0),
            )
    return holdings


def gpu_component_shares(energy: ComponentEnergy, shares: Sequence[GpuShares], *, leaves: int) -> ComponentShares:
    """Return the component ``gpu``: the sum of ``shares``, which are those of all GPUs that feed it."""
    active_j, idle_j = [0.0] * leaves, [0.0] * leaves
    unattributed_j: dict[Reason, float] = {}
    processes_j: dict[int, tuple[int, float, float]] = {}
    for one in shares:
        for leaf, joules in one.active_j.items():
            active_j[leaf] += joules
        for leaf, joules in one.idle_j.items():
            idle_j[leaf] += joules
        for reason, joules in one.unattributed_j.items():
            unattributed_j[reason] = unattributed_j.get(reason, 0.0) + joules
        for process, (leaf, active, idle) in one.processes_j.items():
            _, active_before, idle_before = processes_j.get(process.pid, (leaf, 0.0, 0.0))
            processes_j[process.pid] = (leaf, active_before + active, idle_before + idle)
    origins = {one.baseline.origin for one in shares if one.method != "device"} or {"prior"}
    return ComponentShares(
        component=energy.component,
        energy_j=energy.energy_j,
        interval_s=energy.interval_s,
        active_j=active_j,
        idle_j=idle_j,
        unattributed_j=unattributed_j,
        idle_power_w=math.fsum(one.baseline.bare_w + one.baseline.context_w for one in shares),
        baseline_origin=next(origin for origin in _ORIGINS if origin in origins),
        processes_j=processes_j,
    )


def with_gpu_shares(usage: UsageSample, held: Mapping[int, float], *, gpu_count: int) -> UsageSample:
    """Return ``usage`` with each leaf's share of the node's GPUs; ``held`` is in GPUs, by leaf."""
    if not held or gpu_count <= 0:
        return usage
    leaves = list(usage.leaves)
    for leaf, gpus in held.items():
        leaves[leaf] = leaves[leaf]._replace(gpu_share=min(gpus / gpu_count, 1.0))
    return replace(usage, leaves=leaves)
