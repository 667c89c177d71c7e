from __future__ import annotations

from pathlib import Path

import pytest

from exporter.errors import DeviceLostError, SourceFormatError, SourcePermissionError, SourceUnsupportedError
from exporter.sensors.gpu.amdgpu import AmdGpuDriver
from exporter.sensors.gpu.records import GpuFacts, GpuProcess, GpuReading
from tests.sensors.gpu.gpu_trees import GpuTree, gpu_metrics
from tests.sensors.trees import DENIED, FAILING

FIRST, SECOND = "0000:c1:00.0", "0000:c6:00.0"
UNITS_PER_J = 2**16


@pytest.fixture
def tree(tmp_path: Path) -> GpuTree:
    return GpuTree(tmp_path)


def _driver(tree: GpuTree) -> AmdGpuDriver:
    return AmdGpuDriver(tree.roots, tree.clock)


def _one(tree: GpuTree) -> tuple[AmdGpuDriver, GpuFacts]:
    driver = _driver(tree)
    [gpu] = driver.look()
    return driver, gpu


def _read(tree: GpuTree) -> GpuReading:
    driver, gpu = _one(tree)
    return driver.read(gpu)


def test_a_machine_without_amdgpu_says_where_it_looked(tree: GpuTree) -> None:
    with pytest.raises(SourceUnsupportedError, match="bus/pci/drivers/amdgpu lists no AMD GPU"):
        _driver(tree).look()


def test_facts_come_from_the_device(tree: GpuTree) -> None:
    tree.amd(FIRST, render=129, unique_id="9a3c1f00d1e2b3a4", product_name="AMD Instinct MI210")

    _, gpu = _one(tree)

    assert gpu == GpuFacts(
        source="amdgpu",
        uuid="GPU-9a3c1f00d1e2b3a4",
        index=0,
        vendor="AMD",
        model="AMD Instinct MI210",
        minor=129,
        pci_bus_id=FIRST,
    )


@pytest.mark.parametrize("unique_id", [b"", b"0\n", b"\xff\xfe", b"not hex"])
def test_a_gpu_without_a_number_of_its_own_is_known_by_its_address(tree: GpuTree, unique_id: bytes) -> None:
    tree.amd(FIRST, unique_id=unique_id)

    _, gpu = _one(tree)

    assert (gpu.uuid, gpu.model) == (FIRST, "GPU 740f")


def test_two_devices_with_one_number_are_known_by_their_addresses(tree: GpuTree) -> None:
    tree.amd(FIRST, unique_id="12ab")
    tree.amd(SECOND, unique_id="12ab", render=129)

    assert [gpu.uuid for gpu in _driver(tree).look()] == [FIRST, SECOND]


def test_the_order_is_rocms_where_kfd_tells_it(tree: GpuTree) -> None:
    tree.amd(FIRST)
    tree.amd(SECOND, render=129)
    tree.node(1, 5, 0xC600)
    tree.node(2, 6, 0xC100)

    assert [(gpu.index, gpu.pci_bus_id) for gpu in _driver(tree).look()] == [(0, SECOND), (1, FIRST)]


def test_everything_it_tells_is_read(tree: GpuTree) -> None:
    tree.amd(FIRST, gpu_busy_percent=87, mem_info_vram_used=2**30, mem_info_vram_total=2**36)
    tree.node(1, 5, 0xC100)
    tree.kfd_process(10, 5, vram=2**29, occupancy=60)
    tree.kfd_process(11, 5, vram=2**28, occupancy=0)

    assert _read(tree) == GpuReading(
        read_at_s=1000.0,
        power_w=300.0,
        power_limit_w=500.0,
        utilization_ratio=0.87,
        memory_used_bytes=2**30,
        memory_total_bytes=2**36,
        temperature_celsius=45.0,
        processes=(GpuProcess(10, 2**29), GpuProcess(11, 2**28)),
        has_processes=True,
        samples={10: 60.0},
        has_samples=True,
    )


@pytest.mark.parametrize("junk", [b"\xff\xfe\n", b"-5000\n", b"", b"1" * 40])
def test_junk_in_one_attribute_hides_no_other(tree: GpuTree, junk: bytes) -> None:
    path = tree.amd(FIRST, gpu_busy_percent=junk, mem_info_vram_used=junk, mem_info_vram_total=2**36)
    tree.write(path / "hwmon/hwmon0", temp1_input=junk)
    reading = _read(tree)

    assert (reading.power_w, reading.memory_total_bytes) == (300.0, 2**36)
    assert (reading.utilization_ratio, reading.memory_used_bytes, reading.temperature_celsius) == (None, None, None)


def test_without_kfd_processes_are_unknown_and_the_remedy_is_said(tree: GpuTree) -> None:
    tree.amd(FIRST)
    driver, gpu = _one(tree)

    assert not driver.read(gpu).has_processes
    [finding] = driver.findings(gpu)
    assert "/dev/kfd" in finding.remedy


def test_occupancy_that_one_process_lacks_is_no_measure(tree: GpuTree) -> None:
    tree.amd(FIRST, gpu_busy_percent=50)
    tree.node(1, 5, 0xC100)
    tree.kfd_process(10, 5, vram=1, occupancy=60)
    tree.kfd_process(11, 5, vram=1)

    assert not _read(tree).has_samples


@pytest.mark.parametrize(("busy", "has_samples"), [(50, False), (0, True)])
def test_a_moment_without_work_counts_only_on_an_idle_gpu(tree: GpuTree, busy: int, *, has_samples: bool) -> None:
    tree.amd(FIRST, gpu_busy_percent=busy)
    tree.node(1, 5, 0xC100)
    tree.kfd_process(10, 5, vram=1, occupancy=0)

    reading = _read(tree)

    assert (reading.has_samples, reading.samples) == (has_samples, {})


def test_a_good_accumulator_gives_energy_and_a_cross_check(tree: GpuTree) -> None:
    path = tree.amd(FIRST, gpu_metrics=gpu_metrics("1.6", energy=1000 * UNITS_PER_J))
    driver, gpu = _one(tree)
    first = driver.read(gpu)
    tree.clock.now_s += 2
    tree.write(path, gpu_metrics=gpu_metrics("1.6", energy=1620 * UNITS_PER_J))
    second = driver.read(gpu)

    assert (first.energy_uj, second.energy_uj) == (1_000_000_000, 1_620_000_000)
    assert second.cross_check_power_w == 300.0
    assert [finding.item for finding in driver.findings(gpu)] == [f"gpu 0 {FIRST} processes"]


def test_a_bad_accumulator_is_left_to_the_power_reading_for_good(tree: GpuTree) -> None:
    """Also across looks."""
    tree.amd(FIRST, gpu_metrics=gpu_metrics(energy=1000 * UNITS_PER_J))
    driver, gpu = _one(tree)
    energies = []
    for _ in range(3):
        energies.append(driver.read(gpu).energy_uj)
        tree.clock.now_s += 1
        [gpu] = driver.look()

    assert energies == [1_000_000_000, None, None]
    assert any("stands still" in finding.detail for finding in driver.findings(gpu))


@pytest.mark.parametrize("content", [b"", b"junk\xff", DENIED, FAILING])
def test_power_that_cannot_be_read_is_an_error_or_absent(tree: GpuTree, content: bytes | Path) -> None:
    tree.amd(FIRST)
    driver, gpu = _one(tree)
    tree.write(tree.device(FIRST) / "hwmon/hwmon0", power1_average=content)
    driver.release()
    [gpu] = driver.look()

    if content == FAILING:  # EIO, EINVAL, ENODATA: the sensor has nothing to say
        assert driver.read(gpu).power_w is None
    else:
        with pytest.raises(SourcePermissionError if content == DENIED else SourceFormatError):
            driver.read(gpu)


def test_power_falls_back_to_the_momentary_one_and_to_the_table(tree: GpuTree) -> None:
    path = tree.amd(FIRST, gpu_metrics=gpu_metrics(power=277))
    (path / "hwmon/hwmon0/power1_average").unlink()
    driver, gpu = _one(tree)
    from_table = driver.read(gpu).power_w
    tree.write(path / "hwmon/hwmon0", power1_input=290_000_000)

    assert (from_table, driver.read(gpu).power_w) == (277.0, 290.0)


def test_a_table_that_is_cut_off_is_an_error(tree: GpuTree) -> None:
    tree.amd(FIRST, gpu_metrics=gpu_metrics()[:50])
    driver, gpu = _one(tree)

    with pytest.raises(SourceFormatError):
        driver.read(gpu)


def test_a_gpu_without_any_sensor_reads_as_nothing(tree: GpuTree) -> None:
    tree.card(FIRST, "amdgpu", vendor=0x1002)

    assert _read(tree) == GpuReading(read_at_s=1000.0)


def test_an_unplugged_gpu_is_lost_and_the_other_goes_on(tree: GpuTree) -> None:
    tree.amd(FIRST)
    tree.amd(SECOND, render=129)
    driver = _driver(tree)
    first, second = driver.look()
    driver.read(first)
    tree.unplug(FIRST, "amdgpu")

    with pytest.raises(DeviceLostError):
        driver.read(first)
    assert driver.read(second).power_w == 300.0
    assert [gpu.uuid for gpu in driver.look()] == [SECOND]
    with pytest.raises(DeviceLostError):
        driver.read(first)
    assert driver.findings(first) == []


def test_the_second_die_of_a_board_has_no_power_and_the_first_one_has_its_processes(tree: GpuTree) -> None:
    """MI250X: the second die reports 0 W; that is not a measurement."""
    tree.amd(FIRST, device=0x7408, gpu_metrics=gpu_metrics(energy=1, power=300))
    tree.amd(SECOND, device=0x7408, render=129, gpu_metrics=gpu_metrics(energy=0, power=0))
    tree.write(tree.device(SECOND) / "hwmon/hwmon0", power1_average=0)
    tree.node(1, 5, 0xC100)
    tree.node(2, 6, 0xC600)
    tree.kfd_process(10, 6, vram=64, occupancy=8)
    driver = _driver(tree)
    first, second = driver.look()

    assert (first.restricted, second.restricted) == ("", "no_processes")
    assert SECOND in first.notes[0]
    assert FIRST in second.notes[0]
    assert [process.pid for process in driver.read(first).processes] == [10]
    nothing = driver.read(second)
    assert (nothing.energy_uj, nothing.power_w, nothing.has_processes) == (None, None, False)
    assert driver.findings(second) == []


def test_a_lone_second_die_is_restricted_too(tree: GpuTree) -> None:
    tree.amd(SECOND, device=0x740C)
    tree.write(tree.device(SECOND) / "hwmon/hwmon0", power1_average=0)

    _, gpu = _one(tree)

    assert (gpu.restricted, len(gpu.notes)) == ("no_processes", 1)


def test_a_lone_die_with_power_or_one_that_cannot_be_read_is_a_gpu(tree: GpuTree) -> None:
    tree.amd(FIRST, device=0x7408)
    tree.amd("0001:c1:00.0", device=0x7408, render=130)
    tree.write(tree.device("0001:c1:00.0") / "hwmon/hwmon0", power1_average=b"x")

    assert {(gpu.restricted, gpu.notes) for gpu in _driver(tree).look()} == {("", ())}


def test_partitions_are_one_gpu(tree: GpuTree) -> None:
    """MI300 in CPX: eight nodes, one PCI device."""
    tree.amd(FIRST, device=0x74A1, current_compute_partition="CPX")
    for partition in range(8):
        tree.node(partition + 1, 100 + partition, 0xC100 | partition)
    tree.kfd_process(10, 107, vram=1, occupancy=38)
    driver, gpu = _one(tree)

    assert gpu.notes == ("divided into 8 partitions (CPX): energy and power are the whole GPU's",)
    assert driver.read(gpu).samples == {10: 38.0}


@pytest.mark.parametrize(("device", "revision"), [(0x74A0, 1), (0x15BF, 2), (0x15BF, 3)])
def test_a_gpu_with_cpu_cores_is_a_module(tree: GpuTree, device: int, revision: int) -> None:
    table = bytearray(gpu_metrics())
    table[2] = revision
    tree.amd(FIRST, device=device, gpu_metrics=bytes(table))

    _, gpu = _one(tree)

    assert (gpu.scope, gpu.restricted) == ("module", "module")


def test_a_driver_that_is_unloaded_is_unsupported(tree: GpuTree) -> None:
    tree.amd(FIRST)
    driver, gpu = _one(tree)
    driver.read(gpu)
    tree.unplug(FIRST, "amdgpu")

    with pytest.raises(SourceUnsupportedError):
        driver.look()
