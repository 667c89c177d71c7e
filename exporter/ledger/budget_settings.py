"""Budgets of emissions: whose grams count, how many there may be, in which time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["BudgetScope", "BudgetSelector", "BudgetSettings"]

BudgetScope = Literal["operational", "embodied"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetSelector:
    """Whose emissions count. All given keys must match; texts are shell patterns. At least one key must be given."""

    everything: bool = False
    """The whole node, with what nobody is charged for. Stands alone."""
    kind: str = ""
    """Kind of the workload: ``pod``, ``slurm_job``, ``unit`` …"""
    namespace: str = ""
    """The workload's namespace: of Kubernetes, else the Slurm cluster."""
    workload: str = ""
    """The workload's name: a pod, a job id, a unit …"""
    run: str = ""
    """Name or key of the training run."""
    user: str = ""
    """Login name or uid of the run, or the owner of a session."""
    slurm_account: str = ""
    """Account of the Slurm job."""
    pod_labels: Mapping[str, str] = field(default_factory=dict)
    """Labels of the pod; each must exist and match."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetSettings:
    """One budget. Every agent that counts for it has the same entry."""

    name: str = ""
    """Unique name: 1 to 63 letters, digits, ``-``, ``_`` and dots."""
    limit_g: float | None = None
    """Grams of CO2e that may be emitted. Above 0. Either this, ``limit_kg`` or ``limit_t``."""
    limit_kg: float | None = None
    """The same in kilograms."""
    limit_t: float | None = None
    """The same in tonnes."""
    period: Literal["1d", "7d", "30d", "90d", "365d", "run"] = "30d"
    """The rolling time the limit is for, or ``run``: the limit of each single run."""
    scopes: Sequence[BudgetScope] = ("operational",)
    """Which emissions count. Market-based and marginal figures never do."""
    select: BudgetSelector = field(default_factory=BudgetSelector)
    """Whose emissions count."""
