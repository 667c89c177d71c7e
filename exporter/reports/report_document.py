"""Reports for programs: JSON (version 1) and rows of CSV. Documented in docs/reference/report.md.

Fields are only ever added within a version; null stands for what is unknown or was not counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from exporter.reports.equivalents import equivalents
from exporter.reports.report import UNCERTAINTY_FORMULA, RunReport
from exporter.units import GRAMS_PER_TONNE, JOULES_PER_KILOWATT_HOUR

__all__ = ["CSV_NAMES", "VERSION", "csv_row", "hardware_text", "report_document", "utc_text"]

VERSION = 1
_SECONDS_PER_HOUR = 3600
_COMPONENTS = ("cpu", "dram", "gpu", "other")
_FACTS = ("key", "name", "framework", "namespace", "owner", "user", "account", "identity", "world_size", "ranks")
_Json = dict[str, Any]  # what json.dumps takes: text, numbers, booleans, None, lists and dicts of them


def report_document(reports: Sequence[RunReport], *, made_s: float) -> _Json:
    """Return the document of any number of runs; ``made_s`` is the Unix time of the report."""
    document = {"version": VERSION, "made": utc_text(made_s), "runs": [_run(report) for report in reports]}
    finite = _finite(document)
    return finite if isinstance(finite, dict) else {}


def csv_row(report: RunReport) -> Mapping[str, str | float | None]:
    """Return one row by ``CSV_NAMES``; text is as users gave it."""
    document = _finite(_run(report))
    if not isinstance(document, dict):
        return {}
    energy, gpus, emissions = document["energy"], document["gpus"], document["emissions"]
    row = {
        **{name: document[name] for name in (*_FACTS, "source", "started", "last_seen", "is_running", "duration_s")},
        "nodes": " ".join(report.nodes),
        "hardware": document["hardware_text"],
        "energy_kwh": energy["total_kwh"],
        **{f"{name}_energy_kwh": energy["by_component_kwh"].get(name, 0.0) for name in _COMPONENTS},
        **{
            name: energy[name] for name in ("active_kwh", "idle_kwh", "quality", "uncertainty_ratio", "average_power_w")
        },
        **{f"gpu_{name}": gpus[name] for name in ("held_hours", "unused_ratio", "unused_kwh")},
        **{name: emissions[name] for name in _EMISSIONS},
        "grid_zones": " ".join(grid.zone for grid in _zones(report)),
        "pue_ratio": report.pue_ratios[0] if len(report.pue_ratios) == 1 else None,
        **{name: document[name] for name in ("water_l", "cost", "currency")},
    }
    return {name: row[name] for name in CSV_NAMES}


_EMISSIONS = (
    *("operational_location_based_t", "operational_market_based_t", "embodied_t"),
    "average_intensity_g_per_kwh",
)
CSV_NAMES = (
    *_FACTS,
    *("source", "started", "last_seen", "is_running", "duration_s", "nodes", "hardware"),
    "energy_kwh",
    *(f"{name}_energy_kwh" for name in _COMPONENTS),
    *("active_kwh", "idle_kwh", "quality", "uncertainty_ratio", "average_power_w"),
    *("gpu_held_hours", "gpu_unused_ratio", "gpu_unused_kwh"),
    *_EMISSIONS,
    *("grid_zones", "pue_ratio", "water_l", "cost", "currency"),
)
"""The columns of the CSV, in order."""


def utc_text(seconds: float) -> str:
    """Return a Unix time in UTC as RFC 3339 writes it, or an empty text for a time no calendar has."""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return ""


def _run(report: RunReport) -> _Json:
    return {
        **{name: getattr(report, name) for name in _FACTS},
        "source": report.source,
        "started": utc_text(report.started_s),
        "last_seen": utc_text(report.seen_s),
        "is_running": report.is_running,
        "duration_s": report.duration_s,
        "nodes": list(report.nodes),
        "hardware": [part._asdict() for part in report.hardware],
        "hardware_text": hardware_text(report),
        "cpu_models": list(report.cpu_models),
        "energy": _energy(report),
        "gpus": _gpus(report),
        "emissions": _emissions(report),
        "grids": [grid._asdict() for grid in report.grids],
        "pue_ratios": list(report.pue_ratios),
        "water_l": report.water_l,
        "cost": report.cost,
        "currency": report.cost_currency or None,
        "not_covered": list(report.not_covered()),
        "notes": list(report.notes),
    }


def hardware_text(report: RunReport) -> str:
    """Return the GPUs as ``8 x NVIDIA A100``; empty where it held none or that is unknown."""
    return ", ".join(model if gpus is None else f"{gpus} x {model}" for gpus, model in report.hardware)


def _energy(report: RunReport) -> _Json:
    modes_j = report.by_mode_j()
    return {
        "total_j": report.total_j,
        "total_kwh": _kwh(report.total_j),
        "by_component_kwh": {name: _kwh(joules) for name, joules in report.by_component_j().items()},
        "by_component_j": dict(report.by_component_j()),
        "active_kwh": _kwh(modes_j.get("active", 0.0)),
        "idle_kwh": _kwh(modes_j.get("idle", 0.0)),
        "quality": report.quality,
        "quality_by_component": {name: list(kinds) for name, kinds in report.qualities.items()},
        "uncertainty_ratio": report.uncertainty_ratio,
        "uncertainty_ratio_by_component": dict(report.uncertainty_ratios),
        "uncertainty_formula": UNCERTAINTY_FORMULA,
        "average_power_w": report.average_power_w,
    }


def _gpus(report: RunReport) -> _Json:
    held_s, unused_s, unused_j = report.gpu_held_s, report.gpu_unused_s, report.gpu_unused_j
    return {
        "held_hours": None if held_s is None else held_s / _SECONDS_PER_HOUR,
        "unused_hours": None if unused_s is None else unused_s / _SECONDS_PER_HOUR,
        "unused_ratio": unused_s / held_s if held_s and unused_s is not None else None,
        "unused_kwh": None if unused_j is None else _kwh(unused_j),
    }


def _emissions(report: RunReport) -> _Json:
    grams = report.operational_g
    return {
        "operational_location_based_g": grams,
        "operational_location_based_t": _tonnes(grams),
        "operational_market_based_t": _tonnes(report.market_g),
        "embodied_t": _tonnes(report.embodied_g),
        "average_intensity_g_per_kwh": report.intensity_g_per_kwh,
        "equivalents": {} if grams is None else {one.key: one.amount for one in equivalents(grams)},
    }


def _zones(report: RunReport) -> Sequence[Any]:
    return list({grid.zone: grid for grid in report.grids}.values())


def _kwh(joules: float) -> float:
    return joules / JOULES_PER_KILOWATT_HOUR


def _tonnes(grams: float | None) -> float | None:
    return None if grams is None else grams / GRAMS_PER_TONNE


def _finite(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Replace numbers that JSON does not have by null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list) else value
