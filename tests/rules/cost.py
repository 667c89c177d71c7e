"""What the rules cost, on paper: series and samples read per evaluation, for clusters of a typical kind of node.

``python -m tests.rules.cost`` prints the table of docs/reference/recording-rules.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

from tests.rules.rule_files import Rule, Selector, rules, selectors

__all__ = ["NODES", "Cost", "cost_of", "table"]

NODES = (10, 1_000, 10_000)
SCRAPE_S = 30
EVALUATION_S = 60
_BUDGETS = 5
_NAMESPACES = 50
_RUNS_PER_NODE = 2
_NODES_PER_RUN = 4

_PER_NODE: Mapping[str, int] = {
    "up": 1,
    "wattribute_node_energy_joules_total": 4,
    "wattribute_node_emissions_grams_total": 2,
    "wattribute_node_unattributed_energy_joules_total": 16,
    "wattribute_workload_energy_joules_total": 20 * 7,
    "wattribute_workload_emissions_grams_total": 20 * 2,
    "wattribute_run_energy_joules_total": _RUNS_PER_NODE * 7,
    "wattribute_run_emissions_grams_total": _RUNS_PER_NODE * 2,
    "wattribute_run_info": _RUNS_PER_NODE,
    "wattribute_run_last_seen_timestamp_seconds": _RUNS_PER_NODE,
    "wattribute_run_gpu_held_seconds_total": _RUNS_PER_NODE,
    "wattribute_run_gpu_unused_seconds_total": _RUNS_PER_NODE,
    "wattribute_gpu_unused_ratio": 8,
    "wattribute_gpu_up": 8,
    "wattribute_budget_emissions_grams_total": _BUDGETS,
    "wattribute_budget_limit_grams": _BUDGETS,
    "wattribute_budget_period_seconds": _BUDGETS,
    "wattribute_budget_run_info": _RUNS_PER_NODE,
    "wattribute_source_up": 10,
    "wattribute_source_last_success_timestamp_seconds": 8,
    "wattribute_source_errors_total": 3,
    "wattribute_source_resets_total": 1,
    "wattribute_energy_source_info": 4,
    "wattribute_sample_timestamp_seconds": 1,
    "wattribute_tick_interval_seconds": 1,
    "wattribute_config_last_reload_successful": 1,
    "wattribute_simulated_info": 0,
    "wattribute_build_info": 1,
    "wattribute_grid_carbon_intensity_fresh_until_timestamp_seconds": 1,
    "wattribute_grid_carbon_fallback": 1,
}
"""Series of a node with eight GPUs, 20 workloads, two runs, four components, two scopes, five budgets."""

_OVERFLOW = 7
_PER_LEVEL: Mapping[str, Callable[[int], int]] = {
    "instance_run": lambda nodes: nodes * _RUNS_PER_NODE,
    "run": lambda nodes: math.ceil(nodes * _RUNS_PER_NODE / _NODES_PER_RUN),
    "namespace": lambda _: _NAMESPACES,
    "cluster": lambda _: 1,
    "cluster_component": lambda _: 4,
    "cluster_reason": lambda _: 4,
    "budget": lambda _: _BUDGETS,
}
"""Series of a recorded metric by the level in its name, per scope."""


class Cost(NamedTuple):
    """Series read, samples read and series written at one evaluation."""

    series: int
    samples: int
    written: int


def cost_of(rule: Rule, nodes: int) -> Cost:
    """Return what one rule costs in a cluster of ``nodes``."""
    read = [(_series(selector, nodes), selector) for selector in selectors(rule.expr)]
    samples = sum(count * _points(selector) for count, selector in read)
    written = _recorded(rule.record, nodes) if rule.record else 0
    return Cost(sum(count for count, _ in read), samples, written)


def table() -> str:
    """Return the costs per file as a Markdown table."""
    lines = ["| nodes | file | series read | samples read | series written |", "| ---: | --- | ---: | ---: | ---: |"]
    for nodes in NODES:
        costs: dict[str, list[Cost]] = {}
        for rule in rules():
            costs.setdefault(rule.file, []).append(cost_of(rule, nodes))
        lines += [f"| {nodes:,} | {name} | {_sums(parts)} |" for name, parts in costs.items()]
    return "\n".join(lines) + "\n"


def _sums(costs: list[Cost]) -> str:
    return " | ".join(f"{sum(column):,}" for column in zip(*costs, strict=True))


def _series(selector: Selector, nodes: int) -> int:
    if ":" in selector.name:
        return _recorded(selector.name, nodes)
    if 'node=""' in selector.labels:
        return 0  # nodes are known by either of two labels
    return (_OVERFLOW if "overflow" in selector.labels else _PER_NODE[selector.name]) * nodes


def _recorded(name: str, nodes: int) -> int:
    if name.endswith(":before_reset"):
        return 0  # only where a node was started anew within a run
    scopes = 2 if "emissions" in name and not name.startswith("budget") else 1
    return _PER_LEVEL[name.partition(":")[0]](nodes) * scopes


def _points(selector: Selector) -> int:
    if selector.range_s is None:
        return 1
    return selector.range_s // (selector.step_s or (EVALUATION_S if ":" in selector.name else SCRAPE_S))


if __name__ == "__main__":
    print(table(), end="")  # noqa: T201 - a command
