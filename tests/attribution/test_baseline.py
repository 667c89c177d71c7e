import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.attribution import BaselineSettings, LearnedPower, baseline_for
from exporter.sensors.records import Component
from tests.attribution.samples import component_energy

DAY_S = 86_400.0


def learned_from(observations: Sequence[tuple[float, float]], *, interval_s: float = 5.0) -> LearnedPower:
    state = LearnedPower()
    for busy_ratio, power_w in observations:
        state = state.observed(power_w=power_w, busy_ratio=busy_ratio, interval_s=interval_s, half_life_s=DAY_S)
    return state


@given(
    idle_w=st.floats(5, 500), slope_w=st.floats(20, 1000), loads=st.lists(st.floats(0, 1), min_size=200, max_size=300)
)
def test_the_line_through_linear_power_gives_the_idle_power(idle_w: float, slope_w: float, loads: list[float]) -> None:
    state = learned_from([(0.0, idle_w), (1.0, idle_w + slope_w), *((load, idle_w + slope_w * load) for load in loads)])

    found_w = state.idle_power_w(min_learning_s=600.0)
    if found_w is not None:
        assert found_w == pytest.approx(idle_w, rel=1e-3)
    else:
        assert state.busy_spread / state.weight_s < 0.05**2


def test_idle_power_is_learned_from_a_node_that_was_never_idle() -> None:
    state = learned_from([(0.3 + 0.6 * (i % 7) / 7, 100 + 200 * (0.3 + 0.6 * (i % 7) / 7)) for i in range(200)])

    assert state.idle_power_w(min_learning_s=600.0) == pytest.approx(100, rel=1e-6)


def test_a_bent_curve_never_puts_the_baseline_above_the_lowest_power_seen() -> None:
    """Turbo clocks bend the curve: the straight line then meets zero too high."""
    state = learned_from([(u, 60 + 240 * math.sqrt(u)) for u in [i % 20 / 20 for i in range(400)]])

    found_w = state.idle_power_w(min_learning_s=600.0)

    assert found_w is not None
    assert found_w <= 60.5


@pytest.mark.parametrize(
    ("observations", "why"),
    [
        ([(0.5, 200.0)] * 500, "utilisation never moved"),
        ([(0.1 + 0.8 * (i % 2), 200.0 - 50 * (i % 2)) for i in range(500)], "power fell with utilisation"),
        ([(i % 2, 100.0 + 100 * (i % 2)) for i in range(20)], "too short"),
        ([(0.2 + 0.6 * (i % 2), 10.0 + 150 * (i % 2)) for i in range(500)], "the line meets zero below zero watts"),
    ],
)
def test_nothing_is_learned_from_observations_that_cannot_tell(
    observations: list[tuple[float, float]], why: str
) -> None:
    assert learned_from(observations).idle_power_w(min_learning_s=600.0) is None, why


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1e5), st.floats(0, 1e5)), max_size=50),
)
def test_learning_survives_any_observations(observations: list[tuple[float, float, float]]) -> None:
    state = LearnedPower()
    for busy_ratio, power_w, interval_s in observations:
        state = state.observed(power_w=power_w, busy_ratio=busy_ratio, interval_s=interval_s, half_life_s=DAY_S)

    found_w = state.idle_power_w(min_learning_s=0.0)
    assert found_w is None or 0 < found_w <= max(power_w for _, power_w, _ in observations)


def test_configured_comes_before_the_model_before_learned_before_the_prior() -> None:
    learned = {Component.CPU: learned_from([(i % 2, 100.0 + 100 * (i % 2)) for i in range(500)])}
    measured, modelled = component_energy(1000.0), component_energy(1000.0, idle_power_w=33.0)
    settings, configured = BaselineSettings(), BaselineSettings(cpu_idle_power_w=70.0)

    def origin(energy: object, settings: BaselineSettings, learned: dict[Component, LearnedPower]) -> str:
        return baseline_for(energy, busy_ratio=0.5, settings=settings, learned=learned).origin  # type: ignore[arg-type]

    assert origin(modelled, configured, learned) == "configured"
    assert origin(modelled, settings, learned) == "model"
    assert origin(measured, settings, learned) == "learned"
    assert origin(measured, settings, {}) == "prior"


def test_the_prior_keeps_a_quiet_nodes_daemon_from_paying_for_the_node() -> None:
    energy = component_energy(500.0, interval_s=5.0)

    quiet = baseline_for(energy, busy_ratio=0.02, settings=BaselineSettings(), learned={})
    busy = baseline_for(energy, busy_ratio=1.0, settings=BaselineSettings(), learned={})

    assert quiet.idle_power_w == pytest.approx(100 / 1.04)
    assert busy.idle_power_w == pytest.approx(100 / 3)


def test_all_of_the_platforms_rest_is_idle_power() -> None:
    energy = component_energy(400.0, component=Component.OTHER, interval_s=5.0)

    assert baseline_for(energy, busy_ratio=0.9, settings=BaselineSettings(), learned={}) == (80.0, "model")
