"""The energy counter: its step, what calls cost, whether it agrees with the power readings; which fields exist."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from itertools import pairwise

from bench.validation.driver import AVERAGE, INSTANT
from bench.validation.loads import Mode
from bench.validation.report import Numbers, rounded
from bench.validation.setting import Setting, percentile, polled, timed_us
from exporter.errors import SourceError
from exporter.sensors.gpu.nvml_calls import Field
from exporter.units import MILLISECONDS_PER_SECOND

__all__ = ["call_latency", "counter_step", "energy_against_power", "field_scopes"]

_FIELDS = (83, 185, 186, 191)
_SCOPES = range(4)
_POLL_S = 0.005
_MAX_RAW = 400


def counter_step(setting: Setting) -> Numbers:
    """Read the counter as fast as it goes, and see when and by how much it moves."""
    gpu, start_s = setting.gpu, time.perf_counter()
    changes: list[tuple[float, int]] = []
    reads, last_mj = 0, gpu.calls.total_energy_mj(gpu.handle)
    while (now_s := time.perf_counter() - start_s) < setting.spans.tight_loop:
        energy_mj = gpu.calls.total_energy_mj(gpu.handle)
        reads += 1
        if energy_mj != last_mj:
            changes.append((now_s, energy_mj))
            last_mj = energy_mj
    pairs = list(pairwise(changes))
    if not pairs:
        return {"reads": reads, "changes": len(changes), "note": "the counter stood still"}
    periods_ms = [(after[0] - before[0]) * MILLISECONDS_PER_SECOND for before, after in pairs]
    steps_mj = [float(after[1] - before[1]) for before, after in pairs]
    return {
        "reads": reads,
        "changes": len(changes),
        "period_ms_p50": rounded(statistics.median(periods_ms)),
        "period_ms_p99": rounded(percentile(periods_ms, 0.99)),
        "step_mj_min": min(steps_mj),
        "step_mj_p50": statistics.median(steps_mj),
        "backward_steps": sum(step < 0 for step in steps_mj),
        "raw": [[rounded(at_s), energy_mj] for at_s, energy_mj in changes[:_MAX_RAW]],
    }


def call_latency(setting: Setting) -> Numbers:
    """Time every call that a tick makes, and a whole reading."""
    gpu, calls, handle = setting.gpu, setting.gpu.calls, setting.gpu.handle
    newest = gpu.newest_stamp()
    asked: dict[str, Callable[[], object]] = {
        "total_energy_mj": lambda: calls.total_energy_mj(handle),
        "power_usage_mw": lambda: calls.power_usage_mw(handle),
        "power_limit_mw": lambda: calls.power_limit_mw(handle),
        "field_values, one": lambda: calls.field_values(handle, [AVERAGE]),
        "field_values, four": lambda: calls.field_values(handle, [*(AVERAGE, INSTANT), Field(185, 1), Field(186, 1)]),
        "utilization_percent": lambda: calls.utilization_percent(handle),
        "memory_bytes": lambda: calls.memory_bytes(handle),
        "temperature_celsius": lambda: calls.temperature_celsius(handle),
        "compute_processes": lambda: calls.compute_processes(handle),
        "graphics_processes": lambda: calls.graphics_processes(handle),
        "mps_processes": lambda: calls.mps_processes(handle),
        "use_samples, newest": lambda: calls.use_samples(handle, newest),
        "use_samples, all": lambda: calls.use_samples(handle, 0),
        "is_mig": lambda: calls.is_mig(handle),
        "has_gpm": lambda: calls.has_gpm(handle),
        "a whole reading": lambda: gpu.driver.read(gpu.facts),
    }
    return {name: _latency(call, setting.spans.calls) for name, call in asked.items()}


def _latency(call: Callable[[], object], count: int) -> dict[str, object]:
    try:
        took_us = [timed_us(call) for _ in range(count)]
    except SourceError as exc:
        return {"refused": str(exc)}
    return {
        "p50_us": rounded(statistics.median(took_us)),
        "p99_us": rounded(percentile(took_us, 0.99)),
        "max_us": rounded(max(took_us)),
    }


def energy_against_power(setting: Setting, mode: Mode | None) -> Numbers:
    """Compare the counter with integrated power, idle (``mode`` None) or under a load."""
    if mode is None:
        return _compared(setting)
    with setting.loads.running(mode):
        time.sleep(setting.spans.settle)
        return _compared(setting)


def _compared(setting: Setting) -> Numbers:
    """Integrate from one step of the counter to another, so that its step size does not matter."""
    gpu = setting.gpu
    utilization_before = gpu.utilization()

    def readings() -> tuple[float | None, ...]:
        return gpu.power_w(INSTANT), gpu.power_w(AVERAGE), gpu.calls.power_usage_mw(gpu.handle) / 1000

    begin_s, begin_j = gpu.energy_edge()
    taken = polled(readings, seconds=setting.spans.energy, every_s=_POLL_S)
    end_s, end_j = gpu.energy_edge()
    span_s, counter_j = end_s - begin_s, end_j - begin_j
    found: Numbers = {
        "seconds": rounded(span_s),
        "utilization_percent": [utilization_before, gpu.utilization()],
        "contexts": len(gpu.contexts()),
        "counter_j": rounded(counter_j),
        "counter_w": rounded(counter_j / span_s),
        "power_reads": len(taken),
    }
    for place, name in enumerate(("instant", "average", "power_usage")):
        series = [(at_s, values[place]) for at_s, values in taken]
        mean_w = _mean_w([(at_s, watts) for at_s, watts in series if watts is not None])
        found[f"{name}_w"] = None if mean_w is None else rounded(mean_w)
        found[f"counter_over_{name}"] = rounded(counter_j / (mean_w * span_s)) if mean_w else None
    every = max(len(taken) // _MAX_RAW, 1)
    found["raw"] = [[rounded(at_s), *values] for at_s, values in taken[::every]]
    return found


def _mean_w(series: Sequence[tuple[float, float]]) -> float | None:
    """Return the time-weighted mean, by trapezoids; None for fewer than two readings."""
    if len(series) < 2:
        return None
    pairs = pairwise(series)
    energy_j = sum((b_s - a_s) * (a_w + b_w) / 2 for (a_s, a_w), (b_s, b_w) in pairs)
    return energy_j / (series[-1][0] - series[0][0])


def field_scopes(setting: Setting) -> Numbers:
    """Ask for every field in every scope, one by one."""
    return {
        f"{number}/{scope}": setting.gpu.field(Field(number, scope))._asdict()
        for number in _FIELDS
        for scope in _SCOPES
    }
