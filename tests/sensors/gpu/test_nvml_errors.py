from __future__ import annotations

import pytest

from exporter.errors import (
    DeviceLostError,
    DriverGoneError,
    DriverReplacedError,
    SourceBusyError,
    SourceError,
    SourcePermissionError,
    SourceUnsupportedError,
)
from exporter.sensors.gpu.nvml_errors import translated
from exporter.testing.simulated_nvml import NvidiaBoard
from tests.sensors.gpu.standin import COMPUTE, ENERGY, POWER, SAMPLES, MakeNode, NvidiaNode

INIT = "nvmlInitWithFlags"


@pytest.mark.parametrize("code", [3, 13, 4])
def test_a_call_that_is_refused_is_absent_and_not_made_again(node: NvidiaNode, code: int) -> None:
    node.look()
    node.nvml.fail(POWER, code)

    assert [node.read().power_w, node.read().power_w] == [None, None]
    assert node.nvml.calls(POWER) == 1


def test_a_refused_call_is_tried_again_after_the_driver_was_opened_anew(node: NvidiaNode) -> None:
    node.nvml.fail(POWER, 3)
    node.look()
    node.read()
    node.nvml.recover()
    node.look()
    before = node.read().power_w
    node.driver.release()
    node.look()

    assert (before, node.read().power_w) == (None, 70.0)


def test_a_refusal_concerns_one_gpu(make_node: MakeNode) -> None:
    node = make_node(NvidiaBoard(), NvidiaBoard())
    node.nvml.fail(POWER, 3, gpu=0)
    node.look()

    assert [node.read(0).power_w, node.read(1).power_w] == [None, 70.0]


def test_a_forbidden_call_is_said_with_the_cure(node: NvidiaNode) -> None:
    node.nvml.fail(COMPUTE, 4)
    (gpu,) = node.look()
    (finding,) = node.driver.findings(gpu)

    assert (finding.state, finding.item) == ("degraded", f"gpu 0 {gpu.uuid} process list")
    assert "no permission" in finding.detail
    assert "NVIDIA_MIG_MONITOR_DEVICES=all" in finding.remedy


def test_a_missing_capability_is_said_without_a_cure(node: NvidiaNode) -> None:
    node.nvml.fail(ENERGY, 3)
    (gpu,) = node.look()
    (finding,) = node.driver.findings(gpu)

    assert (finding.state, finding.remedy) == ("absent", "")
    assert "its power is integrated instead" in finding.detail


@pytest.mark.parametrize("code", [6, 0])
def test_no_samples_are_an_idle_gpu(node: NvidiaNode, code: int) -> None:
    """Real drivers say NOT_FOUND, odd libraries SUCCESS with nothing."""
    node.nvml.answer_empty_query(code)
    node.look()
    reading = node.read()

    assert (dict(reading.samples), reading.has_samples) == ({}, True)


@pytest.mark.parametrize("call", [COMPUTE, SAMPLES])
def test_a_small_buffer_is_tried_again(node: NvidiaNode, call: str) -> None:
    node.look()
    node.gpus[0].start(10, load=1.0)
    node.read()
    node.advance(5)
    node.nvml.fail(call, 7, times=2)
    reading = node.read()

    assert [process.pid for process in reading.processes] == [10]
    assert set(reading.samples) == {10}


@pytest.mark.parametrize("call", [COMPUTE, SAMPLES])
def test_a_buffer_that_stays_too_small_spoils_one_read(node: NvidiaNode, call: str) -> None:
    node.look()
    node.nvml.fail(call, 7)

    assert isinstance(node.failure(), SourceBusyError)


@pytest.mark.parametrize("code", [1, 9, 28])
def test_a_driver_that_went_is_opened_anew(node: NvidiaNode, code: int) -> None:
    node.look()
    node.nvml.fail("*", code)

    assert type(node.failure()) is DriverGoneError

    node.driver.release()
    node.nvml.recover()
    node.look()

    assert node.failure() is None


@pytest.mark.parametrize("code", [15, 16])
@pytest.mark.parametrize("call", [ENERGY, POWER, COMPUTE, SAMPLES, "nvmlDeviceGetTemperature"])
def test_a_lost_gpu_is_lost_whichever_call_finds_out(make_node: MakeNode, code: int, call: str) -> None:
    node = make_node(NvidiaBoard(), NvidiaBoard())
    node.look()
    node.nvml.fail(call, code, gpu=0)

    assert type(node.failure(0)) is DeviceLostError
    assert node.failure(1) is None


def test_a_replaced_driver_needs_a_new_process(node: NvidiaNode) -> None:
    node.look()
    node.nvml.fail(ENERGY, 18)
    error = node.failure()

    assert type(error) is DriverReplacedError
    assert "a container must be made anew" in str(error)


@pytest.mark.parametrize("code", [18, 17, 999])
def test_an_opening_that_only_a_new_process_can_repeat(node: NvidiaNode, code: int) -> None:
    node.nvml.fail(INIT, code)

    with pytest.raises(DriverReplacedError, match="start a new"):
        node.look()


@pytest.mark.parametrize("code", [17, 999])
def test_an_unknown_failure_of_the_counter_spoils_one_read(node: NvidiaNode, code: int) -> None:
    node.look()
    node.nvml.fail(ENERGY, code, times=1)

    assert type(node.failure()) is SourceError
    assert node.failure() is None


@pytest.mark.parametrize("code", [17, 999])
def test_an_unknown_failure_of_a_lesser_call_leaves_the_rest(node: NvidiaNode, code: int) -> None:
    node.look()
    node.nvml.fail(POWER, code, times=1)
    reading = node.read()

    assert (reading.power_w, reading.energy_uj) == (None, 1_000_000_000)
    assert node.read().power_w == 70.0


@pytest.mark.parametrize("code", [10, 19, 21, 27])
@pytest.mark.parametrize("call", [ENERGY, COMPUTE, SAMPLES])
def test_a_busy_driver_is_skipped_for_one_cycle(node: NvidiaNode, code: int, call: str) -> None:
    node.look()
    node.nvml.fail(call, code, times=1)

    assert type(node.failure()) is SourceBusyError
    assert node.failure() is None


def test_energy_is_read_without_processes_that_stay_busy(node: NvidiaNode) -> None:
    node.look()
    node.nvml.fail(COMPUTE, 19)
    failures = [type(node.failure()) for _ in range(3)]
    reading = node.read()

    assert failures == [SourceBusyError] * 3
    assert (reading.energy_uj, reading.has_processes) == (1_000_000_000, False)


def test_no_driver_is_a_normal_outcome_unless_there_was_one(node: NvidiaNode) -> None:
    node.nvml.fail(INIT, 9)
    with pytest.raises(SourceUnsupportedError, match="no NVIDIA driver is loaded"):
        node.look()
    node.nvml.recover()
    node.look()
    node.driver.release()
    node.nvml.fail(INIT, 9)

    with pytest.raises(DriverGoneError):
        node.look()


def test_an_opening_that_is_forbidden_is_a_matter_of_permission(node: NvidiaNode) -> None:
    node.nvml.fail(INIT, 4)

    with pytest.raises(SourcePermissionError, match="/dev/nvidiactl"):
        node.look()


def test_a_code_newer_than_the_table_is_a_plain_failure() -> None:
    error = translated(777, call="nvmlNew")

    assert (type(error), str(error)) == (SourceError, "nvmlNew: an error unknown to this agent (NVML code 777)")
