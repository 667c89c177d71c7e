from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from exporter.clock import Clock
from exporter.errors import (
    DeviceLostError,
    DriverGoneError,
    SourceError,
    SourcePermissionError,
    SourceUnsupportedError,
)
from exporter.sensors.gpu.nvml import NvmlDriver
from exporter.sensors.gpu.records import GpuDriver
from exporter.testing import FakeClock
from exporter.testing.simulated_nvml import NvidiaBoard
from tests.sensors.gpu.standin import COMPUTE, ENERGY, POWER, SAMPLES, MakeNode, NvidiaNode

OLD = NvidiaBoard(name="Tesla P4", refuses=(ENERGY, POWER), power_fields=(), mig_places=0, has_gpm=False)


def as_driver(clock: Clock) -> GpuDriver:
    return NvmlDriver(clock)


def test_a_gpu_is_described(make_node: MakeNode) -> None:
    node = make_node(NvidiaBoard(name="NVIDIA H100 80GB HBM3", uuid="GPU-abc", limit_w=700.0))
    (gpu,) = node.look()

    assert (gpu.source, gpu.uuid, gpu.index, gpu.vendor) == ("nvml", "GPU-abc", 0, "NVIDIA")
    assert (gpu.model, gpu.minor, gpu.pci_bus_id) == ("H100 80GB HBM3", 0, "0000:10:00.0")
    assert (gpu.scope, gpu.restricted, gpu.is_partitioned, gpu.max_power_w) == ("gpu", "", False, 1050.0)
    assert node.driver.findings(gpu) == []


def test_the_counter_is_told_in_microjoules_at_its_time(node: NvidiaNode) -> None:
    node.gpus[0].draw(300.0)
    node.look()
    before = node.read()
    node.advance(10)
    after = node.read()

    assert (before.energy_uj or 0, after.energy_uj or 0) == (1_000_000_000, 4_000_000_000)
    assert after.read_at_s - before.read_at_s == 10
    assert (after.power_w, after.cross_check_power_w, after.power_limit_w) == (300.0, 300.0, 700.0)


def test_what_else_a_reading_holds(node: NvidiaNode) -> None:
    node.gpus[0].start(10, load=0.5, memory_bytes=1024)
    node.look()
    reading = node.read()

    assert reading.utilization_ratio == 0.5
    assert (reading.memory_used_bytes, reading.memory_total_bytes) == (1024, 80 * 1024**3)
    assert reading.temperature_celsius == 40


@pytest.mark.parametrize("power_w", [0.0, (2**32 - 1) / 1000, 2801.0])
def test_a_power_no_board_draws_is_no_power(node: NvidiaNode, power_w: float) -> None:
    node.look()
    node.gpus[0].draw(power_w)

    assert node.read().power_w is None


def test_a_power_above_the_limit_is_believed(node: NvidiaNode) -> None:
    node.look()
    node.gpus[0].draw(900.0)

    assert node.read().power_w == 900.0


def test_the_limit_is_followed_within_twelve_reads(node: NvidiaNode) -> None:
    node.look()
    node.gpus[0].set_limit(400.0)
    limits = [node.read().power_limit_w for _ in range(12)]

    assert (limits[0], limits[-1]) == (700.0, 400.0)


def test_an_old_gpu_has_neither_energy_nor_power(make_node: MakeNode) -> None:
    node = make_node(OLD)
    (gpu,) = node.look()
    reading = node.read()

    assert (reading.energy_uj, reading.power_w, reading.cross_check_power_w) == (None, None, None)
    assert [finding.item.split()[-1] for finding in node.driver.findings(gpu)] == ["counter", "power"]


def test_a_gpu_without_process_lists_says_so_at_the_look(make_node: MakeNode) -> None:
    node = make_node(NvidiaBoard(refuses=(COMPUTE, SAMPLES)))
    (gpu,) = node.look()
    reading = node.read()

    assert gpu.restricted == "no_processes"
    assert (reading.has_processes, reading.has_samples) == (False, False)


@pytest.mark.parametrize(
    ("mode", "expected"), [(0, ""), (1, ""), (2, "vgpu_guest"), (3, "vgpu_host"), (4, "vgpu_host")]
)
def test_virtual_gpus_are_not_split(make_node: MakeNode, mode: int, expected: str) -> None:
    (gpu,) = make_node(NvidiaBoard(virtualization=mode)).look()

    assert gpu.restricted == expected


def test_on_grace_the_power_of_the_gpu_is_integrated_and_the_counter_left_alone(make_node: MakeNode) -> None:
    fields = ((185, 0), (186, 0), (185, 1), (186, 1))
    board = NvidiaBoard(name="NVIDIA GH200 480GB", other_w=150.0, counter_covers_module=True, power_fields=fields)
    node = make_node(board)
    (gpu,) = node.look()
    reading = node.read()

    assert (gpu.scope, gpu.restricted) == ("gpu", "")
    assert (reading.energy_uj, reading.power_w, reading.cross_check_power_w) == (None, 70.0, None)
    assert node.nvml.calls(ENERGY) == 0


@pytest.mark.parametrize("name", ["NVIDIA GB300", "NVIDIA of a name yet unknown"])
def test_a_module_that_tells_only_of_itself_is_a_module(make_node: MakeNode, name: str) -> None:
    fields = ((185, 1), (186, 1))
    board = NvidiaBoard(name=name, other_w=300.0, power_fields=fields, module_limit_w=2900.0)
    node = make_node(replace(board, counter_covers_module=True))
    (gpu,) = node.look()
    reading = node.read()

    assert (gpu.scope, gpu.restricted, gpu.max_power_w) == ("module", "module", 4350.0)
    assert (reading.energy_uj, reading.power_w) == (1_000_000_000, 370.0)


def test_a_field_that_fails_once_does_not_turn_a_gpu_into_a_module(make_node: MakeNode) -> None:
    node = make_node(NvidiaBoard(name="NVIDIA GH200 480GB", power_fields=((186, 0), (186, 1))))
    node.look()
    node.nvml.fail("nvmlDeviceGetFieldValues", 10, times=1)
    (gpu,) = node.look()

    assert gpu.scope == "gpu"


def test_an_unknown_limit_leaves_a_wide_bound(make_node: MakeNode) -> None:
    (gpu,) = make_node(NvidiaBoard(refuses=("nvmlDeviceGetEnforcedPowerLimit",))).look()

    assert gpu.max_power_w == 2000.0


def test_a_name_that_is_no_text_does_not_hide_the_gpu(make_node: MakeNode) -> None:
    node = make_node()
    node.nvml.garble_name(0, b"NVIDIA \xff\xfe")
    (gpu,) = node.look()

    assert (gpu.model, node.failure()) == ("GPU", None)


def test_a_lost_gpu_does_not_hide_the_others(make_node: MakeNode) -> None:
    node = make_node(NvidiaBoard(), NvidiaBoard(), NvidiaBoard())
    node.gpus[1].lose()
    found = node.look()

    assert [(gpu.uuid, gpu.index) for gpu in found] == [(node.gpus[0].uuid, 0), (node.gpus[2].uuid, 2)]
    assert isinstance(node.failure(1), DeviceLostError)
    assert node.failure(2) is None
    assert [(f.item, f.state, "GPU is lost" in f.detail) for f in node.driver.unusable()] == [("gpu 1", "down", True)]

    node.gpus[1].lose(is_lost=False)

    assert len(node.look()) == 3
    assert node.driver.unusable() == []


def test_gpus_that_are_all_lost_are_a_failure(node: NvidiaNode) -> None:
    node.gpus[0].lose()

    with pytest.raises(DeviceLostError, match="none of 1 GPUs can be used"):
        node.look()


def test_gpus_that_may_not_be_opened_are_a_matter_of_permission(node: NvidiaNode) -> None:
    node.nvml.fail("nvmlDeviceGetHandleByIndex", 4)

    with pytest.raises(SourcePermissionError):
        node.look()


def test_gpus_are_known_by_uuid_when_their_order_changes(make_node: MakeNode) -> None:
    node = make_node(NvidiaBoard(idle_w=10.0), NvidiaBoard(idle_w=20.0), NvidiaBoard(idle_w=30.0))
    node.look()
    node.nvml.reorder([2, 0])
    found = node.look()

    assert [(gpu.uuid, gpu.index) for gpu in found] == [(node.gpus[2].uuid, 0), (node.gpus[0].uuid, 1)]
    assert [node.driver.read(gpu).power_w for gpu in found] == [30.0, 10.0]
    assert isinstance(node.failure(1), DeviceLostError)


def test_a_second_look_forgets_no_samples(node: NvidiaNode) -> None:
    node.look()
    node.gpus[0].start(10, load=1.0)
    node.read()
    node.advance(1)
    node.look()

    assert dict(node.read().samples) == {10: 600.0}


def test_a_driver_without_gpus_is_let_go(make_node: MakeNode) -> None:
    node = make_node()
    node.nvml.reorder([])

    with pytest.raises(SourceUnsupportedError, match="has no GPU"):
        node.look()
    assert node.nvml.calls("nvmlShutdown") == 1


def test_release_shuts_the_library_down_once_and_never_fails(node: NvidiaNode) -> None:
    node.driver.release()
    node.look()
    node.nvml.fail("nvmlShutdown", 1)
    node.driver.release()
    node.driver.release()

    assert node.nvml.calls("nvmlShutdown") == 1
    assert isinstance(node.failure(), DeviceLostError)

    node.nvml.recover()
    node.look()

    assert node.failure() is None


def test_a_hang_of_one_gpu_leaves_the_others_and_the_next_look(make_node: MakeNode) -> None:
    node = make_node(NvidiaBoard(), NvidiaBoard())
    before = node.look()
    node.nvml.hang(POWER, gpu=0)
    results: list[float | None] = []
    reader = threading.Thread(target=lambda: results.append(node.read(0).power_w), daemon=True)
    reader.start()
    while node.nvml.calls(POWER) == 0:
        assert reader.is_alive()
    other = node.read(1).power_w
    during = node.look()

    assert (other, results, list(during)) == (70.0, [], list(before))

    node.nvml.recover(POWER)
    reader.join(timeout=10)

    assert results == [70.0]


def test_a_hung_read_that_returns_after_a_release_does_no_harm(node: NvidiaNode) -> None:
    node.look()
    node.nvml.hang(POWER)
    failures: list[object] = []
    reader = threading.Thread(target=lambda: failures.append(node.failure()), daemon=True)
    reader.start()
    while node.nvml.calls(POWER) == 0:
        assert reader.is_alive()
    node.driver.release()
    node.nvml.recover(POWER)
    reader.join(timeout=10)

    assert [type(failure) for failure in failures] == [DriverGoneError]

    node.look()

    assert node.failure() is None


def test_gpus_are_read_from_many_threads_at_once(make_node: MakeNode) -> None:
    node = make_node(*(NvidiaBoard(idle_w=10.0 + place) for place in range(8)))
    node.look()
    seen: dict[int, set[float | None]] = {place: set() for place in range(8)}

    def read_often(place: int) -> None:
        for _ in range(50):
            seen[place].add(node.read(place).power_w)

    readers = [threading.Thread(target=read_often, args=(place,)) for place in range(8)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()

    assert seen == {place: {10.0 + place} for place in range(8)}


def test_a_driver_that_goes_while_it_is_looked_at_ends_the_look(make_node: MakeNode) -> None:
    node = make_node(NvidiaBoard(), NvidiaBoard())
    node.nvml.fail("nvmlDeviceGetName", 9, gpu=1)

    with pytest.raises(DriverGoneError):
        node.look()


def test_gpus_that_fail_for_different_reasons_are_a_failure(make_node: MakeNode) -> None:
    node = make_node(NvidiaBoard(), NvidiaBoard())
    node.nvml.fail("nvmlDeviceGetHandleByIndex", 4, gpu=0)
    node.gpus[1].lose()

    with pytest.raises(SourceError, match="none of 2 GPUs can be used: nvmlDeviceGetHandleByIndex: no permission"):
        node.look()


def test_a_gpu_without_uuid_is_known_by_its_number(make_node: MakeNode) -> None:
    (gpu,) = make_node(NvidiaBoard(refuses=("nvmlDeviceGetUUID",))).look()

    assert gpu.uuid == "nvidia-0"


def test_the_driver_is_one_for_the_agent() -> None:
    assert as_driver(FakeClock()).source == "nvml"
