"""What a report says of a run, whatever it was read from, and what follows from it by arithmetic."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import NamedTuple, Protocol, TypeVar

from exporter.errors import ExporterError
from exporter.units import JOULES_PER_KILOWATT_HOUR

__all__ = ["UNCERTAINTY_FORMULA", "Grid", "Hardware", "ReportError", "RunReport", "chosen"]

UNCERTAINTY_FORMULA = (
    "sqrt(sum over components of (ratio x energy)^2) / energy, where a component's ratio is the half-width of its 95 % "
    "band and errors of one component on several nodes are taken to be the same"
)


class ReportError(ExporterError):
    """There is nothing to report, or what there is cannot be used. The text says what to do."""


class Hardware(NamedTuple):
    """GPUs that a run held: how many at most at once, or None where unknown, and what they are."""

    gpus: int | None
    model: str


class Grid(NamedTuple):
    """A grid whose average intensity was in force. ``is_estimated``: None where unknown."""

    zone: str
    provider: str = ""
    basis: str = ""
    is_estimated: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """One run, whole, as far as its source knows it. Texts come from users: clean them before they are shown.

    Attributes:
        key, name, framework, namespace, owner, user, account, identity: as in ``RunFacts``; empty: unknown.
        world_size: ranks of the run on all nodes, or None.
        ranks: ranks that were seen, or None.
        source: what the numbers were read from, in words.
        started_s, seen_s: Unix times of its start and of the last sign of life.
        is_running: whether it is thought to run still.
        nodes: names of the nodes that counted for it.
        hardware: GPUs by model; empty: it held none, or that is unknown.
        cpu_models: CPUs of its nodes in the kernel's words; empty: unknown.
        energy_j: joules by component and mode (active, idle).
        emissions_g: location-based grams by scope (operational, embodied); a scope that was not counted is absent.
        market_g, water_l, cost: None where not counted. ``cost_currency``: what the cost is in, or empty.
        gpu_held_s, gpu_unused_s, gpu_unused_j: seconds times GPUs held and of these idle, joules of the latter; None
            where it held none or that is unknown.
        grids: average intensities that were in force on its nodes.
        pue_ratios: PUEs in force, ascending; empty: unknown.
        facility_j: joules times the PUE of the node they were drawn on; None where a PUE is unknown.
        uncertainty_ratios: half-width of the 95 % band by component; what is absent is unknown.
        qualities: by component the kinds of energy seen: measured, estimated.
        notes: what a reader must know to judge the numbers, one sentence each.
    """

    key: str
    name: str
    framework: str = ""
    namespace: str = ""
    owner: str = ""
    user: str = ""
    account: str = ""
    identity: str = ""
    world_size: int | None = None
    ranks: int | None = None
    source: str
    started_s: float
    seen_s: float
    is_running: bool = False
    nodes: Sequence[str] = ()
    hardware: Sequence[Hardware] = ()
    cpu_models: Sequence[str] = ()
    energy_j: Mapping[tuple[str, str], float]
    emissions_g: Mapping[str, float] = field(default_factory=dict)
    market_g: float | None = None
    water_l: float | None = None
    cost: float | None = None
    cost_currency: str = ""
    gpu_held_s: float | None = None
    gpu_unused_s: float | None = None
    gpu_unused_j: float | None = None
    grids: Sequence[Grid] = ()
    pue_ratios: Sequence[float] = ()
    facility_j: float | None = None
    uncertainty_ratios: Mapping[str, float] = field(default_factory=dict)
    qualities: Mapping[str, Sequence[str]] = field(default_factory=dict)
    notes: Sequence[str] = ()

    @property
    def duration_s(self) -> float:
        """Seconds from its start to the last sign of life."""
        return max(self.seen_s - self.started_s, 0.0)

    @property
    def total_j(self) -> float:
        """Joules of all components."""
        return math.fsum(self.energy_j.values())

    @property
    def operational_g(self) -> float | None:
        """Location-based operational grams, or None where no grid zone was configured."""
        return self.emissions_g.get("operational")

    @property
    def embodied_g(self) -> float | None:
        """Embodied grams, or None where they were not counted."""
        return self.emissions_g.get("embodied")

    @property
    def average_power_w(self) -> float | None:
        """Mean power over its duration, or None for a run without one."""
        return self.total_j / self.duration_s if self.duration_s > 0 else None

    @property
    def intensity_g_per_kwh(self) -> float | None:
        """Mean intensity that was in force, weighted by energy: operational grams per kWh of facility energy."""
        if self.operational_g is None or not self.facility_j:
            return None
        return self.operational_g / (self.facility_j / JOULES_PER_KILOWATT_HOUR)

    @property
    def uncertainty_ratio(self) -> float | None:
        """Half-width of the 95 % band of all energy by ``UNCERTAINTY_FORMULA``; None where a part is unknown."""
        sums_j = self.by_component_j()
        if not self.total_j or any(name not in self.uncertainty_ratios for name, joules in sums_j.items() if joules):
            return None
        widths_j = (self.uncertainty_ratios[name] * joules for name, joules in sums_j.items() if joules)
        return math.hypot(*widths_j) / self.total_j

    @property
    def quality(self) -> str:
        """``measured``, ``estimated``, ``partly estimated`` or, where nobody said, ``unknown``."""
        kinds = {
            kind for name, joules in self.by_component_j().items() if joules for kind in self.qualities.get(name, ())
        }
        return "partly estimated" if len(kinds) > 1 else next(iter(kinds), "unknown")

    def by_component_j(self) -> Mapping[str, float]:
        """Return joules by component."""
        return self._summed(0)

    def by_mode_j(self) -> Mapping[str, float]:
        """Return joules by mode."""
        return self._summed(1)

    def not_covered(self) -> Sequence[str]:
        """Return what the energy and emissions do not hold, in words."""
        counted = self.by_component_j()
        missing = []
        if not counted.get("other"):
            missing.append(
                "fans, power supplies, network cards and disks of the nodes, which no platform meter covered"
            )
        if not counted.get("dram"):
            missing.append("memory, which no sensor covered")
        missing.append("switches, shared storage and other machines")
        if not self.pue_ratios or max(self.pue_ratios) <= 1:
            missing.append("cooling and power distribution of the building (no PUE above 1 is set)")
        if self.embodied_g is None:
            missing.append("the making of the hardware (embodied emissions are off)")
        missing.append("earlier attempts and failed runs, which have reports of their own")
        missing.append("what was drawn between the last sample and a crash of the node")
        return missing

    def _summed(self, place: int) -> Mapping[str, float]:
        names = dict.fromkeys(labels[place] for labels in self.energy_j)
        return {
            name: math.fsum(joules for labels, joules in self.energy_j.items() if labels[place] == name)
            for name in names
        }


class _Named(Protocol):
    @property
    def key(self) -> str: ...
    @property
    def name(self) -> str: ...


_R = TypeVar("_R", bound=_Named)


def chosen(runs: Sequence[_R], wanted: str) -> Sequence[_R]:
    """Return the runs whose key or name is ``wanted``, else those that match it as a shell pattern."""
    exact = [run for run in runs if run.key == wanted] or [run for run in runs if run.name == wanted]
    return exact or [run for run in runs if fnmatchcase(run.key, wanted) or fnmatchcase(run.name, wanted)]
