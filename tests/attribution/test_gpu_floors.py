"""The two learned floors of a GPU."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.attribution import BaselineSettings, Floor, Floors
from exporter.attribution.gpu_floors import Quiet, gpu_baseline

SETTINGS = BaselineSettings(gpu_settling_s=30.0, gpu_min_learning_s=60.0)


def after(floors: Floors, quiet: Quiet, power_w: float, *, ticks: int, interval_s: float = 5.0) -> Floors:
    for _ in range(ticks):
        floors = floors.after(quiet, power_w=power_w, interval_s=interval_s, settling_s=SETTINGS.gpu_settling_s)
    return floors


def test_both_floors_are_learned_after_settling() -> None:
    floors = after(Floors(), "bare", 70.0, ticks=30)
    floors = after(floors, "context", 115.0, ticks=30)

    baseline = gpu_baseline(floors, power_w=300.0, utilization_ratio=0.5, has_context=True, settings=SETTINGS)

    assert (baseline.bare_w, baseline.context_w) == pytest.approx((70.0, 45.0))
    assert baseline.origin == "learned"


def test_what_is_drawn_while_power_still_falls_is_not_learned() -> None:
    floors = after(Floors(), "", 700.0, ticks=1)
    floors = after(floors, "bare", 400.0, ticks=6)

    assert floors.bare.observed_s == 0


def test_a_kind_of_quiet_starts_anew_after_the_other() -> None:
    floors = after(Floors(), "bare", 70.0, ticks=20)

    floors = after(floors, "context", 115.0, ticks=6)

    assert floors.context.observed_s == 0


def test_one_high_reading_hardly_lifts_a_floor_and_a_low_one_soon_lowers_it() -> None:
    floor = Floor(100.0, 600.0)

    assert floor.observed(500.0, 5.0).level_w < 101.0
    assert floor.observed(50.0, 60.0).level_w < 70.0


@given(st.lists(st.floats(10, 800), min_size=1, max_size=50))
def test_a_floor_stays_within_what_was_seen(powers_w: list[float]) -> None:
    floor = Floor()
    for power_w in powers_w:
        floor = floor.observed(power_w, 5.0)

    assert min(powers_w) - 1e-9 <= floor.level_w <= max(powers_w) + 1e-9


def test_a_configured_idle_power_wins() -> None:
    settings = BaselineSettings(gpu_idle_power_w=60.0)

    baseline = gpu_baseline(
        Floors(Floor(70.0, 1e4), Floor()), power_w=99.0, utilization_ratio=0.0, has_context=False, settings=settings
    )

    assert baseline == (60.0, 0.0, "configured")


def test_nothing_is_invented_for_a_gpu_that_tells_no_utilisation() -> None:
    baseline = gpu_baseline(Floors(), power_w=300.0, utilization_ratio=None, has_context=True, settings=SETTINGS)

    assert baseline == (0.0, 0.0, "prior")
