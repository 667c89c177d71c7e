from __future__ import annotations

from pathlib import Path

import pytest

from exporter.errors import (
    DeviceLostError,
    SourceBusyError,
    SourceError,
    SourceFormatError,
    SourcePermissionError,
    SourceUnsupportedError,
)
from exporter.sensors.gpu.gaudi import GaudiDriver
from exporter.sensors.gpu.records import GpuFacts, GpuReading
from tests.sensors.gpu.gpu_trees import GpuTree
from tests.sensors.trees import DENIED, FAILING

FIRST, SECOND = "0000:19:00.0", "0000:b3:00.0"


@pytest.fixture
def tree(tmp_path: Path) -> GpuTree:
    return GpuTree(tmp_path)


def _add(tree: GpuTree, address: str = FIRST, *, accel: int | None = 0, power: object = 350_000_000) -> Path:
    path = tree.card(address, "habanalabs", vendor=0x1DA3, device=0x1020, max_power=600_000)
    tree.hwmon(address, "HL-225", power1_input=power, power1_input_highest=1, temp1_input=40_000)
    if accel is not None:
        (path / "accel" / f"accel{accel}").mkdir(parents=True)
    return path


def _one(tree: GpuTree) -> tuple[GaudiDriver, GpuFacts]:
    driver = GaudiDriver(tree.roots, tree.clock)
    [gpu] = driver.look()
    return driver, gpu


def test_a_machine_without_habanalabs_says_where_it_looked(tree: GpuTree) -> None:
    with pytest.raises(SourceUnsupportedError, match="drivers/habanalabs lists no accelerator"):
        GaudiDriver(tree.roots, tree.clock).look()


def test_power_is_read_and_processes_are_unknown(tree: GpuTree) -> None:
    _add(tree, accel=3)
    driver, gpu = _one(tree)

    assert gpu == GpuFacts(
        source="gaudi",
        uuid=FIRST,
        index=3,
        vendor="Habana",
        model="HL-225",
        minor=3,
        pci_bus_id=FIRST,
        restricted="no_processes",
    )
    assert driver.read(gpu) == GpuReading(
        read_at_s=1000.0, power_w=350.0, power_limit_w=600.0, temperature_celsius=40.0
    )
    assert driver.findings(gpu) == []


@pytest.mark.parametrize(
    ("raw", "power_w"),
    [(350_000_000, 350.0), (350_000, 350.0), (350, 350.0), (10, 10.0), (2_000_000_000, 2000.0), (10_000, 10.0)],
)
def test_the_scale_is_the_one_that_is_plausible(tree: GpuTree, raw: int, power_w: float) -> None:
    _add(tree, power=raw)
    driver, gpu = _one(tree)

    assert driver.read(gpu).power_w == power_w


@pytest.mark.parametrize("raw", [0, 9, 5_000, 5_000_000, 3_000_000_000])
def test_power_that_no_scale_makes_plausible_is_an_error(tree: GpuTree, raw: int) -> None:
    _add(tree, power=raw)
    driver, gpu = _one(tree)

    with pytest.raises(SourceFormatError, match="in no unit"):
        driver.read(gpu)


@pytest.mark.parametrize(
    ("content", "error"), [(b"\xff", SourceFormatError), (DENIED, SourcePermissionError), (FAILING, SourceError)]
)
def test_power_that_cannot_be_read_is_an_error(tree: GpuTree, content: bytes | Path, error: type[Exception]) -> None:
    path = _add(tree)
    driver, gpu = _one(tree)
    tree.write(path / "hwmon/hwmon0", power1_input=content)

    with pytest.raises(error):
        driver.read(gpu)


def test_a_reset_is_a_moment_without_an_answer(tree: GpuTree) -> None:
    """The kernel answers ENODEV, or takes the hwmon chip away; the PCI device stays."""
    path = _add(tree)
    driver, gpu = _one(tree)
    (path / "hwmon/hwmon0/power1_input").unlink()

    with pytest.raises(SourceBusyError, match="reset"):
        driver.read(gpu)
    tree.write(path / "hwmon/hwmon0", power1_input=350_000_000)
    assert driver.read(gpu).power_w == 350.0


def test_an_unplugged_accelerator_is_lost_and_the_other_goes_on(tree: GpuTree) -> None:
    _add(tree)
    _add(tree, SECOND, accel=1)
    driver = GaudiDriver(tree.roots, tree.clock)
    first, second = driver.look()
    tree.unplug(FIRST, "habanalabs")

    with pytest.raises(DeviceLostError):
        driver.read(first)
    assert driver.read(second).power_w == 350.0
    assert [gpu.uuid for gpu in driver.look()] == [SECOND]
    with pytest.raises(DeviceLostError):
        driver.read(first)


def test_older_kernels_number_it_in_a_class_of_their_own(tree: GpuTree) -> None:
    _add(tree, accel=None)
    old = tree.roots.sysfs / "class/habanalabs/hl5"
    old.mkdir(parents=True)
    tree.write(old, pci_addr=FIRST, max_power=550_000)
    (old.parent / "hl_controlD5").mkdir()
    driver, gpu = _one(tree)

    assert (gpu.index, gpu.minor, driver.read(gpu).power_limit_w) == (5, 5, 550.0)


def test_the_first_power_sensor_of_any_chip_is_taken(tree: GpuTree) -> None:
    tree.card(FIRST, "habanalabs", vendor=0x1DA3)
    tree.hwmon(FIRST, "fan", number=0, fan1_input=1)
    tree.hwmon(FIRST, "HL-225", number=1, power10_input=20_000_000, power2_input=350_000_000)
    tree.hwmon(FIRST, "more", number=2, power1_input=30_000_000)
    driver, gpu = _one(tree)

    assert (gpu.model, driver.read(gpu).power_w) == ("HL-225", 350.0)


def test_an_accelerator_without_a_power_sensor_says_so(tree: GpuTree) -> None:
    tree.card(FIRST, "habanalabs", vendor=0x1DA3, device=0x1000, max_power=1)
    driver, gpu = _one(tree)

    assert (gpu.index, gpu.minor, gpu.model) == (0, None, "accelerator 1000")
    assert driver.read(gpu) == GpuReading(read_at_s=1000.0)
    [finding] = driver.findings(gpu)
    assert "no power sensor" in finding.detail


def test_a_driver_that_was_released_looks_again(tree: GpuTree) -> None:
    _add(tree)
    driver, gpu = _one(tree)
    driver.read(gpu)
    driver.release()

    with pytest.raises(DeviceLostError):
        driver.read(gpu)
    [again] = driver.look()
    assert driver.read(again).power_w == 350.0
