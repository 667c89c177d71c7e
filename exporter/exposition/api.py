"""The JSON of ``/api/v1``: runs, and the whole snapshot, for ``wattribute top`` and for scripts.

Fields are only ever added within ``v1``. Documented in docs/reference/http.md.
"""

from __future__ import annotations

import json
import math
from typing import Any

from exporter import __version__
from exporter.carbon.embodied import HardwareFigure
from exporter.carbon.records import Intensity
from exporter.exposition.labels import clean_label
from exporter.ledger.snapshot import (
    ENERGY_COLUMNS,
    FOOTPRINT_COLUMNS,
    GPU_COLUMNS,
    NO_GPU_USE,
    SCOPES,
    BudgetTotals,
    GpuTotals,
    RunTotals,
    Snapshot,
    WorkloadTotals,
)

__all__ = ["runs_document", "snapshot_document"]

_Json = dict[str, Any]  # what json.dumps takes: text, numbers, booleans, None, lists and dicts of them


def runs_document(snapshot: Snapshot) -> bytes:
    """Return the training runs of this node as a JSON document."""
    runs = [_run(run, snapshot) for run in snapshot.runs]
    simulated = clean_label(snapshot.agent.simulated)
    return _dump({"version": 1, "simulated": simulated, "taken_s": snapshot.taken_s, "runs": runs})


def snapshot_document(snapshot: Snapshot) -> bytes:
    """Return components, workloads, runs, carbon and sources of this node as a JSON document."""
    return _dump(
        {
            "version": 1,
            "agent": {"version": __version__, "interval_s": snapshot.agent.interval_s, "ticks": snapshot.agent.ticks},
            "simulated": clean_label(snapshot.agent.simulated),
            "taken_s": snapshot.taken_s,
            "components": _components(snapshot),
            "gpus": [_gpu(gpu) for gpu in snapshot.gpus],
            "emissions_g": dict(snapshot.emissions_g),
            "footprint": dict(snapshot.footprint),
            "currency": clean_label(snapshot.currency),
            "budgets": [_budget(budget) for budget in snapshot.budgets],
            "hardware": [_hardware(figure) for figure in snapshot.hardware],
            "carbon": _carbon(snapshot),
            "workloads": [_workload(w, snapshot) for w in snapshot.workloads],
            "runs": [_run(r, snapshot) for r in snapshot.runs],
            "sources": _sources(snapshot),
        }
    )


def _dump(document: _Json) -> bytes:
    return json.dumps(_finite(document), ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def _finite(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Replace numbers that JSON does not have by null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list) else value


def _components(snapshot: Snapshot) -> _Json:
    document: _Json = {}
    for component, totals in snapshot.components.items():
        left = {str(r): j for (c, r), j in snapshot.unattributed_j.items() if c == component}
        document[component.value] = {
            "energy_j": totals.energy_j,
            "power_w": totals.power_w,
            "idle_power_w": totals.idle_power_w,
            "baseline": totals.baseline_origin,
            "source": totals.source,
            "quality": totals.quality,
            "uncertainty_ratio": totals.uncertainty_ratio,
            "is_partial": totals.is_partial,
            "unattributed_j": left,
            "ended_j": snapshot.ended_j.get(component, 0.0),
        }
    return document


def _gpu(gpu: GpuTotals) -> _Json:
    f, reading = gpu.facts, gpu.reading
    texts = {"uuid": f.uuid, "vendor": f.vendor, "model": f.model, "pci_bus_id": f.pci_bus_id, "source": f.source}
    return {key: clean_label(value) for key, value in texts.items()} | {
        "index": f.index,
        "scope": f.scope,
        "restricted": f.restricted,
        "state": gpu.state,
        "energy_j": gpu.energy_j,
        "energy_source": gpu.method,
        "power_w": gpu.power_w,
        "power_limit_w": reading.power_limit_w if reading else None,
        "utilization_ratio": reading.utilization_ratio if reading else None,
        "memory_used_bytes": reading.memory_used_bytes if reading else None,
        "memory_total_bytes": reading.memory_total_bytes if reading else None,
        "temperature_celsius": reading.temperature_celsius if reading else None,
        "instances": [one._asdict() for one in reading.instances] if reading else [],
        "split": gpu.split,
        "attributed_ratio": gpu.attributed_ratio,
        "bare_idle_w": gpu.bare_idle_w,
        "context_idle_w": gpu.context_idle_w,
        "baseline": gpu.baseline_origin,
        "is_idle": gpu.is_idle,
        "holders": [
            {key: clean_label(value) for key, value in holder.workload._asdict().items()}
            | {"run": clean_label(holder.run or ""), "share": holder.share, "unused_share": holder.unused_share}
            for holder in gpu.holders
        ],
    }


def _gpu_use(gpu: tuple[float, ...] | None) -> _Json:
    """Return GPU seconds held, of these unused, and the joules charged for the latter; zeros for who never held one."""
    return dict(zip(GPU_COLUMNS, gpu or NO_GPU_USE, strict=True))


def _energy(energy_j: tuple[float, ...], snapshot: Snapshot) -> _Json:
    document: _Json = {}
    for (component, mode), joules in zip(ENERGY_COLUMNS, energy_j, strict=True):
        if component in snapshot.components:
            document.setdefault(component.value, {})[mode.value] = joules
    return document


def _emissions(emissions_g: tuple[float, ...], snapshot: Snapshot) -> _Json:
    return {s: g for s, g in zip(SCOPES, emissions_g, strict=True) if s in snapshot.emissions_g}


def _footprint(footprint: tuple[float, ...], snapshot: Snapshot) -> _Json:
    return {name: n for name, n in zip(FOOTPRINT_COLUMNS, footprint, strict=True) if name in snapshot.footprint}


def _budget(budget: BudgetTotals) -> _Json:
    return {
        "name": clean_label(budget.name),
        "emissions_g": budget.emissions_g,
        "limit_g": budget.limit_g,
        "period_s": budget.period_s,
        "matched": budget.matched,
        "runs": [clean_label(run) for run in budget.runs],
    }


def _hardware(figure: HardwareFigure) -> _Json:
    texts = {"item": figure.item, "model": figure.model, "source": figure.source}
    grams = {"value_g": figure.value_g, "low_g": figure.low_g, "high_g": figure.high_g}
    return {key: clean_label(text) for key, text in texts.items()} | grams


def _workload(totals: WorkloadTotals, snapshot: Snapshot) -> _Json:
    identity = {key: clean_label(value) for key, value in totals.workload._asdict().items()}
    return identity | {
        "power_w": totals.power_w,
        "energy_j": _energy(totals.energy_j, snapshot),
        "emissions_g": _emissions(totals.emissions_g, snapshot),
        "footprint": _footprint(totals.footprint, snapshot),
        **_gpu_use(totals.gpu),
    }


def _run(totals: RunTotals, snapshot: Snapshot) -> _Json:
    f = totals.facts
    texts = {"run": f.key, "name": f.name, "framework": f.framework, "namespace": f.namespace, "owner": f.owner}
    texts |= {"user": f.user, "account": f.account, "identity": f.identity}
    return {key: clean_label(value) for key, value in texts.items()} | {
        "world_size": f.world_size,
        "ranks": f.ranks,
        "started_s": f.started_s,
        "last_seen_s": totals.last_seen_s,
        "is_alive": f.is_alive,
        "power_w": totals.power_w,
        "energy_j": _energy(totals.energy_j, snapshot),
        "emissions_g": _emissions(totals.emissions_g, snapshot),
        "footprint": _footprint(totals.footprint, snapshot),
        "gpus": totals.gpus,
        "unused_gpus": totals.unused_gpus,
        **_gpu_use(totals.gpu),
    }


def _carbon(snapshot: Snapshot) -> _Json:
    carbon = snapshot.carbon
    return {
        "pue_ratio": carbon.pue_ratio,
        "wue_l_per_kwh": carbon.wue_l_per_kwh,
        "price_per_kwh": carbon.price_per_kwh,
        "currency": clean_label(carbon.currency),
        "is_fallback": carbon.is_fallback,
        "average": None if carbon.average is None else _intensity(carbon.average),
        "market": None if carbon.market is None else _intensity(carbon.market),
        "others": [_intensity(value) for value in carbon.others],
        "green_windows": [
            window._asdict() | {key: clean_label(getattr(window, key)) for key in ("grid_zone", "provider")}
            for window in carbon.green_windows
        ],
    }


def _intensity(value: Intensity) -> _Json:
    return {
        "grid_zone": clean_label(value.grid_zone),
        "signal": value.signal,
        "intensity_g_per_kwh": value.intensity_g_per_kwh,
        "provider": clean_label(value.provider),
        "basis": clean_label(value.basis),
        "is_estimated": value.is_estimated,
        "observed_s": value.observed_s,
        "fresh_until_s": value.fresh_until_s,
    }


def _sources(snapshot: Snapshot) -> list[_Json]:
    return [
        {
            "source": clean_label(f.source),
            "item": clean_label(f.item),
            "state": f.state,
            "detail": clean_label(f.detail),
            "remedy": f.remedy,
            "last_success_s": f.last_success_s,
        }
        for f in snapshot.findings
    ]
