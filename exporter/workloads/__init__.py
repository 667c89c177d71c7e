"""Who ran on the node: processes, control groups, containers, jobs and training runs."""

from exporter.workloads.collector import WorkloadCollector
from exporter.workloads.records import LeafUsage, ProcessUsage, RunFacts, RunKey, UsageSample, WorkloadId
from exporter.workloads.rules import RunRule, RunSettings
from exporter.workloads.settings import WorkloadSettings

__all__ = [
    "LeafUsage",
    "ProcessUsage",
    "RunFacts",
    "RunKey",
    "RunRule",
    "RunSettings",
    "UsageSample",
    "WorkloadCollector",
    "WorkloadId",
    "WorkloadSettings",
]
