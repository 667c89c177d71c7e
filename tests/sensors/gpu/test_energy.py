"""Which register of a GPU is believed, and that a change of it neither invents nor loses joules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.sensors.gpu.energy import EnergyStep, GpuEnergy
from exporter.sensors.gpu.records import GpuReading
from exporter.sensors.records import CounterState

MAX_W = 1050.0


def taken(
    energy: GpuEnergy, at_s: float, *, energy_uj: int | None = None, power_w: float | None = None
) -> EnergyStep | None:
    reading = GpuReading(read_at_s=at_s, energy_uj=energy_uj, power_w=power_w)
    return energy.take(reading, max_power_w=MAX_W)


def test_a_counter_that_falls_silent_after_a_restart_invents_no_energy() -> None:
    energy = GpuEnergy(state=CounterState(5_000_000_000_000, 100.0, 7.0))

    first = taken(energy, 110.0, power_w=300.0)
    second = taken(energy, 120.0, power_w=300.0)

    assert first is not None
    assert (first.kind, first.energy_j) == ("gap", 0.0)
    assert second is not None
    assert second.energy_j == pytest.approx(3000.0)
    assert energy.total_j == pytest.approx(3007.0)


def test_a_counter_that_appears_later_takes_over_where_the_power_ended() -> None:
    energy = GpuEnergy()
    taken(energy, 100.0, power_w=300.0)
    taken(energy, 110.0, power_w=300.0)

    change = taken(energy, 120.0, energy_uj=9_000_000_000, power_w=300.0)
    counted = taken(energy, 130.0, energy_uj=11_000_000_000, power_w=300.0)

    assert change is not None
    assert change.energy_j == pytest.approx(3000.0)
    assert counted is not None
    assert energy.method == "counter"
    assert counted.energy_j == pytest.approx(2000.0)


def test_a_counter_that_stands_still_and_then_falls_silent_owes_the_power_since_its_last_step() -> None:
    energy = GpuEnergy()
    for at_s in (100.0, 110.0, 120.0):
        taken(energy, at_s, energy_uj=1_000_000, power_w=300.0)

    step = taken(energy, 130.0, power_w=300.0)

    assert step is not None
    assert (step.energy_j, step.interval_s) == pytest.approx((9000.0, 30.0))


def test_a_power_meter_that_was_not_read_for_long_is_a_gap() -> None:
    energy = GpuEnergy()
    taken(energy, 100.0, power_w=300.0)

    step = taken(energy, 400.0, power_w=300.0)

    assert step is not None
    assert (step.kind, step.energy_j) == ("gap", 0.0)


def test_a_gpu_that_tells_nothing_has_no_energy() -> None:
    energy = GpuEnergy()

    assert [taken(energy, at_s) for at_s in (100.0, 105.0)] == [None, None]
    assert (energy.method, energy.state) == ("none", None)


def test_a_counter_without_any_power_reading_may_stand_still() -> None:
    """Nothing contradicts it: a GPU that is powered off draws nothing."""
    energy = GpuEnergy()
    steps = [taken(energy, 100.0 + 5 * i, energy_uj=1_000_000) for i in range(6)]

    assert [step.energy_j for step in steps if step] == [0.0] * 5
    assert energy.method == "counter"


_readings = st.tuples(
    st.floats(1.0, 30.0),  # seconds
    st.floats(0.0, 700.0),  # true mean power
    st.booleans(),  # the counter is told
    st.booleans(),  # the power is told
)


@given(ticks=st.lists(_readings, max_size=30))
def test_whatever_is_told_the_total_never_falls_and_follows_the_counter(
    ticks: list[tuple[float, float, bool, bool]],
) -> None:
    energy, true_j, at_s = GpuEnergy(), 0.0, 100.0
    last_j, told_j = 0.0, 0.0
    for seconds, power_w, has_counter, has_power in ticks:
        true_j += seconds * power_w
        at_s += seconds
        step = taken(
            energy,
            at_s,
            energy_uj=round(true_j * 1e6) if has_counter else None,
            power_w=power_w if has_power else None,
        )
        told_j += step.energy_j if step else 0.0
        assert energy.total_j >= last_j
        assert energy.total_j == pytest.approx(told_j)
        last_j = energy.total_j
    if ticks and all(has_counter for _, _, has_counter, _ in ticks):
        assert energy.total_j == pytest.approx(true_j - ticks[0][0] * ticks[0][1], rel=1e-6, abs=1e-3)
