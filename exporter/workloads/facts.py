"""What is known of one process and its cgroup, as plain data: what the readers give and the run table takes.

A command line and an environment block never travel further than the parser that turns them into these records.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from exporter.workloads.records import WorkloadId

__all__ = ["SHORT_ID", "CgroupIdentity", "CommandFacts", "PodLaunch", "ProcessFacts"]

SHORT_ID = 12
"""Hex digits of a container id that stand for it."""


class PodLaunch(NamedTuple):
    """What a pod's own record in Kubernetes says of the run it is part of. All text is cleaned and capped.

    Attributes:
        namespace: the pod's.
        owner: kind and name of the workload that controls it, ``TrainJob/bert``, or empty.
        queue: the queue it was admitted through, or empty.
        team: the team that its labels name, or empty.
        explicit: the run's name in an annotation of ours, or empty.
        key: what the run's key is made of, unique within the namespace; empty: its controller makes no runs.
        name: the run's name for people.
        framework: the launch system.
        is_certain: whether it is a run in any case; else only what shows a launch system is.
        variable: the variable whose value tells the runs of one controller apart (Ray's job), or empty.
        rank: its index among the pods, where that stands for a rank, as decimal text, or empty.
    """

    namespace: str
    owner: str = ""
    queue: str = ""
    team: str = ""
    explicit: str = ""
    key: tuple[str, ...] = ()
    name: str = ""
    framework: str = ""
    is_certain: bool = True
    variable: str = ""
    rank: str = ""


class CgroupIdentity(NamedTuple):
    """What the path of a cgroup says, with what Kubernetes says of its pod.

    Attributes:
        workload: whom the cgroup's energy is charged to; of a pod it changes once its name is known.
        pod_uid: the pod's UID as the kubelet knows it (a static pod's is 32 hex digits without dashes), or empty.
        container_id: 64 hex digits, or empty.
        job_system: slurm, pbs, lsf, or empty.
        job_id: the job's id, or Slurm's SLUID, or empty.
        step: the Slurm step: 0, batch, extern, interactive …, or empty.
        is_root: whether this is the root of the hierarchy.
        pod: what Kubernetes says of the pod's run, or None where the pod is not known.
        is_pending: whether the pod is new and its name may be known soon.
    """

    workload: WorkloadId
    pod_uid: str = ""
    container_id: str = ""
    job_system: str = ""
    job_id: str = ""
    step: str = ""
    is_root: bool = False
    pod: PodLaunch | None = None
    is_pending: bool = False

    @property
    def place(self) -> WorkloadId:
        """Where its processes are, whatever names are learned later: what belongs together has the same place."""
        if not self.pod_uid:
            return self.workload
        return WorkloadId("pod", "", self.pod_uid, self.container_id[:SHORT_ID])


class CommandFacts(NamedTuple):
    """What a command line says; the command line itself is dropped.

    Attributes:
        launcher: the launch system the process itself is: torchrun, accelerate, deepspeed …, or empty.
        wrapper: whether it only starts others (a shell, tini, timeout, env, srun …).
        script: base name of the script, kept only where settings allow it, else empty.
        slurm_job: job id in the title of a Slurm step daemon, or empty.
        slurm_step: step in that title, or empty.
        local_rank: the number in ``--local_rank=N``, which DeepSpeed adds, or empty.
    """

    launcher: str = ""
    wrapper: bool = False
    script: str = ""
    slurm_job: str = ""
    slurm_step: str = ""
    local_rank: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessFacts:
    """One process as the readers saw it.

    Attributes:
        pid: process id in the host's namespace.
        start_ticks: start time in clock ticks since boot, proc_pid_stat(5) field 22; with the pid it is unique.
        parent_pid: the parent's pid, 0 where there is none.
        session_id: pid of the session's leader.
        command: the kernel's ``comm``, cleaned.
        uid: the real user id, -1 where unknown.
        started_s: start in wall-clock seconds since the epoch.
        cgroup: what its cgroup's path says.
        cgroup_key: opaque, equal for processes of one cgroup.
        environment: the allow-listed variables; None where the environment is unreadable or overwritten.
        line: what its command line says.
    """

    pid: int
    start_ticks: int
    parent_pid: int
    session_id: int
    command: str
    uid: int
    started_s: float
    cgroup: CgroupIdentity
    cgroup_key: str
    environment: Mapping[str, str] | None
    line: CommandFacts
