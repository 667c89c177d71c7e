from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.sensors.counter import MAX_INTEGRATION_S, integrate, unwrap
from exporter.sensors.records import CounterState
from tests.sensors.trees import AMD_RANGE_UJ, INTEL_RANGE_UJ

MAX_W = 1000.0
ranges = st.sampled_from([AMD_RANGE_UJ, INTEL_RANGE_UJ])


@given(range_uj=ranges, start_ratio=st.floats(0, 1), power_w=st.floats(0, 1000), interval_s=st.floats(0.1, 60))
def test_energy_is_recovered_across_one_wrap(
    range_uj: int, start_ratio: float, power_w: float, interval_s: float
) -> None:
    """F06: whatever the register held, the joules between two reads are right to one unit."""
    before = CounterState(int(start_ratio * (range_uj - 1)), 0.0, 0.0)
    spent_uj = int(power_w * interval_s * 1e6)

    step = unwrap(before, (before.raw + spent_uj) % range_uj, interval_s, range_uj=range_uj, max_power_w=MAX_W)

    assert step.kind == "counted"
    assert math.isclose(step.energy_j, spent_uj / 1e6, abs_tol=1e-6)


@given(
    range_uj=ranges,
    steps=st.lists(st.tuples(st.floats(0, 2000), st.floats(0.5, 30)), min_size=1, max_size=60),
)
def test_total_over_many_wraps_with_jitter_is_right(range_uj: int, steps: list[tuple[float, float]]) -> None:
    """Random power up to 2000 W, random intervals, both units: the relative error stays below 1e-6."""
    state, true_uj = CounterState(range_uj - 5, 0.0, 0.0), range_uj - 5
    start_uj = true_uj
    for power_w, interval_s in steps:
        true_uj += int(power_w * interval_s * 1e6)
        now_s = state.read_at_s + interval_s
        step = unwrap(state, true_uj % range_uj, now_s, range_uj=range_uj, max_power_w=2000)
        state = CounterState(true_uj % range_uj, now_s, state.total_j + step.energy_j)

    assert math.isclose(state.total_j, (true_uj - start_uj) / 1e6, rel_tol=1e-6, abs_tol=1e-6)


@given(
    before_uj=st.integers(0, 10**19),
    raw_uj=st.integers(0, 10**19),
    interval_s=st.floats(-1e6, 1e6),
    range_uj=st.none() | st.integers(1, 10**19),
)
def test_no_two_readings_give_negative_or_implausible_energy(
    before_uj: int, raw_uj: int, interval_s: float, range_uj: int | None
) -> None:
    before = CounterState(before_uj, 0.0, 0.0)

    step = unwrap(before, raw_uj, interval_s, range_uj=range_uj, max_power_w=MAX_W)

    assert 0 <= step.energy_j <= MAX_W * max(interval_s, 1.0) * (1 + 1e-9)
    assert step.interval_s >= 0


def test_a_fall_that_no_wrap_explains_is_a_reset_credited_with_the_new_reading() -> None:
    """F07: a driver reload sets the register back; what it shows now was drawn since."""
    step = unwrap(CounterState(50_000_000_000, 0, 0), 40_000_000, 5, range_uj=INTEL_RANGE_UJ, max_power_w=MAX_W)

    assert step == ("reset", 40.0, 5)


def test_a_reset_to_an_implausible_reading_is_credited_with_nothing() -> None:
    step = unwrap(CounterState(50_000_000_000, 0, 0), 40_000_000_000, 5, range_uj=INTEL_RANGE_UJ, max_power_w=MAX_W)

    assert step == ("reset", 0.0, 5)


def test_a_fall_without_a_known_range_is_a_reset() -> None:
    """F09: without a range nothing is ever corrected."""
    step = unwrap(CounterState(AMD_RANGE_UJ - 10, 0, 0), 100, 5, range_uj=None, max_power_w=MAX_W)

    assert step.kind == "reset"


def test_a_range_below_the_readings_is_not_believed() -> None:
    step = unwrap(CounterState(5_000_000, 0, 0), 4_000_000, 5, range_uj=1_000_000, max_power_w=MAX_W)

    assert step == ("reset", 4.0, 5)


def test_a_stall_that_could_hide_two_wraps_is_a_gap() -> None:
    """F08: stopped for 20 minutes, the register may have turned any number of times: no joules are invented."""
    step = unwrap(CounterState(0, 0, 0), 1_000_000, 1200, range_uj=AMD_RANGE_UJ, max_power_w=MAX_W)

    assert step == ("gap", 0.0, 1200)


def test_a_stall_is_bridged_where_only_one_count_of_wraps_is_plausible() -> None:
    step = unwrap(CounterState(0, 0, 0), 20_000_000_000, 80, range_uj=AMD_RANGE_UJ, max_power_w=MAX_W)

    assert step == ("counted", 20_000.0, 80)


def test_a_jump_beyond_what_hardware_draws_is_rejected() -> None:
    """F18: 10 kJ in one second on one package."""
    step = unwrap(CounterState(0, 0, 0), 10_000_000_000, 1, range_uj=INTEL_RANGE_UJ, max_power_w=MAX_W)

    assert step == ("jump", 0.0, 1)


def test_a_reading_of_another_boot_is_no_baseline() -> None:
    step = unwrap(CounterState(5, 900, 0), 10_000_000, 30, range_uj=INTEL_RANGE_UJ, max_power_w=MAX_W)

    assert step == ("reset", 0.0, 0.0)


@given(power_w=st.integers(1, 5000), interval_s=st.floats(0, MAX_INTEGRATION_S))
def test_constant_power_integrates_to_power_times_time(power_w: int, interval_s: float) -> None:
    step = integrate(CounterState(power_w * 1_000_000, 0, 0), power_w * 1_000_000, interval_s)

    assert step.kind == "counted"
    assert step.energy_j == pytest.approx(power_w * interval_s)


def test_rising_power_integrates_to_the_trapezoid() -> None:
    assert integrate(CounterState(100_000_000, 0, 0), 300_000_000, 10) == ("counted", 2000.0, 10)


def test_power_over_a_long_stall_is_unknown() -> None:
    assert integrate(CounterState(100_000_000, 0, 0), 100_000_000, 600) == ("gap", 0.0, 600)


def test_power_of_another_boot_is_no_baseline() -> None:
    assert integrate(CounterState(100_000_000, 900, 0), 100_000_000, 10) == ("reset", 0.0, 0.0)
