"""Whole machines, built from format documentation: which domains are found, and what each is used for."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.health import Finding
from exporter.host import Roots
from exporter.sensors import Component, EnergySample, SensorSet, SensorSettings
from tests.sensors.trees import ManualClock

FIXTURES = Path(__file__).parent.parent / "fixtures"


def _first_sample(machine: str) -> EnergySample:
    root = FIXTURES / f"powercap-{machine}"
    sensors = SensorSet(Roots(procfs=root / "proc", sysfs=root / "sys"), ManualClock(), SensorSettings())
    sample = sensors.resume({})
    sensors.close()
    return sample


def _feeding(sample: EnergySample, component: Component | None) -> list[str]:
    return [f"{total.key.domain} {total.key.device}" for total in sample.domains if total.component is component]


def _summary(sample: EnergySample, source: str) -> Finding:
    return next(finding for finding in sample.findings if finding.source == source and not finding.item)


@pytest.mark.parametrize(
    ("machine", "cpu", "dram", "left_out"),
    [
        (
            "intel-2-socket",
            ["package 0", "package 1"],
            ["dram 0", "dram 1"],
            ["psys 2", "package 0-mmio", "package 1-mmio"],
        ),
        ("amd-epyc-2-socket", ["package 0", "package 1"], [], ["core 0", "core 1"]),
        ("amd-multi-die", ["package 0-die-0"], [], ["package 0-die-1"]),
        ("eleven-packages", [f"package {n}" for n in range(11)], [f"dram {n}" for n in range(11)], []),
        ("grace-hwmon", ["package 0"], [], ["cpu 0", "module 0", "sysio 0"]),
    ],
)
def test_each_domain_of_a_machine_is_used_for_what_it_measures(
    machine: str, cpu: list[str], dram: list[str], left_out: list[str]
) -> None:
    sample = _first_sample(machine)

    assert _feeding(sample, Component.CPU) == cpu
    assert _feeding(sample, Component.DRAM) == dram
    assert _feeding(sample, None) == left_out
    assert _summary(sample, "hwmon" if machine == "grace-hwmon" else "rapl").state == "up"
    assert all(finding.source != "cpu_estimate" for finding in sample.findings)


def test_every_machine_says_where_it_comes_from() -> None:
    notes = [(path / "README.md").read_text() for path in FIXTURES.glob("powercap-*")]

    assert len(notes) == 5
    assert all("Built from format documentation" in note for note in notes)
