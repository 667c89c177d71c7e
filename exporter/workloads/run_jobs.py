"""Batch jobs on this node: which processes are in which job, and which wait until the job's key is known."""

from __future__ import annotations

from collections.abc import Mapping

from exporter.workloads.facts import ProcessFacts
from exporter.workloads.run_keys import is_contained

__all__ = ["Job", "JobIndex", "decides_key"]

Job = tuple[str, str]
"""The batch system, and the job's id or SLUID."""

_STEP_DAEMON = "slurmstepd"
_NO_TASK_STEPS = frozenset({"extern"})


def _is_step_daemon(process: ProcessFacts) -> bool:
    """Return whether this is Slurm's own daemon: anyone can write its title, only root's counts."""
    return process.uid == 0 and process.command == _STEP_DAEMON and bool(process.line.slurm_job)


def decides_key(process: ProcessFacts, job: Job, *, environment_readable: bool) -> bool:
    """Return whether the process is a task of the job: a daemon knows neither the cluster nor the restart count."""
    if job[0] != "slurm" or not environment_readable:
        return True
    if process.environment and "SLURM_JOB_ID" in process.environment:
        return True
    return process.command != _STEP_DAEMON and process.cgroup.step not in _NO_TASK_STEPS


class JobIndex:
    """The jobs that have processes on this node."""

    def __init__(self) -> None:
        self._sizes: dict[Job, int] = {}
        self._waiting: dict[Job, set[int]] = {}
        self._ids: dict[str, str] = {}

    def find(self, process: ProcessFacts, parent_job: Job | None) -> Job | None:
        """Return the process's job: its cgroup's, else its step daemon's title, which counts for all below it."""
        cgroup = process.cgroup
        if cgroup.job_system:
            return (cgroup.job_system, cgroup.job_id)
        if _is_step_daemon(process) and not is_contained(process):
            return ("slurm", process.line.slurm_job)
        return parent_job

    def move(self, process: ProcessFacts, before: Job | None, after: Job | None) -> None:
        """Note that a process came, changed its job or left; a job without processes is forgotten."""
        if after is not None and before != after:
            self._sizes[after] = self._sizes.get(after, 0) + 1
        if after is not None and not after[1].isdigit() and _is_step_daemon(process):
            self._ids[after[1]] = process.line.slurm_job
        if before is None or before == after:
            return
        self._waiting.get(before, set()).discard(process.pid)
        self._sizes[before] -= 1
        if not self._sizes[before]:
            del self._sizes[before]
            self._waiting.pop(before, None)
            self._ids.pop(before[1], None)

    def wait(self, job: Job, pid: int) -> None:
        """Note a process of a job whose key is not known yet."""
        self._waiting.setdefault(job, set()).add(pid)

    def take_waiting(self, job: Job) -> set[int]:
        """Return the processes that waited for the job's key, and forget that they did."""
        return self._waiting.pop(job, set())

    def id_of(self, identifier: str) -> str:
        """Return the job id for people: a SLUID's is known once its step daemon was seen, else it stands for itself."""
        return self._ids.get(identifier, identifier)

    def ids(self) -> Mapping[str, str]:
        """Return the job id by SLUID."""
        return self._ids
