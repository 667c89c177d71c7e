from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import SourceFormatError
from exporter.sensors.gpu.kfd import KfdNode, KfdUsage, KfdUser, find_nodes, nodes_of, parse_properties, read_usage
from tests.sensors.gpu.gpu_trees import GpuTree
from tests.sensors.trees import DENIED

GPU_ID = 51_234


@pytest.fixture
def tree(tmp_path: Path) -> GpuTree:
    return GpuTree(tmp_path)


@given(st.binary(max_size=200) | st.from_regex(rb"(domain|location_id) [0-9]{1,25}\n", fullmatch=True))
def test_any_properties_give_numbers_or_a_format_error(text: bytes) -> None:
    try:
        numbers = parse_properties(text, source="amdgpu", path="properties")
    except SourceFormatError:
        return

    assert all(0 <= number < 10**20 for number in numbers.values())


def test_nodes_know_their_pci_address_and_cpus_are_left_out(tree: GpuTree) -> None:
    tree.node(0, 0, 0)
    tree.node(2, 7, 0xC1_00, domain=1)
    tree.node(10, 9, 0x03_08)

    assert find_nodes(tree.roots.sysfs, source="amdgpu") == [
        KfdNode(2, 7, "0001:c1:00.0"),
        KfdNode(10, 9, "0000:03:01.0"),
    ]


def test_a_node_that_is_hidden_or_broken_is_left_out(tree: GpuTree) -> None:
    """KFD answers EPERM where the cgroup of this process does not have the device."""
    tree.node(1, DENIED, 0x0300)
    tree.node(2, 5, 0x0300)
    tree.write(tree.kfd / "topology/nodes/2", properties=b"\xff\xfe")
    tree.node(3, 6, 0x0300)
    (tree.kfd / "topology/nodes/3/properties").unlink()

    assert find_nodes(tree.roots.sysfs, source="amdgpu") == []


@pytest.mark.parametrize("shift", [0, 28])
def test_partitions_belong_to_their_gpu(tree: GpuTree, shift: int) -> None:
    """The partition's number stands in the function, or in the highest bits of location_id."""
    for partition in range(8):
        tree.node(partition, 100 + partition, 0x0300 | partition << shift)
    nodes = find_nodes(tree.roots.sysfs, source="amdgpu")

    assert len(nodes_of(nodes, "0000:03:00.0", {"0000:03:00.0"})) == 8


def test_a_virtual_function_is_not_a_partition(tree: GpuTree) -> None:
    tree.node(1, 11, 0x0300)
    tree.node(2, 12, 0x0302)
    nodes = find_nodes(tree.roots.sysfs, source="amdgpu")
    addresses = {"0000:03:00.0", "0000:03:00.2"}

    assert [[node.gpu_id for node in nodes_of(nodes, address, addresses)] for address in sorted(addresses)] == [
        [11],
        [12],
    ]


def test_processes_with_memory_queues_or_work_use_the_gpu(tree: GpuTree) -> None:
    """KFD lists every GPU for every process; one with nothing on it does not use it."""
    tree.kfd_process(10, GPU_ID, vram=4096, occupancy=30)
    tree.kfd_process(11, GPU_ID, queues=2)
    tree.kfd_process(12, GPU_ID, occupancy=5)
    tree.kfd_process(13, GPU_ID)
    tree.kfd_process(14, GPU_ID + 1, vram=1, queues=1)

    assert read_usage(tree.roots.sysfs, [GPU_ID]) == KfdUsage(
        (KfdUser(10, 4096, 30), KfdUser(11, 0, None), KfdUser(12, 0, 5)), is_known=True
    )


def test_the_partitions_of_a_process_are_added_up(tree: GpuTree) -> None:
    tree.kfd_process(10, 1, vram=100, occupancy=3)
    tree.kfd_process(10, 2, vram=50, occupancy=4)

    assert read_usage(tree.roots.sysfs, [1, 2]).users == (KfdUser(10, 150, 7),)


def test_broken_and_vanished_numbers_are_not_told(tree: GpuTree) -> None:
    path = tree.kfd_process(10, GPU_ID, queues=1)
    tree.write(path, **{f"vram_{GPU_ID}": b"\xff\xff"})
    (tree.kfd / "proc/self").mkdir()

    assert read_usage(tree.roots.sysfs, [GPU_ID]).users == (KfdUser(10, None, None),)


def test_without_a_list_or_a_gpu_nothing_is_known(tree: GpuTree) -> None:
    assert read_usage(tree.roots.sysfs, [GPU_ID]) == KfdUsage()
    tree.kfd_process(10, GPU_ID, vram=1)

    assert not read_usage(tree.roots.sysfs, []).is_known
