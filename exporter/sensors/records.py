"""What the sensors give: joules per domain and per component since the last sample.

Domains are what the hardware offers and may overlap; components are disjoint, so that their sum is the node.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, NamedTuple, Protocol

from exporter.health import Finding, SourceEvent

__all__ = [
    "Component",
    "ComponentEnergy",
    "CounterState",
    "DomainKey",
    "DomainTotal",
    "EnergySample",
    "EnergySensors",
    "Quality",
]

Quality = Literal["measured", "estimated"]


class Component(StrEnum):
    """The disjoint parts of a node whose energies add up to the node's."""

    CPU = "cpu"
    DRAM = "dram"
    GPU = "gpu"
    OTHER = "other"


class DomainKey(NamedTuple):
    """What identifies one hardware energy domain on this node, across restarts of the agent.

    Attributes:
        source: fixed name of the source, for example ``rapl``.
        domain: the domain's kind in the source's words: package, core, uncore, dram, psys …
        device: the instance: ``0``, ``0-die-1``, a hwmon device path …; unique within source and domain.
    """

    source: str
    domain: str
    device: str


class DomainTotal(NamedTuple):
    """The unwrapped energy of one domain since it was first read on this boot.

    Attributes:
        key: the domain.
        total_j: joules, never decreasing.
        component: the component this domain feeds, or None where it overlaps one that does.
    """

    key: DomainKey
    total_j: float
    component: Component | None


class CounterState(NamedTuple):
    """What must survive a restart of the agent for one domain's counter to go on.

    Attributes:
        raw: the register at the last good read, in the source's unit.
        read_at_s: ``Clock.monotonic_s`` of that read.
        total_j: the unwrapped total at that read.
    """

    raw: int
    read_at_s: float
    total_j: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentEnergy:
    """The energy of one component over one interval.

    Attributes:
        component: which part of the node.
        energy_j: joules, not negative, over ``interval_s``.
        interval_s: seconds the joules cover; the mean over the domains where they differ.
        source: the source in force, for the info metric: ``rapl``, ``hwmon``, ``cpu_estimate`` …
        quality: measured by a sensor or estimated by a model.
        uncertainty_ratio: half-width of the 95 % band relative to the value, 0–1 and above.
        is_partial: True where a domain that belongs to the component could not be read.
        idle_power_w: the component's power without load where the source knows it (a model does), else None.
    """

    component: Component
    energy_j: float
    interval_s: float
    source: str
    quality: Quality
    uncertainty_ratio: float
    is_partial: bool = False
    idle_power_w: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergySample:
    """What all sensors together saw since the previous sample.

    Attributes:
        components: one entry per component that has a working source; a component without one is absent.
        domains: every domain known, readable now or not, with its running total.
        events: errors, resets and gaps since the previous sample.
        findings: the state of every source, now.
    """

    components: Mapping[Component, ComponentEnergy]
    domains: Sequence[DomainTotal] = ()
    events: Sequence[SourceEvent] = ()
    findings: Sequence[Finding] = field(default=())


class EnergySensors(Protocol):
    """What the loop needs of the sensors; ``SensorSet`` is the implementation."""

    def resume(
        self,
        states: Mapping[DomainKey, CounterState],
        *,
        gpu: ComponentEnergy | None = None,
        is_gpu_whole: bool = True,
    ) -> EnergySample:
        """Read every domain once and return what the hardware counted since ``states`` were saved.

        Domains without a saved state start at zero joules. Called once, before the first ``sample``. ``gpu`` as there.
        """
        ...

    def sample(
        self, *, busy_ratio: float, gpu: ComponentEnergy | None = None, is_gpu_whole: bool = True
    ) -> EnergySample:
        """Read every domain and return what was drawn since the previous call.

        ``gpu`` is what the GPUs drew meanwhile: it becomes a component, and a platform's meter holds it too;
        ``is_gpu_whole`` False: some GPU's joules come later. ``busy_ratio`` is the share of the node's CPU time that
        was not idle in the interval, 0–1; models of machines without a sensor need it, and a frozen counter shows by
        it.
        """
        ...

    def states(self) -> Mapping[DomainKey, CounterState]:
        """Return what must be saved so that a later ``resume`` can go on."""
        ...

    def missing_required(self) -> tuple[str, ...]:
        """Return the names of required sources that give nothing now."""
        ...

    def close(self) -> None:
        """Release descriptors and device handles."""
        ...
