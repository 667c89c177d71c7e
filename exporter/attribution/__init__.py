"""Who is charged for the joules: pure functions over readings and usage, without I/O, clocks or globals."""

from exporter.attribution.baseline import Baseline, BaselineSettings, LearnedPower, baseline_for
from exporter.attribution.records import BaselineOrigin, ComponentShares, Mode, Reason
from exporter.attribution.split import attribute

__all__ = [
    "Baseline",
    "BaselineOrigin",
    "BaselineSettings",
    "ComponentShares",
    "LearnedPower",
    "Mode",
    "Reason",
    "attribute",
    "baseline_for",
]
