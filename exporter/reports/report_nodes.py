"""What a server knows of the nodes of a run: GPUs, grid, PUE, and how sure their energy is."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from exporter.reports.prometheus_api import Labels, PrometheusApi, quoted
from exporter.reports.report import Grid, Hardware
from exporter.reports.report_counters import NodeKey, RangeQueries, Span, escaped, node_of

__all__ = ["NodeFacts", "NodesOfRun", "combined", "node_facts"]

_MOST_NAMED = 200
_SAME_RATIO = 1e-9


@dataclass(slots=True, kw_only=True)
class NodeFacts:
    """What one node said of itself within the time of the report; what it did not say is empty.

    Attributes:
        gpu_models: number of GPUs by model.
        grids: average intensities that were shown.
        pue_ratio: mean over time; ``pue_changed``: whether it had several values.
        uncertainty_ratios: the highest by component.
        qualities: by component.
        simulated: what of it is simulated, in words.
    """

    gpu_models: Counter[str] = field(default_factory=Counter)
    grids: set[Grid] = field(default_factory=set)
    pue_ratio: float | None = None
    pue_changed: bool = False
    uncertainty_ratios: dict[str, float] = field(default_factory=dict)
    qualities: dict[str, set[str]] = field(default_factory=dict)
    simulated: str = ""


class NodesOfRun(NamedTuple):
    """The nodes of one run together; fields as in ``RunReport``."""

    hardware: Sequence[Hardware]
    grids: Sequence[Grid]
    pue_ratios: Sequence[float]
    facility_j: float | None
    uncertainty_ratios: Mapping[str, float]
    qualities: Mapping[str, Sequence[str]]
    notes: Sequence[str]


def node_facts(
    api: PrometheusApi, span: Span, nodes: Collection[NodeKey], matchers: str
) -> Mapping[NodeKey, NodeFacts]:
    """Return the facts of each of ``nodes`` within ``span``; ``matchers`` starts with a comma, or is empty.

    Raises:
        PrometheusError: there is no usable answer.
    """
    asked = _Asked(api, span, _selection(nodes, matchers))
    facts = {node: NodeFacts() for node in nodes}
    for node, _, value in asked.series("avg_over_time", "wattribute_pue_ratio", facts):
        facts[node].pue_ratio = value
    for node, _, value in asked.series("changes", "wattribute_pue_ratio", facts):
        facts[node].pue_changed = value > 0
    for node, labels, value in asked.series("max_over_time", "wattribute_energy_uncertainty_ratio", facts):
        ratios = facts[node].uncertainty_ratios
        ratios[labels.get("component", "")] = max(value, ratios.get(labels.get("component", ""), 0.0))
    for node, labels, _ in asked.series("last_over_time", "wattribute_energy_source_info", facts):
        facts[node].qualities.setdefault(labels.get("component", ""), set()).add(labels.get("quality", ""))
    boards: dict[NodeKey, dict[str, str]] = {}
    for node, labels, _ in asked.series("last_over_time", "wattribute_gpu_info", facts):
        boards.setdefault(node, {})[labels.get("gpu_uuid") or labels.get("gpu", "")] = labels.get("model", "")
    for node, models in boards.items():
        facts[node].gpu_models = Counter(models.values())
    average = 'wattribute_grid_carbon_intensity_info{signal="average"}'
    for node, labels, _ in asked.series("last_over_time", average, facts):
        estimated = {"true": True, "false": False}.get(labels.get("estimated", ""))
        grid = Grid(labels.get("grid_zone", ""), labels.get("provider", ""), labels.get("basis", ""), estimated)
        facts[node].grids.add(grid)
    for node, labels, _ in asked.series("last_over_time", "wattribute_simulated_info", facts):
        facts[node].simulated = labels.get("what", "all of it")
    return facts


def combined(
    facts: Mapping[NodeKey, NodeFacts],
    energy: Mapping[tuple[NodeKey, tuple[str, ...]], float],
    gpus: Mapping[NodeKey, float],
) -> NodesOfRun:
    """Return the nodes of one run together.

    Args:
        facts: one entry per node.
        energy: joules by node and (component, mode).
        gpus: the most GPUs that the run held at once on each node; absent: none, or unknown.
    """
    by_node: dict[NodeKey, float] = dict.fromkeys(facts, 0.0)
    for (node, _), joules in energy.items():
        by_node[node] += joules
    known = [(fact.pue_ratio, by_node[node]) for node, fact in facts.items() if fact.pue_ratio is not None]
    has_all = len(known) == len(facts)
    return NodesOfRun(
        hardware=_hardware(facts, gpus),
        grids=sorted(_grids(facts), key=lambda grid: (*grid[:3], str(grid.is_estimated))),
        pue_ratios=_distinct([pue for pue, _ in known]),
        facility_j=math.fsum(pue * joules for pue, joules in known) if known and has_all else None,
        uncertainty_ratios=_uncertainty(facts, energy),
        qualities=_qualities(facts),
        notes=list(_notes(facts)),
    )


class _Asked(NamedTuple):
    api: PrometheusApi
    span: Span
    selection: str

    def series(
        self, function: str, family: str, wanted: Collection[NodeKey]
    ) -> Iterator[tuple[NodeKey, Mapping[str, str], float]]:
        """Yield node, labels and value of each series of the nodes that are wanted, in a fixed order."""
        name, _, own = family.rstrip("}").partition("{")
        selector = f"{name}{{{','.join(filter(None, (own, self.selection)))}}}"
        values: dict[Labels, float] = RangeQueries(self.api).over(function, selector, self.span, max)
        for labels, value in sorted(values.items()):
            by_name = dict(labels)
            if (node := node_of(by_name)) in wanted and math.isfinite(value):
                yield node, by_name, value


def _selection(nodes: Collection[NodeKey], matchers: str) -> str:
    """Return matchers that let through at least what ``nodes`` say, named where they are few."""
    names = sorted({node.name for node in nodes})
    labels = {node.label for node in nodes}
    if len(names) > _MOST_NAMED or len(labels) != 1:
        return matchers.lstrip(",")
    return f"{labels.pop()}=~{quoted('|'.join(map(escaped, names)))}{matchers}"


def _hardware(facts: Mapping[NodeKey, NodeFacts], gpus: Mapping[NodeKey, float]) -> Sequence[Hardware]:
    """Return GPUs by model: a node of one model tells which it was; of several models, that it was one of them."""
    counts: Counter[str] = Counter()
    for node, held in gpus.items():
        models = sorted(facts[node].gpu_models) if node in facts else []
        counts[" or ".join(filter(None, models)) or "unknown GPU"] += round(held)
    return [Hardware(count, model) for model, count in sorted(counts.items()) if count]


def _grids(facts: Mapping[NodeKey, NodeFacts]) -> set[Grid]:
    return {grid for fact in facts.values() for grid in fact.grids}


def _distinct(ratios: Sequence[float]) -> Sequence[float]:
    """Return the ratios in order, once each; a mean over time may differ from its value in the last digit."""
    found: list[float] = []
    for ratio in sorted(ratios):
        if not found or not math.isclose(ratio, found[-1], rel_tol=_SAME_RATIO):
            found.append(ratio)
    return found


def _uncertainty(
    facts: Mapping[NodeKey, NodeFacts], energy: Mapping[tuple[NodeKey, tuple[str, ...]], float]
) -> Mapping[str, float]:
    """Return the ratio of each component, weighted by the energy of the nodes; absent where a node did not say."""
    weights: dict[str, dict[NodeKey, float]] = {}
    for (node, (component, *_)), joules in energy.items():
        of = weights.setdefault(component, {})
        of[node] = of.get(node, 0.0) + joules
    ratios: dict[str, float] = {}
    for component, of in weights.items():
        drawn = {node: joules for node, joules in of.items() if joules > 0}
        if drawn and all(component in facts[node].uncertainty_ratios for node in drawn):
            weighted = math.fsum(facts[node].uncertainty_ratios[component] * joules for node, joules in drawn.items())
            ratios[component] = weighted / math.fsum(drawn.values())
    return ratios


def _qualities(facts: Mapping[NodeKey, NodeFacts]) -> Mapping[str, Sequence[str]]:
    found: dict[str, set[str]] = {}
    for fact in facts.values():
        for component, kinds in fact.qualities.items():
            found.setdefault(component, set()).update(kinds)
    return {component: sorted(kinds) for component, kinds in sorted(found.items())}


def _notes(facts: Mapping[NodeKey, NodeFacts]) -> Iterator[str]:
    simulated = sorted({fact.simulated for fact in facts.values() if fact.simulated})
    if simulated:
        yield f"SIMULATED: {'; '.join(simulated)}."
    if any(fact.pue_changed for fact in facts.values()):
        yield "The PUE of a node changed meanwhile; the mean intensity is derived with its mean over time."
