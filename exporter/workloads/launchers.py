"""The launch systems as a table: what each leaves in the environment of the processes it starts.

Adding a launcher is adding a row. The rows stand in the order in which they may name a run: what names one run on
all nodes before what must be scoped by time or to the node. Sources: the documentation and the launcher sources
of each system; see docs/reference/runs.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

__all__ = [
    "EXPLICIT_VARIABLE",
    "FRAMEWORKS",
    "LAUNCHER_PROGRAMS",
    "LAUNCH_SYSTEMS",
    "NO_RAY_JOB",
    "RANK_SOURCES",
    "WRAPPER_PROGRAMS",
    "Framework",
    "LaunchSystem",
    "RankSource",
]

EXPLICIT_VARIABLE = "WATTRIBUTE_RUN"
"""A user names the run with it. The key is made of the name and the uid, so nobody can join a stranger's run."""


class LaunchSystem(NamedTuple):
    """How one system names a run.

    Attributes:
        identity: the word for ``RunFacts.identity``.
        framework: the word for ``RunFacts.framework`` where nothing more specific is found.
        needs: variables that must all be present and not be one of ``meaningless``.
        key: variables the key is made of; absent ones count as empty.
        scope: ``global``: the key is good on all nodes at any time; ``window``: only near the start time.
        address: among ``key``, the one that holds a network address; a loopback address makes the key local.
        meaningless: values of the needed variables that say nothing.
        name: variables whose value is a name for people, the best first.
        owner: variable that holds the job's id, or empty.
    """

    identity: str
    framework: str
    needs: tuple[str, ...]
    key: tuple[str, ...]
    scope: Literal["global", "window"] = "global"
    address: str = ""
    meaningless: frozenset[str] = frozenset({""})
    name: tuple[str, ...] = ()
    owner: str = ""


class RankSource(NamedTuple):
    """Where a process's global rank and the number of ranks stand.

    Attributes:
        needs: variables that must all be present; a nearer source has more of them.
        rank: the variable with the global rank.
        world_size: the variable with the number of ranks.
        strength: 0 is what the launcher nearest to the process wrote; a larger number may be inherited from afar.
    """

    needs: tuple[str, ...]
    rank: str
    world_size: str
    strength: int


class Framework(NamedTuple):
    """A sign of a framework: all of ``needs`` are present, none of ``lacks``."""

    name: str
    needs: tuple[str, ...]
    lacks: tuple[str, ...] = ()


NO_RAY_JOB = frozenset({"", "nil", "ffffffff"})
"""Values of RAY_JOB_ID that name no job."""

LAUNCH_SYSTEMS = (
    LaunchSystem(
        "slurm",
        "slurm",
        # SLURM_PROCID is what a salloc shell does not have: it carries the job's variables without being a task.
        needs=("SLURM_JOB_ID", "SLURM_PROCID"),
        key=("SLURM_CLUSTER_NAME", "SLURM_JOB_ID", "SLURM_RESTART_COUNT"),
        name=("SLURM_JOB_NAME",),
        owner="SLURM_JOB_ID",
    ),
    LaunchSystem("pbs", "pbs", needs=("PBS_JOBID",), key=("PBS_JOBID",), name=("PBS_JOBNAME",), owner="PBS_JOBID"),
    LaunchSystem(
        "lsf",
        "lsf",
        needs=("LSB_JOBID",),
        key=("LSB_JOBID", "LSB_JOBINDEX"),
        name=("LSB_JOBNAME",),
        owner="LSB_JOBID",
    ),
    LaunchSystem("pmix", "openmpi", needs=("PMIX_NAMESPACE",), key=("PMIX_NAMESPACE",)),
    LaunchSystem(
        "horovod",
        "horovod",
        needs=("HOROVOD_GLOO_RENDEZVOUS_ADDR", "HOROVOD_GLOO_RENDEZVOUS_PORT"),
        key=("HOROVOD_GLOO_RENDEZVOUS_ADDR", "HOROVOD_GLOO_RENDEZVOUS_PORT"),
        scope="window",
        address="HOROVOD_GLOO_RENDEZVOUS_ADDR",
    ),
    LaunchSystem(
        "torchelastic",
        "torchrun",
        needs=("TORCHELASTIC_RUN_ID",),
        key=("TORCHELASTIC_RUN_ID",),
        meaningless=frozenset({"", "none", "0", "default"}),
        name=("TORCHELASTIC_RUN_ID",),
    ),
    LaunchSystem(
        "ray",
        "ray",
        needs=("RAY_JOB_ID", "RAY_CLUSTER_NAME"),
        key=("RAY_CLUSTER_NAMESPACE", "RAY_CLUSTER_NAME", "RAY_JOB_ID"),
        meaningless=NO_RAY_JOB,
        name=("RAY_CLUSTER_NAME",),
        owner="RAY_JOB_ID",
    ),
    LaunchSystem(
        "ray",
        "ray",
        needs=("RAY_JOB_ID",),
        key=("RAY_ADDRESS", "RAY_JOB_ID"),
        scope="window",
        address="RAY_ADDRESS",
        meaningless=NO_RAY_JOB,
        owner="RAY_JOB_ID",
    ),
    LaunchSystem(
        "skypilot",
        "skypilot",
        needs=("SKYPILOT_TASK_ID",),
        key=("SKYPILOT_TASK_ID",),
        name=("SKYPILOT_TASK_ID",),
    ),
    LaunchSystem(
        "rendezvous",
        "torch",
        needs=("MASTER_PORT", "WORLD_SIZE"),
        key=("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE"),
        scope="window",
        address="MASTER_ADDR",
    ),
    LaunchSystem(
        "rendezvous",
        "jax",
        needs=("JAX_COORDINATOR_ADDRESS",),
        key=("JAX_COORDINATOR_ADDRESS", "JAX_COORDINATOR_PORT"),
        scope="window",
        address="JAX_COORDINATOR_ADDRESS",
    ),
    LaunchSystem(
        "rendezvous",
        "jax",
        needs=("MEGASCALE_COORDINATOR_ADDRESS",),
        key=("MEGASCALE_COORDINATOR_ADDRESS",),
        scope="window",
        address="MEGASCALE_COORDINATOR_ADDRESS",
    ),
    LaunchSystem(
        "rendezvous",
        "tensorflow",
        needs=("TF_CONFIG.hosts",),
        key=("TF_CONFIG.hosts",),
        scope="window",
        address="TF_CONFIG.address",
    ),
)

RANK_SOURCES = (
    RankSource(("RANK", "LOCAL_RANK", "WORLD_SIZE"), "RANK", "WORLD_SIZE", 0),
    RankSource(("HOROVOD_RANK",), "HOROVOD_RANK", "HOROVOD_SIZE", 0),
    RankSource(("RANK", "WORLD_SIZE"), "RANK", "WORLD_SIZE", 1),
    RankSource(("OMPI_COMM_WORLD_RANK",), "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", 1),
    RankSource(("TF_CONFIG.rank",), "TF_CONFIG.rank", "TF_CONFIG.world_size", 1),
    RankSource(("JSM_NAMESPACE_RANK",), "JSM_NAMESPACE_RANK", "JSM_NAMESPACE_SIZE", 2),
    RankSource(("PMIX_RANK",), "PMIX_RANK", "PMI_SIZE", 2),
    RankSource(("PMI_RANK",), "PMI_RANK", "PMI_SIZE", 2),
    # The batch script's shell has SLURM_PROCID=0 without being a rank: only a step has a number of tasks.
    RankSource(("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"), "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", 3),
)
"""The first row whose variables are present gives the rank."""

FRAMEWORKS = (
    Framework("accelerate", ("ACCELERATE_MIXED_PRECISION",)),
    Framework("horovod", ("HOROVOD_RANK",)),
    Framework("deepspeed", ("CROSS_RANK", "LOCAL_SIZE", "MASTER_ADDR")),
    Framework("torchrun", ("TORCHELASTIC_RUN_ID",)),
    Framework("lightning", ("NODE_RANK", "LOCAL_RANK", "MASTER_ADDR"), lacks=("RANK",)),
    Framework("jax", ("JAX_COORDINATOR_ADDRESS",)),
    Framework("jax", ("MEGASCALE_COORDINATOR_ADDRESS",)),
    Framework("tensorflow", ("TF_CONFIG.hosts",)),
    Framework("jsrun", ("JSM_NAMESPACE_RANK",)),
    Framework("openmpi", ("OMPI_COMM_WORLD_RANK",)),
    Framework("ray", ("RAY_JOB_ID",)),
    Framework("skypilot", ("SKYPILOT_TASK_ID",)),
)
"""The most specific first."""

LAUNCHER_PROGRAMS: Mapping[str, str] = MappingProxyType(
    {
        "torchrun": "torchrun",
        "torch.distributed.run": "torchrun",
        "torch.distributed.launch": "torchrun",
        "torch.distributed.launcher": "torchrun",
        "pt_elastic": "torchrun",
        "accelerate": "accelerate",
        "accelerate-launch": "accelerate",
        "accelerate.commands.launch": "accelerate",
        "accelerate.commands.accelerate_cli": "accelerate",
        "deepspeed": "deepspeed",
        "deepspeed.launcher.runner": "deepspeed",
        "deepspeed.launcher.launch": "deepspeed",
        "horovodrun": "horovod",
        "horovod.runner.launch": "horovod",
        "mpirun": "openmpi",
        "mpiexec": "openmpi",
        "orterun": "openmpi",
        "orted": "openmpi",
        "prte": "openmpi",
        "prted": "openmpi",
        "prterun": "openmpi",
        "mpirun.mpich": "mpi",
        "mpiexec.hydra": "mpi",
        "hydra_pmi_proxy": "mpi",
        "jsrun": "jsrun",
    }
)
"""Programs, Python modules and process names that launch ranks, and the framework each stands for."""

WRAPPER_PROGRAMS = frozenset(
    {
        "sh",
        "bash",
        "dash",
        "ash",
        "ksh",
        "zsh",
        "fish",
        "busybox",
        "tini",
        "dumb-init",
        "catatonit",
        "docker-init",
        "s6-svscan",
        "s6-supervise",
        "timeout",
        "nohup",
        "env",
        "nice",
        "ionice",
        "taskset",
        "numactl",
        "stdbuf",
        "setsid",
        "time",
        "sudo",
        "su",
        "gosu",
        "su-exec",
        "srun",
        "xargs",
        "conda",
        "apptainer",
        "singularity",
        "starter",
        "starter-suid",
    }
)
"""Programs that only start others and use next to no CPU themselves."""
