"""What ``wattribute top`` shows: the snapshot document of the JSON interface, checked and reduced.

Format: docs/reference/http.md. The document may come from another machine, so nothing in it is trusted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from exporter.errors import SourceFormatError
from exporter.exposition.labels import clean_label

__all__ = ["Consumer", "Gpu", "NodeView", "Part", "node_view"]

_SUPPORTED_VERSION = 1
_Json = Mapping[str, Any]  # what json.loads gives


class Part(NamedTuple):
    """One component: watts over the last interval (None: nothing read), joules on this boot, where they come from."""

    name: str
    power_w: float | None
    energy_j: float
    unattributed_j: float
    ended_j: float
    source: str
    is_estimated: bool
    uncertainty_ratio: float


class Gpu(NamedTuple):
    """One GPU: number, watts over the last interval and their limit, utilisation 0–1 (None: not told), who holds it.

    ``unused_share`` is how much of it is held while nothing runs on it, 0–1.
    """

    number: int
    model: str
    power_w: float | None
    limit_w: float | None
    utilization_ratio: float | None
    energy_j: float
    holders: Sequence[str]
    unused_share: float
    state: str


class Consumer(NamedTuple):
    """A run or a workload. ``is_estimated``: some of its joules come from a model; ``emissions_g``: None if unknown.

    ``gpus`` is how many GPUs a run holds here, ``unused_gpus`` on how many of them nothing runs, ``unused_j`` what it
    was charged for such.
    """

    name: str
    kind: str
    ranks: str
    is_over: bool
    power_w: float
    energy_j: float
    emissions_g: float | None
    is_estimated: bool
    gpus: int = 0
    unused_gpus: int = 0
    unused_j: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """One moment of one node.

    Attributes:
        taken_s: wall-clock time of the sample.
        taken_at: the same, in UTC.
        interval_s: the sampler's interval.
        parts: the components.
        gpus: the GPUs.
        runs: training runs.
        workloads: workloads.
        emissions_g: operational grams of the node, or None where no grid zone is set.
        grid: the carbon intensity in words, or empty.
        problems: sources that are down or degraded, in words.
        simulated: what is simulated, in words; empty: nothing.
    """

    taken_s: float
    taken_at: datetime
    interval_s: float
    parts: Sequence[Part]
    gpus: Sequence[Gpu]
    runs: Sequence[Consumer]
    workloads: Sequence[Consumer]
    emissions_g: float | None
    grid: str
    problems: Sequence[str]
    simulated: str = ""

    @property
    def power_w(self) -> float | None:
        """Watts of all components that were read, or None if none was."""
        known = [part.power_w for part in self.parts if part.power_w is not None]
        return sum(known) if known else None

    @property
    def unattributed_w(self) -> float | None:
        """Watts that no workload is charged for, or None where nothing was read."""
        power_w = self.power_w
        return None if power_w is None else max(power_w - sum(w.power_w for w in self.workloads), 0.0)


def node_view(document: object) -> NodeView:
    """Return the view of a decoded snapshot document.

    Raises:
        SourceFormatError: it is something else, or of a newer version.
    """
    if not isinstance(document, dict) or document.get("version") != _SUPPORTED_VERSION:
        raise SourceFormatError(
            "agent", "expected a snapshot of version 1 from a wattribute agent, found another answer"
        )
    try:
        return _view(document)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError, OSError) as exc:
        raise SourceFormatError(
            "agent", f"expected a snapshot of a wattribute agent, found a wrong field: {exc}"
        ) from exc


def _view(document: _Json) -> NodeView:
    parts = [_part(name, part) for name, part in document["components"].items()]
    estimated = {part.name for part in parts if part.is_estimated}
    return NodeView(
        taken_s=float(document["taken_s"]),
        taken_at=datetime.fromtimestamp(float(document["taken_s"]), UTC),
        interval_s=float(document["agent"]["interval_s"]),
        parts=parts,
        gpus=[_gpu(gpu, document["runs"]) for gpu in document.get("gpus", ())],
        runs=[_run(run, estimated) for run in document["runs"]],
        workloads=[_workload(workload, estimated) for workload in document["workloads"]],
        emissions_g=_operational(document["emissions_g"]),
        grid=_grid(document["carbon"]),
        problems=[_problem(f) for f in document["sources"] if f["state"] in ("down", "degraded")],
        simulated=clean_label(document.get("simulated", "")),
    )


def _part(name: str, part: _Json) -> Part:
    return Part(
        name=clean_label(name),
        power_w=_number(part["power_w"]),
        energy_j=float(part["energy_j"]),
        unattributed_j=sum(map(float, part["unattributed_j"].values())),
        ended_j=float(part["ended_j"]),
        source=clean_label(part["source"]),
        is_estimated=part["quality"] == "estimated",
        uncertainty_ratio=float(part["uncertainty_ratio"]),
    )


def _gpu(gpu: _Json, runs: Sequence[_Json]) -> Gpu:
    names = {run["run"]: run["name"] for run in runs}
    holders = [names.get(holder["run"], "") or holder["run"] or holder["name"] for holder in gpu["holders"]]
    return Gpu(
        number=int(gpu["index"]),
        model=clean_label(gpu["model"]),
        power_w=_number(gpu["power_w"]),
        limit_w=_number(gpu["power_limit_w"]),
        utilization_ratio=_number(gpu["utilization_ratio"]),
        energy_j=float(gpu["energy_j"]),
        holders=[clean_label(name) for name in holders],
        unused_share=sum(float(holder["unused_share"]) for holder in gpu["holders"]),
        state=clean_label(gpu["state"]),
    )


def _number(value: Any) -> float | None:  # noqa: ANN401 - what json.loads gives
    return None if value is None else float(value)


def _run(run: _Json, estimated: set[str]) -> Consumer:
    world = "" if run["world_size"] is None else f"/{int(run['world_size'])}"
    return Consumer(
        name=clean_label(run["name"] or run["run"]),
        kind=clean_label(run["framework"]),
        ranks=f"{int(run['ranks'])}{world}",
        is_over=not run["is_alive"],
        power_w=float(run["power_w"]),
        energy_j=_energy_j(run["energy_j"]),
        emissions_g=_operational(run["emissions_g"]),
        is_estimated=_is_estimated(run["energy_j"], estimated),
        gpus=int(run.get("gpus") or 0),
        unused_gpus=int(run.get("unused_gpus") or 0),
        unused_j=float(run.get("gpu_unused_j", 0.0)),
    )


def _workload(workload: _Json, estimated: set[str]) -> Consumer:
    place = "/".join(part for part in (workload["namespace"], workload["name"], workload["container"]) if part)
    return Consumer(
        name=clean_label(place),
        kind=clean_label(workload["kind"]),
        ranks="",
        is_over=False,
        power_w=float(workload["power_w"]),
        energy_j=_energy_j(workload["energy_j"]),
        emissions_g=_operational(workload["emissions_g"]),
        is_estimated=_is_estimated(workload["energy_j"], estimated),
    )


def _energy_j(energy: Mapping[str, Mapping[str, float]]) -> float:
    return sum(float(joules) for modes in energy.values() for joules in modes.values())


def _is_estimated(energy: Mapping[str, Mapping[str, float]], estimated: set[str]) -> bool:
    return any(name in estimated and any(modes.values()) for name, modes in energy.items())


def _operational(emissions: _Json) -> float | None:
    grams = emissions.get("operational")
    return None if grams is None else float(grams)


def _grid(carbon: _Json) -> str:
    average = carbon["average"]
    if average is None:
        return ""
    kind = ", yearly or estimated" if average["is_estimated"] else ""
    return f"{float(average['intensity_g_per_kwh']):.0f} gCO2e/kWh in {clean_label(average['grid_zone'])}{kind}"


def _problem(finding: _Json) -> str:
    name = f"{finding['source']} {finding['item']}".strip()
    return clean_label(f"{name} {finding['state']}: {finding['detail']}")
