from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.sensors.gpu.amd_accumulator import AccumulatorWatch

J = 1_000_000


def _fed(watch: AccumulatorWatch, readings: Sequence[tuple[float, int, float | None]]) -> list[int | None]:
    return [watch.accept(energy_j * J, power_w, at_s) for at_s, energy_j, power_w in readings]


def test_an_accumulator_that_agrees_with_power_is_used_from_the_start() -> None:
    watch = AccumulatorWatch()

    assert _fed(watch, [(0, 10, 300), (1, 320, 320), (2, 640, None)]) == [10 * J, 320 * J, 640 * J]
    assert watch.refusal == ""


def test_one_that_stands_still_while_power_flows_is_refused_at_its_second_reading() -> None:
    """MI100: it is constant."""
    watch = AccumulatorWatch()

    assert _fed(watch, [(0, 10, 300), (1, 10, 300), (2, 400, 300)]) == [10 * J, None, None]
    assert "stands still while it draws 300 W" in watch.refusal


@pytest.mark.parametrize("factor", [1 / 15.3, 0.49, 2.05, 15.3])
def test_one_that_is_off_by_a_factor_is_refused_after_two_spans(factor: float) -> None:
    watch = AccumulatorWatch()
    readings = [(float(at_s), round(at_s * 300 * factor), 300.0) for at_s in range(4)]

    assert _fed(watch, readings)[1:] == [None, None, None]
    assert "times what it draws" in watch.refusal


def test_a_load_that_starts_between_two_readings_is_no_reason_to_refuse() -> None:
    """Two readings far apart say nothing of the mean between them: power is integrated until they do."""
    watch = AccumulatorWatch()

    assert _fed(watch, [(0, 0, 100), (5, 505, 700), (10, 4005, 700)]) == [0, None, 4005 * J]


def test_readings_too_close_are_not_judged() -> None:
    watch = AccumulatorWatch()

    assert _fed(watch, [(0, 0, 300), (0.2, 0, 300), (1, 300, 300), (1.1, 300, 300)]) == [0, None, 300 * J, 300 * J]


def test_one_that_steps_back_before_it_is_believed_is_refused() -> None:
    watch = AccumulatorWatch()

    assert _fed(watch, [(0, 500, 300), (1, 200, 300)]) == [500 * J, None]
    assert "steps back" in watch.refusal


def test_a_reset_of_the_gpu_has_it_judged_anew() -> None:
    watch = AccumulatorWatch()

    given_uj = _fed(watch, [(0, 500, 300), (1, 800, 300), (2, 30, 300), (3, 30, 300)])

    assert given_uj == [500 * J, 800 * J, 30 * J, None]
    assert watch.refusal


def test_one_that_stops_later_is_refused_after_a_few_readings() -> None:
    watch = AccumulatorWatch()
    moving = [(0.0, 0, 300.0), (1.0, 300, 300.0), (2.0, 600, 300.0)]
    still = [(3.0 + number, 600, 300.0) for number in range(5)]

    assert _fed(watch, moving + still)[3:] == [600 * J, 600 * J, 600 * J, None, None]
    assert "stands still" in watch.refusal


def test_without_power_it_is_never_believed() -> None:
    watch = AccumulatorWatch()

    assert _fed(watch, [(0, 10, None), (1, 20, None), (2, 30, 0.0), (3, 40, 0.0)]) == [None, None, 30 * J, None]
    assert watch.accept(None, 300.0, 4) is None


def test_the_mean_power_between_two_readings_is_told() -> None:
    watch = AccumulatorWatch()
    _fed(watch, [(0, 0, 300), (1, 310, 320)])

    assert watch.mean_power_w == 310


@given(
    steps=st.lists(
        st.tuples(st.floats(0, 10), st.integers(-(10**9), 10**9), st.none() | st.floats(0, 2000)), max_size=30
    )
)
def test_what_is_passed_on_is_what_was_read(steps: list[tuple[float, int, float | None]]) -> None:
    """The watch passes a reading on or holds it back; it never makes one up, and a refusal is for good."""
    watch, at_s, energy_uj = AccumulatorWatch(), 0.0, 10**12
    for passed_s, moved_uj, power_w in steps:
        at_s, energy_uj = at_s + passed_s, energy_uj + moved_uj
        was_refused = bool(watch.refusal)

        accepted_uj = watch.accept(energy_uj, power_w, at_s)

        assert accepted_uj in {None, energy_uj}
        assert not was_refused or accepted_uj is None
