"""What feeds what, on machines made of files."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.sensors import Component, SensorSettings
from tests.sensors.samples import energies, finding_of, state_of, totals_of, two_packages
from tests.sensors.trees import AMD_RANGE_UJ, DENIED, Tree, cpuinfo

CPU, DRAM, OTHER = Component.CPU, Component.DRAM, Component.OTHER


def test_the_first_read_gives_no_energy_and_totals_of_zero(tree: Tree) -> None:
    two_packages(tree)

    sample = tree.sensors().resume({})

    assert sample.components == {}
    assert set(totals_of(sample).values()) == {0.0}
    assert sample.events == []


def test_packages_and_memory_add_up_to_their_components(tree: Tree) -> None:
    two_packages(tree)
    sensors = tree.started()
    for zone, raw_uj in {"0": 60, "1": 110, "0:0": 15, "1:0": 25}.items():
        tree.set_uj(f"intel-rapl:{zone}", raw_uj * 1_000_000)

    sample = tree.tick(sensors)

    assert energies(sample) == {"cpu": 150, "dram": 30}
    assert sample.components[CPU].interval_s == 5
    assert (sample.components[CPU].source, sample.components[CPU].quality) == ("rapl", "measured")
    assert state_of(sample, "rapl") == "up"
    assert finding_of(sample, "rapl").last_success_s == tree.clock.wall_s()


def test_without_any_sensor_the_cpu_is_estimated_and_labelled(tree: Tree) -> None:
    """F01: no powercap: everything else goes on, the source is absent, the estimate says what it is."""
    sample = tree.tick(tree.started(), seconds=6, busy_ratio=1.0)

    assert energies(sample) == {"cpu": pytest.approx(2 * 150 * 6)}
    assert sample.components[CPU].quality == "estimated"
    assert [state_of(sample, source) for source in ("rapl", "hwmon", "cpu_estimate")] == ["absent", "absent", "up"]


def test_a_required_source_that_is_absent_is_down(tree: Tree) -> None:
    """F01: only then it is a fault."""
    settings = SensorSettings(required_sources=("rapl", "cpu_estimate", "hwmon"))
    sensors = tree.sensors(settings)
    sample = sensors.resume({})

    assert [state_of(sample, source) for source in ("rapl", "hwmon")] == ["down", "down"]
    assert sensors.missing_required() == ("rapl", "hwmon")


def test_a_required_estimate_is_absent_where_a_sensor_measures(tree: Tree) -> None:
    two_packages(tree)
    sensors = tree.started(SensorSettings(required_sources=("cpu_estimate", "rapl")))

    assert state_of(tree.tick(sensors), "cpu_estimate") == "absent"
    assert sensors.missing_required() == ("cpu_estimate",)


def test_a_package_over_two_interfaces_counts_once(tree: Tree) -> None:
    """F12: MSR is preferred to MMIO, and the finding says which one is used."""
    tree.zone("intel-rapl-mmio:0", "package-0", 0)
    tree.zone("intel-rapl:0", "package-0", 0)
    sensors = tree.started()
    tree.set_uj("intel-rapl:0", 100_000_000)
    tree.set_uj("intel-rapl-mmio:0", 100_100_000)

    sample = tree.tick(sensors)

    assert energies(sample) == {"cpu": 100}
    assert {total.key.device: total.component for total in sample.domains} == {"0": CPU, "0-mmio": None}
    assert "another interface" in finding_of(sample, "rapl", "package 0-mmio").detail


def test_an_interface_that_may_be_read_is_preferred_to_one_that_may_not(tree: Tree) -> None:
    tree.zone("intel-rapl-mmio:0", "package-0", 0)
    tree.zone("intel-rapl:0", "package-0", DENIED)
    sensors = tree.started()
    tree.set_uj("intel-rapl-mmio:0", 100_000_000)

    assert energies(tree.tick(sensors)) == {"cpu": 100}


def test_psys_core_and_uncore_are_shown_and_never_added(tree: Tree) -> None:
    """F13: psys + 2 packages + dram: the node is packages + dram."""
    two_packages(tree)
    tree.zone("intel-rapl:2", "psys", 0)
    tree.zone("intel-rapl:0:1", "core", 0)
    tree.zone("intel-rapl:0:2", "uncore", 0)
    sensors = tree.started()
    for zone in ("0", "1", "0:0", "1:0", "2", "0:1", "0:2"):
        tree.set_uj(f"intel-rapl:{zone}", 110_000_000)

    sample = tree.tick(sensors)

    assert energies(sample) == {"cpu": 200, "dram": 210}
    assert {total.key.domain for total in sample.domains if total.component is None} == {"psys", "core", "uncore"}
    assert totals_of(sample)["psys 2"] == 110


def test_dies_that_repeat_one_counter_count_once(tree: Tree) -> None:
    """F14: multi-die AMD."""
    for die in (0, 1):
        tree.zone(f"intel-rapl:{die}", f"package-0-die-{die}", 1_000_000_000 + die * 20_000)
    sensors = tree.started()
    energies = []
    for step in range(1, 6):
        for die in (0, 1):
            tree.set_uj(f"intel-rapl:{die}", 1_000_000_000 + step * 500_000_000 + die * 20_000)
        energies.append(tree.tick(sensors).components[CPU].energy_j)

    assert energies == [500] * 5


def test_dies_with_counters_of_their_own_are_both_kept(tree: Tree) -> None:
    """F14: multi-die Intel."""
    for die in (0, 1):
        tree.zone(f"intel-rapl:{die}", f"package-0-die-{die}", 1_000_000_000 + die * 900_000_000)
    sensors = tree.started()
    for die in (0, 1):
        tree.set_uj(f"intel-rapl:{die}", 1_000_000_000 + die * 900_000_000 + 200_000_000)

    assert energies(tree.tick(sensors)) == {"cpu": 400}


def test_a_package_that_contains_its_dies_counts_once(tree: Tree) -> None:
    tree.zone("intel-rapl:0", "package-0", 0)
    tree.zone("intel-rapl:1", "package-0-die-0", 7)
    sensors = tree.started()
    tree.set_uj("intel-rapl:0", 100_000_000)
    tree.set_uj("intel-rapl:1", 100_000_000)

    assert energies(tree.tick(sensors)) == {"cpu": 100}


def test_in_a_virtual_machine_domains_are_shown_apart_and_not_counted(tree: Tree) -> None:
    """F20: synthetic or foreign domains."""
    (tree.roots.procfs / "cpuinfo").write_text(cpuinfo(flags="fpu hypervisor"))
    tree.zone("intel-rapl:f", "package-15", 0)
    sensors = tree.started()
    tree.set_uj("intel-rapl:f", 100_000_000)

    sample = tree.tick(sensors)

    assert [total.key for total in sample.domains] == [("rapl_virtual", "package", "15")]
    assert totals_of(sample) == {"package 15": 100}
    assert sample.components[CPU].source == "cpu_estimate"
    assert state_of(sample, "rapl_virtual") == "degraded"


def test_virtual_domains_count_when_the_operator_vouches_for_them(tree: Tree) -> None:
    """F20: opt-in for totals."""
    (tree.roots.procfs / "cpuinfo").write_text(cpuinfo(flags="fpu hypervisor"))
    tree.zone("intel-rapl:0", "package-0", 0)
    tree.zone("intel-rapl:0:0", "dram", 0)
    sensors = tree.started(SensorSettings(allow_virtual=True, required_sources=("rapl",)))
    tree.set_uj("intel-rapl:0", 100_000_000)
    tree.set_uj("intel-rapl:0:0", 10_000_000)

    sample = tree.tick(sensors)

    assert energies(sample) == {"cpu": 100, "dram": 10}
    assert sample.components[CPU].uncertainty_ratio == pytest.approx(0.8)
    assert state_of(sample, "rapl_virtual") == "degraded"
    assert sensors.missing_required() == ()


def test_a_virtual_machine_whose_domains_fail_says_down(tree: Tree) -> None:
    (tree.roots.procfs / "cpuinfo").write_text(cpuinfo(flags="fpu hypervisor"))
    tree.zone("intel-rapl:0", "package-0", DENIED)

    assert state_of(tree.sensors().resume({}), "rapl_virtual") == "down"


def test_disabled_sources_are_not_touched(tree: Tree) -> None:
    two_packages(tree)
    sensors = tree.started(SensorSettings(disabled_sources=("rapl", "cpu_estimate")))
    sample = tree.tick(sensors)

    assert (sample.components, list(sample.domains)) == ({}, [])
    assert [finding.source for finding in sample.findings] == ["hwmon"]


@pytest.mark.parametrize(
    ("cpu", "ratio"),
    [
        (cpuinfo(), 0.05),
        (cpuinfo().replace("model\t\t: 85", "model\t\t: 45"), 0.10),
        (cpuinfo(flags="fpu sgx"), 0.10),
        (cpuinfo("AMD EPYC 7763 64-Core Processor", vendor="AuthenticAMD"), 0.15),
    ],
)
def test_the_uncertainty_is_that_of_the_kind_of_counter(tree: Tree, cpu: str, ratio: float) -> None:
    (tree.roots.procfs / "cpuinfo").write_text(cpu)
    tree.zone("intel-rapl:0", "package-0", 0)
    sensors = tree.started()
    tree.set_uj("intel-rapl:0", 100_000_000)

    assert tree.tick(sensors).components[CPU].uncertainty_ratio == pytest.approx(ratio)


def test_sgx_is_noted_as_a_matter_of_quality(tree: Tree) -> None:
    (tree.roots.procfs / "cpuinfo").write_text(cpuinfo(flags="fpu sgx"))
    tree.zone("intel-rapl:0", "package-0", 0)

    assert state_of(tree.tick(tree.started()), "rapl", "quality") == "degraded"


def test_memory_over_two_interfaces_counts_once(tree: Tree) -> None:
    """F12: children repeat like their packages."""
    for control_type in ("intel-rapl", "intel-rapl-mmio"):
        tree.zone(f"{control_type}:0", "package-0", 0)
        tree.zone(f"{control_type}:0:0", "dram", 0)
    sensors = tree.started()
    for control_type in ("intel-rapl", "intel-rapl-mmio"):
        tree.set_uj(f"{control_type}:0:0", 10_000_000)

    assert energies(tree.tick(sensors))["dram"] == 10


def test_an_unknown_model_may_draw_a_kilowatt(tree: Tree) -> None:
    (tree.roots.procfs / "cpuinfo").write_text(cpuinfo("Intel(R) Xeon(R) CPU @ 2.20GHz"))
    tree.zone("intel-rapl:0", "package-0", 0)
    sensors = tree.started()
    tree.set_uj("intel-rapl:0", 4_900_000_000)

    assert energies(tree.tick(sensors)) == {"cpu": 4900}


def test_a_virtual_domain_in_doubt_keeps_its_own_words(tree: Tree) -> None:
    (tree.roots.procfs / "cpuinfo").write_text(cpuinfo(flags="fpu hypervisor"))
    tree.zone("intel-rapl:0", "package-0", 0, range_uj=0)

    assert "domains in use work" in finding_of(tree.started().sample(busy_ratio=0.0), "rapl_virtual").detail


def test_a_virtual_machine_without_rapl_lacks_rapl(tree: Tree) -> None:
    """F01: the usual virtual machine has no second source to be absent."""
    (tree.roots.procfs / "cpuinfo").write_text(cpuinfo(flags="fpu hypervisor"))
    sample = tree.sensors().resume({})

    assert [finding.source for finding in sample.findings] == ["rapl", "hwmon", "cpu_estimate"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(watts=st.lists(st.tuples(st.floats(0, 400), st.floats(0, 400)), min_size=1, max_size=30))
def test_the_components_add_up_to_what_the_registers_counted(tree: Tree, watts: list[tuple[float, float]]) -> None:
    """Two AMD packages through many wraps: the sum of all samples is the true energy, within 1e-9."""
    true_uj = [AMD_RANGE_UJ - 1, 12_345]
    for package in (0, 1):
        if not tree.zone_path(f"intel-rapl:{package}").exists():
            tree.zone(f"intel-rapl:{package}", f"package-{package}", range_uj=AMD_RANGE_UJ)
        tree.set_uj(f"intel-rapl:{package}", true_uj[package])
    start_uj = sum(true_uj)
    sensors, counted_j = tree.started(), 0.0
    for powers_w in watts:
        for package in (0, 1):
            true_uj[package] += int(powers_w[package] * 20e6)
            tree.set_uj(f"intel-rapl:{package}", true_uj[package] % AMD_RANGE_UJ)
        sample = tree.tick(sensors, seconds=20, busy_ratio=0.0)
        counted_j += sample.components[CPU].energy_j
    sensors.close()

    assert counted_j == pytest.approx((sum(true_uj) - start_uj) / 1e6, rel=1e-9, abs=1e-6)
    assert sum(totals_of(sample).values()) == pytest.approx(counted_j, rel=1e-9, abs=1e-6)
