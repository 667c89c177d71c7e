"""From the GPUs' sample and its split to what readers see of each GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from exporter.attribution.gpu_records import GpuShares
from exporter.ledger.snapshot import GpuHolder, GpuTotals
from exporter.sensors.gpu.interval import GpuInterval
from exporter.workloads.records import UsageSample

__all__ = ["gpu_totals"]


def gpu_totals(gpus: Sequence[GpuInterval], shares: Mapping[str, GpuShares], usage: UsageSample) -> Sequence[GpuTotals]:
    """Return one entry per GPU, in the drivers' order; ``shares`` is by UUID and refers to the leaves of ``usage``."""
    return [_totals(gpu, shares.get(gpu.facts.uuid), usage) for gpu in gpus]


def _totals(gpu: GpuInterval, shares: GpuShares | None, usage: UsageSample) -> GpuTotals:
    known = GpuTotals(
        facts=gpu.facts,
        state=gpu.state,
        energy_j=gpu.total_j,
        power_w=gpu.power_w,
        method=gpu.method,
        reading=gpu.reading,
    )
    if shares is None:
        return known
    holders = [
        GpuHolder(usage.leaves[leaf].workload, usage.leaves[leaf].run, holding.share, holding.unused_share)
        for leaf, holding in shares.holdings.items()
        if holding.share > 0
    ]
    known = replace(known, is_idle=shares.is_idle, holders=holders)
    if shares.interval_s <= 0:
        return known
    return replace(
        known,
        split=shares.method,
        attributed_ratio=shares.attributed_ratio,
        bare_idle_w=shares.baseline.bare_w,
        context_idle_w=shares.baseline.bare_w + shares.baseline.context_w,
        baseline_origin=shares.baseline.origin,
    )
