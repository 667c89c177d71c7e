"""What the workloads give: who ran, with how much CPU time and memory, and which training run it belongs to."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, NewType, Protocol

from exporter.health import Finding, SourceEvent

__all__ = [
    "GpuClaim",
    "GpuUser",
    "LeafUsage",
    "PodFacts",
    "ProcessUsage",
    "RunFacts",
    "RunKey",
    "UsageSample",
    "WorkloadId",
    "WorkloadSampler",
]

RunKey = NewType("RunKey", str)
"""The short, opaque, stable key of a training run: the same on every node, safe as a label value."""


class WorkloadId(NamedTuple):
    """What energy is charged to.

    Attributes:
        kind: pod, container, slurm_job, pbs_job, lsf_job, unit, user_unit, session, vm, slice, command, cgroup.
        namespace: the Kubernetes namespace, Slurm cluster or user where the kind has one, else empty.
        name: the pod (its UID where the name is unknown, ``starting`` where it may come), job id, unit, session …
        container: the container's name or short id within the pod, or the Slurm step; empty where there is none.
    """

    kind: str
    namespace: str
    name: str
    container: str = ""


class LeafUsage(NamedTuple):
    """What one leaf used in an interval: the part of a workload that belongs to one run, or to none.

    Attributes:
        workload: the workload.
        run: the run, or None.
        cpu_s: CPU seconds used in the interval, by processes that have exited too.
        resident_bytes: memory without page cache now, or 0 where unknown.
        requested_cores: CPUs reserved for the leaf by a scheduler, or 0 where unknown.
        gpu_share: the node's GPUs held, as a share of all, 0–1.
    """

    workload: WorkloadId
    run: RunKey | None
    cpu_s: float
    resident_bytes: float = 0.0
    requested_cores: float = 0.0
    gpu_share: float = 0.0


class ProcessUsage(NamedTuple):
    """What one training process used in an interval.

    Attributes:
        leaf: index of its leaf in ``UsageSample.leaves``.
        run: the run it belongs to.
        rank: its global rank as decimal text, or empty where unknown (a launcher, a data loader).
        pid: process id in the host's namespace.
        cpu_s: CPU seconds used in the interval.
    """

    leaf: int
    run: RunKey
    rank: str
    pid: int
    cpu_s: float


class GpuUser(NamedTuple):
    """Who is behind a pid that a GPU's driver named.

    Attributes:
        leaf: index of its leaf in ``UsageSample.leaves``.
        run: the run it belongs to, or None.
        rank: its global rank, or empty.
        start_ticks: its start time in clock ticks since boot: with the pid it is unique.
        command: the kernel's ``comm``, cleaned.
        mps_share_ratio: the share of the GPU's threads it declared to MPS, 0–1, or None where it did not.
        is_alive: False if it was known at the previous sample and has gone since.
    """

    leaf: int
    run: RunKey | None
    rank: str
    start_ticks: int
    command: str
    mps_share_ratio: float | None = None
    is_alive: bool = True


class GpuClaim(NamedTuple):
    """A GPU that a scheduler allotted to a leaf, whether or not anything runs on it.

    Attributes:
        leaf: index of the leaf in ``UsageSample.leaves``.
        device: ``index:3`` (the driver's number of it), ``minor:3`` (its device file's number),
            ``pci:0000:3b:00.0``, or the UUID of a GPU or of a partition; ``minor:3/gi1`` is a partition too.
    """

    leaf: int
    device: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PodFacts:
    """What may be told of a pod that is on this node. All text is cleaned and capped.

    Attributes:
        namespace, name, node: as in Kubernetes.
        uid: as in the cgroup's path; two pods of one name, one after the other, have two.
        owner_kind, owner_name: the workload that people know it by (TrainJob, Deployment …), or empty.
        queue: the queue it was admitted through, or empty.
        team: the team that its labels name, or empty.
        labels: those that may leave the agent.
    """

    namespace: str
    name: str
    uid: str
    node: str = ""
    owner_kind: str = ""
    owner_name: str = ""
    queue: str = ""
    team: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What is known of a training run on this node. All text is cleaned and capped.

    Attributes:
        key: the run's key.
        name: for people: what the user or scheduler called it, else framework and short key.
        framework: the launch system: torchrun, accelerate, deepspeed, slurm …
        namespace: Kubernetes namespace or Slurm cluster, or empty.
        owner: the job or object that owns it (a Slurm job id, ``TrainJob/bert``, a pod UID …), or empty.
        user: login name or numeric uid, or empty where switched off.
        world_size: ranks of the run on all nodes, or None where unknown.
        ranks: distinct ranks seen alive on this node.
        identity: what the key was made of: explicit, kubernetes, slurm, pbs, lsf, pmix, horovod, torchelastic,
            rendezvous, ray, skypilot, rule, cgroup, process_tree.
        started_s: wall-clock start of its oldest process on this node.
        is_alive: False in the sample in which its last process was seen to be gone.
        account: the account that a batch system books it on, or empty.
        queue: the queue that its pods were admitted through, or empty.
        team: the team that its pods' labels name, or empty.
    """

    key: RunKey
    name: str
    framework: str
    namespace: str = ""
    owner: str = ""
    user: str = ""
    world_size: int | None = None
    ranks: int = 0
    identity: str = ""
    started_s: float = 0.0
    is_alive: bool = True
    account: str = ""
    queue: str = ""
    team: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageSample:
    """Who used the node since the previous sample.

    Attributes:
        interval_s: seconds since the previous sample.
        cpu_count: logical CPUs online.
        busy_cpu_s: CPU seconds in which the node was not idle (no steal, guests once).
        system_cpu_s: of these, what no workload used: kernel threads, interrupts.
        memory_total_bytes: installed memory, or 0 where unknown.
        leaves: every leaf alive now or with CPU time in the interval, one entry per (workload, run).
        processes: training processes alive now, at most the configured number.
        runs: facts of every run that has a leaf in this sample, and of those that ended since the last one.
        gpu_users: who is behind each pid that was asked for, as far as known.
        gpu_claims: which GPUs schedulers allotted to leaves, one entry per (leaf, device).
        labels: labels of workloads (Kubernetes pods), as far as known; all of them, so they are not for telling.
        pods: the pods on this node that have a name.
        events: errors and truncations since the previous sample; reasons from a fixed set.
        findings: the state of the process table, cgroups and environment access.
    """

    interval_s: float
    cpu_count: int
    busy_cpu_s: float
    system_cpu_s: float
    memory_total_bytes: float = 0.0
    leaves: Sequence[LeafUsage] = ()
    processes: Sequence[ProcessUsage] = ()
    runs: Mapping[RunKey, RunFacts]
    gpu_users: Mapping[int, GpuUser] = field(default_factory=dict)
    gpu_claims: Sequence[GpuClaim] = ()
    labels: Mapping[WorkloadId, Mapping[str, str]] = field(default_factory=dict)
    pods: Sequence[PodFacts] = ()
    events: Sequence[SourceEvent] = ()
    findings: Sequence[Finding] = ()

    @property
    def busy_ratio(self) -> float:
        """How busy all CPUs were together, 0–1; 0 without an interval."""
        available_s = self.cpu_count * self.interval_s
        return min(max(self.busy_cpu_s / available_s, 0.0), 1.0) if available_s > 0 else 0.0


class WorkloadSampler(Protocol):
    """What the loop needs of the workloads; ``WorkloadCollector`` is the implementation."""

    def sample(self, *, with_memory: bool, gpu_pids: Collection[int] = ()) -> UsageSample:
        """Return who used the node since the previous call; the first call only sets the baselines.

        ``with_memory`` asks for resident memory, which costs reads: pass True where a component needs it.
        ``gpu_pids`` are the processes that GPU drivers named in this tick; ``gpu_users`` says who they are.
        """
        ...

    def close(self) -> None:
        """Release descriptors."""
        ...
