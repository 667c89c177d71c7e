"""What a process says of its run: claims, ranks and keys; pure functions of the facts.

A claim is what one process says. Which run it then joins also depends on the processes around it: see runs.py.
A claim from the environment is always bound to the uid, and in a pod to the namespace, so that a forged one cannot
reach another user's or tenant's run. What a pod's controller wrote on it comes before what runs in it says.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from exporter.workloads.facts import ProcessFacts
from exporter.workloads.launchers import (
    EXPLICIT_VARIABLE,
    FRAMEWORKS,
    LAUNCH_SYSTEMS,
    NO_RAY_JOB,
    RANK_SOURCES,
    LaunchSystem,
)
from exporter.workloads.records import RunKey
from exporter.workloads.rules import RunSettings, match_rule

__all__ = [
    "JOB_VARIABLES",
    "WINDOW_S",
    "AddressReuses",
    "Claim",
    "RankClaim",
    "claim_by_name",
    "claim_job",
    "claim_launch",
    "claim_pod",
    "claim_rank",
    "framework_order",
    "is_contained",
    "is_rank_zero_of",
    "job_mismatch",
    "make_key",
    "recognise_framework",
]

WINDOW_S = 600
"""Length of the start windows that tell apart runs which meet at the same address, one after the other."""

JOB_VARIABLES: Mapping[str, str] = {"slurm": "SLURM_JOB_ID", "pbs": "PBS_JOBID", "lsf": "LSB_JOBID"}
"""Where each batch system writes the job's id."""

_KEY_BYTES = 6
_LOOPBACK = re.compile(
    r"(?:|localhost(?:[46]|\.localdomain)?|ip6-localhost|127(?:\.[0-9]+){3}|0\.0\.0\.0|::1|::|auto|local)"
)
_DIGITS = re.compile(r"[0-9]{1,9}")
_NUMBER = re.compile(r"[0-9]+")
_NO_RANK_STEPS = frozenset({"batch", "extern", "interactive"})
_OWN_RANK_STRENGTH = 3
_POD_RANK_STRENGTH = 7


class Claim(NamedTuple):
    """What names a run.

    Attributes:
        identity: the word for ``RunFacts.identity``.
        text: what the key is made of.
        framework: the framework, if the claim implies one.
        name: a name for people, or empty.
        namespace: the Slurm cluster, or empty.
        owner: the job's id, or empty.
        is_windowed: the text is good only near the start time.
        is_local: the text is good on this node only.
    """

    identity: str
    text: tuple[str, ...]
    framework: str = ""
    name: str = ""
    namespace: str = ""
    owner: str = ""
    is_windowed: bool = False
    is_local: bool = False


class RankClaim(NamedTuple):
    """A process's place among the ranks.

    Attributes:
        rank: decimal text without leading zeros, or empty.
        world_size: ranks on all nodes, or None.
        strength: 0 for what the nearest launcher wrote; larger is weaker.
        is_bad: whether a rank was given that cannot be.
    """

    rank: str = ""
    world_size: int | None = None
    strength: int = 9
    is_bad: bool = False


def make_key(parts: Iterable[str]) -> RunKey:
    """Return 12 hex digits made of the parts: the same on every node and in every release."""
    text = "\0".join(parts).encode("utf-8", "surrogatepass")
    return RunKey(hashlib.blake2b(text, digest_size=_KEY_BYTES).hexdigest())


def claim_by_name(process: ProcessFacts, settings: RunSettings, user: str) -> Claim | None:
    """Return the claim by an administrator's rule, else by the user's own annotation of the pod, else variable."""
    ruled = match_rule(settings.rules, process, user)
    if ruled is not None:
        rule, name = ruled
        return Claim("rule", ("rule", rule.name_from, name), framework=rule.framework, name=name)
    pod = process.cgroup.pod
    if pod is not None and pod.explicit:
        chosen = ("annotation", pod.namespace, pod.explicit)
        return Claim("explicit", chosen, name=pod.explicit, namespace=pod.namespace, owner=pod.owner)
    name = (process.environment or {}).get(EXPLICIT_VARIABLE, "")
    text = ("explicit", name, *_reach(process))
    return Claim("explicit", text, name=name, namespace=_namespace(process)) if name else None


def claim_pod(process: ProcessFacts, settings: RunSettings) -> Claim | None:
    """Return the claim by what controls the process's pod, or None where that alone makes no run."""
    pod = process.cgroup.pod
    if pod is None or not pod.key or not (pod.is_certain or claim_launch(process, settings)):
        return None
    text = ("kubernetes", pod.namespace, *pod.key)
    if pod.variable:
        value = (process.environment or {}).get(pod.variable, "")
        if value in NO_RAY_JOB:
            return None
        text = (*text, value)
    return Claim("kubernetes", text, framework=pod.framework, name=pod.name, namespace=pod.namespace, owner=pod.owner)


def _reach(process: ProcessFacts) -> tuple[str, ...]:
    """Return what limits a claim that anybody can make: the uid, and the namespace of a pod that is known."""
    namespace = _namespace(process)
    return (str(process.uid), namespace) if namespace else (str(process.uid),)


def _namespace(process: ProcessFacts) -> str:
    return process.cgroup.pod.namespace if process.cgroup.pod is not None else ""


def claim_job(job: tuple[str, str], process: ProcessFacts, settings: RunSettings, job_id: str) -> Claim:
    """Return the claim of a process in a batch system's job.

    ``job`` is (system, id or SLUID) as the cgroup says, ``job_id`` the id for people. The job itself is certain;
    cluster, restart count and name come from the environment unless that speaks of another job.
    """
    system, identifier = job
    variables = {} if job_mismatch(job_id, system, process) else process.environment or {}
    row = next(row for row in LAUNCH_SYSTEMS if row.identity == system)
    cluster = settings.slurm_cluster_name or variables.get("SLURM_CLUSTER_NAME", "") if system == "slurm" else ""
    restart = variables.get("SLURM_RESTART_COUNT", "") if system == "slurm" and identifier.isdigit() else ""
    restart = "" if restart == "0" else restart
    return Claim(
        system,
        (system, cluster, identifier, restart),
        framework=system,
        name=_first(variables, row.name),
        namespace=cluster,
        owner=job_id,
    )


def job_mismatch(job_id: str, system: str, process: ProcessFacts) -> bool:
    """Return whether the environment speaks of another job than the cgroup does."""
    claimed = _NUMBER.match((process.environment or {}).get(JOB_VARIABLES[system], ""))
    known = _NUMBER.match(job_id)
    return claimed is not None and known is not None and claimed[0] != known[0]


def is_contained(process: ProcessFacts) -> bool:
    """Return whether the process is in a pod, container or machine: there no host job's variables count."""
    return process.cgroup.workload.kind in {"pod", "container", "vm"}


def is_rank_zero_of(parent: ProcessFacts, child: ProcessFacts) -> bool:
    """Return whether ``parent`` is Lightning's own launcher: it is rank 0 and shows it in its children only."""
    variables = child.environment or {}
    return (
        all(name in variables for name in ("NODE_RANK", "LOCAL_RANK", "MASTER_ADDR"))
        and "RANK" not in variables
        and parent.session_id == child.session_id
        and not (parent.line.wrapper or parent.line.launcher)
    )


def claim_launch(process: ProcessFacts, settings: RunSettings) -> Claim | None:
    """Return the claim by what a launch system left in the environment: the first row of the table that holds.

    A program that only launches makes no claim that is bound to a start window: its ranks know better.
    """
    variables = process.environment
    if not variables:
        return None
    is_launching = bool(process.line.launcher) or process.line.wrapper
    for row in LAUNCH_SYSTEMS:
        if any(variables.get(name, "") in row.meaningless for name in row.needs):
            continue
        if row.identity in JOB_VARIABLES and is_contained(process):
            continue
        if not (is_launching and row.scope == "window"):
            return _claim_by_row(row, process, variables, settings)
    return None


def _claim_by_row(
    row: LaunchSystem, process: ProcessFacts, variables: Mapping[str, str], settings: RunSettings
) -> Claim:
    values = {name: variables.get(name, "") for name in row.key}
    cluster = ""
    if row.identity == "slurm":
        cluster = settings.slurm_cluster_name or values["SLURM_CLUSTER_NAME"]
        values["SLURM_CLUSTER_NAME"] = cluster
    is_windowed = row.scope == "window"
    return Claim(
        row.identity,
        (row.identity, *values.values(), *_reach(process)),
        framework=row.framework,
        name=_first(variables, row.name),
        namespace=cluster or _namespace(process),
        owner=variables.get(row.owner, ""),
        is_windowed=is_windowed,
        is_local=is_windowed and _is_local(variables, row.address),
    )


def _is_local(variables: Mapping[str, str], address: str) -> bool:
    """Return whether all ranks are on this node: by a loopback address, or because as many are local as in all."""
    host = variables.get(address, "").strip().lower()
    host = host[1:].partition("]")[0] if host.startswith("[") else host
    host = host.partition(":")[0] if host.count(":") == 1 else host
    world = variables.get("WORLD_SIZE", "")
    return _LOOPBACK.fullmatch(host) is not None or (bool(world) and world == variables.get("LOCAL_WORLD_SIZE"))


def _first(variables: Mapping[str, str], names: Iterable[str]) -> str:
    return next((variables[name] for name in names if variables.get(name)), "")


def claim_rank(process: ProcessFacts) -> RankClaim:
    """Return the process's rank, checked against the number of ranks; launchers and wrappers have none."""
    if process.line.launcher or process.line.wrapper:
        return RankClaim()
    variables = process.environment
    if not variables:
        return _pod_rank(process, None)
    for source in RANK_SOURCES:
        if source.strength == _OWN_RANK_STRENGTH and process.cgroup.step in _NO_RANK_STEPS:
            continue
        if all(name in variables for name in source.needs):
            return _checked(variables[source.rank], variables.get(source.world_size, ""), source.strength)
    return _pod_rank(process, _world_size(variables.get("WORLD_SIZE", "")))


def _pod_rank(process: ProcessFacts, world_size: int | None) -> RankClaim:
    """Return the rank by the pod's index: weak, for the oldest program in a container that has no other."""
    cgroup = process.cgroup
    if cgroup.pod is None or not cgroup.pod.rank or not cgroup.workload.container:
        return RankClaim(world_size=world_size)
    return RankClaim(cgroup.pod.rank, world_size, _POD_RANK_STRENGTH)


def _checked(rank: str, world: str, strength: int) -> RankClaim:
    world_size = _world_size(world)
    if _DIGITS.fullmatch(rank) is None or (world_size is not None and int(rank) >= world_size):
        return RankClaim(is_bad=True)
    return RankClaim(str(int(rank)), world_size, strength)


def _world_size(text: str) -> int | None:
    return int(text) if _DIGITS.fullmatch(text) and int(text) > 0 else None


def recognise_framework(process: ProcessFacts) -> str:
    """Return the most specific framework that the process shows, or an empty string."""
    variables = process.environment or {}
    signs = (
        sign.name
        for sign in FRAMEWORKS
        if all(name in variables for name in sign.needs) and not any(name in variables for name in sign.lacks)
    )
    return min((name for name in (next(signs, ""), process.line.launcher) if name), key=framework_order, default="")


def framework_order(name: str) -> int:
    """Return how specific a framework is: smaller is more so."""
    return next((order for order, sign in enumerate(FRAMEWORKS) if sign.name == name), len(FRAMEWORKS))


class AddressReuses:
    """How often runs that met at an address have ended within a start window; tells one after the other apart."""

    def __init__(self) -> None:
        self._ended: dict[tuple[tuple[str, ...], int], int] = {}

    def of(self, text: tuple[str, ...], window: int) -> int:
        """Return how many runs with this claim ended that started in ``window``."""
        return self._ended.get((text, window), 0)

    def count(self, text: tuple[str, ...], window: int) -> None:
        """Remember that one ended; what is older than the previous window cannot come again."""
        for known in [known for known in self._ended if known[1] < window - 1]:
            del self._ended[known]
        self._ended[text, window] = self.of(text, window) + 1
