"""Who is charged for the joules: pure functions over readings and usage, without I/O, clocks or globals."""

from exporter.attribution.baseline import Baseline, BaselineSettings, LearnedPower, baseline_for
from exporter.attribution.gpu import gpu_component_shares, split_gpu, whole_gpu, with_gpu_shares
from exporter.attribution.gpu_floors import Floor, Floors
from exporter.attribution.gpu_records import GpuMemory, GpuShares, Holding, held_leaves
from exporter.attribution.records import BaselineOrigin, ComponentShares, Mode, Reason
from exporter.attribution.split import attribute

__all__ = [
    "Baseline",
    "BaselineOrigin",
    "BaselineSettings",
    "ComponentShares",
    "Floor",
    "Floors",
    "GpuMemory",
    "GpuShares",
    "Holding",
    "LearnedPower",
    "Mode",
    "Reason",
    "attribute",
    "baseline_for",
    "gpu_component_shares",
    "held_leaves",
    "split_gpu",
    "whole_gpu",
    "with_gpu_shares",
]
