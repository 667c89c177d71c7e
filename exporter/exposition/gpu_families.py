"""From a snapshot to the rows of the GPU families: values by GPU, and what runs and workloads hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from exporter.exposition.labels import clean_label, clean_labels
from exporter.ledger.snapshot import GpuTotals, RunTotals, Snapshot

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


def _of_runs(value: Callable[[RunTotals], float | None]) -> Callable[[Snapshot], _Rows]:
    """Return what fills a family with one value per run that ever held a GPU, where it is known."""

    def fill(snapshot: Snapshot) -> _Rows:
        values = ((run, value(run)) for run in snapshot.runs if run.gpu is not None)
        return ((_clean(run.facts.key), number) for run, number in values if number is not None)

    return fill


def _run_use(column: int) -> Callable[[Snapshot], _Rows]:
    """Return what fills a family with one of ``GPU_COLUMNS`` per run."""
    return _of_runs(lambda run: None if run.gpu is None else run.gpu[column])


def _workload_use(column: int) -> Callable[[Snapshot], _Rows]:
    """Return what fills a family with one of ``GPU_COLUMNS`` per workload that ever held a GPU."""
    return lambda snapshot: (
        (clean_labels(of.workload), of.gpu[column]) for of in snapshot.workloads if of.gpu is not None
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
    "wattribute_workload_gpu_held_seconds_total": _workload_use(0),
    "wattribute_workload_gpu_unused_seconds_total": _workload_use(1),
    "wattribute_workload_gpu_unused_energy_joules_total": _workload_use(2),
    "wattribute_run_gpu_held_seconds_total": _run_use(0),
    "wattribute_run_gpu_unused_seconds_total": _run_use(1),
    "wattribute_run_gpu_unused_energy_joules_total": _run_use(2),
    "wattribute_run_gpus": _of_runs(lambda run: run.gpus),
    "wattribute_run_unused_gpus": _of_runs(lambda run: run.unused_gpus),
}
