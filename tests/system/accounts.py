"""Opens the agent's accounts on a simulated node, and checks what must hold on every snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporter.attribution import BaselineSettings
from exporter.carbon import CarbonSettings
from exporter.config import Settings
from exporter.exposition.families import family_rows
from exporter.exposition.writer import LineWriter, prometheus_text
from exporter.ledger import LedgerSettings, Snapshot
from exporter.ledger.snapshot import ENERGY_COLUMNS
from exporter.node import GpuFactory, Node, hardware_gpus
from exporter.sensors import Component, SensorSettings
from exporter.testing import SimulatedNode

__all__ = ["Counters", "assert_conserved", "attributed_j", "counters_of", "open_accounts", "page_of", "settings_for"]

Counters = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def settings_for(
    *,
    state: Path | None = None,
    cpu_idle_w: float | None = None,
    retention_s: float = 900.0,
    grid_zone: str = "DE",
) -> Settings:
    """Return settings without surprises: no platform beyond the simulated one, a known grid, a known baseline."""
    return replace(
        Settings(),
        ledger=LedgerSettings(state_path=str(state or ""), retention_s=retention_s),
        carbon=CarbonSettings(grid_zone=grid_zone),
        sensors=SensorSettings(max_package_watts=600.0, disabled_sources=("nvml",)),  # the one that is not below roots
        baseline=BaselineSettings(cpu_idle_power_w=cpu_idle_w),
    )


def open_accounts(simulated: SimulatedNode, settings: Settings, *, make_gpus: GpuFactory = hardware_gpus) -> Node:
    """Return the accounts of the simulated node, baselines set."""
    node = Node(settings, roots=simulated.roots, clock=simulated.clock, make_gpus=make_gpus)
    node.start()
    return node


def attributed_j(snapshot: Snapshot, component: Component) -> float:
    """Return all joules that some workload, living or ended, is charged for."""
    columns = [number for number, (name, _) in enumerate(ENERGY_COLUMNS) if name is component]
    charged = sum(workload.energy_j[column] for workload in snapshot.workloads for column in columns)
    return charged + snapshot.ended_j.get(component, 0.0)


def assert_conserved(snapshot: Snapshot) -> None:
    """Every component's joules are those of its workloads, of the ended ones, and of nobody: to 1e-9."""
    for component, totals in snapshot.components.items():
        nobody_j = sum(joules for (name, _), joules in snapshot.unattributed_j.items() if name is component)

        assert attributed_j(snapshot, component) + nobody_j == pytest.approx(totals.energy_j, rel=1e-9, abs=1e-9)


def page_of(snapshot: Snapshot) -> bytes:
    """Return the page that a scrape of this snapshot gets."""
    return prometheus_text(LineWriter().render(family_rows(snapshot)))


def counters_of(page: bytes) -> Counters:
    """Return every counter sample of a page by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page.decode())
        if family.type == "counter"
        for sample in family.samples
    }
