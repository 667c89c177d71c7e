from __future__ import annotations

import pytest

from exporter.sensors.gpu.records import GpuProcess
from exporter.testing.simulated_nvml import MigSlice, NvidiaBoard
from tests.sensors.gpu.standin import ENERGY, MakeNode, NvidiaNode

LARGE = MigSlice(1, 3, "3g.40gb")
SMALL = MigSlice(7, 1, "1g.10gb", place=4)
A100 = NvidiaBoard(name="NVIDIA A100-SXM4-40GB", has_gpm=False)


@pytest.fixture
def divided(node: NvidiaNode) -> NvidiaNode:
    """Give a node with one H100 in two partitions, with a hole between them."""
    node.gpus[0].divide([LARGE, SMALL])
    return node


def test_partitions_are_told_with_their_size(divided: NvidiaNode) -> None:
    (gpu,) = divided.look()
    large, small = divided.read().instances

    assert gpu.is_partitioned
    assert (large.name, large.profile) == ("gi1/ci0", "3g.40gb")
    assert (small.name, small.profile) == ("gi7/ci0", "1g.10gb")
    assert (large.share, small.share) == (3 / 7, 1 / 7)
    assert small.uuid.startswith("MIG-")


def test_energy_is_that_of_the_whole_gpu_and_use_is_not_told(divided: NvidiaNode) -> None:
    divided.look()
    reading = divided.read()

    assert (reading.energy_uj, reading.power_w) == (1_000_000_000, 70.0)
    assert (reading.utilization_ratio, reading.has_samples) == (None, False)
    assert divided.nvml.calls("nvmlDeviceGetProcessUtilization") == 0


def test_processes_are_on_their_partition(divided: NvidiaNode) -> None:
    divided.gpus[0].start(10, on=LARGE, memory_bytes=5)
    divided.gpus[0].start(11, on=SMALL, memory_bytes=6)
    divided.look()
    reading = divided.read()

    assert reading.has_processes
    assert list(reading.processes) == [GpuProcess(10, 5, "gi1/ci0"), GpuProcess(11, 6, "gi7/ci0")]


def test_partitions_tell_of_processes_where_the_whole_may_not(divided: NvidiaNode) -> None:
    divided.gpus[0].divide([LARGE, SMALL], access="own")
    divided.gpus[0].start(10, on=LARGE, memory_bytes=5)
    divided.gpus[0].start(11, on=SMALL, memory_bytes=6)
    (gpu,) = divided.look()
    reading = divided.read()

    assert list(reading.processes) == [GpuProcess(10, 5, "gi1/ci0"), GpuProcess(11, 6, "gi7/ci0")]
    assert reading.has_processes
    assert divided.driver.findings(gpu) == []


def test_partitions_that_are_refused_are_said_with_the_cure(divided: NvidiaNode) -> None:
    divided.gpus[0].divide([LARGE, SMALL], access="none")
    (gpu,) = divided.look()
    reading = divided.read()
    items = {finding.item.removeprefix(f"gpu 0 {gpu.uuid} ") for finding in divided.driver.findings(gpu)}

    assert (list(reading.instances), reading.has_processes) == ([], False)
    assert items == {"MIG devices", "process list"}
    assert all("NVIDIA_MIG_MONITOR_DEVICES=all" in one.remedy for one in divided.driver.findings(gpu))


def test_activity_is_that_since_the_last_read(divided: NvidiaNode) -> None:
    divided.gpus[0].start(10, on=LARGE, load=0.5)
    divided.look()
    first = divided.read().instances
    divided.advance(5)
    second = divided.read().instances

    assert [one.activity_ratio for one in first] == [None, None]
    assert [one.activity_ratio for one in second] == pytest.approx([0.5, 0.0])


def test_compute_instances_of_one_gpu_instance_share_its_activity(node: NvidiaNode) -> None:
    halves = [MigSlice(1, 1, "1c.2g.20gb"), MigSlice(1, 1, "1c.2g.20gb", compute_instance=1)]
    node.gpus[0].divide(halves)
    node.gpus[0].start(10, on=halves[1], load=1.0)
    node.look()
    node.read()
    node.advance(5)
    instances = node.read().instances

    assert [one.name for one in instances] == ["gi1/ci0", "gi1/ci1"]
    assert [one.activity_ratio for one in instances] == pytest.approx([1.0, 1.0])


def test_a_gpu_before_hopper_tells_no_activity(make_node: MakeNode) -> None:
    node = make_node(A100)
    node.gpus[0].divide([LARGE])
    node.look()
    node.read()
    node.advance(5)

    assert [one.activity_ratio for one in node.read().instances] == [None]


def test_activity_without_time_between_is_unknown(divided: NvidiaNode) -> None:
    divided.look()
    divided.read()

    assert [one.activity_ratio for one in divided.read().instances] == [None, None]


def test_every_sample_of_activity_is_given_back(divided: NvidiaNode) -> None:
    divided.look()
    for _ in range(5):
        divided.read()
        divided.advance(5)
    divided.driver.release()

    assert divided.nvml.calls("nvmlGpmSampleAlloc") == divided.nvml.calls("nvmlGpmSampleFree") == 10


def test_a_new_layout_is_found_within_twelve_reads(node: NvidiaNode) -> None:
    node.gpus[0].divide([LARGE])
    node.look()
    node.gpus[0].divide([LARGE, SMALL])
    seen = [len(node.read().instances) for _ in range(12)]

    assert (seen[0], seen[-1]) == (1, 2)


def test_a_partition_that_went_is_noticed_at_the_next_read(divided: NvidiaNode) -> None:
    divided.look()
    divided.read()
    divided.gpus[0].divide([LARGE])
    divided.read()

    assert [one.name for one in divided.read().instances] == ["gi1/ci0"]


def test_dividing_a_gpu_and_undoing_it_costs_no_capability(node: NvidiaNode) -> None:
    """Samples of use are refused while a GPU is divided, and only then."""
    node.look()
    node.gpus[0].divide([LARGE])
    node.read()
    while_divided = node.read()
    node.gpus[0].divide(None)
    (gpu,) = node.look()
    after = node.read()

    assert ([one.name for one in while_divided.instances], while_divided.has_samples) == (["gi1/ci0"], False)
    assert (list(after.instances), after.has_samples, gpu.is_partitioned) == ([], True, False)
    assert after.utilization_ratio == 0.0


def test_a_failed_question_about_the_mode_does_not_change_it(divided: NvidiaNode) -> None:
    divided.look()
    divided.nvml.fail("nvmlDeviceGetMigMode", 10, times=1)
    (gpu,) = divided.look()

    assert gpu.is_partitioned
    assert len(divided.read().instances) == 2


def test_an_mps_server_on_a_partition_is_seen(divided: NvidiaNode) -> None:
    divided.gpus[0].start(10, on=LARGE, kinds=("compute", "mps"))
    divided.look()
    reading = divided.read()

    assert reading.is_mps
    assert [process.is_mps_client for process in reading.processes] == [True]


def test_a_divided_grace_gpu_keeps_its_counter_unread(make_node: MakeNode) -> None:
    node = make_node(NvidiaBoard(name="NVIDIA GH200 480GB", counter_covers_module=True, other_w=100.0))
    node.gpus[0].divide([LARGE])
    node.look()

    assert (node.read().energy_uj, node.nvml.calls(ENERGY)) == (None, 0)


def test_a_partition_whose_ids_are_not_told_is_left_out(divided: NvidiaNode) -> None:
    divided.nvml.fail("nvmlDeviceGetGpuInstanceId", 2, times=1)
    divided.look()

    assert [one.name for one in divided.read().instances] == ["gi7/ci0"]


def test_activity_that_is_forbidden_is_said_with_the_cure(divided: NvidiaNode) -> None:
    divided.nvml.fail("nvmlGpmMigSampleGet", 4)
    (gpu,) = divided.look()
    reading = divided.read()
    (finding,) = divided.driver.findings(gpu)

    assert [one.activity_ratio for one in reading.instances] == [None, None]
    assert "NVIDIA_MIG_MONITOR_DEVICES=all" in finding.remedy
    assert divided.nvml.calls("nvmlGpmSampleAlloc") == divided.nvml.calls("nvmlGpmSampleFree")


def test_partitions_whose_processes_fail_once_are_enumerated_again(divided: NvidiaNode) -> None:
    divided.gpus[0].divide([LARGE, SMALL], access="own")
    divided.look()
    divided.read()
    divided.nvml.fail("nvmlDeviceGetComputeRunningProcesses", 2, times=1)
    failed = divided.read()
    before = divided.nvml.calls("nvmlDeviceGetMaxMigDeviceCount")
    after = divided.read()

    assert (failed.has_processes, after.has_processes) == (False, True)
    assert divided.nvml.calls("nvmlDeviceGetMaxMigDeviceCount") == before + 1


def test_partitions_whose_processes_are_refused_are_not_enumerated_at_every_read(divided: NvidiaNode) -> None:
    divided.gpus[0].divide([LARGE, SMALL])
    divided.nvml.fail("nvmlDeviceGetComputeRunningProcesses", 4)
    divided.look()
    before = divided.nvml.calls("nvmlDeviceGetMaxMigDeviceCount")
    readings = [divided.read() for _ in range(5)]

    assert [reading.has_processes for reading in readings] == [False] * 5
    assert divided.nvml.calls("nvmlDeviceGetMaxMigDeviceCount") == before


def test_a_sample_that_cannot_be_given_back_spoils_nothing(divided: NvidiaNode) -> None:
    divided.nvml.fail("nvmlGpmSampleFree", 999)
    divided.look()
    divided.read()
    divided.advance(5)

    assert [one.activity_ratio for one in divided.read().instances] == [0.0, 0.0]
