"""A time-sliced GPU over time: the split converges to the truth of the simulated driver."""

import math

import pytest

from exporter.attribution import BaselineSettings, GpuMemory, split_gpu
from exporter.sensors.gpu.interval import GpuInterval
from exporter.testing import FakeClock, SimulatedGpu
from tests.attribution.gpu_samples import gpu_usage, user

TICK_S = 5.0
SETTINGS = BaselineSettings(gpu_idle_power_w=115.0)  # the simulated GPU's, with a context


def error_after(seconds: float, *, seed: int, share: float = 0.5) -> float:
    """Return how far the first process's active energy is from the truth, as a share of all active energy."""
    clock, gpu = FakeClock(), SimulatedGpu(seed=seed)
    gpu.open(7, activity_ratio=share)
    gpu.open(8, activity_ratio=1 - share)
    users = gpu_usage({7: user(0), 8: user(1)})
    memory, since, charged_j = GpuMemory(), 0, 0.0
    for _ in range(round(seconds / TICK_S)):
        before_j = gpu.energy_j
        gpu.advance(TICK_S)
        clock.advance(TICK_S)
        reading, since = gpu.read(clock=clock, since=since)
        tick = GpuInterval(
            facts=gpu.facts,
            state="up",
            reading=reading,
            energy_j=gpu.energy_j - before_j,
            interval_s=TICK_S,
            total_j=gpu.energy_j,
            method="counter",
        )
        shares, memory = split_gpu(tick, users, memory, SETTINGS)
        charged_j += shares.active_j.get(0, 0.0)
    total_j = sum(gpu.truth.active_j.values())
    return abs(charged_j - gpu.truth.active_j[7]) / total_j


def mean_square_root(errors: list[float]) -> float:
    return math.sqrt(sum(error**2 for error in errors) / len(errors))


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_a_time_sliced_split_is_within_seven_percent_after_ten_seconds(share: float) -> None:
    """One standard deviation of 60 samples is 6.5 %, so the error is that of 200 nodes, not of a lucky one."""
    errors = [error_after(10.0, seed=seed, share=share) for seed in range(200)]

    assert mean_square_root(errors) < 0.07


def test_and_within_one_percent_after_ten_minutes() -> None:
    errors = [error_after(600.0, seed=seed) for seed in range(50)]

    assert mean_square_root(errors) < 0.01
