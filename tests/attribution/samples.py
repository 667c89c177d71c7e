"""Builders and strategies for readings and usage, shared by the tests of attribution and ledger."""

from collections.abc import Sequence

from hypothesis import strategies as st

from exporter.sensors.records import Component, ComponentEnergy, EnergySample
from exporter.workloads.records import LeafUsage, RunFacts, RunKey, UsageSample, WorkloadId

__all__ = ["component_energy", "energy_sample", "joules", "leaves", "unit", "usage_sample"]

joules = st.one_of(st.just(0.0), st.floats(min_value=1e-9, max_value=1e7))
_cpu_s = st.one_of(st.just(0.0), st.floats(min_value=1e-12, max_value=1e4))


def unit(name: str) -> WorkloadId:
    return WorkloadId("unit", "", name)


def component_energy(
    energy_j: float,
    *,
    component: Component = Component.CPU,
    interval_s: float = 5.0,
    idle_power_w: float | None = None,
) -> ComponentEnergy:
    return ComponentEnergy(
        component=component,
        energy_j=energy_j,
        interval_s=interval_s,
        source="rapl",
        quality="measured",
        uncertainty_ratio=0.05,
        idle_power_w=idle_power_w,
    )


def energy_sample(*components: ComponentEnergy) -> EnergySample:
    return EnergySample(components={energy.component: energy for energy in components})


def usage_sample(
    leaves: Sequence[LeafUsage],
    *,
    system_cpu_s: float = 0.0,
    cpu_count: int = 4,
    interval_s: float = 5.0,
    memory_total_bytes: float = 0.0,
) -> UsageSample:
    runs = {leaf.run: RunFacts(key=leaf.run, name=leaf.run, framework="torchrun") for leaf in leaves if leaf.run}
    return UsageSample(
        interval_s=interval_s,
        cpu_count=cpu_count,
        busy_cpu_s=sum(leaf.cpu_s for leaf in leaves) + system_cpu_s,
        system_cpu_s=system_cpu_s,
        memory_total_bytes=memory_total_bytes,
        leaves=leaves,
        runs=runs,
    )


@st.composite
def leaves(draw: st.DrawFn, *, names: int = 4, runs: int = 2) -> list[LeafUsage]:
    """Leaves without repetition, of a few workloads and runs, some idle, some beyond what the node has."""
    keys = draw(
        st.lists(
            st.tuples(st.integers(0, names - 1), st.integers(-1, runs - 1)),
            unique=True,
            max_size=names * (runs + 1),
        )
    )
    return [
        LeafUsage(
            workload=unit(f"w{name}"),
            run=RunKey(f"r{run}") if run >= 0 else None,
            cpu_s=draw(_cpu_s),
            resident_bytes=draw(st.floats(0, 1e12)),
            requested_cores=draw(st.floats(0, 8)),
            gpu_share=draw(st.floats(0, 1)),
        )
        for name, run in keys
    ]
