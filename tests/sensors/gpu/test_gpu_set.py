"""Any driver's GPUs under faults: each fails alone, no total falls, nothing is invented."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.clock import Clock
from exporter.errors import (
    DeviceLostError,
    DriverGoneError,
    DriverReplacedError,
    SourceError,
    SourcePermissionError,
    SourceUnsupportedError,
)
from exporter.health import SourceEvent
from exporter.sensors.gpu.records import GpuFacts, GpuReading
from exporter.sensors.gpu.settings import Calibration, GpuSettings
from exporter.testing import SimulatedGpu, SimulatedGpuDriver
from tests.sensors.gpu.sets import finding, of, rig


def counted_looks(driver: SimulatedGpuDriver) -> list[int]:
    """Return a list whose one number is how often the driver was looked at from now on."""
    looks, look = [0], driver.look

    def counted() -> Sequence[GpuFacts]:
        looks[0] += 1
        return look()

    driver.look = counted  # type: ignore[method-assign]  # to see how often
    return looks


def test_each_gpu_gives_the_joules_of_its_counter_and_the_component_is_their_sum() -> None:
    with rig() as node:
        node.gpus[0].open(7, activity_ratio=1.0)
        node.start()

        sample = node.tick()

        assert [of(sample, i).energy_j for i in (0, 1)] == [pytest.approx(3500.0), pytest.approx(350.0)]
        assert sample.energy is not None
        assert sample.energy.energy_j == pytest.approx(3850.0)
        assert sample.pids == {7}


def test_the_first_reading_is_a_baseline_and_not_energy() -> None:
    with rig() as node:
        node.pass_time(1000.0)

        sample = node.start()

        assert sample.energy is None
        assert sample.is_whole is False


def test_what_was_drawn_while_no_agent_looked_is_counted_after_a_restart() -> None:
    with rig(SimulatedGpu()) as node:
        node.start()
        node.tick()
        node.pass_time(600.0)

        sample = node.restart()

        assert of(sample).energy_j == pytest.approx(70.0 * 600)
        assert of(sample).total_j == pytest.approx(70.0 * 605)


def test_a_gpu_that_is_lost_leaves_the_others_alone_and_keeps_its_joules() -> None:
    with rig() as node:
        node.start()
        node.tick()
        node.gpus[0].error = DeviceLostError("simulated", "GPU is lost")

        sample = node.tick()

        assert of(sample, 0).state == "down"
        assert of(sample, 0).total_j == pytest.approx(350.0)
        assert of(sample, 1).energy_j == pytest.approx(350.0)
        assert SourceEvent("simulated", "error", "lost") in sample.events
        assert finding(sample).state == "degraded"
        assert "drain the node" in finding(sample, "gpu 0").remedy


def test_a_gpu_that_comes_back_owes_what_it_drew_meanwhile() -> None:
    with rig(SimulatedGpu()) as node:
        node.start()
        node.tick()
        node.gpus[0].error = SourceError("simulated", "try again")
        for _ in range(3):
            assert node.tick().energy is None
        node.gpus[0].error = None

        sample = node.tick()

        assert of(sample).energy_j == pytest.approx(4 * 350.0)
        assert of(sample).interval_s == pytest.approx(20.0)


def test_a_call_that_hangs_holds_one_thread_and_nobody_else() -> None:
    with rig() as node:
        node.start()
        node.tick()
        node.gpus[0].hang = threading.Event()
        threads = threading.active_count()
        node.tick()
        started_s = time.monotonic()
        samples = [node.tick() for _ in range(5)]

        assert time.monotonic() - started_s < 5 * node.settings.read_timeout_s  # only the first one was waited for
        assert threading.active_count() == threads
        assert all(of(sample, 1).energy_j == pytest.approx(350.0) for sample in samples)
        assert of(samples[-1], 0).state == "down"
        assert "has not returned" in finding(samples[-1], "gpu 0").detail

        node.gpus[0].hang.set()
        node.gpus[0].hang = None
        late = node.tick()
        while of(late, 0).energy_j is None:
            late = node.tick()
        assert node.tick().energy is not None
        assert of(late, 0).total_j > 0


def test_a_look_that_hangs_does_not_stop_the_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    with rig(settings=GpuSettings(read_timeout_s=0.1, rescan_interval_s=1.0)) as node:
        node.start()
        gate = threading.Event()
        look = node.driver.look
        monkeypatch.setattr(node.driver, "look", lambda: (gate.wait(), look())[1])

        samples = [node.tick() for _ in range(3)]
        gate.set()

        assert all(of(sample, 1).energy_j == pytest.approx(350.0) for sample in samples)


def test_a_counter_that_starts_again_is_a_reset_and_credits_what_it_shows() -> None:
    with rig(SimulatedGpu()) as node:
        node.start()
        node.tick(100.0)
        node.gpus[0].reset_counter()

        sample = node.tick()

        assert SourceEvent("simulated", "reset", "restarted") in sample.events
        assert of(sample).energy_j == pytest.approx(350.0)


def test_a_counter_that_stands_still_while_power_flows_is_replaced_by_the_power() -> None:
    with rig(SimulatedGpu()) as node:
        node.start()
        node.tick()
        node.gpus[0].is_frozen = True

        samples = [node.tick() for _ in range(6)]

        assert [of(sample).method for sample in samples] == ["counter"] * 2 + ["power"] * 4
        assert of(samples[-1]).total_j == pytest.approx(7 * 350.0)
        assert SourceEvent("simulated", "error", "frozen") in samples[2].events
        assert "stands still" in finding(samples[-1], "gpu 0").detail


def test_a_counter_that_moves_again_goes_on_without_counting_twice() -> None:
    with rig(SimulatedGpu()) as node:
        node.start()
        node.tick()
        node.gpus[0].is_frozen = True
        for _ in range(5):
            node.tick()
        node.gpus[0].is_frozen = False

        samples = [node.tick() for _ in range(6)]

        assert of(samples[-1]).method == "counter"
        assert of(samples[-1]).total_j == pytest.approx(12 * 350.0)


def test_a_gpu_without_a_counter_is_integrated_from_its_power() -> None:
    with rig(SimulatedGpu(has_counter=False)) as node:
        node.start()

        sample = node.tick()

        assert of(sample).method == "power"
        assert of(sample).energy_j == pytest.approx(350.0)
        assert sample.energy is not None
        assert sample.energy.uncertainty_ratio == pytest.approx(0.10)


def test_a_reading_a_millijoule_behind_is_waited_out() -> None:
    with rig(SimulatedGpu()) as node:
        node.start()
        node.tick()
        node.gpus[0]._shown_uj -= 1000
        behind = node.set.sample()
        after = node.tick()

        assert of(behind).energy_j is None
        assert of(after).total_j == pytest.approx(700.0, abs=0.01)
        assert not [event for event in after.events if event.kind == "reset"]


def test_more_than_the_board_can_draw_is_a_jump_and_no_energy() -> None:
    with rig(SimulatedGpu()) as node:
        node.start()
        node.gpus[0]._shown_uj += 10**12

        sample = node.tick()

        assert of(sample).energy_j is None
        assert SourceEvent("simulated", "error", "jump") in sample.events
        assert of(node.tick()).energy_j == pytest.approx(350.0)


def test_a_driver_that_goes_away_is_let_go_and_taken_again() -> None:
    with rig() as node:
        node.start()
        node.tick()
        node.driver.error = DriverGoneError("simulated", "driver not loaded")
        gone = node.tick()
        assert node.driver.is_open is False
        assert finding(gone).state == "down"
        node.driver.error = None

        samples = [node.tick() for _ in range(4)]

        assert of(samples[-1]).energy_j == pytest.approx(350.0)
        assert finding(samples[-1]).state == "up"
        assert of(samples[-1]).total_j == pytest.approx(6 * 350.0)


def test_a_driver_of_which_no_gpu_answers_any_more_is_opened_anew() -> None:
    """A container that lost its devices gets unknown errors for ever; only opening the driver tells why."""
    with rig() as node:
        node.start()
        node.tick()
        for gpu in node.gpus:
            gpu.error = SourceError("simulated", "unknown error")
        for _ in range(3):
            node.tick()
        node.driver.error = DriverReplacedError("simulated", "the devices are gone")

        samples = [node.tick() for _ in range(3)]

        assert node.set.driver_change == "the devices are gone"
        assert finding(samples[-1]).state == "down"


def test_one_gpu_that_fails_for_long_leaves_the_driver_open() -> None:
    with rig() as node:
        node.start()
        node.gpus[0].error = SourceError("simulated", "unknown error")

        samples = [node.tick() for _ in range(10)]

        assert of(samples[-1], 1).energy_j == pytest.approx(350.0)
        assert node.driver.is_open


def test_a_replaced_driver_asks_for_a_new_process_only_if_this_one_used_the_old() -> None:
    with rig() as fresh:
        fresh.driver.error = DriverReplacedError("simulated", "version mismatch")
        fresh.start()
        assert fresh.set.driver_change == ""
    with rig() as used:
        used.start()
        used.driver.error = DriverReplacedError("simulated", "version mismatch")
        used.tick()
        assert used.set.driver_change == "version mismatch"


def test_a_machine_without_the_driver_says_so_once_and_counts_no_errors() -> None:
    with rig() as node:
        node.driver.error = SourceUnsupportedError("simulated", "no library")
        sample = node.start()

        assert (finding(sample).state, finding(sample).detail) == ("absent", "no library")
        assert sample.events == []
        assert sample.gpus == []


def test_a_defect_in_a_driver_is_its_own_fault_only(monkeypatch: pytest.MonkeyPatch) -> None:
    with rig() as node:
        node.start()
        node.tick()
        monkeypatch.setattr(node.gpus[0], "read", lambda **_: int("a defect"))
        read = node.tick()
        monkeypatch.setattr(node.driver, "look", lambda: int("a defect"))
        looked = node.tick(60.0)

        assert "ValueError in this agent's own code" in finding(read, "gpu 0").detail
        assert of(read, 1).energy_j == pytest.approx(350.0)
        assert "ValueError in this agent's own code" in finding(looked).detail
        assert of(looked, 1).energy_j == pytest.approx(70.0 * 60)


def test_a_driver_that_may_not_be_opened_says_what_to_give_and_is_tried_less_and_less_often() -> None:
    with rig() as node:
        node.driver.error = SourcePermissionError("simulated", "no permission")
        looks = counted_looks(node.driver)
        sample = node.start()
        for _ in range(60):
            node.tick(1.0)

        assert finding(sample).state == "down"
        assert "NVIDIA_VISIBLE_DEVICES" in finding(sample).remedy
        assert looks[0] == 4  # at 0, 5, 15 and 35 s; then after 40 s more


def test_a_driver_that_is_unloaded_for_good_leaves_its_gpus_standing() -> None:
    with rig(settings=GpuSettings(read_timeout_s=0.2, rescan_interval_s=1.0)) as node:
        node.start()
        node.tick()
        node.driver.error = SourceUnsupportedError("simulated", "no driver is loaded")

        sample = node.tick()

        assert finding(sample).state == "down"
        assert {gpu.state for gpu in sample.gpus} == {"down"}
        assert [gpu.total_j for gpu in sample.gpus] == [pytest.approx(350.0)] * 2
        assert SourceEvent("simulated", "error", "unsupported") in sample.events


def test_opening_a_driver_that_never_returns_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with rig(settings=GpuSettings(read_timeout_s=0.1)) as node:
        gate = threading.Event()
        monkeypatch.setattr(node.driver, "look", lambda: (gate.wait(), [])[1])

        samples = [node.start(), node.tick()]
        gate.set()

        assert all("has not returned" in finding(sample).detail for sample in samples)


def test_unplugged_gpus_go_and_new_ones_come() -> None:
    with rig(settings=GpuSettings(read_timeout_s=0.2, rescan_interval_s=1.0)) as node:
        node.start()
        node.tick()
        gone, new = node.gpus[0], SimulatedGpu(index=2)
        node.driver.gpus = node.gpus = [node.gpus[1], new]

        sample = node.tick()

        assert "no longer there" in finding(sample, f"gpu 0 {gone.facts.uuid}").detail
        assert of(node.tick(), 2).energy_j == pytest.approx(350.0)
        node.tick(1000.0)
        later = node.tick()
        assert gone.facts.uuid not in {gpu.facts.uuid for gpu in later.gpus}
        assert any(key.device == gone.facts.uuid for key in node.set.states())


def test_the_driver_is_let_go_on_request_and_taken_again_by_itself() -> None:
    with rig(SimulatedGpu()) as node:
        node.start()
        node.tick()
        node.set.release(60.0)
        assert node.driver.is_open is False

        released = [node.tick() for _ in range(11)]
        after = [node.tick() for _ in range(2)]

        assert all(sample.energy is None for sample in released)
        assert (finding(released[0]).state, of(released[0]).state) == ("down", "down")
        assert "on request" in finding(released[0]).detail
        assert of(after[-1]).total_j == pytest.approx(14 * 350.0)


def test_a_released_driver_is_taken_again_at_once_when_asked() -> None:
    with rig(SimulatedGpu()) as node:
        node.start()
        node.set.release(600.0)
        node.tick()
        node.set.release(0.0)

        assert of(node.tick()).energy_j == pytest.approx(700.0)


def test_a_calibration_corrects_one_gpu() -> None:
    gpu = SimulatedGpu()
    fix = Calibration(gpu_uuid=gpu.facts.uuid, gain_ratio=1.044, offset_w=-22.0)
    with rig(gpu, settings=GpuSettings(calibration=(fix,))) as node:
        node.start()

        assert of(node.tick()).energy_j == pytest.approx((70.0 * 1.044 - 22.0) * 5.0)


def test_a_counter_that_disagrees_with_the_power_is_flagged_and_shown() -> None:
    gpu = SimulatedGpu()
    read = gpu.read
    with rig(gpu) as node:
        node.start()

        def doubtful(*, clock: Clock, since: int) -> tuple[GpuReading, int]:
            reading, last = read(clock=clock, since=since)
            return GpuReading(
                read_at_s=reading.read_at_s,
                energy_uj=reading.energy_uj,
                power_w=reading.power_w,
                cross_check_power_w=35.0,
            ), last

        gpu.read = doubtful  # type: ignore[method-assign]  # another sensor
        for _ in range(20):
            sample = node.tick()

        assert of(sample).energy_j == pytest.approx(350.0)
        assert of(sample).state == "degraded"
        assert "differ by +100%" in finding(sample, "gpu 0").detail


def test_all_gpus_losing_their_driver_at_once_is_one_loss() -> None:
    with rig(*(SimulatedGpu(index=i) for i in range(4))) as node:
        node.start()
        for gpu in node.gpus:
            gpu.error = DriverGoneError("simulated", "driver not loaded")
        sample = node.tick()
        for gpu in node.gpus:
            gpu.error = None

        assert [event.reason for event in sample.events] == ["driver_gone"]
        assert node.tick().energy is not None  # five seconds later, not forty


def test_a_driver_that_hangs_while_it_is_let_go_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with rig() as node:
        node.start()
        gate = threading.Event()
        monkeypatch.setattr(node.driver, "release", gate.wait)
        monkeypatch.setattr("exporter.sensors.gpu.driver_session._RELEASE_TIMEOUT_S", 0.2)
        started_s = time.monotonic()
        for _ in range(5):
            node.set.release(60.0)
        took_s = time.monotonic() - started_s
        gate.set()

        assert took_s < 0.4


def test_a_look_that_ends_after_the_driver_was_let_go_leaves_it_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    with rig(settings=GpuSettings(read_timeout_s=0.1, rescan_interval_s=1.0)) as node:
        node.start()
        gate = threading.Event()
        look = node.driver.look
        monkeypatch.setattr(node.driver, "look", lambda: (gate.wait(), look())[1])
        node.tick()
        node.set.release(60.0)
        gate.set()
        time.sleep(0.2)

        assert node.tick().energy is None
        assert node.driver.is_open is False


def test_a_driver_that_fails_for_ever_is_opened_anew_less_and_less_often() -> None:
    with rig(SimulatedGpu()) as node:
        node.start()
        node.gpus[0].error = SourceError("simulated", "unknown error")
        looks = counted_looks(node.driver)
        for _ in range(120):
            node.tick()

        assert looks[0] < 25


def test_what_one_driver_tells_wrong_takes_no_joules_from_another(monkeypatch: pytest.MonkeyPatch) -> None:
    with rig() as node:
        node.start()
        read = node.gpus[0].read

        def infinite(*, clock: Clock, since: int) -> tuple[GpuReading, int]:
            reading, last = read(clock=clock, since=since)
            return replace(reading, power_w=float("inf")), last

        monkeypatch.setattr(node.gpus[0], "read", infinite)
        monkeypatch.setattr(node.driver, "findings", lambda _: int("a defect"))

        sample = node.tick()

        assert of(sample, 1).energy_j == pytest.approx(350.0)
        assert finding(sample).state == "degraded"


def test_the_nodes_gpu_power_is_the_sum_also_when_intervals_differ() -> None:
    with rig() as node:
        node.start()
        node.tick()
        node.gpus[0].error = SourceError("simulated", "try again")
        node.tick()
        node.gpus[0].error = None

        energy = node.tick().energy

        assert energy is not None
        assert energy.energy_j / energy.interval_s == pytest.approx(140.0)


def test_joules_of_a_time_without_an_agent_are_marked_however_late_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    with rig(SimulatedGpu(), settings=GpuSettings(read_timeout_s=0.1)) as node:
        node.start()
        node.tick()
        states = node.set.states()
        node.set.close()
        node.pass_time(3600.0)
        gate = threading.Event()
        look = node.driver.look
        monkeypatch.setattr(node.driver, "look", lambda: (gate.wait(), look())[1])
        node.set = node._new()
        node.set.resume(states)
        gate.set()
        time.sleep(0.1)

        late, later = node.tick(), node.tick()

        assert of(late).is_down_time
        assert of(late).energy_j == pytest.approx(70.0 * 3605)
        assert not of(later).is_down_time


_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["run", "run", "reset", "lose", "back", "freeze", "thaw", "restart", "release", "replug"]),
        st.floats(1.0, 60.0),
        st.floats(0.0, 1.0),
    ),
    max_size=25,
)


@settings(max_examples=40, deadline=None)
@given(steps=_STEPS)
def test_no_total_ever_falls_or_exceeds_what_was_drawn(steps: list[tuple[str, float, float]]) -> None:
    """Over resets, losses, restarts and releases a GPU's total is monotonic and at most the truth."""
    with rig(SimulatedGpu(), settings=GpuSettings(read_timeout_s=0.5, rescan_interval_s=1.0)) as node:
        gpu = node.gpus[0]
        node.start()
        base_j, last_j = gpu.energy_j, 0.0
        for action, seconds, activity in steps:
            gpu.open(7, activity_ratio=activity)
            if action == "reset":
                gpu.reset_counter()
            elif action == "lose":
                gpu.error = DeviceLostError("simulated", "lost")
            elif action == "back":
                gpu.error = None
            elif action in {"freeze", "thaw"}:
                gpu.is_frozen = action == "freeze"
            elif action == "restart":
                node.restart()
            elif action == "release":
                node.set.release(seconds)
            elif action == "replug":
                node.driver.gpus = [] if node.driver.gpus else [gpu]
            totals = {total.key.device: total.total_j for total in node.tick(seconds).domains}
            total_j = totals.get(gpu.facts.uuid, last_j)
            assert total_j >= last_j
            last_j = total_j
            if not any(earlier == "freeze" for earlier, _, _ in steps):  # a frozen counter is replaced by a guess
                assert total_j <= gpu.energy_j - base_j + 1e-5 * len(steps)  # registers are rounded
