from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from exporter.exposition.catalogue import CATALOGUE
from exporter.exposition.families import family_rows
from exporter.exposition.reference import reference_markdown
from exporter.exposition.writer import LineWriter, prometheus_text
from exporter.ledger.snapshot import Snapshot, WorkloadTotals
from exporter.workloads.records import WorkloadId
from tests.exposition.snapshots import ENERGY_J, snapshot

ROOT = Path(__file__).parents[2]
FORBIDDEN = {"zone", "region", "cluster", "instance", "job", "az", "datacenter", "service", "env"}


def _page(of: Snapshot) -> dict[str, dict[tuple[str, ...], float]]:
    return {family.name: dict(rows) for family, rows in family_rows(of)}


@pytest.mark.parametrize("family", CATALOGUE, ids=lambda family: family.name)
def test_names_units_labels_and_help_follow_the_rules(family: object) -> None:
    of = next(f for f in CATALOGUE if f is family)

    assert of.name.endswith("_total") == (of.type == "counter")
    assert of.name.endswith("_info") == (of.type == "info")
    assert not of.unit or of.base_name.endswith(f"_{of.unit}")
    assert not FORBIDDEN & set(of.labels)
    assert of.help.endswith(".")
    assert "\n" not in of.help


def test_no_family_is_declared_twice_and_every_one_can_be_filled() -> None:
    names = [family.name for family in CATALOGUE]

    assert len(names) == len(set(names))
    assert set(names) - set(_page(snapshot())) <= {"wattribute_gap_seconds_total"}


def test_workload_series_exist_for_the_components_the_node_has() -> None:
    rows = _page(snapshot())["wattribute_workload_energy_joules_total"]

    assert {labels[4] for labels in rows} == {"cpu", "dram"}
    assert rows["pod", "ml", "trainer-0", "main", "cpu", "active"] == ENERGY_J[0]


def test_power_that_is_not_known_has_no_series() -> None:
    assert _page(snapshot())["wattribute_node_power_watts"] == {("cpu",): 83.5}


def test_emissions_are_absent_where_they_are_not_accounted() -> None:
    page = _page(snapshot(with_carbon=False))

    assert [name for name in page if "emissions" in name or "intensity" in name] == []


def test_workloads_whose_names_become_equal_are_added_up() -> None:
    """S-11: no name can make a page hold a series twice."""
    twins = [WorkloadTotals(WorkloadId("unit", "", f"a{c}b"), ENERGY_J, (1.0, 0.0), 1.0) for c in "\x01\x02"]
    rows = _page(snapshot(workloads=twins))["wattribute_workload_energy_joules_total"]

    assert rows["unit", "", "a\ufffdb", "", "cpu", "active"] == 2 * ENERGY_J[0]


def test_sources_that_fail_or_are_absent_are_zero() -> None:
    """F01, F27: a machine without RAPL says so."""
    rows = _page(snapshot())["wattribute_source_up"]

    assert rows == {("rapl",): 1.0, ("cgroup",): 0.0, ("hwmon",): 0.0, ("pid_view",): 1.0}


def test_the_metric_reference_of_the_docs_is_up_to_date() -> None:
    assert (ROOT / "docs/reference/metrics.md").read_text("utf-8") == reference_markdown()


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_has_nothing_to_say() -> None:
    page = prometheus_text(LineWriter().render(family_rows(snapshot())))

    done = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, check=False)

    assert (done.returncode, done.stderr) == (0, b"")
