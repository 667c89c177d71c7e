"""Who holds the hardware: splits the grams of making it, that fall due in one interval, among leaves.

An accelerator's part goes to who holds it; the server's part by the claims that split the platform's idle energy
(DESIGN.md §3). What nobody holds stays with nobody. Pure functions.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from exporter.attribution.gpu_records import GpuShares
from exporter.attribution.split import claims_of
from exporter.sensors.records import Component
from exporter.workloads.records import UsageSample

__all__ = ["held_grams"]


def held_grams(
    usage: UsageSample, gpus: Collection[GpuShares], *, server_g: float, accelerators_g: Mapping[str, float]
) -> list[float]:
    """Return the grams each leaf of ``usage`` is charged for holding hardware; their sum is at most the hardware's.

    ``server_g`` and ``accelerators_g`` (by UUID) are what falls due in the interval; ``gpus`` says who holds which.
    """
    grams = [server_g * claim for claim in claims_of(Component.OTHER, usage)]
    for gpu in gpus:
        due_g = accelerators_g.get(gpu.uuid, 0.0)
        if due_g <= 0:
            continue
        shares = [(leaf, holding.share) for leaf, holding in gpu.holdings.items() if holding.share > 0]
        total = sum(share for _, share in shares)
        for leaf, share in shares:
            grams[leaf] += due_g * (share / total if total > 1 else share)
    return grams
