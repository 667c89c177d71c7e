"""Hand-made snapshots: a small one with everything on it, and large ones."""

from __future__ import annotations

from exporter.attribution.records import Reason
from exporter.carbon.embodied import HardwareFigure
from exporter.carbon.records import NO_CARBON, CarbonState, GreenWindow, Intensity, Signal
from exporter.health import Finding
from exporter.ledger.snapshot import (
    AgentStats,
    BudgetTotals,
    ComponentTotals,
    GpuHolder,
    GpuTotals,
    ProcessTotals,
    RunTotals,
    Snapshot,
    WorkloadTotals,
)
from exporter.sensors.gpu.records import GpuFacts, GpuInstance, GpuReading
from exporter.sensors.records import Component, DomainKey, DomainTotal
from exporter.workloads.records import PodFacts, RunFacts, RunKey, WorkloadId

NOW_S = 1_764_000_000.0
RUN = RunKey("ab12cd34")
GPU_USE = (40.0, 30.0, 2000.0)
FOOTPRINT = (0.25, 1.5, 0.02)
ENERGY_J = (7200.0, 1800.0, 600.0, 300.0, 0.0, 0.0, 0.0)


def snapshot(*, with_carbon: bool = True, workloads: list[WorkloadTotals] | None = None) -> Snapshot:
    """Return a node with CPU and DRAM, one run in one pod, and one idle unit."""
    return Snapshot(
        taken_s=NOW_S,
        components={
            Component.CPU: ComponentTotals(12_000_000.0, 83.5, "rapl", "measured", 0.05, False, 31.0, "learned"),
            Component.DRAM: ComponentTotals(1_500.0, None, "cpu_estimate", "estimated", 0.6, True, None, None),
        },
        unattributed_j={(c, r): 1.5 for c in (Component.CPU, Component.DRAM) for r in Reason},
        ended_j={Component.CPU: 4.0, Component.DRAM: 0.0},
        emissions_g={"operational": 1234.5, "embodied": 60.5} if with_carbon else {},
        footprint={"market_g": 321.0, "water_l": 12.5, "cost": 1.75} if with_carbon else {},
        currency="EUR" if with_carbon else "",
        budgets=_budgets() if with_carbon else (),
        pods=[PodFacts(namespace="ml", name="trainer-0", uid="u-1", owner_kind="Job", owner_name="llama", team="a")],
        hardware=[HardwareFigure("GPU-1234", "H100", 164_000.0, 164_000.0, 575_000.0, "NVIDIA")],
        workloads=workloads if workloads is not None else [_pod(), _unit()],
        runs=[RunTotals(_facts(), ENERGY_J, (0.946, 0.0), 61.0, NOW_S, GPU_USE, 1, 1, FOOTPRINT)],
        gpus=[_gpu()],
        processes=[ProcessTotals(RUN, "0", 4242, ENERGY_J)],
        domains=[DomainTotal(DomainKey("rapl", "package", "0"), 12_000_000.0, Component.CPU)],
        carbon=_carbon() if with_carbon else NO_CARBON,
        findings=[
            Finding(source="rapl", state="up", detail="2 domains", last_success_s=NOW_S),
            Finding(source="hwmon", state="absent"),
            Finding(source="pid_view", state="up"),
            Finding(source="cgroup", state="down", detail="EACCES", remedy="Run as root."),
        ],
        event_counts={("error", "cgroup", "io"): 3.0, ("reset", "rapl", "step_back"): 1.0},
        agent=AgentStats(
            ticks=12,
            late_ticks=1,
            tick_duration_s=0.004,
            interval_s=5.0,
            config_loaded_s=NOW_S - 60,
            simulated="a <node>",
        ),
    )


def _intensity(signal: Signal, g_per_kwh: float, zone: str = "DE") -> Intensity:
    return Intensity(
        grid_zone=zone,
        signal=signal,
        intensity_g_per_kwh=g_per_kwh,
        provider="grid_table",
        basis="generation-lifecycle",
        is_estimated=True,
        observed_s=NOW_S - 3600,
        fresh_until_s=NOW_S + 1800 if signal == "average" else None,
        note="Yearly mean of 2024.",
    )


def _carbon() -> CarbonState:
    return CarbonState(
        average=_intensity("average", 344.0),
        market=_intensity("market", 12.0),
        others=[_intensity("average", 25.0, "FR")],
        green_windows=[GreenWindow("DE", 14_400.0, NOW_S + 7200, 210.0, 350.0, "entsoe")],
        is_fallback=True,
        pue_ratio=1.2,
        wue_l_per_kwh=0.3,
        price_per_kwh=0.21,
        currency="EUR",
    )


def _budgets() -> list[BudgetTotals]:
    return [
        BudgetTotals("team-a", 1000.0, 50_000.0, 30 * 86_400.0, 2),
        BudgetTotals("each-run", 0.9, 1000.0, None, 1, [RUN], ["operational", "embodied"]),
    ]


def _facts() -> RunFacts:
    return RunFacts(
        key=RUN, name="llama-ft", framework="torchrun", user="ada", world_size=8, ranks=4, identity="slurm",
        started_s=NOW_S - 5000, account="physics",
    )  # fmt: skip


def _gpu() -> GpuTotals:
    """Return a partitioned GPU that a run holds and does not use."""
    facts = GpuFacts(source="nvml", uuid="GPU-1234", index=3, vendor="NVIDIA", model="H100", pci_bus_id="0000:3b:00.0")
    reading = GpuReading(
        read_at_s=0.0,
        power_w=118.0,
        power_limit_w=700.0,
        utilization_ratio=0.0,
        memory_used_bytes=2 << 30,
        memory_total_bytes=80 << 30,
        temperature_celsius=41.0,
        instances=[GpuInstance("gi1/ci0", "MIG-1", "3g.40gb", 3 / 7, 0.0)],
    )
    return GpuTotals(
        facts=facts,
        state="up",
        energy_j=5000.0,
        power_w=117.5,
        method="counter",
        reading=reading,
        split="exclusive",
        attributed_ratio=1.0,
        bare_idle_w=70.0,
        context_idle_w=115.0,
        baseline_origin="learned",
        is_idle=True,
        holders=[GpuHolder(WorkloadId("pod", "ml", "trainer-0", "main"), RUN, 1.0, 1.0)],
    )


def _pod() -> WorkloadTotals:
    return WorkloadTotals(
        WorkloadId("pod", "ml", "trainer-0", "main"), ENERGY_J, (0.946, 0.0), 61.0, GPU_USE, FOOTPRINT
    )


def _unit() -> WorkloadTotals:
    return WorkloadTotals(WorkloadId("unit", "", "sshd.service"), (1.0,) * 7, (0.1, 0.0), 0.2)


def large_snapshot(series: int) -> Snapshot:
    """Return a snapshot with about ``series`` workload series: 4 of energy and 1 of emissions for each workload."""
    ids = [WorkloadId("pod", "namespace", f"trainer-{i:05d}-abcdef", "main") for i in range(series // 5)]
    energy_j = (1234.5678901, 2345.678, 1e7 / 3, 4.0, 0.0, 0.0, 0.0)
    return snapshot(workloads=[WorkloadTotals(identity, energy_j, (0.5, 0.0), 1.0) for identity in ids])
