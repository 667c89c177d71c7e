"""Power of a GPU on which nothing runs: bare, with a context resident, and how long it takes to get there."""

from __future__ import annotations

import statistics
import time

from bench.validation.driver import INSTANT
from bench.validation.report import Numbers, Skipped, rounded
from bench.validation.setting import Setting, polled
from exporter.units import MILLISECONDS_PER_SECOND

__all__ = ["context_power", "idle_power", "settling_time"]

_POLL_S = 0.02
_TAIL_RATIO = 0.2
_SETTLED_RATIO = 0.05
_SETTLED_MIN_W = 2.0


def idle_power(setting: Setting) -> Numbers:
    """Measure without any context."""
    contexts = setting.gpu.contexts()
    if contexts:
        raise Skipped(f"{len(contexts)} processes have contexts on the GPU; bare idle power needs none")
    return _power(setting)


def context_power(setting: Setting) -> Numbers:
    """Measure with one context that does nothing."""
    with setting.loads.running("context"):
        time.sleep(setting.spans.settle)
        return _power(setting)


def _power(setting: Setting) -> Numbers:
    gpu = setting.gpu
    begin_s, begin_j = gpu.energy_edge()
    taken = polled(lambda: gpu.power_w(INSTANT), seconds=setting.spans.idle, every_s=_POLL_S)
    end_s, end_j = gpu.energy_edge()
    watts = [value for _, value in taken if value is not None]
    return {
        "counter_w": rounded((end_j - begin_j) / (end_s - begin_s)),
        "instant_w_mean": rounded(statistics.mean(watts)) if watts else None,
        "instant_w_min_max": [min(watts), max(watts)] if watts else None,
        "contexts": len(gpu.contexts()),
        "utilization_percent": gpu.utilization(),
    }


def settling_time(setting: Setting) -> Numbers:
    """Load the GPU, end the load, and watch power fall until it stays."""
    gpu = setting.gpu
    with setting.loads.running("steady"):
        time.sleep(max(setting.spans.settle, 1.0))
        loaded_w = gpu.power_w(INSTANT)
    taken = [
        (at_s, watts)
        for at_s, watts in polled(lambda: gpu.power_w(INSTANT), seconds=setting.spans.settling, every_s=_POLL_S)
        if watts is not None
    ]
    if loaded_w is None or not taken:
        raise Skipped("the GPU does not serve POWER_INSTANT")
    tail = [watts for _, watts in taken[-max(int(len(taken) * _TAIL_RATIO), 1) :]]
    final_w = statistics.median(tail)
    within_w = max(abs(loaded_w - final_w) * _SETTLED_RATIO, _SETTLED_MIN_W)
    away = [at_s for at_s, watts in taken if abs(watts - final_w) > within_w]
    return {
        "loaded_w": loaded_w,
        "final_w": rounded(final_w),
        "settled_within_w": rounded(within_w),
        "settling_ms_after_the_process_ended": rounded(max(away, default=0.0) * MILLISECONDS_PER_SECOND),
        "raw": [[rounded(at_s), watts] for at_s, watts in taken[:: max(len(taken) // 400, 1)]],
    }
