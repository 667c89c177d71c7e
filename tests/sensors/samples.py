"""Short words for what a sample says."""

from __future__ import annotations

from exporter.health import Finding
from exporter.sensors import EnergySample
from tests.sensors.trees import Tree

__all__ = ["energies", "finding_of", "state_of", "totals_of", "two_packages"]


def state_of(sample: EnergySample, source: str, item: str = "") -> str:
    return finding_of(sample, source, item).state


def finding_of(sample: EnergySample, source: str, item: str = "") -> Finding:
    [finding] = [finding for finding in sample.findings if (finding.source, finding.item) == (source, item)]
    return finding


def energies(sample: EnergySample) -> dict[str, float]:
    return {str(component): energy.energy_j for component, energy in sample.components.items()}


def totals_of(sample: EnergySample) -> dict[str, float]:
    return {f"{total.key.domain} {total.key.device}": total.total_j for total in sample.domains}


def two_packages(tree: Tree) -> None:
    for package in (0, 1):
        tree.zone(f"intel-rapl:{package}", f"package-{package}", 10_000_000)
        tree.zone(f"intel-rapl:{package}:0", "dram", 5_000_000)
