"""Every metric family the agent exposes: the one place for names, types, units, labels and HELP.

Reference pages, lint and the writers are made from it. What each family holds is in ``families.py``. Naming:
DESIGN.md §6; types and units: the OpenMetrics 1.0 specification.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["CATALOGUE", "Family", "FamilyType", "family_named"]

FamilyType = Literal["counter", "gauge", "info"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One metric family.

    Attributes:
        name: the name of its samples, with ``_total`` of counters and ``_info`` of facts.
        type: counter, gauge or info.
        unit: the unit in the plural as the name ends in it, or empty where there is none.
        labels: label names, in the order of the row's values.
        help: one sentence or more, with a full stop, that names the source and its caching.
        source: where in the flow the value comes from: sensors, workloads, ledger, carbon, agent.
    """

    name: str
    type: FamilyType
    unit: str = ""
    labels: tuple[str, ...] = ()
    help: str
    source: str

    @property
    def base_name(self) -> str:
        """The name without ``_total`` or ``_info``: the OpenMetrics family name."""
        suffix = {"counter": "_total", "info": "_info", "gauge": ""}[self.type]
        return self.name.removesuffix(suffix)


_WORKLOAD = ("kind", "namespace", "name", "container")
_GPU = ("gpu", "gpu_uuid")
_AT_TICK = "Updated once per tick, the same for every scraper until the next."


def _counter(name: str, unit: str, labels: tuple[str, ...], text: str, source: str) -> Family:
    return Family(name=f"wattribute_{name}", type="counter", unit=unit, labels=labels, help=text, source=source)


def _gauge(name: str, unit: str, labels: tuple[str, ...], text: str, source: str) -> Family:
    return Family(name=f"wattribute_{name}", type="gauge", unit=unit, labels=labels, help=text, source=source)


def _info(name: str, labels: tuple[str, ...], text: str, source: str) -> Family:
    return Family(name=f"wattribute_{name}", type="info", labels=labels, help=text, source=source)


CATALOGUE: tuple[Family, ...] = (
    # The node
    _counter(
        "node_energy_joules_total",
        "joules",
        ("component",),
        "Energy drawn by a component of the node since the agent's first start on this "
        "boot, from the hardware counters "
        f"or the model named in wattribute_energy_source_info; components do not overlap. {_AT_TICK}",
        "sensors",
    ),
    _gauge(
        "node_power_watts",
        "watts",
        ("component",),
        f"Mean power of a component over the last tick, from the same source as its energy. {_AT_TICK}",
        "sensors",
    ),
    _gauge(
        "node_idle_power_watts",
        "watts",
        ("component",),
        "Power the component draws without load, as used to split idle from active energy; configured, learned from "
        f"load and power, or a prior, see wattribute_energy_source_info. {_AT_TICK}",
        "attribution",
    ),
    _counter(
        "node_unattributed_energy_joules_total",
        "joules",
        ("component", "reason"),
        "Energy of a component that no workload is charged for, by reason: idle (nobody "
        "claimed the idle power), system "
        "(kernel threads and interrupts), agent_down (drawn while no agent ran), unknown (no usage was known). "
        f"From attribution. {_AT_TICK}",
        "attribution",
    ),
    _counter(
        "node_emissions_grams_total",
        "grams",
        ("scope",),
        "Greenhouse gases in grams of CO2 equivalent caused by the node: operational is "
        "energy times PUE times the average "
        "(location-based) carbon intensity of the moment, integrated tick by tick in the ledger. "
        f"Absent until a grid zone is configured. {_AT_TICK}",
        "ledger",
    ),
    _gauge(
        "ended_energy_joules",
        "joules",
        ("component",),
        "Energy of workloads whose series have expired, from the ledger; a gauge that is not meant to be rated. "
        f"Node energy is workloads plus ended plus unattributed. {_AT_TICK}",
        "ledger",
    ),
    _counter(
        "domain_energy_joules_total",
        "joules",
        ("source", "domain", "device"),
        "Energy of one raw hardware domain, unwrapped, from the sensor in the source label. "
        f"Domains overlap: never sum across domain. {_AT_TICK}",
        "sensors",
    ),
    _gauge(
        "energy_uncertainty_ratio",
        "ratio",
        ("component",),
        "Half-width of the 95 % band of a component's energy relative to its value, as stated by its source. "
        f"{_AT_TICK}",
        "sensors",
    ),
    _info(
        "energy_source_info",
        ("component", "source", "quality", "baseline", "partial"),
        "Where a component's energy comes from: the sensor or model in force, whether it is measured or estimated, the "
        "origin of its idle power (configured, learned, prior, model or none yet), and whether a domain is missing. "
        f"{_AT_TICK}",
        "sensors",
    ),
    # GPUs
    _counter(
        "gpu_energy_joules_total",
        "joules",
        _GPU,
        "Energy of one GPU board (or module, see wattribute_gpu_info) since it was first read on this boot, from its "
        f"energy counter, else from its power, integrated. {_AT_TICK}",
        "sensors",
    ),
    _gauge(
        "gpu_power_watts",
        "watts",
        _GPU,
        f"Mean power of one GPU over the last tick, from the same source as its energy. {_AT_TICK}",
        "sensors",
    ),
    _gauge(
        "gpu_power_limit_watts",
        "watts",
        _GPU,
        "Power limit in force of one GPU, from its driver; short peaks exceed it. Cached for a minute.",
        "sensors",
    ),
    _gauge(
        "gpu_idle_power_watts",
        "watts",
        (*_GPU, "floor"),
        "Power one GPU draws while nothing runs on it, as used to split idle from active energy: bare, and with a "
        f"context resident; configured, learned or a prior, see wattribute_gpu_split_info. {_AT_TICK}",
        "attribution",
    ),
    _gauge(
        "gpu_utilization_ratio",
        "ratio",
        _GPU,
        "Share of time in which anything ran on one GPU, from its driver, over its last sampling period; says nothing "
        f"of how much of the GPU was busy. {_AT_TICK}",
        "sensors",
    ),
    _gauge("gpu_memory_used_bytes", "bytes", _GPU, f"Memory of one GPU in use, from its driver. {_AT_TICK}", "sensors"),
    _gauge("gpu_memory_size_bytes", "bytes", _GPU, f"Memory of one GPU, from its driver. {_AT_TICK}", "sensors"),
    _gauge(
        "gpu_temperature_celsius",
        "celsius",
        _GPU,
        f"Chip temperature of one GPU, from its driver. {_AT_TICK}",
        "sensors",
    ),
    _gauge(
        "gpu_attributed_ratio",
        "ratio",
        _GPU,
        "Share of one GPU's energy of the last tick that some workload is charged for; the rest is in "
        f"wattribute_node_unattributed_energy_joules_total. From attribution. {_AT_TICK}",
        "attribution",
    ),
    _gauge(
        "gpu_unused_ratio",
        "ratio",
        _GPU,
        "Share of one GPU that was held in the last tick while nothing ran on it: 0 unless it is held and idle, 1 if "
        f"all of it is. From attribution. {_AT_TICK}",
        "attribution",
    ),
    _info(
        "gpu_info",
        (*_GPU, "vendor", "model", "pci_bus_id", "scope", "energy_source"),
        "Facts of one GPU from its driver: what its energy covers (gpu, module) and what it comes from (counter, "
        f"power, none). {_AT_TICK}",
        "sensors",
    ),
    _info(
        "gpu_split_info",
        (*_GPU, "method", "baseline"),
        "How the active energy of one GPU was split in the last tick (exclusive, time_sliced, carried, equal, "
        "mps_declared, mps_equal, mig, none, device) and the origin of its idle power (configured, learned, prior). "
        f"From attribution. {_AT_TICK}",
        "attribution",
    ),
    _info(
        "gpu_instance_info",
        (*_GPU, "gpu_instance", "gpu_instance_uuid", "profile"),
        f"Partitions (MIG) of one GPU now, from its driver. {_AT_TICK}",
        "sensors",
    ),
    # Workloads
    _counter(
        "workload_energy_joules_total",
        "joules",
        (*_WORKLOAD, "component", "mode"),
        "Energy charged to a workload (pod, job, unit or other control group): active by use, idle by what it holds. "
        "From attribution; starts at 0 when the workload is first seen and leaves a fixed time after its end. "
        f"{_AT_TICK}",
        "attribution",
    ),
    _counter(
        "workload_emissions_grams_total",
        "grams",
        (*_WORKLOAD, "scope"),
        "Greenhouse gases in grams of CO2 equivalent charged to a workload, integrated tick by tick in the ledger. "
        f"{_AT_TICK}",
        "ledger",
    ),
    _counter(
        "workload_gpu_held_seconds_total",
        "seconds",
        _WORKLOAD,
        "Seconds times GPUs that a workload held on this node, by an allotment or a context; partitions count as "
        f"fractions. From attribution. {_AT_TICK}",
        "attribution",
    ),
    _counter(
        "workload_gpu_unused_seconds_total",
        "seconds",
        _WORKLOAD,
        "Of wattribute_workload_gpu_held_seconds_total, those in which nothing ran on the GPU: waste. "
        f"From attribution. {_AT_TICK}",
        "attribution",
    ),
    _counter(
        "workload_gpu_unused_energy_joules_total",
        "joules",
        _WORKLOAD,
        "Idle energy charged to a workload for GPUs on which nothing ran: waste; contained in its energy of mode idle. "
        f"From attribution. {_AT_TICK}",
        "attribution",
    ),
    # Training runs
    _counter(
        "run_energy_joules_total",
        "joules",
        ("run", "component", "mode"),
        "Energy charged to a training run on this node, from attribution; contained in "
        "the workloads, so never added to "
        f"them. Sum over nodes for the whole run. {_AT_TICK}",
        "attribution",
    ),
    _counter(
        "run_emissions_grams_total",
        "grams",
        ("run", "scope"),
        "Greenhouse gases in grams of CO2 equivalent charged to a training run on this "
        "node, integrated tick by tick in "
        f"the ledger. {_AT_TICK}",
        "ledger",
    ),
    _info(
        "run_info",
        ("run", "name", "framework", "namespace", "owner", "user", "world_size", "identity"),
        "Facts of a training run, recognised from control groups, process trees and "
        "allow-listed environment variables; "
        f"identity says what its key was made of. {_AT_TICK}",
        "workloads",
    ),
    _gauge(
        "run_start_timestamp_seconds",
        "seconds",
        ("run",),
        f"Unix time at which the run's oldest process on this node started, from the process table. {_AT_TICK}",
        "workloads",
    ),
    _gauge(
        "run_last_seen_timestamp_seconds",
        "seconds",
        ("run",),
        f"Unix time at which the run was last seen alive on this node, from the process table. {_AT_TICK}",
        "workloads",
    ),
    _gauge(
        "run_ranks",
        "",
        ("run",),
        f"Distinct ranks of the run seen alive on this node, from its processes. {_AT_TICK}",
        "workloads",
    ),
    _counter(
        "run_gpu_held_seconds_total",
        "seconds",
        ("run",),
        "Seconds times GPUs that a training run held on this node, by an allotment or a context; partitions count as "
        f"fractions. From attribution. {_AT_TICK}",
        "attribution",
    ),
    _counter(
        "run_gpu_unused_seconds_total",
        "seconds",
        ("run",),
        "Of wattribute_run_gpu_held_seconds_total, those in which nothing ran on the GPU: waste. From attribution. "
        f"{_AT_TICK}",
        "attribution",
    ),
    _counter(
        "run_gpu_unused_energy_joules_total",
        "joules",
        ("run",),
        "Idle energy charged to a training run for GPUs on which nothing ran: waste; contained in its energy of mode "
        f"idle. From attribution. {_AT_TICK}",
        "attribution",
    ),
    _gauge(
        "run_gpus",
        "",
        ("run",),
        f"GPUs that the run holds on this node now, by an allotment or a context; from attribution. {_AT_TICK}",
        "attribution",
    ),
    _gauge(
        "run_unused_gpus",
        "",
        ("run",),
        f"Of wattribute_run_gpus, those on which nothing ran in the last tick; from attribution. {_AT_TICK}",
        "attribution",
    ),
    _counter(
        "process_energy_joules_total",
        "joules",
        ("run", "rank", "pid", "component", "mode"),
        "Energy of one training process, from a split of its run: GPU energy by what it used and held itself, all "
        f"other by CPU time; limited in number, contained in the run. {_AT_TICK}",
        "attribution",
    ),
    # The grid
    _gauge(
        "grid_carbon_intensity_grams_per_kilowatt_hour",
        "grams_per_kilowatt_hour",
        ("grid_zone", "signal"),
        "Carbon intensity of the grid in grams of CO2 equivalent per kilowatt-hour, from the provider in "
        "wattribute_grid_carbon_intensity_info; only the average signal of the node's zone enters emissions. "
        "Cached until the provider has a newer value.",
        "carbon",
    ),
    _gauge(
        "grid_carbon_intensity_timestamp_seconds",
        "seconds",
        ("grid_zone", "signal"),
        "Unix time at which the interval starts that the carbon intensity describes, as stated by its provider. "
        "Cached with the value.",
        "carbon",
    ),
    _info(
        "grid_carbon_intensity_info",
        ("grid_zone", "signal", "provider", "basis", "estimated"),
        "Provider and basis of the carbon intensity in force, and whether the provider calls it an estimate. "
        "Cached with the value.",
        "carbon",
    ),
    _gauge(
        "pue_ratio",
        "ratio",
        (),
        "Facility energy over IT energy as configured, by which emissions are multiplied. Cached until a reload.",
        "carbon",
    ),
    # Sources and the agent itself
    _gauge(
        "source_up",
        "",
        ("source",),
        "Whether a source works at least in part (1), or fails or is not there on this machine (0), as it reported "
        f"itself. {_AT_TICK}",
        "agent",
    ),
    _counter(
        "source_errors_total",
        "",
        ("source", "reason"),
        f"Errors of a source by reason, as it reported them, kept over restarts on one boot. {_AT_TICK}",
        "agent",
    ),
    _gauge(
        "source_last_success_timestamp_seconds",
        "seconds",
        ("source",),
        f"Unix time of the last good read of a source, as it reported it. {_AT_TICK}",
        "agent",
    ),
    _counter(
        "source_resets_total",
        "",
        ("source", "reason"),
        "Times a hardware counter stepped back in a way that is not a wrap, from the "
        "sensors; kept over restarts on one "
        f"boot. {_AT_TICK}",
        "sensors",
    ),
    _counter(
        "gap_seconds_total",
        "seconds",
        ("source", "reason"),
        "Seconds whose energy is unknown, because a sensor was not readable or may have "
        "wrapped twice; from the sensors, "
        f"kept over restarts on one boot. {_AT_TICK}",
        "sensors",
    ),
    _gauge(
        "sample_timestamp_seconds",
        "seconds",
        (),
        "Unix time of the sample that this page shows, from the agent's own clock. "
        "Sampling does not depend on scrapes.",
        "agent",
    ),
    _gauge(
        "tick_duration_seconds",
        "seconds",
        (),
        f"Wall time the last tick took, from the agent's own clock. {_AT_TICK}",
        "agent",
    ),
    _gauge(
        "tick_interval_seconds",
        "seconds",
        (),
        "Configured time between ticks, from the agent's settings. Cached until a reload.",
        "agent",
    ),
    _counter("ticks_total", "", (), f"Samples taken on this boot, counted by the agent. {_AT_TICK}", "agent"),
    _counter(
        "ticks_late_total",
        "",
        (),
        f"Samples begun more than half an interval late on this boot, counted by the agent. {_AT_TICK}",
        "agent",
    ),
    _gauge(
        "config_last_reload_successful",
        "",
        (),
        f"Whether the last attempt to load the configuration succeeded, from the agent. {_AT_TICK}",
        "agent",
    ),
    _gauge(
        "config_last_reload_success_timestamp_seconds",
        "seconds",
        (),
        f"Unix time of the last successful load of the configuration, from the agent. {_AT_TICK}",
        "agent",
    ),
    _gauge(
        "process_view_restricted",
        "",
        (),
        "Whether this agent is kept from seeing the host's process ids (1), so that GPU drivers hide processes from "
        f"it; hostPID mends it. From /proc. {_AT_TICK}",
        "workloads",
    ),
    _info(
        "simulated_info",
        ("what",),
        "Present only where what this page shows is simulated and not measured. Constant.",
        "agent",
    ),
    _info("build_info", ("version",), "Version of the running agent, from the package. Constant.", "agent"),
)
"""All families, in the order of the page."""


def family_named(name: str) -> Family:
    """Return the family whose samples are called ``name``.

    Raises:
        KeyError: there is none.
    """
    for family in CATALOGUE:
        if family.name == name:
            return family
    raise KeyError(name)
