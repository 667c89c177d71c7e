"""Settings of reading workloads: bounds on what one tick may cost."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["WorkloadSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadSettings:
    """How much of the node's processes and control groups is read, and how often."""

    rescan_interval_s: float = 60.0
    """Seconds between full walks of the cgroup tree. Changes are seen at once through inotify; the walk finds what
    was missed. Above 0."""
    memory_interval_s: float = 30.0
    """Seconds between reads of one cgroup's resident memory; only read where memory energy is measured. Above 0."""
    new_process_budget_s: float = 0.5
    """Seconds that one tick may spend on looking at new processes; the rest wait for the next tick. Above 0."""
    max_cgroups: int = 20_000
    """Control groups that are followed; what is beyond stays in the nearest one above. At least 1."""
    max_tracked_processes: int = 4096
    """Processes whose CPU time is read one by one: those of runs, and those outside of any cgroup. At least 1."""
    max_training_processes: int = 256
    """Training processes that are reported one by one, ranks first. 0: none."""
