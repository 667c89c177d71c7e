"""Builders and strategies for the tests of the GPU split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import strategies as st

from exporter.sensors.gpu.interval import GpuInterval
from exporter.sensors.gpu.records import GpuFacts, GpuInstance, GpuProcess, GpuReading, Restricted
from exporter.workloads.records import GpuClaim, GpuUser, LeafUsage, RunKey, UsageSample
from tests.attribution.samples import unit, usage_sample

__all__ = ["UUID", "facts", "gpu_usage", "interval", "intervals", "process", "reading", "usages", "user"]

UUID = "GPU-1"


def facts(*, restricted: Restricted = "", is_partitioned: bool = False, uuid: str = UUID) -> GpuFacts:
    return GpuFacts(
        source="nvml",
        uuid=uuid,
        index=0,
        vendor="NVIDIA",
        model="H100",
        minor=0,
        restricted=restricted,
        is_partitioned=is_partitioned,
    )


def process(pid: int, *, instance: str = "", is_mps_client: bool = False) -> GpuProcess:
    return GpuProcess(pid, 1 << 30, instance, is_mps_client)


def user(
    leaf: int, *, start_ticks: int = 1, command: str = "python3", share: float | None = None, is_alive: bool = True
) -> GpuUser:
    return GpuUser(leaf, RunKey(f"r{leaf}"), "", start_ticks, command, share, is_alive)


def reading(
    *processes: GpuProcess,
    samples: Mapping[int, float] | None = None,
    has_samples: bool = True,
    utilization_ratio: float | None = None,
    is_mps: bool = False,
    instances: Sequence[GpuInstance] = (),
    has_processes: bool = True,
) -> GpuReading:
    return GpuReading(
        read_at_s=100.0,
        energy_uj=0,
        power_w=300.0,
        utilization_ratio=utilization_ratio,
        processes=processes,
        has_processes=has_processes,
        samples=samples or {},
        has_samples=has_samples,
        is_mps=is_mps,
        instances=instances,
    )


def interval(
    read: GpuReading | None,
    *,
    energy_j: float | None = 1000.0,
    interval_s: float = 5.0,
    before: Sequence[int] = (),
    restricted: Restricted = "",
) -> GpuInterval:
    return GpuInterval(
        facts=facts(restricted=restricted, is_partitioned=bool(read and read.instances)),
        state="up",
        reading=read,
        energy_j=energy_j,
        interval_s=interval_s if energy_j is not None else 0.0,
        total_j=0.0,
        method="counter",
        pids_before=frozenset(before),
    )


def gpu_usage(
    users: Mapping[int, GpuUser] | None = None, claims: Sequence[GpuClaim] = (), *, leaves: int = 4
) -> UsageSample:
    """Return the usage of a node with ``leaves`` leaves, each of a run of its own."""
    usage = usage_sample([LeafUsage(unit(f"w{i}"), RunKey(f"r{i}"), 1.0) for i in range(leaves)])
    return UsageSample(
        interval_s=usage.interval_s,
        cpu_count=usage.cpu_count,
        busy_cpu_s=usage.busy_cpu_s,
        system_cpu_s=0.0,
        leaves=usage.leaves,
        runs=usage.runs,
        gpu_users=users or {},
        gpu_claims=claims,
    )


_pids = st.integers(1, 8)
_ratios = st.one_of(st.none(), st.just(0.0), st.floats(0, 1))


@st.composite
def _instances(draw: st.DrawFn) -> list[GpuInstance]:
    slices = draw(st.lists(st.integers(1, 3), max_size=4).filter(lambda sizes: sum(sizes) <= 7))
    return [GpuInstance(f"gi{i}/ci0", f"MIG-{i}", "", size / 7, draw(_ratios)) for i, size in enumerate(slices)]


@st.composite
def intervals(draw: st.DrawFn) -> GpuInterval:
    """One tick of one GPU in any mode, with any mix of processes and samples, consistent or not."""
    instances = draw(_instances())
    names = ["", *(one.name for one in instances)]
    processes = [
        process(pid, instance=draw(st.sampled_from(names)), is_mps_client=draw(st.booleans()))
        for pid in draw(st.lists(_pids, unique=True))
    ]
    read = reading(
        *processes,
        samples=draw(st.dictionaries(_pids, st.floats(0, 100), max_size=8)),
        has_samples=draw(st.booleans()),
        utilization_ratio=draw(_ratios),
        is_mps=draw(st.booleans()),
        instances=instances,
        has_processes=draw(st.booleans()),
    )
    return interval(
        draw(st.one_of(st.just(read), st.none())),
        energy_j=draw(st.one_of(st.none(), st.just(0.0), st.floats(1e-6, 1e7))),
        interval_s=draw(st.floats(1e-3, 3600)),
        before=draw(st.lists(_pids)),
        restricted=draw(st.sampled_from(["", "", "", "module", "vgpu_host", "no_processes"])),
    )


@st.composite
def usages(draw: st.DrawFn, *, leaves: int = 4) -> UsageSample:
    """Who is behind the pids: known, gone, reused, an MPS server, or nobody knows."""
    users = {
        pid: user(
            draw(st.integers(0, leaves - 1)),
            start_ticks=draw(st.integers(1, 2)),
            command=draw(st.sampled_from(["python3", "python3", "nvidia-cuda-mps"])),
            share=draw(st.one_of(st.none(), st.floats(0.01, 1))),
            is_alive=draw(st.booleans()),
        )
        for pid in draw(st.lists(_pids, unique=True))
    }
    devices = st.sampled_from([UUID, "minor:0", "minor:1", "index:0", "index:5", "MIG-0", "MIG-1"])
    claims = draw(st.lists(st.builds(GpuClaim, st.integers(0, leaves - 1), devices), max_size=4))
    return gpu_usage(users, claims, leaves=leaves)
