"""The GPUs on the readable page: what each draws, who holds it, and which of them are held and do nothing."""

from __future__ import annotations

from collections.abc import Mapping

from exporter.exposition.page_parts import UNKNOWN, row, table, text, watts_text
from exporter.exposition.quantities import energy_text, power_text
from exporter.ledger.snapshot import GpuHolder, GpuTotals, Snapshot
from exporter.workloads.records import RunKey

__all__ = ["gpu_section"]

_GIBIBYTE = 1 << 30
_HEADS = ("GPU", "Power", "Busy", "Memory", "Temperature", "Energy", "Held by", "State")
_NUMERIC = (1, 2, 3, 4, 5)


def gpu_section(snapshot: Snapshot) -> str:
    """Return the section, or nothing on a node without GPUs."""
    if not snapshot.gpus:
        return ""
    names = {run.facts.key: run.facts.name for run in snapshot.runs}
    rows = "".join(_gpu_row(gpu, names) for gpu in snapshot.gpus)
    return f"<section><h2>GPUs</h2>{_waste(snapshot)}{table(_HEADS, rows, numeric=_NUMERIC)}</section>"


def _waste(snapshot: Snapshot) -> str:
    """Return how many GPUs are held and idle now, and what that draws."""
    unused = [gpu for gpu in snapshot.gpus if sum(holder.unused_share for holder in gpu.holders) > 0]
    if not unused:
        return '<p class="dim">No GPU is held without being used.</p>'
    drawn_w = sum((gpu.power_w or 0.0) * sum(holder.unused_share for holder in gpu.holders) for gpu in unused)
    count = f"{len(unused)} of {len(snapshot.gpus)} GPUs {'is' if len(unused) == 1 else 'are'} held and idle"
    return f'<p><span class="badge warn">waste</span> {count}: {power_text(drawn_w)} for nothing.</p>'


def _gpu_row(gpu: GpuTotals, names: Mapping[RunKey, str]) -> str:
    facts, reading = gpu.facts, gpu.reading
    limit = f" of {power_text(reading.power_limit_w)}" if reading and reading.power_limit_w else ""
    busy = memory = temperature = UNKNOWN
    if reading is not None:
        busy = UNKNOWN if reading.utilization_ratio is None else f"{reading.utilization_ratio:.0%}"
        if reading.memory_used_bytes is not None and reading.memory_total_bytes:
            memory = f"{reading.memory_used_bytes / _GIBIBYTE:.0f} of {reading.memory_total_bytes / _GIBIBYTE:.0f} GiB"
        if reading.temperature_celsius is not None:
            temperature = f"{reading.temperature_celsius:.0f} °C"
    model = f'<span class="dim">{text(facts.model)}</span>'
    name = f'<span class="name" title="{text(facts.uuid)}">{facts.index} {model}</span>'
    cells = (name, f"{watts_text(gpu.power_w)}{limit}", busy, memory, temperature, energy_text(gpu.energy_j))
    return row(*cells, _holders(gpu, names), _state(gpu), numeric=_NUMERIC)


def _holders(gpu: GpuTotals, names: Mapping[RunKey, str]) -> str:
    if gpu.reading is None and not gpu.holders:
        return UNKNOWN
    if not gpu.holders:
        return '<span class="dim">nobody</span>'
    return "<br>".join(_holder(holder, names) for holder in gpu.holders)


def _holder(holder: GpuHolder, names: Mapping[RunKey, str]) -> str:
    workload = holder.workload
    name = names.get(holder.run, holder.run) if holder.run else f"{workload.kind} {workload.name}"
    return f"{text(name)}{'' if holder.share >= 1 else f' ({holder.share:.0%})'}"


def _state(gpu: GpuTotals) -> str:
    css = {"up": "good", "degraded": "warn", "down": "bad", "absent": ""}[gpu.state]
    badges = [f'<span class="badge {css}">{gpu.state}</span>'] if gpu.state != "up" else []
    if any(holder.unused_share > 0 for holder in gpu.holders):
        badges.append('<span class="badge warn">held, idle</span>')
    elif gpu.is_idle:
        badges.append('<span class="badge">free</span>')
    elif gpu.split:
        badges.append('<span class="badge good">in use</span>')
    if gpu.split in {"time_sliced", "carried", "mps_declared", "mps_equal", "mig", "equal"}:
        badges.append(f'<span class="dim">{text(gpu.split.replace("_", " "))}</span>')
    return " ".join(badges)
