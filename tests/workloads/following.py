"""Follows a simulated node with the collector, and sums up what it says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Self

from exporter.health import Finding
from exporter.host import Roots
from exporter.testing import FakeClock, SimulatedNode
from exporter.workloads import UsageSample, WorkloadCollector, WorkloadSettings

__all__ = ["Follower", "RecordingClock", "finding", "rank", "run_seconds", "total_s", "workload_seconds"]


class RecordingClock(FakeClock):
    """A clock on which every question takes ``step_s``: looking at a process takes time."""

    def __init__(self, *, step_s: float) -> None:
        super().__init__()
        self.step_s = step_s

    def monotonic_s(self) -> float:
        self.advance(self.step_s)
        return super().monotonic_s()


class Follower:
    """A collector on a simulated node; ``tick`` lets time pass and samples."""

    def __init__(
        self,
        node: SimulatedNode,
        settings: WorkloadSettings | None = None,
        *,
        roots: Roots | None = None,
        gpu_pids: Collection[int] = (),
    ) -> None:
        self.node = node
        self.collector = WorkloadCollector(roots or node.roots, node.clock, settings or WorkloadSettings())
        self.samples: list[UsageSample] = [self.collector.sample(with_memory=False, gpu_pids=gpu_pids)]

    def tick(self, seconds: float = 5.0, *, with_memory: bool = False, gpu_pids: Collection[int] = ()) -> UsageSample:
        self.node.advance(seconds)
        self.samples.append(self.collector.sample(with_memory=with_memory, gpu_pids=gpu_pids))
        return self.samples[-1]

    def total(self) -> UsageSample:
        """Return one sample with every leaf of all ticks."""
        leaves = [leaf for sample in self.samples for leaf in sample.leaves]
        system_s = sum(sample.system_cpu_s for sample in self.samples)
        return replace(self.samples[-1], leaves=leaves, system_cpu_s=system_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.collector.close()


def rank(number: int, *, run: str = "alpha") -> Mapping[str, str]:
    """Return the environment of a rank of ``run``."""
    return {"RANK": str(number), "WORLD_SIZE": "8", "TORCHELASTIC_RUN_ID": run, "MASTER_ADDR": "10.0.0.1"}


def workload_seconds(sample: UsageSample) -> Mapping[tuple[str, str], float]:
    """Return CPU seconds by kind and name of the workload."""
    seconds: dict[tuple[str, str], float] = defaultdict(float)
    for leaf in sample.leaves:
        seconds[leaf.workload.kind, leaf.workload.name] += leaf.cpu_s
    return seconds


def run_seconds(sample: UsageSample) -> float:
    """Return the CPU seconds of all runs."""
    return sum(leaf.cpu_s for leaf in sample.leaves if leaf.run is not None)


def total_s(sample: UsageSample) -> float:
    """Return all CPU seconds that the sample tells of."""
    return sum(leaf.cpu_s for leaf in sample.leaves) + sample.system_cpu_s


def finding(sample: UsageSample, source: str) -> Finding:
    """Return what the source says of itself."""
    return next(finding for finding in sample.findings if finding.source == source)
