from __future__ import annotations

import pytest

from exporter.sensors.gpu.records import GpuProcess
from exporter.testing.simulated_nvml import PidView
from tests.sensors.gpu.standin import COMPUTE, NvidiaNode


def test_every_kind_of_context_is_listed_once(node: NvidiaNode) -> None:
    gpu = node.gpus[0]
    gpu.start(10, kinds=("compute", "graphics"), memory_bytes=5)
    gpu.start(11, kinds=("graphics",), memory_bytes=None)
    gpu.start(12, kinds=("compute", "mps"), memory_bytes=7)
    node.look()
    reading = node.read()

    assert reading.has_processes
    assert sorted(reading.processes) == [
        GpuProcess(10, 5),
        GpuProcess(11, None),
        GpuProcess(12, 7, is_mps_client=True),
    ]
    assert reading.is_mps


def test_graphics_contexts_are_looked_for_now_and_then_until_there_are_some(node: NvidiaNode) -> None:
    node.look()
    node.read()
    node.gpus[0].start(11, kinds=("graphics",))
    seen = [len(node.read().processes) for _ in range(13)]

    assert seen == [0] * 11 + [1, 1]


def test_the_first_read_only_finds_out_where_the_samples_are(node: NvidiaNode) -> None:
    """What is in the ring at the start was used before this agent looked."""
    node.gpus[0].start(10, load=1.0)
    node.advance(10)
    node.look()
    reading = node.read()

    assert (dict(reading.samples), reading.has_samples) == ({}, True)


def test_samples_are_summed_over_the_time_since_the_last_read(node: NvidiaNode) -> None:
    node.look()
    gpu = node.gpus[0]
    gpu.start(10)
    gpu.start(11)
    node.read()
    for pid, percent in ((10, 60), (11, 30), (10, 40)):
        node.advance(1)
        gpu.add_sample(pid, percent)
    first, second = node.read().samples, node.read().samples

    assert (dict(first), dict(second)) == ({10: 100.0, 11: 30.0}, {})


def test_samples_follow_the_true_share(node: NvidiaNode) -> None:
    node.look()
    node.gpus[0].start(10, load=0.75)
    node.gpus[0].start(11, load=0.25)
    node.read()
    used = {10: 0.0, 11: 0.0}
    for _ in range(360):
        node.advance(5)
        for pid, value in node.read().samples.items():
            used[pid] += value

    assert used[10] / sum(used.values()) == pytest.approx(0.75, abs=0.02)


def test_rows_that_cannot_be_are_dropped(node: NvidiaNode) -> None:
    node.look()
    gpu = node.gpus[0]
    gpu.start(10)
    node.read()
    node.advance(1)
    for pid, percent in ((10, 101), (10, 2**32 - 1), (0, 50), (777, 50), (10, 20)):
        gpu.add_sample(pid, percent)

    assert dict(node.read().samples) == {10: 20.0}


def test_a_process_that_just_exited_keeps_its_last_samples(node: NvidiaNode) -> None:
    node.look()
    gpu = node.gpus[0]
    gpu.start(10, load=1.0)
    node.read()
    node.advance(1)
    gpu.stop(10)
    last = dict(node.read().samples)
    node.advance(1)
    gpu.add_sample(10, 50)

    assert (last, dict(node.read().samples)) == ({10: 600.0}, {})


def test_stamps_that_stepped_back_are_found_again(node: NvidiaNode) -> None:
    """Stamps follow the wall clock in most drivers, which may be set back by hours."""
    node.look()
    gpu = node.gpus[0]
    gpu.start(10, load=1.0)
    node.advance(1)
    node.read()
    used = []
    for second in range(14):
        for stamp in range(6):
            gpu.add_sample(10, 30, stamp=1000 + second * 6 + stamp)
        used.append(dict(node.read().samples))

    assert (used[0], used[-1]) == ({}, {10: 180.0})


def test_a_process_list_that_is_unknown_makes_no_sample_wrong(node: NvidiaNode) -> None:
    node.nvml.fail(COMPUTE, 4)
    node.look()
    node.read()
    node.gpus[0].start(10, load=1.0)
    node.advance(1)
    reading = node.read()

    assert (reading.has_processes, dict(reading.samples)) == (False, {10: 600.0})


@pytest.mark.parametrize(
    ("view", "listed", "sampled"),
    [
        ("host", {10, 11}, {10, 11}),
        ("mixed", {5}, set()),
        ("translated", {5}, {5}),
    ],
)
def test_pids_are_as_the_driver_shows_them(
    node: NvidiaNode, view: PidView, listed: set[int], sampled: set[int]
) -> None:
    """Host pids in samples, next to translated ones in lists, would name strangers: such rows are dropped."""
    node.nvml.show_pids(view, {10: 5})
    node.look()
    for pid in (10, 11):
        node.gpus[0].start(pid)
    node.read()
    node.advance(1)
    for pid in (10, 11):
        node.gpus[0].add_sample(pid, 50)
    reading = node.read()

    assert {process.pid for process in reading.processes} == listed
    assert set(reading.samples) == sampled


def test_a_context_without_pid_is_nobodys(node: NvidiaNode) -> None:
    node.gpus[0].start(0)
    node.look()
    reading = node.read()

    assert (reading.has_processes, list(reading.processes)) == (True, [])
