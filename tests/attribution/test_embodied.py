"""Making the hardware is charged to who holds it, and to nobody beyond what it took."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.attribution.embodied import held_grams
from exporter.attribution.gpu_floors import GpuBaseline
from exporter.attribution.gpu_records import GpuShares, Holding
from exporter.workloads.records import LeafUsage
from tests.attribution.samples import leaves, unit, usage_sample

BASELINE = GpuBaseline(50.0, 10.0, "configured")


def _gpu(uuid: str, shares: dict[int, float]) -> GpuShares:
    return GpuShares(
        uuid=uuid,
        energy_j=0.0,
        interval_s=5.0,
        holdings={leaf: Holding(share) for leaf, share in shares.items()},
        method="exclusive",
        baseline=BASELINE,
        is_idle=False,
    )


def test_who_holds_half_of_a_gpu_is_charged_half_of_it() -> None:
    usage = usage_sample([LeafUsage(unit("a"), None, 0.0), LeafUsage(unit("b"), None, 0.0)])
    gpus = [_gpu("GPU-1", {0: 0.5}), _gpu("GPU-2", {0: 0.25, 1: 0.75}), _gpu("GPU-9", {1: 1.0})]

    grams = held_grams(usage, gpus, server_g=0.0, accelerators_g={"GPU-1": 8.0, "GPU-2": 4.0})

    assert grams == [8.0 * 0.5 + 4.0 * 0.25, 4.0 * 0.75]


def test_the_server_goes_by_the_larger_of_cpu_share_and_gpu_share() -> None:
    """4 CPUs, 5 s: a used a quarter of the node and holds half of its GPUs; b used a quarter."""
    present = [LeafUsage(unit("a"), None, 5.0, gpu_share=0.5), LeafUsage(unit("b"), None, 5.0)]

    grams = held_grams(usage_sample(present, cpu_count=4), (), server_g=100.0, accelerators_g={})

    assert grams == pytest.approx([50.0, 25.0])


def test_without_an_interval_or_leaves_nobody_is_charged() -> None:
    assert held_grams(usage_sample([]), [_gpu("GPU-1", {})], server_g=9.0, accelerators_g={"GPU-1": 1.0}) == []


@given(
    present=leaves(names=6, runs=3),
    server_g=st.floats(0, 1e6),
    due_g=st.lists(st.floats(0, 1e6), max_size=4),
    data=st.data(),
)
def test_holders_never_pay_more_than_the_hardware(
    present: list[LeafUsage], server_g: float, due_g: list[float], data: st.DataObject
) -> None:
    shares = st.dictionaries(st.integers(0, len(present) - 1), st.floats(0, 2)) if present else st.just({})
    gpus = [_gpu(f"GPU-{i}", data.draw(shares)) for i in range(len(due_g))]
    accelerators_g = {f"GPU-{i}": grams for i, grams in enumerate(due_g)}

    grams = held_grams(usage_sample(present), gpus, server_g=server_g, accelerators_g=accelerators_g)

    assert len(grams) == len(present)
    assert all(share >= 0 for share in grams)
    assert math.fsum(grams) <= (server_g + math.fsum(due_g)) * (1 + 1e-9) + 1e-12
