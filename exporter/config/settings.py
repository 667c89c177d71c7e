"""Everything that can be set, assembled from the records of the places that use it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from exporter.attribution.baseline import BaselineSettings
from exporter.carbon.gateway_settings import GatewaySettings
from exporter.carbon.settings import CarbonSettings, CostSettings, EmbodiedSettings
from exporter.exposition.web_settings import WebSettings
from exporter.ledger.budget_settings import BudgetSettings
from exporter.ledger.settings import LedgerSettings
from exporter.sensors.gpu.settings import GpuSettings
from exporter.sensors.settings import SensorSettings
from exporter.workloads.kubernetes.settings import KubernetesSettings
from exporter.workloads.rules import RunSettings
from exporter.workloads.settings import WorkloadSettings

__all__ = ["LogSettings", "SamplingSettings", "Settings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingSettings:
    """How often the node is read."""

    interval_s: float = 5.0
    """Seconds between two reads. From 1 to 60.

    Five, because it resolves a training step's phases at a cost no workload notices; the upper end stays well under the
    time in which a 32-bit energy register wraps at full power."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """What is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe message that is written."""
    format: Literal["logfmt", "json"] = "logfmt"
    """``logfmt``: key=value; ``json``: one object per line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The sections of the configuration file."""

    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    """How often the node is read."""
    web: WebSettings = field(default_factory=WebSettings)
    """Where the agent listens, and its bounds."""
    log: LogSettings = field(default_factory=LogSettings)
    """What is written to standard error."""
    sensors: SensorSettings = field(default_factory=SensorSettings)
    """Which sensors are used."""
    gpus: GpuSettings = field(default_factory=GpuSettings)
    """How GPUs are read."""
    baseline: BaselineSettings = field(default_factory=BaselineSettings)
    """How idle power is found."""
    workloads: WorkloadSettings = field(default_factory=WorkloadSettings)
    """How processes and control groups are read."""
    runs: RunSettings = field(default_factory=RunSettings)
    """How training runs are recognised."""
    kubernetes: KubernetesSettings = field(default_factory=KubernetesSettings)
    """How pods get their names."""
    carbon: CarbonSettings = field(default_factory=CarbonSettings)
    """Where the electricity comes from."""
    gateway: GatewaySettings = field(default_factory=GatewaySettings)
    """How ``wattribute gateway`` fetches and serves intensities; an agent ignores it."""
    costs: CostSettings = field(default_factory=CostSettings)
    """What the electricity costs."""
    embodied: EmbodiedSettings = field(default_factory=EmbodiedSettings)
    """Emissions of making the hardware."""
    budgets: Sequence[BudgetSettings] = ()
    """Budgets of emissions."""
    ledger: LedgerSettings = field(default_factory=LedgerSettings)
    """What is kept, for how long."""
