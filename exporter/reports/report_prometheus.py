"""Reports of runs from a Prometheus-compatible server that scrapes the agents of all their nodes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from exporter.reports.prometheus_api import Labels, PrometheusApi, quoted
from exporter.reports.report import ReportError, RunReport, chosen
from exporter.reports.report_counters import NodeKey, Progress, RangeQueries, Span, escaped, node_of
from exporter.reports.report_nodes import NodeFacts, combined, node_facts

__all__ = ["RUN_COUNTERS", "PrometheusRuns", "RunHead"]

_ALIVE_WITHIN_S = 300.0
_BEFORE_START_S = 60.0
"""Clocks of nodes differ; nothing of a run is counted long before it starts."""
_LATE_DATA_S = 3600.0
_BATCH = 50
_EXTENSIONS = 3
_RUN_FACTS = ("framework", "namespace", "owner", "user", "account", "identity")

_ENERGY = "wattribute_run_energy_joules_total"
_EMISSIONS = "wattribute_run_emissions_grams_total"
_MARKET = "wattribute_run_market_emissions_grams_total"
_WATER = "wattribute_run_water_liters_total"
_COST = "wattribute_run_electricity_cost_total"
_HELD = "wattribute_run_gpu_held_seconds_total"
_UNUSED = "wattribute_run_gpu_unused_seconds_total"
_UNUSED_ENERGY = "wattribute_run_gpu_unused_energy_joules_total"
RUN_COUNTERS: Mapping[str, tuple[str, ...]] = {
    _ENERGY: ("component", "mode"),
    _EMISSIONS: ("scope",),
    _MARKET: (),
    _WATER: (),
    _COST: ("currency",),
    _HELD: (),
    _UNUSED: (),
    _UNUSED_ENERGY: (),
}
"""The counters of a run that are summed over nodes, and the labels that keep parts of them apart."""

_Totals = Mapping[str, Mapping[tuple[NodeKey, tuple[str, ...]], float]]


class RunHead(NamedTuple):
    """A run that was found: key, name, Unix times of its start and last sign of life, its facts by label."""

    key: str
    name: str
    started_s: float
    seen_s: float
    facts: Mapping[str, str]


class PrometheusRuns:
    """Finds runs in a server and reports them.

    Args:
        api: the server.
        searched: the time in which a run must have been seen.
        matchers: extra matchers as PromQL has them within braces, for example ``cluster="a"``; may be empty.
        progress: told how far it is.
    """

    def __init__(
        self, api: PrometheusApi, searched: Span, *, matchers: str = "", progress: Progress | None = None
    ) -> None:
        self._api = api
        self._searched = searched
        self._matchers = f",{matchers.strip().strip(',')}" if matchers.strip().strip(",") else ""
        self._progress = progress or (lambda _: None)

    def find(self, wanted: str = "") -> Sequence[RunHead]:
        """Return the runs whose key or name is or matches ``wanted`` (empty: all), last seen first.

        Raises:
            PrometheusError: there is no usable answer.
        """
        queries = RangeQueries(self._api)
        found: set[Labels] = set()
        for matcher in _matchers_for(wanted):
            selector = f"wattribute_run_info{{{matcher}{self._matchers}}}"
            found |= queries.over("last_over_time", selector, self._searched, _later).keys()
        infos: dict[str, list[dict[str, str]]] = {}
        for labels in found:
            info = dict(labels)
            if info.get("run"):
                infos.setdefault(info["run"], []).append(info)
        heads: list[RunHead] = []
        for keys in _batches(sorted(infos)):
            started, seen = self._bounds(keys, self._searched)
            for key in keys:
                from_s = started.get(key, self._searched.from_s)
                heads.append(_head(key, infos[key], from_s, seen.get(key, self._searched.until_s)))
        heads.sort(key=lambda head: (-head.seen_s, head.key))
        return chosen(heads, wanted) if wanted else heads

    def reports(self, heads: Sequence[RunHead]) -> Sequence[RunReport]:
        """Return the report of each run.

        Raises:
            PrometheusError: there is no usable answer.
            ReportError: the server holds no energy of a run.
        """
        batches = list(_batches([head.key for head in heads]))
        by_key = {head.key: head for head in heads}
        made: list[RunReport] = []
        for keys in batches:
            made += self._batch([by_key[key] for key in keys], 1 / len(batches))
        return made

    def _batch(self, heads: Sequence[RunHead], share: float) -> Iterator[RunReport]:
        heads, span = self._whole_time(heads)
        keys = [head.key for head in heads]
        each = share / len(RUN_COUNTERS)
        queries = RangeQueries(self._api, lambda part: self._progress(part * each))
        totals: dict[str, dict[tuple[NodeKey, tuple[str, ...]], float]] = {}
        for family, names in RUN_COUNTERS.items():
            group_labels = ("run", *names)
            totals[family] = queries.counters(
                self._selector(family, keys),
                span,
                lambda labels, names=group_labels: tuple(labels.get(name, "") for name in names),  # type: ignore[misc]
            )
        nodes = {node for node, _ in totals[_ENERGY]}
        facts = node_facts(self._api, span, nodes, self._matchers)
        ranks = self._gauge("wattribute_run_ranks", keys, span)
        gpus = self._gauge("wattribute_run_gpus", keys, span)
        for head in heads:
            yield self._report(head, _of_run(totals, head.key), facts, ranks.get(head.key, {}), gpus.get(head.key, {}))

    def _whole_time(self, heads: Sequence[RunHead]) -> tuple[Sequence[RunHead], Span]:
        """Return the runs with their true starts and the time that holds them, going back before what was searched."""
        until_s = min(max(head.seen_s for head in heads) + _LATE_DATA_S, self._searched.until_s)
        span = Span(min(self._searched.from_s, *(head.started_s for head in heads)) - _BEFORE_START_S, until_s)
        for _ in range(_EXTENSIONS):
            started, seen = self._bounds([head.key for head in heads], span)
            heads = [
                head._replace(started_s=started.get(head.key, head.started_s), seen_s=seen.get(head.key, head.seen_s))
                for head in heads
            ]
            earliest_s = min(head.started_s for head in heads) - _BEFORE_START_S
            if earliest_s >= span.from_s:
                return heads, Span(earliest_s, until_s)
            span = Span(earliest_s, until_s)
        return heads, span

    def _bounds(self, keys: Sequence[str], span: Span) -> tuple[Mapping[str, float], Mapping[str, float]]:
        queries = RangeQueries(self._api)
        first = queries.over("min_over_time", self._selector("wattribute_run_start_timestamp_seconds", keys), span, min)
        last = queries.over(
            "max_over_time", self._selector("wattribute_run_last_seen_timestamp_seconds", keys), span, max
        )
        started: dict[str, float] = {}
        seen: dict[str, float] = {}
        for labels, at_s in first.items():
            key = dict(labels).get("run", "")
            started[key] = min(at_s, started.get(key, at_s))
        for labels, at_s in last.items():
            key = dict(labels).get("run", "")
            seen[key] = max(at_s, seen.get(key, at_s))
        return started, seen

    def _gauge(self, family: str, keys: Sequence[str], span: Span) -> Mapping[str, Mapping[NodeKey, float]]:
        """Return the highest value of a gauge by run and node."""
        values = RangeQueries(self._api).over("max_over_time", self._selector(family, keys), span, max)
        highest: dict[str, dict[NodeKey, float]] = {}
        for labels, value in values.items():
            by_name = dict(labels)
            of_run = highest.setdefault(by_name.get("run", ""), {})
            node = node_of(by_name)
            of_run[node] = max(value, of_run.get(node, value))
        return highest

    def _selector(self, family: str, keys: Sequence[str]) -> str:
        return f"{family}{{run=~{quoted('|'.join(map(escaped, keys)))}{self._matchers}}}"

    def _report(
        self,
        head: RunHead,
        totals: _Totals,
        facts: Mapping[NodeKey, NodeFacts],
        ranks: Mapping[NodeKey, float],
        gpus: Mapping[NodeKey, float],
    ) -> RunReport:
        energy = totals[_ENERGY]
        if not energy:
            raise ReportError(
                f"{self._api.where} holds no energy of run {head.key}: are its nodes scraped, and are counters kept as "
                "long as run_info?"
            )
        nodes = sorted({node for node, _ in energy})
        world = head.facts.get("world_size", "")
        world_size = int(world) if world.isascii() and world.isdigit() else None
        on_nodes = combined({node: facts.get(node, NodeFacts()) for node in nodes}, energy, gpus)
        seen_ranks = int(sum(ranks.values())) if ranks else None
        notes = [*on_nodes.notes, *_rank_notes(world_size, seen_ranks)]
        notes += [f"The server warned: {text}." for text in self._api.warnings]
        currencies = sorted({labels[0] for _, labels in totals[_COST]})
        if len(currencies) > 1:
            notes.append(f"Nodes count cost in several currencies ({', '.join(currencies)}), which cannot be added.")
        return RunReport(
            key=head.key,
            name=head.name,
            **{name: head.facts.get(name, "") for name in _RUN_FACTS},
            world_size=world_size,
            ranks=seen_ranks,
            source=f"Prometheus API at {self._api.where}",
            started_s=head.started_s,
            seen_s=head.seen_s,
            is_running=self._searched.until_s - head.seen_s < _ALIVE_WITHIN_S,
            nodes=[f"{node.cluster}/{node.name}" if node.cluster else node.name for node in nodes],
            hardware=on_nodes.hardware,
            energy_j={(labels[0], labels[1]): joules for labels, joules in _summed(energy).items()},
            emissions_g={labels[0]: grams for labels, grams in _summed(totals[_EMISSIONS]).items()},
            market_g=_one(totals[_MARKET]),
            water_l=_one(totals[_WATER]),
            cost=_one(totals[_COST]) if len(currencies) == 1 else None,
            cost_currency=currencies[0] if len(currencies) == 1 else "",
            gpu_held_s=_one(totals[_HELD]),
            gpu_unused_s=_one(totals[_UNUSED]),
            gpu_unused_j=_one(totals[_UNUSED_ENERGY]),
            grids=on_nodes.grids,
            pue_ratios=on_nodes.pue_ratios,
            facility_j=on_nodes.facility_j,
            uncertainty_ratios=on_nodes.uncertainty_ratios,
            qualities=on_nodes.qualities,
            notes=notes,
        )


def _later(_: float, late: float) -> float:
    return late


def _matchers_for(wanted: str) -> Sequence[str]:
    """Return matchers that let through at least what ``chosen`` would choose."""
    if not wanted:
        return ('run!=""',)
    pattern = _pattern(wanted)
    return (f"run=~{quoted(pattern)}", f"name=~{quoted(pattern)}")


def _pattern(wanted: str) -> str:
    """Return a regular expression for ``wanted`` itself and for what it matches as a shell pattern, or for more."""
    simple, has_class, _ = wanted.partition("[")
    loose = "".join({"*": ".*", "?": "."}.get(c, escaped(c)) for c in simple) + (".*" if has_class else "")
    return f"{escaped(wanted)}|{loose}"


def _head(key: str, infos: Sequence[Mapping[str, str]], started_s: float, seen_s: float) -> RunHead:
    """Return the run, with facts as most series tell them."""
    facts = {name: _most_told(name, infos) for name in (*_RUN_FACTS, "world_size", "name")}
    return RunHead(key, facts.pop("name") or key, started_s, seen_s, facts)


def _most_told(name: str, infos: Sequence[Mapping[str, str]]) -> str:
    told = sorted(info[name] for info in infos if info.get(name))
    return max(told, key=told.count, default="")


def _of_run(totals: _Totals, key: str) -> _Totals:
    return {
        family: {(node, labels[1:]): value for (node, labels), value in values.items() if labels[0] == key}
        for family, values in totals.items()
    }


def _summed(values: Mapping[tuple[NodeKey, tuple[str, ...]], float]) -> Mapping[tuple[str, ...], float]:
    parts: dict[tuple[str, ...], list[float]] = {}
    for (_, labels), value in sorted(values.items()):
        parts.setdefault(labels, []).append(value)
    return {labels: math.fsum(of) for labels, of in parts.items()}


def _one(values: Mapping[tuple[NodeKey, tuple[str, ...]], float]) -> float | None:
    return math.fsum(values.values()) if values else None


def _rank_notes(world_size: int | None, ranks: int | None) -> Iterator[str]:
    if world_size is not None and ranks is not None and ranks < world_size:
        yield (
            f"Only {ranks} of {world_size} ranks were seen: the other nodes run no agent, or are not scraped by this "
            "server, and their energy is missing."
        )


def _batches(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), _BATCH):
        yield keys[start : start + _BATCH]
