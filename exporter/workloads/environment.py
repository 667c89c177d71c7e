"""The environment a process was started with, reduced to allow-listed names while it is parsed.

Environments hold secrets: a name that is not listed here is never kept, not even for a moment in a record.
Format: ``/proc/PID/environ``, NUL-separated ``NAME=value``, see proc_pid_environ(5). It shows the state at exec;
a process that sets its title overwrites it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from exporter.workloads.launchers import EXPLICIT_VARIABLE, FRAMEWORKS, LAUNCH_SYSTEMS, RANK_SOURCES
from exporter.workloads.text import clean_text

__all__ = ["ENVIRONMENT_LIMIT_BYTES", "ENVIRONMENT_NAMES", "parse_environ"]

ENVIRONMENT_LIMIT_BYTES = 1 << 20
"""What is read of one environment at most; 3,000 service variables of Kubernetes take 164 kB."""

_VALUE_LIMIT = 256
_CLUSTER_LIMIT_BYTES = 65536
_CLUSTER = "TF_CONFIG"
_RANKED_ROLES = ("chief", "master", "worker")

_FURTHER_NAMES = (
    "SLURM_JOBID",
    "SLURM_JOB_SLUID",
    "SLURM_STEP_ID",
    "LOCAL_WORLD_SIZE",
    "GROUP_WORLD_SIZE",
    "NODE_RANK",
    "LOCAL_RANK",
    "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE",
    "SLURM_JOB_GPUS",
    "SLURM_STEP_GPUS",
    "SLURM_JOB_ACCOUNT",
)


def _names() -> tuple[str, ...]:
    rows = (
        *(name for system in LAUNCH_SYSTEMS for name in (*system.needs, *system.key, *system.name, system.owner)),
        *(name for source in RANK_SOURCES for name in (*source.needs, source.rank, source.world_size)),
        *(name for framework in FRAMEWORKS for name in (*framework.needs, *framework.lacks)),
    )
    listed = {name.partition(".")[0] for name in rows if name}
    return tuple(sorted(listed | {EXPLICIT_VARIABLE, *_FURTHER_NAMES}))


ENVIRONMENT_NAMES = _names()
"""Every variable that is read: those the launcher table names, a few that check or scope them, and those of GPUs."""


def parse_environ(raw: bytes, allowed: frozenset[str]) -> dict[str, str] | None:
    """Return the allowed variables, or None if the block is not an environment (overwritten by a title).

    Values are cleaned and cut at 256 characters. Of a name that occurs twice the first counts, as for getenv(3).
    ``TF_CONFIG``, if allowed, becomes ``TF_CONFIG.hosts`` (a digest), ``.address``, ``.rank`` and ``.world_size``.
    Bytes after the first MiB are ignored. An empty block is an empty environment.
    """
    raw = raw[:ENVIRONMENT_LIMIT_BYTES]
    if not raw:
        return {}
    if b"=" not in raw:
        return None
    wanted = {name.encode(): name for name in allowed}
    found: dict[str, bytes] = {}
    for entry in raw.split(b"\0"):
        name, _, value = entry.partition(b"=")
        text = wanted.get(name)
        if text is not None and len(entry) > len(name):
            found.setdefault(text, value)
    cluster = _parse_cluster(found.pop(_CLUSTER)) if _CLUSTER in found else {}
    return {name: _clean(value) for name, value in found.items()} | cluster


def _clean(value: bytes) -> str:
    return clean_text(value[: 4 * _VALUE_LIMIT].decode("utf-8", "replace"), limit=_VALUE_LIMIT)


def _parse_cluster(value: bytes) -> dict[str, str]:
    """Reduce TensorFlow's cluster description; a malformed or huge one gives nothing."""
    if len(value) > _CLUSTER_LIMIT_BYTES:
        return {}
    try:
        config = json.loads(value)
    except (ValueError, RecursionError):
        return {}
    hosts = _hosts(config.get("cluster")) if isinstance(config, dict) else {}
    everybody = sorted(host for addresses in hosts.values() for host in addresses)
    if not everybody:
        return {}
    digest = hashlib.blake2b("\n".join(everybody).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    facts = {"TF_CONFIG.hosts": digest, "TF_CONFIG.address": clean_text(everybody[0], limit=_VALUE_LIMIT)}
    return facts | _position(config.get("task"), hosts)


def _hosts(cluster: object) -> dict[str, list[str]]:
    if not isinstance(cluster, dict):
        return {}
    return {
        role: [host for host in addresses if isinstance(host, str)]
        for role, addresses in cluster.items()
        if isinstance(addresses, list)
    }


def _position(task: object, hosts: Mapping[str, list[str]]) -> dict[str, str]:
    """Return the task's place among those that train: the chief, then the workers by index."""
    sizes = {role: len(hosts.get(role, ())) for role in _RANKED_ROLES}
    world = {"TF_CONFIG.world_size": str(sum(sizes.values()))}
    if not isinstance(task, dict) or task.get("type") not in sizes or not isinstance(task.get("index"), int):
        return world
    role = _RANKED_ROLES.index(task["type"])
    before = sum(sizes[earlier] for earlier in _RANKED_ROLES[:role])
    return world | {"TF_CONFIG.rank": str(before + int(task["index"]))}
