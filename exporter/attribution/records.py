"""What attribution gives: the joules of one component, split among leaves, with reasons for the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from exporter.sensors.records import Component

__all__ = ["BaselineOrigin", "ComponentShares", "Mode", "Reason"]

BaselineOrigin = Literal["configured", "learned", "prior", "model"]


class Mode(StrEnum):
    """Whether energy was drawn by use or by being held."""

    ACTIVE = "active"
    IDLE = "idle"


class Reason(StrEnum):
    """Why energy stays unattributed."""

    IDLE = "idle"
    SYSTEM = "system"
    AGENT_DOWN = "agent_down"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentShares:
    """One component's energy of one interval, split. ``energy_j`` is the sum of all the rest.

    Attributes:
        component: the component.
        energy_j: joules measured or estimated.
        interval_s: seconds they cover.
        active_j: joules by use, one entry per leaf of the usage sample, in its order.
        idle_j: joules by claim, likewise.
        unattributed_j: joules nobody is charged for, by reason; reasons without energy are absent.
        idle_power_w: the baseline that was in force, in watts.
        baseline_origin: where the baseline came from.
        processes_j: (leaf, active, idle) joules by pid, where the source tells of single processes; else None.
    """

    component: Component
    energy_j: float
    interval_s: float
    active_j: Sequence[float]
    idle_j: Sequence[float]
    unattributed_j: Mapping[Reason, float]
    idle_power_w: float
    baseline_origin: BaselineOrigin
    processes_j: Mapping[int, tuple[int, float, float]] | None = None
