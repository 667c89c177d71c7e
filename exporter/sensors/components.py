"""Decides which domain feeds which component, and how far its joules can be trusted: the one place where this is done.

Domains overlap, components do not. Each package counts once, whatever shows it; what is inside a package or around it
never counts; one source feeds the CPU, never two.
Sources of the uncertainties stand beside them; where no source gives a number it is our judgement and says so.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from exporter.sensors.bmc_poll import IPMI_DCMI, REDFISH
from exporter.sensors.cpu_model import CpuFacts
from exporter.sensors.meter import Meter
from exporter.sensors.records import Component, DomainKey

__all__ = ["HWMON", "RAPL", "RAPL_VIRTUAL", "UNCERTAINTY_RATIOS", "Placement", "place"]

RAPL = "rapl"
RAPL_VIRTUAL = "rapl_virtual"
HWMON = "hwmon"
_CPU_SOURCES = (RAPL, RAPL_VIRTUAL, HWMON)  # the first that can be read feeds the CPU
_PLATFORM_SOURCES = (REDFISH, IPMI_DCMI, HWMON)
"""The first that can be read feeds ``other``. A BMC says what it measures: the input of the whole chassis, losses of
the supplies included; Redfish was named by the operator, with the right chassis. An ACPI meter does not say what it
is."""

UNCERTAINTY_RATIOS = {
    # Half-widths of 95 % bands, relative. Package counters of Haswell and later are measured: Hackenberg et al., "An
    # Energy Efficiency Feature Survey of the Intel Haswell Processor", IPDPSW 2015, and Khan et al., "RAPL in Action",
    # TOMPECS 2018, find them to follow a reference meter nearly linearly. The half-width itself is our judgement.
    "rapl_intel": 0.05,
    # Sandy and Ivy Bridge model the power from activity (Hackenberg et al., ISPASS 2013); half-width: judgement.
    "rapl_intel_modelled": 0.10,
    # Intel SA-00389: with SGX enabled the counters are blurred; over seconds the mean holds. Judgement.
    "rapl_intel_sgx": 0.10,
    # AMD models the power and misses data-dependent differences: Schöne et al., "Energy Efficiency Aspects of the AMD
    # Zen 2 Architecture", CLUSTER 2021. Half-width: judgement.
    "rapl_amd": 0.15,
    # Desrochers et al., "A Validation of DRAM RAPL Power Measurements", MEMSYS 2016: within 20 % of the real power.
    "rapl_dram": 0.20,
    # A hypervisor's invention, or another machine's counter. Judgement.
    "rapl_virtual": 0.80,
    # Momentary or averaged power of a supply rail, sampled every few seconds. Judgement.
    "hwmon_rail": 0.10,
    # ACPI 4.0 power meters and BMCs of servers: accuracy is the maker's and rarely stated. Judgement.
    "platform": 0.10,
    # Boards of many makers are off by up to 5 % in proportion, in steady state: Yang, Adamek and Armour, "Part-time
    # Power Measurements: nvidia-smi's Lack of Attention", SC24. That the counter is no worse is our judgement.
    "gpu_counter": 0.05,
    # Readings of part of the time only (a quarter on A100 and H100, the same paper), every few seconds. Judgement.
    "gpu_power": 0.10,
    # Thermal design power and utilisation of a known model, on bare metal and as a share of one. Judgement.
    "estimate_known": 0.50,
    "estimate_known_virtual": 0.60,
    # A default per core for an unknown model. Judgement.
    "estimate_unknown": 0.80,
}
_MODELLED_INTEL = frozenset({42, 45, 58, 62})  # family 6: Sandy Bridge, Ivy Bridge, client and server


class Placement(NamedTuple):
    """What one domain is used for.

    Attributes:
        component: what it feeds, or None.
        remark: the same in words, with the reason where it feeds nothing.
        uncertainty_ratio: of its joules; see ``UNCERTAINTY_RATIOS``.
    """

    component: Component | None
    remark: str
    uncertainty_ratio: float = 0.0


_LEFT_OUT = {
    "inside": Placement(None, "left out: lies inside its package"),
    "psys": Placement(None, "left out: contains the packages, and what else is up to the maker"),
    "module": Placement(None, "left out: holds CPU and GPU together"),
}


def place(
    meters: Collection[Meter], *, mirrored: Collection[DomainKey], allow_virtual: bool, cpu: CpuFacts
) -> dict[DomainKey, Placement]:
    """Return what each of ``meters`` is used for. A domain that cannot be read now keeps its place."""
    placements = {meter.key: _LEFT_OUT[meter.found.role.kind] for meter in meters if meter.found.role.kind in _LEFT_OUT}
    usable = [meter for meter in meters if meter.key not in placements]
    if not allow_virtual:
        virtual = Placement(None, "left out: in a virtual machine this is invented or another's (see allow_virtual)")
        placements |= {meter.key: virtual for meter in usable if meter.key.source == RAPL_VIRTUAL}
        usable = [meter for meter in usable if meter.key.source != RAPL_VIRTUAL]
    _place_packages(usable, placements, mirrored=mirrored, cpu=cpu)
    _place_memory([meter for meter in usable if meter.found.role.kind == "dram"], placements)
    _place_platform([meter for meter in usable if meter.found.role.kind == "platform"], placements)
    return placements


def _place_packages(
    usable: Sequence[Meter],
    placements: dict[DomainKey, Placement],
    *,
    mirrored: Collection[DomainKey],
    cpu: CpuFacts,
) -> None:
    parts = [meter for meter in usable if meter.found.role.kind in {"package", "rail"}]
    source = _cpu_source(parts)
    places = {meter.found.role.place for meter in parts if meter.found.role.kind == "package"}
    chosen = _best_of_each(
        [meter for meter in parts if meter.key.source == source and meter.found.role.kind == "package"]
    )
    own = {
        meter.found.role.place.partition("-die-")[0] for meter in chosen if meter.is_open and meter.key not in mirrored
    }
    for meter in parts:
        kind, location, _ = meter.found.role
        package = location.partition("-die-")[0]
        if meter.key.source != source:
            placed = Placement(None, f"left out: {source} measures the CPU")
        elif kind == "rail":
            within = Placement(None, "left out: lies inside its package")
            placed = within if location in places else _feeds(Component.CPU, meter, cpu)
        elif meter not in chosen:
            placed = Placement(None, f"left out: another interface shows package {location}")
        elif location != package and package in places:
            placed = Placement(None, f"left out: package {package} contains this die")
        elif meter.key in mirrored and package in own:
            placed = Placement(None, f"left out: repeats the counter of another die of package {package}")
        else:
            placed = _feeds(Component.CPU, meter, cpu)
        placements[meter.key] = placed


def _cpu_source(parts: Sequence[Meter]) -> str:
    """Return the source that feeds the CPU: the first that can be read, else the first that is there."""
    open_sources = {meter.key.source for meter in parts if meter.is_open}
    sources = open_sources or {meter.key.source for meter in parts}
    return next((source for source in _CPU_SOURCES if source in sources), "")


def _best_of_each(meters: Iterable[Meter]) -> list[Meter]:
    """Return one meter per place: one that can be read, then the preferred interface, then the first."""
    best: dict[str, Meter] = {}
    for meter in sorted(meters, key=lambda meter: (not meter.is_open, meter.found.role.rank, meter.key)):
        best.setdefault(meter.found.role.place, meter)
    return list(best.values())


def _place_memory(parts: Sequence[Meter], placements: dict[DomainKey, Placement]) -> None:
    chosen = _best_of_each(parts)
    for meter in parts:
        if meter in chosen:
            ratio = UNCERTAINTY_RATIOS["rapl_virtual" if meter.key.source == RAPL_VIRTUAL else "rapl_dram"]
            placements[meter.key] = Placement(Component.DRAM, "feeds dram", ratio)
        else:
            placements[meter.key] = Placement(None, f"left out: another interface shows {meter.found.role.place}")


def _place_platform(parts: Sequence[Meter], placements: dict[DomainKey, Placement]) -> None:
    """One meter is taken for the whole machine's; of several unnamed ones nobody knows how they overlap."""
    unnamed = [meter for meter in parts if meter.key.source == HWMON]
    usable = [meter for meter in parts if meter not in unnamed or len(unnamed) == 1]
    ranked = sorted(usable, key=lambda meter: (not meter.is_open, _PLATFORM_SOURCES.index(meter.key.source)))
    for meter in parts:
        if meter not in usable:
            placements[meter.key] = Placement(None, "left out: several meters without names may overlap")
        elif meter is ranked[0]:
            remark = "feeds other: taken for the whole machine's meter, less the measured components"
            placements[meter.key] = Placement(Component.OTHER, remark, UNCERTAINTY_RATIOS["platform"])
        else:
            remark = f"left out: {ranked[0].key.source} measures the whole machine"
            placements[meter.key] = Placement(None, remark)


def _feeds(component: Component, meter: Meter, cpu: CpuFacts) -> Placement:
    return Placement(component, f"feeds {component}", UNCERTAINTY_RATIOS[_uncertainty_class(meter, cpu)])


def _uncertainty_class(meter: Meter, cpu: CpuFacts) -> str:
    if meter.key.source == RAPL_VIRTUAL:
        return "rapl_virtual"
    if meter.key.source == HWMON and meter.found.unit == "power":
        return "hwmon_rail"
    if meter.key.source == HWMON or cpu.vendor in {"AuthenticAMD", "HygonGenuine"}:
        return "rapl_amd"
    if cpu.has_sgx:
        return "rapl_intel_sgx"
    is_modelled = cpu.family == 6 and cpu.model in _MODELLED_INTEL  # noqa: PLR2004
    return "rapl_intel_modelled" if is_modelled else "rapl_intel"
