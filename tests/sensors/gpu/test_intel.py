from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from exporter.errors import DeviceLostError, SourceFormatError, SourcePermissionError, SourceUnsupportedError
from exporter.sensors.gpu.intel import IntelGpuDriver
from exporter.sensors.gpu.records import GpuFacts, GpuProcess, GpuReading
from tests.sensors.gpu.gpu_trees import GpuTree, as_nobody, fdinfo
from tests.sensors.trees import DENIED

FIRST, SECOND = "0000:03:00.0", "0000:83:00.0"
RENDER = "/dev/dri/renderD128"


@pytest.fixture
def tree(tmp_path: Path) -> GpuTree:
    return GpuTree(tmp_path)


def _add(tree: GpuTree, address: str = FIRST, *, driver: str = "i915", energy1_input: int | None = 1) -> Path:
    tree.card(address, driver, vendor=0x8086, device=0x56C0, render=128)
    hwmon = tree.hwmon(address, driver)
    if energy1_input is not None:
        tree.write(hwmon, energy1_input=energy1_input)
    return hwmon


def _one(tree: GpuTree) -> tuple[IntelGpuDriver, GpuFacts]:
    driver = IntelGpuDriver(tree.roots, tree.clock)
    [gpu] = driver.look()
    return driver, gpu


def _second_reading(tree: GpuTree, before: str, after: str, *, seconds: float = 2.0) -> GpuReading:
    driver, gpu = _one(tree)
    tree.process(20, {4: (RENDER, before)})
    driver.read(gpu)
    tree.process(20, {4: (RENDER, after)})
    tree.clock.now_s += seconds
    return driver.read(gpu)


def test_a_machine_without_intel_gpus_says_where_it_looked(tree: GpuTree) -> None:
    """An integrated GPU has no energy register and is none of ours."""
    tree.card("0000:00:02.0", "i915", vendor=0x8086)

    with pytest.raises(SourceUnsupportedError, match=r"drivers/i915 and .*drivers/xe list no GPU"):
        IntelGpuDriver(tree.roots, tree.clock).look()


def test_i915_is_read_as_a_whole_and_not_by_tile(tree: GpuTree) -> None:
    hwmon = _add(tree, energy1_input=5_000_000)
    tree.write(hwmon, power1_max=0, power1_rated_max=150_000_000, temp1_input=51_000)
    tree.hwmon(FIRST, "i915_gt0", number=1)
    driver, gpu = _one(tree)

    assert gpu == GpuFacts(
        source="intel_gpu",
        uuid=FIRST,
        index=0,
        vendor="Intel",
        model="Data Center GPU Flex 170",
        minor=128,
        pci_bus_id=FIRST,
    )
    assert driver.read(gpu) == GpuReading(
        read_at_s=1000.0,
        energy_uj=5_000_000,
        power_limit_w=150.0,
        temperature_celsius=51.0,
        has_processes=True,
    )


@pytest.mark.parametrize(
    ("chip", "energy_uj", "limit_w", "is_noted"),
    [
        ({"energy1_label": "card", "energy2_label": "pkg", "energy1_input": 10, "energy2_input": 7}, 10, 200, False),
        ({"energy1_label": "pkg", "energy2_label": "card", "energy1_input": 10, "energy2_input": 7}, 7, 120, False),
        ({"energy2_label": "pkg", "energy2_input": 7}, 7, 120, True),
        ({"energy2_input": 7}, 7, 120, True),
        ({"energy1_input": 10}, 10, 200, False),
    ],
)
def test_xe_is_read_by_card_rather_than_by_package(
    tree: GpuTree, chip: dict[str, object], energy_uj: int, limit_w: float, *, is_noted: bool
) -> None:
    hwmon = _add(tree, driver="xe", energy1_input=None)
    tree.write(hwmon, power1_max=200_000_000, power2_max=120_000_000, **chip)
    driver, gpu = _one(tree)
    reading = driver.read(gpu)

    assert (reading.energy_uj, reading.power_limit_w, bool(gpu.notes)) == (energy_uj, limit_w, is_noted)


def test_a_register_of_something_else_is_left_alone(tree: GpuTree) -> None:
    tree.write(_add(tree, driver="xe", energy1_input=None), energy3_label="vram", energy3_input=5)

    with pytest.raises(SourceUnsupportedError):
        _one(tree)


def test_busy_nanoseconds_are_the_samples_of_i915(tree: GpuTree) -> None:
    _add(tree)
    before = fdinfo("i915", FIRST, 1, drm_engine_render="100 ns", drm_engine_compute="0 ns")
    after = fdinfo(
        "i915",
        FIRST,
        1,
        drm_engine_render="1000000100 ns",
        drm_engine_compute="2000000000 ns",
        drm_engine_capacity_compute=4,
        drm_resident_local0="1 KiB",
    )
    reading = _second_reading(tree, before, after)

    assert reading.samples == {20: 3e9}
    assert reading.utilization_ratio == 0.5
    assert reading.processes == (GpuProcess(20, 1024),)
    assert (reading.has_processes, reading.has_samples) == (True, True)


def test_busy_cycles_are_the_samples_of_xe(tree: GpuTree) -> None:
    _add(tree, driver="xe")
    before = fdinfo("xe", FIRST, 1, drm_cycles_ccs=100, drm_total_cycles_ccs=1000)
    after = fdinfo("xe", FIRST, 1, drm_cycles_ccs=400, drm_total_cycles_ccs=2000)
    reading = _second_reading(tree, before, after)

    assert (reading.samples, reading.utilization_ratio) == ({20: 300.0}, 0.3)


def test_a_new_client_of_xe_has_no_known_share_of_time(tree: GpuTree) -> None:
    _add(tree, driver="xe")
    after = fdinfo("xe", FIRST, 2, drm_cycles_ccs=400, drm_total_cycles_ccs=2000)
    reading = _second_reading(tree, fdinfo("xe", FIRST, 1), after)

    assert (reading.samples, reading.utilization_ratio) == ({20: 400.0}, 0.0)


def test_a_client_that_rests_has_no_sample(tree: GpuTree) -> None:
    _add(tree)
    text = fdinfo("i915", FIRST, 1, drm_engine_render="100 ns")
    reading = _second_reading(tree, text, text)

    assert (reading.samples, reading.has_samples, reading.utilization_ratio) == ({}, True, 0.0)


def test_the_first_reading_has_no_samples(tree: GpuTree) -> None:
    _add(tree)
    tree.process(20, {4: (RENDER, fdinfo("i915", FIRST, 1, drm_engine_render="100 ns"))})
    driver, gpu = _one(tree)
    reading = driver.read(gpu)

    assert (reading.has_processes, reading.has_samples, reading.utilization_ratio) == (True, False, None)


def test_every_gpu_has_its_own_clients(tree: GpuTree) -> None:
    """Memory of several clients of one process is added up; clients of other GPUs are not counted."""
    _add(tree)
    _add(tree, SECOND, energy1_input=2)
    texts = [
        fdinfo("i915", FIRST, 1, drm_engine_render="1 ns", drm_resident_local0="1 KiB"),
        fdinfo("i915", FIRST, 2, drm_engine_render="1 ns", drm_resident_local0="2 KiB"),
        fdinfo("i915", FIRST, 3, drm_engine_render="1 ns"),
        fdinfo("i915", SECOND, 1, drm_engine_render="1 ns"),
    ]
    tree.process(20, {number: (RENDER, text) for number, text in enumerate(texts)})
    driver = IntelGpuDriver(tree.roots, tree.clock)

    assert [driver.read(gpu).processes for gpu in driver.look()] == [(GpuProcess(20, 3072),), (GpuProcess(20),)]


@pytest.mark.parametrize("can_read_one", [True, False])
def test_processes_are_unknown_only_if_none_can_be_looked_into(*, can_read_one: bool) -> None:
    with tempfile.TemporaryDirectory() as root:
        Path(root).chmod(0o755)
        tree = GpuTree(Path(root))
        _add(tree)
        tree.process(20, {})
        files = [tree.process(pid, {}) / "fd" for pid in ((21,) if can_read_one else (20, 21))]
        for path in files:
            path.chmod(0)
        driver, gpu = _one(tree)
        with as_nobody():
            reading = driver.read(gpu)
        for path in files:
            path.chmod(0o755)

    assert reading.has_processes == can_read_one
    [finding] = driver.findings(gpu)
    assert "CAP_SYS_PTRACE" in finding.remedy


def test_a_spent_budget_and_malformed_texts_are_said(tree: GpuTree) -> None:
    _add(tree)
    tree.process(20, {4: (RENDER, "drm-driver: i915\ndrm-client-id: x\n")})
    driver, gpu = _one(tree)
    before = driver.findings(gpu)
    driver.read(gpu)
    [malformed] = driver.findings(gpu)
    slow = IntelGpuDriver(tree.roots, tree.clock, budget_s=-1.0)
    slow.look()
    slow.read(gpu)
    [spent] = slow.findings(gpu)

    assert before == []
    assert "fdinfo" in malformed.detail
    assert "budget" in spent.detail


@pytest.mark.parametrize(
    ("content", "error"),
    [(b"-1\n", SourceFormatError), (b"\xff\n", SourceFormatError), (DENIED, SourcePermissionError)],
)
def test_an_energy_that_cannot_be_read_is_an_error(
    tree: GpuTree, content: bytes | Path, error: type[Exception]
) -> None:
    hwmon = _add(tree)
    driver, gpu = _one(tree)
    tree.write(hwmon, energy1_input=content)

    with pytest.raises(error):
        driver.read(gpu)


def test_an_unplugged_gpu_is_lost_and_the_other_goes_on(tree: GpuTree) -> None:
    _add(tree)
    _add(tree, SECOND, energy1_input=2)
    driver = IntelGpuDriver(tree.roots, tree.clock)
    first, second = driver.look()
    tree.unplug(FIRST, "i915")

    with pytest.raises(DeviceLostError):
        driver.read(first)
    assert driver.read(second).energy_uj == 2
    assert [gpu.uuid for gpu in driver.look()] == [SECOND]
    with pytest.raises(DeviceLostError):
        driver.read(first)


def test_a_driver_that_was_released_looks_again(tree: GpuTree) -> None:
    _add(tree)
    driver, gpu = _one(tree)
    driver.read(gpu)
    driver.release()
    [again] = driver.look()

    assert driver.read(again).energy_uj == 1
