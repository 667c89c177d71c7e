"""Split one component's joules among leaves: active energy by use, idle energy by claim. DESIGN.md §3.

Whatever the weights are, the parts add up to the whole: utilisation only moves energy between the parts.
"""

from __future__ import annotations

from collections.abc import Sequence

from exporter.attribution.baseline import Baseline
from exporter.attribution.records import ComponentShares, Reason
from exporter.sensors.records import Component, ComponentEnergy
from exporter.workloads.records import LeafUsage, UsageSample

__all__ = ["attribute", "claims_of"]

_SPLIT_BY_CPU_TIME = frozenset({Component.CPU, Component.DRAM})


def attribute(energy: ComponentEnergy, usage: UsageSample, baseline: Baseline) -> ComponentShares:
    """Return who is charged for ``energy``, leaf by leaf, and why the rest is charged to nobody.

    Not negative in, not negative out. Σ active + Σ idle + Σ unattributed = ``energy.energy_j`` to rounding.
    """
    idle_energy_j = _idle_energy_j(energy, baseline)
    active_energy_j = energy.energy_j - idle_energy_j
    used_s = [leaf.cpu_s if leaf.cpu_s > 0 else 0.0 for leaf in usage.leaves]
    system_s = max(usage.system_cpu_s, 0.0)
    total_s = sum(used_s) + system_s
    unattributed_j: dict[Reason, float] = {}
    active_j = [0.0] * len(used_s)
    if total_s > 0 and energy.component in _SPLIT_BY_CPU_TIME:
        active_j = [active_energy_j * (cpu_s / total_s) if cpu_s else 0.0 for cpu_s in used_s]
        unattributed_j[Reason.SYSTEM] = active_energy_j * (system_s / total_s)
    else:
        unattributed_j[Reason.UNKNOWN] = active_energy_j
    idle_j = [idle_energy_j * claim for claim in _claims(energy.component, usage, used_s)]
    unattributed_j[Reason.IDLE] = max(idle_energy_j - sum(idle_j), 0.0)
    return ComponentShares(
        component=energy.component,
        energy_j=energy.energy_j,
        interval_s=energy.interval_s,
        active_j=active_j,
        idle_j=idle_j,
        unattributed_j={reason: joules for reason, joules in unattributed_j.items() if joules > 0},
        idle_power_w=baseline.idle_power_w,
        baseline_origin=baseline.origin,
    )


def _idle_energy_j(energy: ComponentEnergy, baseline: Baseline) -> float:
    """Return the part drawn without load; the platform's rest (fans, supplies) has no active part."""
    if energy.component is Component.OTHER:
        return energy.energy_j
    return min(energy.energy_j, baseline.idle_power_w * energy.interval_s)


def claims_of(component: Component, usage: UsageSample) -> list[float]:
    """Return each leaf's claim on what the component costs while idle, 0–1; the sum is at most 1."""
    return _claims(component, usage, [leaf.cpu_s if leaf.cpu_s > 0 else 0.0 for leaf in usage.leaves])


def _claims(component: Component, usage: UsageSample, used_s: Sequence[float]) -> list[float]:
    """Return each leaf's share of the component's idle energy; the sum is at most 1."""
    claims = _memory_claims(usage) if component is Component.DRAM else _processor_claims(usage, used_s)
    total = sum(claims)
    return [claim / total for claim in claims] if total > 1 else claims


def _memory_claims(usage: UsageSample) -> list[float]:
    if usage.memory_total_bytes <= 0:
        return [0.0] * len(usage.leaves)
    return [max(leaf.resident_bytes, 0.0) / usage.memory_total_bytes for leaf in usage.leaves]


def _processor_claims(usage: UsageSample, used_s: Sequence[float]) -> list[float]:
    """Return the larger of CPU share (used or requested) and GPU share, so that who holds the node pays for it."""
    available_s = usage.cpu_count * usage.interval_s
    if available_s <= 0:
        return [0.0] * len(usage.leaves)
    return [
        _claim(leaf, cpu_s / available_s, usage.cpu_count) for leaf, cpu_s in zip(usage.leaves, used_s, strict=True)
    ]


def _claim(leaf: LeafUsage, used_ratio: float, cpu_count: int) -> float:
    if not (leaf.requested_cores or leaf.gpu_share):
        return used_ratio
    return max(used_ratio, leaf.requested_cores / cpu_count, leaf.gpu_share, 0.0)
