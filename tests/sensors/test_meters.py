"""hwmon meters feeding components: sockets, rails, and a platform meter's rest."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.sensors import Component, ComponentEnergy, DomainKey
from exporter.sensors.meter import Found, Meter, Reading, Role
from exporter.sensors.platform_rest import PlatformRest
from tests.sensors.trees import FAILING, Tree

CPU, OTHER = Component.CPU, Component.OTHER
METER = Meter(Found(DomainKey("hwmon", "platform", "x"), "", "power", None, 1e5, Role("platform", "x")))


def _grace(tree: Tree, **watts: int) -> dict[str, Path]:
    return {
        rail: tree.chip(
            number,
            f"LNXSYSTM:00/ACPI000D:{number:02}",
            "power_meter",
            power1_average=power_w * 1_000_000,
            power1_oem_info=f"{rail} Power Socket 0",
        )
        / "power1_average"
        for number, (rail, power_w) in enumerate(watts.items())
    }


def test_grace_is_its_socket_rail_and_nothing_twice(tree: Tree) -> None:
    _grace(tree, Module=700, Grace=200, CPU=150, SysIO=50)

    sample = tree.tick(tree.started())

    assert {component: energy.energy_j for component, energy in sample.components.items()} == {CPU: 1000}
    assert sample.components[CPU].uncertainty_ratio == pytest.approx(0.10)


def test_grace_without_socket_rail_is_the_sum_of_its_parts(tree: Tree) -> None:
    _grace(tree, Module=700, CPU=150, SysIO=50)

    assert tree.tick(tree.started()).components[CPU].energy_j == 1000


def test_amd_energy_sockets_feed_the_cpu_where_rapl_does_not(tree: Tree) -> None:
    hwmon = tree.chip(0, "platform/amd_energy.0", "amd_energy", energy1_label="Esocket0", energy1_input=10**9)
    sensors = tree.started()
    (hwmon / "energy1_input").write_text(f"{10**9 + 500_000_000}\n")

    sample = tree.tick(sensors)

    assert (sample.components[CPU].energy_j, sample.components[CPU].source) == (500, "hwmon")
    assert sample.components[CPU].uncertainty_ratio == pytest.approx(0.15)


def test_amd_energy_beside_rapl_is_shown_and_not_added(tree: Tree) -> None:
    tree.chip(0, "platform/amd_energy.0", "amd_energy", energy1_label="Esocket0", energy1_input=10**9)
    tree.zone("intel-rapl:0", "package-0", 0)
    sensors = tree.started()
    tree.set_uj("intel-rapl:0", 500_000_000)

    sample = tree.tick(sensors)

    assert (sample.components[CPU].energy_j, sample.components[CPU].source) == (500, "rapl")
    assert [total.component for total in sample.domains] == [CPU, None]


def test_a_platform_meter_less_the_cpu_is_other(tree: Tree) -> None:
    tree.zone("intel-rapl:0", "package-0", 0)
    tree.chip(0, "ACPI000D:00", "power_meter", power1_average=300_000_000)
    sensors = tree.started()
    tree.set_uj("intel-rapl:0", 500_000_000)

    sample = tree.tick(sensors)

    assert sample.components[OTHER].energy_j == 300 * 5 - 500
    assert sample.components[OTHER].quality == "measured"


def test_a_rest_of_an_estimate_is_an_estimate(tree: Tree) -> None:
    tree.chip(0, "ACPI000D:00", "power_meter", power1_average=900_000_000)

    assert tree.tick(tree.started()).components[OTHER].quality == "estimated"


def test_several_meters_without_names_feed_nothing(tree: Tree) -> None:
    for number in (0, 1):
        tree.chip(number, f"ACPI000D:0{number}", "power_meter", power1_average=300_000_000)

    assert OTHER not in tree.tick(tree.started()).components


@pytest.mark.parametrize("raw", ["0", "4294967295000", "N/A"])
def test_a_meter_without_data_is_an_error_and_not_a_power(tree: Tree, raw: str) -> None:
    """F24, F35: 0 W while the host runs, all ones, text."""
    hwmon = tree.chip(0, "ACPI000D:00", "power_meter", power1_average=300_000_000)
    sensors = tree.started()
    (hwmon / "power1_average").write_text(f"{raw}\n")

    sample = tree.tick(sensors)

    assert OTHER not in sample.components
    assert [event[:3] for event in sample.events] == [("hwmon", "error", "format")]


def test_a_failing_meter_leaves_rapl_alone(tree: Tree) -> None:
    tree.zone("intel-rapl:0", "package-0", 0)
    hwmon = tree.chip(0, "ACPI000D:00", "power_meter")
    (hwmon / "power1_average").symlink_to(FAILING)
    sensors = tree.started()
    tree.set_uj("intel-rapl:0", 500_000_000)

    assert tree.tick(sensors).components.keys() == {CPU}


def test_the_rest_waits_while_a_component_is_unknown(tree: Tree) -> None:
    """F04: the CPU's joules of a failed read must not be booked as fans."""
    tree.zone("intel-rapl:0", "package-0", 0)
    tree.chip(0, "ACPI000D:00", "power_meter", power1_average=300_000_000)
    sensors = tree.started()
    tree.set_uj("intel-rapl:0", b"")
    failed = tree.tick(sensors)
    tree.set_uj("intel-rapl:0", 1_000_000_000)

    sample = tree.tick(sensors)

    assert failed.components == {}
    assert (sample.components[OTHER].energy_j, sample.components[OTHER].interval_s) == (3000 - 1000, 10)


def _cpu(energy_j: float) -> ComponentEnergy:
    return ComponentEnergy(
        component=CPU, energy_j=energy_j, interval_s=5, source="rapl", quality="measured", uncertainty_ratio=0.05
    )


@given(st.lists(st.floats(0, 2000), min_size=1, max_size=40))
def test_a_meter_that_lags_gives_the_right_sum_in_the_long_run(cpu_j: list[float]) -> None:
    """The rest is never negative, and what the CPU was ahead is taken back when the meter has caught up."""
    rest = PlatformRest()
    total_j = 0.0
    for energy_j in [*cpu_j, *[0.0] * 60]:
        energy = rest.energy(Reading(METER, 2500.0, 5.0), [_cpu(energy_j)], uncertainty_ratio=0.1, is_rest_whole=True)
        assert energy is not None
        assert energy.energy_j >= 0
        total_j += energy.energy_j

    assert total_j == pytest.approx(2500 * (len(cpu_j) + 60) - sum(cpu_j))


def test_a_burst_ahead_of_the_meter_is_carried() -> None:
    rest = PlatformRest()
    energies = [
        rest.energy(Reading(METER, 1000.0, 5.0), [_cpu(energy_j)], uncertainty_ratio=0.1, is_rest_whole=True)
        for energy_j in (1600.0, 100.0)
    ]

    assert [energy.energy_j for energy in energies if energy] == [0.0, 300.0]


def test_the_uncertainty_of_a_small_rest_is_large() -> None:
    energy = PlatformRest().energy(
        Reading(METER, 1000.0, 5.0), [_cpu(900.0)], uncertainty_ratio=0.1, is_rest_whole=True
    )

    assert energy is not None
    assert energy.uncertainty_ratio == pytest.approx((100**2 + 45**2) ** 0.5 / 100)
