"""One metric family as the catalogue declares it, and the three ways to declare one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["AT_TICK", "GPU_LABELS", "WORKLOAD_LABELS", "Family", "FamilyType", "counter", "gauge", "info"]

FamilyType = Literal["counter", "gauge", "info"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One metric family.

    Attributes:
        name: the name of its samples, with ``_total`` of counters and ``_info`` of facts.
        type: counter, gauge or info.
        unit: the unit in the plural as the name ends in it, or empty where there is none.
        labels: label names, in the order of the row's values.
        help: one sentence or more, with a full stop, that names the source and its caching.
        source: where in the flow the value comes from: sensors, workloads, ledger, carbon, agent.
    """

    name: str
    type: FamilyType
    unit: str = ""
    labels: tuple[str, ...] = ()
    help: str
    source: str

    @property
    def base_name(self) -> str:
        """The name without ``_total`` or ``_info``: the OpenMetrics family name."""
        suffix = {"counter": "_total", "info": "_info", "gauge": ""}[self.type]
        return self.name.removesuffix(suffix)


WORKLOAD_LABELS = ("kind", "namespace", "name", "container")
GPU_LABELS = ("gpu", "gpu_uuid")
AT_TICK = "Updated once per tick, the same for every scraper until the next."


def counter(name: str, unit: str, labels: tuple[str, ...], text: str, source: str) -> Family:
    """Declare a counter; ``name`` without the prefix."""
    return Family(name=f"wattribute_{name}", type="counter", unit=unit, labels=labels, help=text, source=source)


def gauge(name: str, unit: str, labels: tuple[str, ...], text: str, source: str) -> Family:
    """Declare a gauge; ``name`` without the prefix."""
    return Family(name=f"wattribute_{name}", type="gauge", unit=unit, labels=labels, help=text, source=source)


def info(name: str, labels: tuple[str, ...], text: str, source: str) -> Family:
    """Declare facts, whose value is always 1; ``name`` without the prefix."""
    return Family(name=f"wattribute_{name}", type="info", labels=labels, help=text, source=source)
