"""The whole agent's accounts, end to end: two processes train on one GPU, and who is charged for what."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from bench.validation.loads import Load
from bench.validation.report import Numbers, rounded
from bench.validation.setting import Setting
from exporter.attribution import Mode
from exporter.clock import Clock, SystemClock
from exporter.config import Settings
from exporter.host import Roots
from exporter.ledger import ENERGY_COLUMNS, LedgerSettings, Snapshot
from exporter.node import Node
from exporter.sensors import Component
from exporter.sensors.gpu.gpu_set import GpuSet
from exporter.sensors.gpu.interval import GpuSampler
from exporter.sensors.gpu.nvml import NvmlDriver

__all__ = ["attribution"]

_RUNS = ("validate-whole", "validate-half")
_ACTIVE = ENERGY_COLUMNS.index((Component.GPU, Mode.ACTIVE))
_IDLE = ENERGY_COLUMNS.index((Component.GPU, Mode.IDLE))


def attribution(setting: Setting) -> Numbers:
    """Let the agent's node account for two processes that share the GPU in time, one at half the pace."""
    first, second = ({"WATTRIBUTE_RUN": name} for name in _RUNS)
    with setting.loads.running("train", first) as whole, setting.loads.running("train_half", second) as half:
        time.sleep(setting.spans.settle)
        node = Node(_settings(), roots=Roots(), clock=SystemClock(), make_gpus=_nvml_only)
        try:
            return _accounted(setting, node, (whole, half))
        finally:
            node.close()


def _settings() -> Settings:
    return replace(Settings(), ledger=LedgerSettings(state_path=""))


def _nvml_only(settings: Settings, _: Roots, clock: Clock) -> GpuSampler:
    return GpuSet([NvmlDriver(clock)], clock, settings.gpus)


def _accounted(setting: Setting, node: Node, loads: Sequence[Load]) -> Numbers:
    uuid = setting.gpu.facts.uuid
    node.start()
    work_before = [load.work() for load in loads]
    begin_j, begin_s = setting.gpu.energy_j(), time.perf_counter()
    residuals: list[float] = []
    splits: list[str] = []
    snapshot: Snapshot | None = None
    while snapshot is None or time.perf_counter() < begin_s + setting.spans.attribution:
        time.sleep(setting.spans.tick)
        snapshot = node.tick()
        residuals.append(_residual_ratio(snapshot))
        splits += [gpu.split for gpu in snapshot.gpus if gpu.facts.uuid == uuid]
    end_j = setting.gpu.energy_j()
    work = [load.work() - before for load, before in zip(loads, work_before, strict=True)]
    charged = [_charged(snapshot, name) for name in _RUNS]
    active_j = [one[0] for one in charged]
    board_j = next(gpu.energy_j for gpu in snapshot.gpus if gpu.facts.uuid == uuid)
    nobody = {
        str(reason): joules for (name, reason), joules in snapshot.unattributed_j.items() if name is Component.GPU
    }
    share = active_j[0] / sum(active_j) if sum(active_j) > 0 else None
    work_share = work[0] / sum(work) if sum(work) > 0 else None
    return {
        "ticks": len(residuals),
        "runs_found": [name for name in _RUNS if any(run.facts.name == name for run in snapshot.runs)],
        "work": work,
        "work_share": None if work_share is None else rounded(work_share),
        "active_j": [rounded(joules) for joules in active_j],
        "idle_j": [rounded(one[1]) for one in charged],
        "active_share": None if share is None else rounded(share),
        "share_error_points": None if share is None or work_share is None else rounded(100 * (share - work_share)),
        "board_j": rounded(board_j),
        "counter_j_outside": rounded(end_j - begin_j),
        "board_over_counter": rounded(board_j / (end_j - begin_j)) if end_j > begin_j else None,
        "unattributed_j": {reason: rounded(joules) for reason, joules in nobody.items() if joules},
        "splits": {name: splits.count(name) for name in sorted(set(splits))},
        "worst_conservation_error_ratio": max(residuals),
    }


def _charged(snapshot: Snapshot, name: str) -> tuple[float, float]:
    """Return the active and the idle GPU joules of a run."""
    found = [run.energy_j for run in snapshot.runs if run.facts.name == name]
    return sum(energy_j[_ACTIVE] for energy_j in found), sum(energy_j[_IDLE] for energy_j in found)


def _residual_ratio(snapshot: Snapshot) -> float:
    """Return by how much the parts of the GPUs' joules miss the whole, relative to it."""
    totals = snapshot.components.get(Component.GPU)
    if totals is None or totals.energy_j <= 0:
        return 0.0
    parts_j = sum(one.energy_j[column] for one in snapshot.workloads for column in (_ACTIVE, _IDLE))
    parts_j += snapshot.ended_j.get(Component.GPU, 0.0)
    parts_j += sum(joules for (name, _), joules in snapshot.unattributed_j.items() if name is Component.GPU)
    return abs(parts_j - totals.energy_j) / totals.energy_j
