"""The metric families of GPUs, and of who holds them; part of the catalogue."""

from __future__ import annotations

from exporter.exposition.family import AT_TICK, GPU_LABELS, WORKLOAD_LABELS, Family, counter, gauge, info

__all__ = ["GPU_FAMILIES", "RUN_GPU_FAMILIES", "WORKLOAD_GPU_FAMILIES"]

GPU_FAMILIES: tuple[Family, ...] = (
    gauge(
        "gpu_up",
        "",
        GPU_LABELS,
        "Whether one GPU can be read (1), or is lost, stuck, gone or let go (0); it is shown for a quarter of an hour "
        f"after it went. From its driver. {AT_TICK}",
        "sensors",
    ),
    counter(
        "gpu_energy_joules_total",
        "joules",
        GPU_LABELS,
        "Energy of one GPU board (or module, see wattribute_gpu_info) since it was first read on this boot, from its "
        f"energy counter, else from its power, integrated. {AT_TICK}",
        "sensors",
    ),
    gauge(
        "gpu_power_watts",
        "watts",
        GPU_LABELS,
        f"Mean power of one GPU over the last tick, from the same source as its energy. {AT_TICK}",
        "sensors",
    ),
    gauge(
        "gpu_power_limit_watts",
        "watts",
        GPU_LABELS,
        "Power limit in force of one GPU, from its driver; short peaks exceed it. Cached for a minute.",
        "sensors",
    ),
    gauge(
        "gpu_idle_power_watts",
        "watts",
        (*GPU_LABELS, "floor"),
        "Power one GPU draws while nothing runs on it, as used to split idle from active energy: bare, and with a "
        f"context resident; configured, learned or a prior, see wattribute_gpu_split_info. {AT_TICK}",
        "attribution",
    ),
    gauge(
        "gpu_utilization_ratio",
        "ratio",
        GPU_LABELS,
        "Share of time in which anything ran on one GPU, from its driver, over its last sampling period; says nothing "
        f"of how much of the GPU was busy. {AT_TICK}",
        "sensors",
    ),
    gauge(
        "gpu_memory_used_bytes", "bytes", GPU_LABELS, f"Used memory of one GPU, from its driver. {AT_TICK}", "sensors"
    ),
    gauge("gpu_memory_size_bytes", "bytes", GPU_LABELS, f"Memory of one GPU, from its driver. {AT_TICK}", "sensors"),
    gauge(
        "gpu_temperature_celsius",
        "celsius",
        GPU_LABELS,
        f"Chip temperature of one GPU, from its driver. {AT_TICK}",
        "sensors",
    ),
    gauge(
        "gpu_attributed_ratio",
        "ratio",
        GPU_LABELS,
        "Share of one GPU's energy of the last tick that some workload is charged for; the rest is in "
        f"wattribute_node_unattributed_energy_joules_total. From attribution. {AT_TICK}",
        "attribution",
    ),
    gauge(
        "gpu_unused_ratio",
        "ratio",
        GPU_LABELS,
        "Share of one GPU that was held in the last tick while nothing ran on it: 0 unless it is held and idle, 1 if "
        f"all of it is. From attribution. {AT_TICK}",
        "attribution",
    ),
    info(
        "gpu_info",
        (*GPU_LABELS, "vendor", "model", "pci_bus_id", "scope", "energy_source"),
        "Facts of one GPU from its driver: what its energy covers (gpu, module) and what it comes from (counter, "
        f"power, none). {AT_TICK}",
        "sensors",
    ),
    info(
        "gpu_split_info",
        (*GPU_LABELS, "method", "baseline"),
        "How the active energy of one GPU was split in the last tick (exclusive, time_sliced, carried, equal, "
        "mps_declared, mps_equal, mig, none, device) and the origin of its idle power (configured, learned, prior). "
        f"From attribution. {AT_TICK}",
        "attribution",
    ),
    info(
        "gpu_instance_info",
        (*GPU_LABELS, "gpu_instance", "gpu_instance_uuid", "profile"),
        f"Partitions (MIG) of one GPU now, from its driver. {AT_TICK}",
        "sensors",
    ),
)

WORKLOAD_GPU_FAMILIES: tuple[Family, ...] = (
    counter(
        "workload_gpu_held_seconds_total",
        "seconds",
        WORKLOAD_LABELS,
        "Seconds times GPUs that a workload held on this node, by an allotment or a context; partitions count as "
        f"fractions. From attribution. {AT_TICK}",
        "attribution",
    ),
    counter(
        "workload_gpu_unused_seconds_total",
        "seconds",
        WORKLOAD_LABELS,
        "Of wattribute_workload_gpu_held_seconds_total, those in which nothing ran on the GPU: waste. "
        f"From attribution. {AT_TICK}",
        "attribution",
    ),
    counter(
        "workload_gpu_unused_energy_joules_total",
        "joules",
        WORKLOAD_LABELS,
        "Idle energy charged to a workload for GPUs on which nothing ran: waste; contained in its energy of mode idle. "
        f"From attribution. {AT_TICK}",
        "attribution",
    ),
)

RUN_GPU_FAMILIES: tuple[Family, ...] = (
    counter(
        "run_gpu_held_seconds_total",
        "seconds",
        ("run",),
        "Seconds times GPUs that a training run held on this node, by an allotment or a context; partitions count as "
        f"fractions. From attribution. {AT_TICK}",
        "attribution",
    ),
    counter(
        "run_gpu_unused_seconds_total",
        "seconds",
        ("run",),
        "Of wattribute_run_gpu_held_seconds_total, those in which nothing ran on the GPU: waste. From attribution. "
        f"{AT_TICK}",
        "attribution",
    ),
    counter(
        "run_gpu_unused_energy_joules_total",
        "joules",
        ("run",),
        "Idle energy charged to a training run for GPUs on which nothing ran: waste; contained in its energy of mode "
        f"idle. From attribution. {AT_TICK}",
        "attribution",
    ),
    gauge(
        "run_gpus",
        "",
        ("run",),
        "GPUs of which the run holds all or a part on this node now, by an allotment or a context; absent while no GPU "
        f"can be read; from attribution. {AT_TICK}",
        "attribution",
    ),
    gauge(
        "run_unused_gpus",
        "",
        ("run",),
        f"Of wattribute_run_gpus, those on which nothing ran in the last tick; from attribution. {AT_TICK}",
        "attribution",
    ),
)
