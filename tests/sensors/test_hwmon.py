from __future__ import annotations

import pytest

from exporter.sensors.hwmon import find_hwmon
from exporter.sensors.meter import Found
from tests.sensors.trees import Tree

GRACE = ("Module", "Grace", "CPU", "SysIO")


def _found(tree: Tree) -> list[Found]:
    return find_hwmon(tree.roots.sysfs, source="hwmon", max_package_w=500).found


def test_amd_energy_gives_its_sockets_and_never_its_cores(tree: Tree) -> None:
    channels = {"energy1": "Ecore000", "energy2": "Ecore001", "energy3": "Esocket0", "energy4": "Esocket1"}
    attributes = {f"{channel}_label": label for channel, label in channels.items()}
    attributes |= {f"{channel}_input": "1000" for channel in channels}
    tree.chip(3, "platform/amd_energy.0", "amd_energy", **attributes)

    found = _found(tree)

    assert [one.key for one in found] == [
        ("hwmon", "package", "amd_energy.0-0"),
        ("hwmon", "package", "amd_energy.0-1"),
    ]
    assert {(one.unit, one.range_uj) for one in found} == {("energy", None)}


def test_an_unnamed_acpi_meter_is_the_platforms(tree: Tree) -> None:
    tree.chip(0, "LNXSYSTM:00/ACPI000D:00", "power_meter", power1_average=300_000_000)

    [found] = _found(tree)

    assert found.key == ("hwmon", "platform", "ACPI000D:00")
    assert found.unit == "power"


def test_older_kernels_keep_name_and_values_in_the_device_directory(tree: Tree) -> None:
    hwmon = tree.chip(0, "LNXSYSTM:00/ACPI000D:00", None)
    (hwmon / "device" / "name").write_text("power_meter\n")
    (hwmon / "device" / "power1_average").write_text("300000000\n")

    assert [found.key.device for found in _found(tree)] == ["ACPI000D:00"]


def test_the_rails_of_grace_are_told_apart_by_their_text(tree: Tree) -> None:
    for number, rail in enumerate(GRACE):
        text = f"{rail} Power Socket 1"
        tree.chip(number, f"ACPI000D:0{number}", "power_meter", power1_average=10**8, power1_oem_info=text)

    assert {(found.key.domain, found.key.device, found.role.kind) for found in _found(tree)} == {
        ("module", "1", "module"),
        ("package", "1", "package"),
        ("cpu", "1", "rail"),
        ("sysio", "1", "rail"),
    }


@pytest.mark.parametrize("name", ["amdgpu", "BAT0", "nvme", "mlx5", "corsairpsu", "ina226", "coretemp", None, "\n"])
def test_other_chips_are_left_alone(tree: Tree, name: str | None) -> None:
    """F21: batteries, cards, drives and chips without a name give nothing and are no error."""
    tree.chip(0, "pci0000:00/x", name, power1_input=50_000_000, power1_average=50_000_000, energy1_input=5)

    assert _found(tree) == []


def test_a_known_chip_without_power_channel_gives_nothing(tree: Tree) -> None:
    """F21: a chip may have only temperatures."""
    tree.chip(0, "ACPI000D:00", "power_meter", temp1_input=40_000)

    assert _found(tree) == []


def test_a_channel_that_is_switched_off_or_a_battery_gives_nothing(tree: Tree) -> None:
    """F21: power1_enable is 0."""
    tree.chip(0, "ACPI000D:00", "power_meter", power1_average=10**8, power1_enable=0)
    tree.chip(1, "ACPI000D:01", "power_meter", power1_average=10**8, power1_is_battery=1)

    assert _found(tree) == []


def test_a_chip_keeps_its_label_when_its_number_changes(tree: Tree) -> None:
    """F22: hwmon3 becomes hwmon5 after a reboot."""
    before = Tree(tree.root / "before")
    before.chip(3, "LNXSYSTM:00/ACPI000D:00", "power_meter", power1_average=10**8)
    tree.chip(5, "LNXSYSTM:00/ACPI000D:00", "power_meter", power1_average=10**8)

    assert [found.key for found in _found(before)] == [found.key for found in _found(tree)]


def test_of_average_and_momentary_power_only_the_average_is_read(tree: Tree) -> None:
    """F23: both exist, one is used."""
    tree.chip(0, "ACPI000D:00", "power_meter", power1_input=10**8, power1_average=10**8)

    assert [found.path.rpartition("/")[2] for found in _found(tree)] == ["power1_average"]


def test_energy_is_preferred_to_power(tree: Tree) -> None:
    tree.chip(0, "pci0000:00/0000:00:18.4", "fam15h_power", power1_input=10**8, energy1_input=10**8)

    [found] = _found(tree)

    assert (found.unit, found.role.kind, found.key.device) == ("energy", "package", "0000:00:18.4")


def test_a_machine_without_hwmon_says_so(tree: Tree) -> None:
    [finding] = find_hwmon(tree.roots.sysfs, source="hwmon", max_package_w=500).findings

    assert finding.state == "absent"
