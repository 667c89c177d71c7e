"""The limits of every setting that has any, by its path in the file: the numbers that the records' prose states.

``[]`` stands for any entry of a list.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from exporter.sensors.settings import SOURCE_NAMES

__all__ = ["CHOICES", "LIMITS", "Range"]


class Range(NamedTuple):
    """The numbers a setting may have; ``is_open``: the lowest itself is excluded."""

    lowest: float = 0.0
    highest: float = math.inf
    is_open: bool = False

    def holds(self, value: float) -> bool:
        """Return whether ``value`` is within the range."""
        return (value > self.lowest if self.is_open else value >= self.lowest) and value <= self.highest

    def __str__(self) -> str:
        if math.isinf(self.highest):
            return f"above {self.lowest:g}" if self.is_open else f"at least {self.lowest:g}"
        return (
            f"above {self.lowest:g}, at most {self.highest:g}"
            if self.is_open
            else f"{self.lowest:g} to {self.highest:g}"
        )


_POSITIVE = Range(is_open=True)
_PRICE = Range(-100_000, 100_000)

LIMITS: Mapping[str, Range] = {
    "sampling.interval_s": Range(1, 60),
    "web.max_connections": Range(1, 10_000),
    "web.max_requests": Range(1),
    "web.max_header_bytes": Range(1024, 1_048_576),
    "web.header_timeout_s": Range(0, 60, is_open=True),
    "web.write_timeout_s": _POSITIVE,
    "web.keep_alive_s": _POSITIVE,
    "web.healthy_within_ticks": Range(2),
    "sensors.full_to_idle_ratio": Range(1),
    "sensors.tdp_watts": _POSITIVE,
    "sensors.max_package_watts": _POSITIVE,
    "sensors.rescan_interval_s": Range(1),
    "sensors.down_after_samples": Range(1),
    "sensors.bmc_interval_s": Range(5, 60),
    "gpus.read_timeout_s": _POSITIVE,
    "gpus.rescan_interval_s": Range(1),
    "gpus.release_s": Range(1),
    "gpus.calibration[].gain_ratio": Range(0.5, 2),
    "gpus.calibration[].offset_w": Range(-100, 100),
    "baseline.gpu_idle_power_w": Range(),
    "baseline.gpu_full_to_idle_ratio": Range(1),
    "baseline.gpu_settling_s": Range(),
    "baseline.gpu_min_learning_s": Range(),
    "baseline.gpu_carry_s": Range(),
    "baseline.cpu_idle_power_w": Range(),
    "baseline.dram_idle_power_w": Range(),
    "baseline.full_to_idle_ratio": Range(1),
    "baseline.learning_half_life_s": _POSITIVE,
    "baseline.min_learning_s": Range(),
    "workloads.rescan_interval_s": _POSITIVE,
    "workloads.memory_interval_s": _POSITIVE,
    "workloads.new_process_budget_s": _POSITIVE,
    "workloads.max_cgroups": Range(1),
    "workloads.max_tracked_processes": Range(1),
    "workloads.max_training_processes": Range(),
    "kubernetes.refresh_interval_s": Range(30, 3600),
    "kubernetes.name_wait_s": Range(0, 120),
    "kubernetes.keep_s": Range(60),
    "kubernetes.timeout_s": Range(0, 60, is_open=True),
    "kubernetes.max_answer_bytes": Range(65_536, 67_108_864),
    "carbon.pue_ratio": Range(1, 10),
    "carbon.wue_l_per_kwh": Range(0, 20),
    "carbon.intensity_g_per_kwh": Range(0, 2000),
    "carbon.providers[].intensity_g_per_kwh": Range(0, 2000),
    "carbon.providers[].poll_interval_s": Range(30),
    "carbon.providers[].fresh_for_s": _POSITIVE,
    "carbon.keep_s": Range(),
    "carbon.lowest_plausible_g_per_kwh": Range(0, 2000),
    "carbon.highest_plausible_g_per_kwh": Range(0, 2000),
    "carbon.green_window_s[]": _POSITIVE,
    "costs.price_per_kwh": _PRICE,
    "costs.tariff[].price_per_kwh": _PRICE,
    "gateway.max_zones": Range(1, 1000),
    "gateway.forget_zone_s": _POSITIVE,
    "gateway.max_age_s": _POSITIVE,
    "embodied.server_kg": Range(),
    "embodied.accelerator_kg": Range(),
    "embodied.lifetime_years": Range(0.5, 30),
    "budgets[].limit_g": _POSITIVE,
    "budgets[].limit_kg": _POSITIVE,
    "budgets[].limit_t": _POSITIVE,
    "ledger.checkpoint_interval_s": Range(),
    "ledger.retention_s": Range(),
    "ledger.max_workloads": Range(1),
    "ledger.max_runs": Range(1),
    "ledger.max_processes": Range(),
    "ledger.history_days": Range(1),
}

CHOICES: Mapping[str, tuple[str, ...]] = {
    "sensors.disabled_sources": SOURCE_NAMES,
    "sensors.required_sources": SOURCE_NAMES,
}
"""The words that the entries of a list may be."""
