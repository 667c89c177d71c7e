"""The simulated node shows in its files what it knows to be true."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from exporter.sensors import Component, SensorSet, SensorSettings
from exporter.testing import AMD_RANGE_UJ, DENIED, CgroupLayout, RaplPackage, SimulatedNode


def test_registers_count_idle_power_and_cpu_seconds(tmp_path: Path) -> None:
    node = SimulatedNode(tmp_path, packages=[RaplPackage(idle_w=40.0, joules_per_cpu_s=5.0)])
    node.spawn("python3", cgroup="/jobs/a", run="a", demand_cpus=2.0)

    node.advance(10.0)

    assert node.hardware_j() == pytest.approx(40.0 * 10 + 2.0 * 10 * 5.0)
    assert node.truth.run_active_j["a"] == pytest.approx(100.0)


def test_sensors_read_what_the_registers_counted_across_wraps(tmp_path: Path) -> None:
    package = RaplPackage(
        idle_w=400.0, range_uj=AMD_RANGE_UJ, start_uj=AMD_RANGE_UJ - 1, dram_idle_w=3.0, dram_joules_per_cpu_s=1.0
    )
    node = SimulatedNode(tmp_path, packages=[package, package])
    sensors = SensorSet(node.roots, node.clock, SensorSettings())
    sensors.resume({})
    counted_j = 0.0
    for _ in range(80):
        node.advance(5.0)
        counted_j += sensors.sample(busy_ratio=0.5).components[Component.CPU].energy_j
    sensors.close()

    assert counted_j == pytest.approx(node.hardware_j(), rel=1e-9)


@pytest.mark.parametrize("layout", ["v1", "v2", "hybrid"])
def test_cgroup_usage_is_inclusive_and_outlives_processes_and_children(tmp_path: Path, layout: CgroupLayout) -> None:
    node = SimulatedNode(tmp_path, layout=layout)
    process = node.spawn("python3", cgroup="/jobs/a", demand_cpus=1.0)
    node.advance(3.0)
    node.exit(process)
    node.remove_cgroup("/jobs/a")
    node.run_and_exit(cgroup="/jobs", cpu_s=0.05, count=4)
    node.advance(1.0)

    assert node.cgroups.usage_s("/jobs") == pytest.approx(3.2)
    assert _usage_ns(node) == 3_200_000_000


def test_a_kept_descriptor_of_an_ended_process_reads_nothing(tmp_path: Path) -> None:
    node = SimulatedNode(tmp_path)
    process = node.spawn("python3", cgroup="/jobs/a")
    descriptor = os.open(node.roots.procfs / str(process.pid) / "stat", os.O_RDONLY)
    before = os.pread(descriptor, 1000, 0)
    node.exit(process)
    after = os.pread(descriptor, 1000, 0)
    os.close(descriptor)

    assert before.startswith(f"{process.pid} (python3) S 1 ".encode())
    assert after == b""


def test_a_stat_line_has_52_fields(tmp_path: Path) -> None:
    node = SimulatedNode(tmp_path)
    process = node.spawn("python3", cgroup="/jobs/a", demand_cpus=1.5)
    node.advance(2.0)
    fields = (node.roots.procfs / str(process.pid) / "stat").read_text().split()

    assert len(fields) == 52
    assert int(fields[13]) + int(fields[14]) == 300
    assert int(fields[21]) == process.start_ticks


def test_a_faulty_register_goes_on_counting_unseen(tmp_path: Path) -> None:
    node = SimulatedNode(tmp_path)
    zone = node.zones["intel-rapl:0"]
    zone.fail(DENIED)
    node.advance(10.0)
    zone.recover()

    path = node.roots.sysfs / "class/powercap/intel-rapl:0/energy_uj"
    assert int(path.read_text()) == 123_456_789 + zone.counted_uj


def test_a_reset_register_starts_at_zero_and_the_truth_goes_on(tmp_path: Path) -> None:
    node = SimulatedNode(tmp_path)
    node.advance(10.0)
    node.zones["intel-rapl:0"].reset()
    node.advance(1.0)

    assert node.zones["intel-rapl:0"].register_uj == 40_000_000
    assert node.hardware_j() == pytest.approx(440.0)


def test_more_work_than_cpus_is_refused(tmp_path: Path) -> None:
    node = SimulatedNode(tmp_path, cpu_count=2)
    node.spawn("python3", cgroup="/jobs/a", demand_cpus=3.0)

    with pytest.raises(ValueError, match="at most 2 CPUs"):
        node.advance(1.0)


def _usage_ns(node: SimulatedNode) -> int:
    if node.cgroups.layout == "v2":
        return int((node.roots.cgroupfs / "jobs/cpu.stat").read_text().split()[1]) * 1000
    return int((node.roots.cgroupfs / "cpuacct/jobs/cpuacct.usage").read_text())
