"""From a snapshot to the rows of the GPU families: values by GPU, and what runs and workloads hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from exporter.exposition.labels import clean_label, clean_labels
from exporter.ledger.snapshot import GpuTotals, Snapshot

__all__ = ["GPU_FILL"]

_Rows = Iterator[tuple[tuple[str, ...], float]]
_GpuValue = Callable[[GpuTotals], float | None]


def _clean(*texts: str) -> tuple[str, ...]:
    return clean_labels(texts)


def _gpu(totals: GpuTotals) -> tuple[str, str]:
    return str(totals.facts.index), clean_label(totals.facts.uuid)


def _of_gpus(value: _GpuValue) -> Callable[[Snapshot], _Rows]:
    """Return what fills a family with one value per GPU, where it is known."""

    def fill(snapshot: Snapshot) -> _Rows:
        values = ((gpu, value(gpu)) for gpu in snapshot.gpus)
        return ((_gpu(gpu), number) for gpu, number in values if number is not None)

    return fill


def _read(name: str) -> _GpuValue:
    """Return what looks up a field of the last reading."""
    return lambda gpu: None if gpu.reading is None else getattr(gpu.reading, name)


def _gpu_idle_power(snapshot: Snapshot) -> _Rows:
    for gpu in snapshot.gpus:
        for floor, watts in (("bare", gpu.bare_idle_w), ("context", gpu.context_idle_w)):
            if watts is not None:
                yield (*_gpu(gpu), floor), watts


def _gpu_info(snapshot: Snapshot) -> _Rows:
    for gpu in snapshot.gpus:
        f = gpu.facts
        yield (*_gpu(gpu), *_clean(f.vendor, f.model, f.pci_bus_id), f.scope, gpu.method), 1.0


def _gpu_split(snapshot: Snapshot) -> _Rows:
    for gpu in snapshot.gpus:
        if gpu.split:
            yield (*_gpu(gpu), gpu.split, gpu.baseline_origin or "none"), 1.0


def _gpu_instances(snapshot: Snapshot) -> _Rows:
    for gpu in snapshot.gpus:
        for one in gpu.reading.instances if gpu.reading else ():
            yield (*_gpu(gpu), *_clean(one.name, one.uuid, one.profile)), 1.0


def _unused(gpu: GpuTotals) -> float | None:
    return sum(holder.unused_share for holder in gpu.holders) if gpu.split else None


def _gpu_use(of_runs: bool, index: int) -> Callable[[Snapshot], _Rows]:  # noqa: FBT001 - two tables, one rule
    """Return what fills a family with one of ``GPU_COLUMNS``: for those that ever held a GPU."""

    def fill(snapshot: Snapshot) -> _Rows:
        if of_runs:
            return ((_clean(r.facts.key), r.gpu[index]) for r in snapshot.runs if r.gpu is not None)
        return ((clean_labels(w.workload), w.gpu[index]) for w in snapshot.workloads if w.gpu is not None)

    return fill


def _run_gpus(snapshot: Snapshot) -> _Rows:
    return ((_clean(r.facts.key), r.gpus) for r in snapshot.runs if r.gpu is not None and r.gpus is not None)


def _run_unused_gpus(snapshot: Snapshot) -> _Rows:
    return (
        (_clean(r.facts.key), r.unused_gpus) for r in snapshot.runs if r.gpu is not None and r.unused_gpus is not None
    )


GPU_FILL: dict[str, Callable[[Snapshot], _Rows]] = {
    "wattribute_gpu_up": _of_gpus(lambda gpu: float(gpu.state in {"up", "degraded"})),
    "wattribute_gpu_energy_joules_total": _of_gpus(lambda gpu: gpu.energy_j),
    "wattribute_gpu_power_watts": _of_gpus(lambda gpu: gpu.power_w),
    "wattribute_gpu_power_limit_watts": _of_gpus(_read("power_limit_w")),
    "wattribute_gpu_idle_power_watts": _gpu_idle_power,
    "wattribute_gpu_utilization_ratio": _of_gpus(_read("utilization_ratio")),
    "wattribute_gpu_memory_used_bytes": _of_gpus(_read("memory_used_bytes")),
    "wattribute_gpu_memory_size_bytes": _of_gpus(_read("memory_total_bytes")),
    "wattribute_gpu_temperature_celsius": _of_gpus(_read("temperature_celsius")),
    "wattribute_gpu_attributed_ratio": _of_gpus(lambda gpu: gpu.attributed_ratio),
    "wattribute_gpu_unused_ratio": _of_gpus(_unused),
    "wattribute_gpu_info": _gpu_info,
    "wattribute_gpu_split_info": _gpu_split,
    "wattribute_gpu_instance_info": _gpu_instances,
    "wattribute_workload_gpu_held_seconds_total": _gpu_use(False, 0),
    "wattribute_workload_gpu_unused_seconds_total": _gpu_use(False, 1),
    "wattribute_workload_gpu_unused_energy_joules_total": _gpu_use(False, 2),
    "wattribute_run_gpu_held_seconds_total": _gpu_use(True, 0),
    "wattribute_run_gpu_unused_seconds_total": _gpu_use(True, 1),
    "wattribute_run_gpu_unused_energy_joules_total": _gpu_use(True, 2),
    "wattribute_run_gpus": _run_gpus,
    "wattribute_run_unused_gpus": _run_unused_gpus,
}
