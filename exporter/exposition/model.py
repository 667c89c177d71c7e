"""The same rows as prometheus_client's metric families, for programs that embed the agent in their own registry.

Also the metrics of the agent's own process, which prometheus_client makes. It is imported late: it costs about
10 MiB, and an agent without ``process_metrics`` does without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.exposition.catalogue import CATALOGUE
from exporter.exposition.families import FamilyRows, family_rows
from exporter.exposition.family import Family
from exporter.ledger.snapshot import Snapshot

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Metric

__all__ = ["SnapshotCollector", "metric_families", "process_registry"]


def metric_families(page: Iterable[FamilyRows]) -> Iterator[Metric]:
    """Yield one prometheus_client family per family of ``page``, with its samples."""
    for family, rows in page:
        metric = _metric(family)
        for labels, value in rows:
            metric.add_sample(family.name, dict(zip(family.labels, labels, strict=True)), value)
        yield metric


def _metric(family: Family) -> Metric:
    from prometheus_client import Metric

    return Metric(family.base_name, family.help, family.type, family.unit)


class SnapshotCollector:
    """A prometheus_client collector of the last snapshot.

    ``latest`` returns the snapshot to show, or None before the first. Thread-safe if ``latest`` is.
    """

    def __init__(self, latest: Callable[[], Snapshot | None]) -> None:
        self._latest = latest

    def describe(self) -> Iterator[Metric]:
        """Yield every family without samples, so that registering reads nothing and name filters work."""
        return map(_metric, CATALOGUE)

    def collect(self) -> Iterator[Metric]:
        """Yield the families of the last snapshot; none before the first."""
        snapshot = self._latest()
        return iter(()) if snapshot is None else metric_families(family_rows(snapshot))


def process_registry(procfs: Path) -> CollectorRegistry:
    """Return a registry with ``process_*`` and ``python_info`` of this process, as prometheus_client makes them.

    ``procfs`` is a proc file system in which this process has its own id: that of its container, not the host's.
    """
    from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector

    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(proc=str(procfs), registry=registry)
    PlatformCollector(registry=registry)
    return registry
