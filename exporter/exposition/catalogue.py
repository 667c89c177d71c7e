"""Every metric family the agent exposes: the one place for names, types, units, labels and HELP.

Reference pages, lint and the writers are made from it. What each family holds is in ``families.py``. Naming:
DESIGN.md §6; types and units: the OpenMetrics 1.0 specification.
"""

from __future__ import annotations

from exporter.exposition.family import AT_TICK, WORKLOAD_LABELS, Family, counter, gauge, info
from exporter.exposition.footprint_catalogue import (
    BUDGET_FAMILIES,
    GRID_FAMILIES,
    NODE_FOOTPRINT_FAMILIES,
    RUN_FOOTPRINT_FAMILIES,
    WORKLOAD_FOOTPRINT_FAMILIES,
)
from exporter.exposition.gpu_catalogue import GPU_FAMILIES, RUN_GPU_FAMILIES, WORKLOAD_GPU_FAMILIES

__all__ = ["CATALOGUE", "family_named"]

CATALOGUE: tuple[Family, ...] = (
    # The node
    counter(
        "node_energy_joules_total",
        "joules",
        ("component",),
        "Energy drawn by a component of the node since the agent's first start on this "
        "boot, from the hardware counters "
        f"or the model named in wattribute_energy_source_info; components do not overlap. {AT_TICK}",
        "sensors",
    ),
    gauge(
        "node_power_watts",
        "watts",
        ("component",),
        f"Mean power of a component over the last tick, from the same source as its energy. {AT_TICK}",
        "sensors",
    ),
    gauge(
        "node_idle_power_watts",
        "watts",
        ("component",),
        "Power the component draws without load, as used to split idle from active energy; configured, learned from "
        f"load and power, or a prior, see wattribute_energy_source_info. {AT_TICK}",
        "attribution",
    ),
    counter(
        "node_unattributed_energy_joules_total",
        "joules",
        ("component", "reason"),
        "Energy of a component that no workload is charged for, by reason: idle (nobody "
        "claimed the idle power), system "
        "(kernel threads and interrupts), agent_down (drawn while no agent ran), unknown (no usage was known). "
        f"From attribution. {AT_TICK}",
        "attribution",
    ),
    counter(
        "node_emissions_grams_total",
        "grams",
        ("scope",),
        "Greenhouse gases in grams of CO2 equivalent caused by the node: operational is "
        "energy times PUE times the average "
        "(location-based) carbon intensity of the moment, integrated tick by tick in the ledger; embodied is making "
        "the hardware, spread evenly over its life. "
        f"Each is absent until its settings are given. {AT_TICK}",
        "ledger",
    ),
    *NODE_FOOTPRINT_FAMILIES,
    gauge(
        "ended_energy_joules",
        "joules",
        ("component",),
        "Energy of workloads whose series have expired, from the ledger; a gauge that is not meant to be rated. "
        f"Node energy is workloads plus ended plus unattributed. {AT_TICK}",
        "ledger",
    ),
    counter(
        "domain_energy_joules_total",
        "joules",
        ("source", "domain", "device"),
        "Energy of one raw hardware domain, unwrapped, from the sensor in the source label. "
        f"Domains overlap: never sum across domain. {AT_TICK}",
        "sensors",
    ),
    gauge(
        "energy_uncertainty_ratio",
        "ratio",
        ("component",),
        "Half-width of the 95 % band of a component's energy relative to its value, as stated by its source. "
        f"{AT_TICK}",
        "sensors",
    ),
    info(
        "energy_source_info",
        ("component", "source", "quality", "baseline", "partial"),
        "Where a component's energy comes from: the sensor or model in force, whether it is measured or estimated, the "
        "origin of its idle power (configured, learned, prior, model or none yet), and whether a domain is missing. "
        f"{AT_TICK}",
        "sensors",
    ),
    *GPU_FAMILIES,
    # Workloads
    counter(
        "workload_energy_joules_total",
        "joules",
        (*WORKLOAD_LABELS, "component", "mode"),
        "Energy charged to a workload (pod, job, unit or other control group): active by use, idle by what it holds. "
        "From attribution; starts at 0 when the workload is first seen and leaves a fixed time after its end. "
        f"{AT_TICK}",
        "attribution",
    ),
    counter(
        "workload_emissions_grams_total",
        "grams",
        (*WORKLOAD_LABELS, "scope"),
        "Greenhouse gases in grams of CO2 equivalent charged to a workload, integrated tick by tick in the ledger: "
        f"operational by its energy, embodied by the hardware it holds. {AT_TICK}",
        "ledger",
    ),
    *WORKLOAD_FOOTPRINT_FAMILIES,
    *WORKLOAD_GPU_FAMILIES,
    info(
        "pod_info",
        ("namespace", "name", "uid", "owner_kind", "owner_name", "queue", "team"),
        "Facts of a Kubernetes pod on this node, from the kubelet, the API server or the log directories: its owner, "
        f"the queue it was admitted through and the team its labels name. {AT_TICK}",
        "workloads",
    ),
    # Training runs
    counter(
        "run_energy_joules_total",
        "joules",
        ("run", "component", "mode"),
        "Energy charged to a training run on this node, from attribution; contained in "
        "the workloads, so never added to "
        f"them. Sum over nodes for the whole run. {AT_TICK}",
        "attribution",
    ),
    counter(
        "run_emissions_grams_total",
        "grams",
        ("run", "scope"),
        "Greenhouse gases in grams of CO2 equivalent charged to a training run on this "
        "node, integrated tick by tick in "
        f"the ledger: operational by its energy, embodied by the hardware it holds. {AT_TICK}",
        "ledger",
    ),
    *RUN_FOOTPRINT_FAMILIES,
    info(
        "run_info",
        ("run", "name", "framework", "namespace", "owner", "user", "account", "world_size", "identity"),
        "Facts of a training run, recognised from control groups, process trees and "
        "allow-listed environment variables; "
        f"identity says what its key was made of. {AT_TICK}",
        "workloads",
    ),
    gauge(
        "run_start_timestamp_seconds",
        "seconds",
        ("run",),
        f"Unix time at which the run's oldest process on this node started, from the process table. {AT_TICK}",
        "workloads",
    ),
    gauge(
        "run_last_seen_timestamp_seconds",
        "seconds",
        ("run",),
        f"Unix time at which the run was last seen alive on this node, from the process table. {AT_TICK}",
        "workloads",
    ),
    gauge(
        "run_ranks",
        "",
        ("run",),
        f"Distinct ranks of the run seen alive on this node, from its processes. {AT_TICK}",
        "workloads",
    ),
    *RUN_GPU_FAMILIES,
    counter(
        "process_energy_joules_total",
        "joules",
        ("run", "rank", "pid", "component", "mode"),
        "Energy of one training process, from a split of its run: GPU energy by what it used and held itself, all "
        f"other by CPU time; limited in number, contained in the run. {AT_TICK}",
        "attribution",
    ),
    # The grid
    gauge(
        "grid_carbon_intensity_grams_per_kilowatt_hour",
        "grams_per_kilowatt_hour",
        ("grid_zone", "signal"),
        "Carbon intensity of the grid in grams of CO2 equivalent per kilowatt-hour, from the provider in "
        "wattribute_grid_carbon_intensity_info; of the node's zone the average signal enters emissions, the market "
        "signal its own account. "
        "Cached until the provider has a newer value.",
        "carbon",
    ),
    gauge(
        "grid_carbon_intensity_timestamp_seconds",
        "seconds",
        ("grid_zone", "signal"),
        "Unix time at which the interval starts that the carbon intensity describes, as stated by its provider. "
        "Cached with the value.",
        "carbon",
    ),
    info(
        "grid_carbon_intensity_info",
        ("grid_zone", "signal", "provider", "basis", "estimated"),
        "Provider and basis of the carbon intensity in force, and whether the provider calls it an estimate. "
        "Cached with the value.",
        "carbon",
    ),
    gauge(
        "pue_ratio",
        "ratio",
        (),
        "Facility energy over IT energy as configured, by which emissions are multiplied. Cached until a reload.",
        "carbon",
    ),
    *GRID_FAMILIES,
    *BUDGET_FAMILIES,
    # Sources and the agent itself
    gauge(
        "source_up",
        "",
        ("source",),
        "Whether a source works at least in part (1), or fails or is not there on this machine (0), as it reported "
        f"itself. {AT_TICK}",
        "agent",
    ),
    counter(
        "source_errors_total",
        "",
        ("source", "reason"),
        f"Errors of a source by reason, as it reported them, kept over restarts on one boot. {AT_TICK}",
        "agent",
    ),
    gauge(
        "source_last_success_timestamp_seconds",
        "seconds",
        ("source",),
        f"Unix time of the last good read of a source, as it reported it. {AT_TICK}",
        "agent",
    ),
    counter(
        "source_resets_total",
        "",
        ("source", "reason"),
        "Times a hardware counter stepped back in a way that is not a wrap, from the "
        "sensors; kept over restarts on one "
        f"boot. {AT_TICK}",
        "sensors",
    ),
    counter(
        "gap_seconds_total",
        "seconds",
        ("source", "reason"),
        "Seconds whose energy is unknown, because a sensor was not readable or may have "
        "wrapped twice; from the sensors, "
        f"kept over restarts on one boot. {AT_TICK}",
        "sensors",
    ),
    gauge(
        "sample_timestamp_seconds",
        "seconds",
        (),
        "Unix time of the sample that this page shows, from the agent's own clock. "
        "Sampling does not depend on scrapes.",
        "agent",
    ),
    gauge(
        "tick_duration_seconds",
        "seconds",
        (),
        f"Wall time the last tick took, from the agent's own clock. {AT_TICK}",
        "agent",
    ),
    gauge(
        "tick_interval_seconds",
        "seconds",
        (),
        "Configured time between ticks, from the agent's settings. Cached until a reload.",
        "agent",
    ),
    counter("ticks_total", "", (), f"Samples taken on this boot, counted by the agent. {AT_TICK}", "agent"),
    counter(
        "ticks_late_total",
        "",
        (),
        f"Samples begun more than half an interval late on this boot, counted by the agent. {AT_TICK}",
        "agent",
    ),
    gauge(
        "config_last_reload_successful",
        "",
        (),
        f"Whether the last attempt to load the configuration succeeded, from the agent. {AT_TICK}",
        "agent",
    ),
    gauge(
        "config_last_reload_success_timestamp_seconds",
        "seconds",
        (),
        f"Unix time of the last successful load of the configuration, from the agent. {AT_TICK}",
        "agent",
    ),
    gauge(
        "process_view_restricted",
        "",
        (),
        "Whether this agent is kept from seeing the host's process ids (1), so that GPU drivers hide processes from "
        f"it; hostPID mends it. From /proc. {AT_TICK}",
        "workloads",
    ),
    info(
        "simulated_info",
        ("what",),
        "Present only where what this page shows is simulated and not measured. Constant.",
        "agent",
    ),
    info("build_info", ("version",), "Version of the running agent, from the package. Constant.", "agent"),
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
