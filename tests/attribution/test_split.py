import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.attribution import Baseline, Reason, attribute
from exporter.sensors.records import Component
from exporter.workloads.records import LeafUsage, UsageSample
from tests.attribution.samples import component_energy, joules, leaves, unit, usage_sample

intervals_s = st.one_of(st.just(0.0), st.floats(1e-6, 3600))
usages = st.builds(
    usage_sample,
    leaves(),
    system_cpu_s=st.floats(0, 1e3),
    cpu_count=st.integers(1, 256),
    interval_s=intervals_s,
    memory_total_bytes=st.one_of(st.just(0.0), st.floats(1.0, 1e13)),
)
baselines = st.builds(Baseline, st.floats(0, 2000), st.just("learned"))


@given(
    energy_j=joules,
    component=st.sampled_from(Component),
    interval_s=intervals_s,
    usage=usages,
    baseline=baselines,
)
def test_the_parts_add_up_to_the_whole_and_none_is_negative(
    energy_j: float, component: Component, interval_s: float, usage: UsageSample, baseline: Baseline
) -> None:
    shares = attribute(component_energy(energy_j, component=component, interval_s=interval_s), usage, baseline)

    parts = [*shares.active_j, *shares.idle_j, *shares.unattributed_j.values()]
    assert all(part >= 0 for part in parts)
    assert math.fsum(parts) == pytest.approx(energy_j, rel=1e-9, abs=1e-15)


@given(energy_j=joules, usage=usages, baseline=baselines, order=st.randoms())
def test_the_order_of_leaves_does_not_matter(
    energy_j: float, usage: UsageSample, baseline: Baseline, order: object
) -> None:
    indices = list(range(len(usage.leaves)))
    order.shuffle(indices)  # type: ignore[attr-defined]  # hypothesis hands out a random.Random
    shuffled = usage_sample(
        [usage.leaves[i] for i in indices],
        system_cpu_s=usage.system_cpu_s,
        cpu_count=usage.cpu_count,
        interval_s=usage.interval_s,
        memory_total_bytes=usage.memory_total_bytes,
    )

    before = attribute(component_energy(energy_j), usage, baseline)
    after = attribute(component_energy(energy_j), shuffled, baseline)

    assert [before.active_j[i] for i in indices] == pytest.approx(list(after.active_j), rel=1e-9, abs=1e-12)
    assert [before.idle_j[i] for i in indices] == pytest.approx(list(after.idle_j), rel=1e-9, abs=1e-12)


def test_active_energy_follows_cpu_time_and_the_kernels_part_is_nobodys() -> None:
    usage = usage_sample([LeafUsage(unit("a"), None, 3.0), LeafUsage(unit("b"), None, 1.0)], system_cpu_s=1.0)

    shares = attribute(component_energy(150.0), usage, Baseline(10.0, "configured"))

    assert shares.active_j == [60.0, 20.0]
    assert shares.unattributed_j[Reason.SYSTEM] == 20.0


def test_idle_energy_is_claimed_by_use_of_the_nodes_cpus() -> None:
    usage = usage_sample([LeafUsage(unit("a"), None, 5.0)], cpu_count=4, interval_s=5.0)

    shares = attribute(component_energy(150.0), usage, Baseline(10.0, "configured"))

    assert shares.idle_j == [12.5]
    assert shares.unattributed_j[Reason.IDLE] == 37.5


def test_a_run_that_holds_every_gpu_pays_for_the_whole_idle_node() -> None:
    holder = LeafUsage(unit("train"), None, 0.1, gpu_share=1.0)

    shares = attribute(component_energy(50.0), usage_sample([holder]), Baseline(10.0, "configured"))

    assert shares.idle_j == [50.0]
    assert Reason.IDLE not in shares.unattributed_j


def test_claims_beyond_the_node_are_scaled_down() -> None:
    greedy = [LeafUsage(unit(name), None, 0.0, requested_cores=4.0) for name in "ab"]

    shares = attribute(component_energy(50.0), usage_sample(greedy, cpu_count=4), Baseline(10.0, "configured"))

    assert shares.idle_j == [25.0, 25.0]


def test_memory_energy_without_load_is_claimed_by_resident_memory() -> None:
    usage = usage_sample(
        [LeafUsage(unit("a"), None, 0.0, resident_bytes=2e9), LeafUsage(unit("b"), None, 9.0)], memory_total_bytes=8e9
    )

    shares = attribute(component_energy(40.0, component=Component.DRAM), usage, Baseline(8.0, "learned"))

    assert shares.idle_j == [10.0, 0.0]


def test_the_platforms_rest_has_no_active_part() -> None:
    usage = usage_sample([LeafUsage(unit("a"), None, 5.0)])

    shares = attribute(component_energy(100.0, component=Component.OTHER), usage, Baseline(0.0, "prior"))

    assert shares.active_j == [0.0]
    assert shares.idle_j == [25.0]


def test_active_energy_that_no_cpu_time_explains_is_unknown() -> None:
    shares = attribute(component_energy(100.0), usage_sample([]), Baseline(5.0, "learned"))

    assert shares.unattributed_j == {Reason.UNKNOWN: 75.0, Reason.IDLE: 25.0}


def test_a_tick_without_energy_charges_nobody() -> None:
    """Peers forget totals in such a tick."""
    shares = attribute(component_energy(0.0), usage_sample([LeafUsage(unit("a"), None, 1.0)]), Baseline(5.0, "prior"))

    assert sum(shares.active_j) + sum(shares.idle_j) + sum(shares.unattributed_j.values()) == 0.0
