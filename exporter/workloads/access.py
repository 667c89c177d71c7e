"""What this agent may see of the node's processes and groups, found once, and said in words."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from exporter.health import Finding
from exporter.host import Roots
from exporter.workloads.bounded_read import read_or_empty

if TYPE_CHECKING:
    from exporter.workloads.cgroup_tree import CgroupTree
    from exporter.workloads.process_table import ProcessTable

__all__ = ["Access", "has_host_pids", "probe_access", "workload_findings"]

_CAP_DAC_READ_SEARCH, _CAP_SYS_PTRACE = 2, 19
_KTHREADD = b"2 (kthreadd)"
_MOSTLY_RATIO = 0.5
_HOST_PIDS = "pid:[4026531836]"
"""The first process namespace: PROC_PID_INIT_INO, 0xEFFFFFFC, in include/linux/proc_ns.h."""
_STATUS_BYTES = 4096


class Access(NamedTuple):
    """What the agent may see.

    Attributes:
        environments: other users' environments.
        all_processes: the whole node's processes: not hidden, not in a process namespace of its own.
        cpu_count: logical CPUs online.
        host_pids: the host's process ids, which are those that GPU drivers are asked for; see ``has_host_pids``.
    """

    environments: bool
    all_processes: bool
    cpu_count: int
    host_pids: bool


def probe_access(roots: Roots) -> Access:
    """Find out what may be seen.

    Environments need both capabilities (measured; either alone fails), unless the agent only cares for its own user's
    processes, as one that is not root does. The kernel's thread daemon is PID 2 wherever the whole node is visible.
    """
    try:
        second = (roots.procfs / "2/stat").read_bytes()
    except OSError:
        second = b""
    capabilities = _effective_capabilities()
    has_both = bool(capabilities >> _CAP_SYS_PTRACE & 1 and capabilities >> _CAP_DAC_READ_SEARCH & 1)
    return Access(
        environments=has_both or os.geteuid() != 0,
        all_processes=second.startswith(_KTHREADD),
        cpu_count=roots.cpu_count(),
        host_pids=has_host_pids(roots.procfs / "self"),
    )


def has_host_pids(own: Path) -> bool:
    """Return whether the process shown at ``own`` is in the host's process namespace; False where that cannot be told.

    In another, drivers of NVIDIA's translate pids to it and leave out those of others. ``own`` is ``self`` in the
    host's proc file system: mounted into a container it shows this process with an id in each namespace it is in.
    Sources: pid_namespaces(7), proc_pid_status(5) NSpid.
    """
    try:
        namespace = str((own / "ns/pid").readlink())
    except OSError:
        return False
    status = read_or_empty(f"{own}/status", _STATUS_BYTES)
    ids = next((line.split()[1:] for line in status.split(b"\n") if line.startswith(b"NSpid:")), [])
    return namespace == _HOST_PIDS and len(ids) <= 1


def _effective_capabilities() -> int:
    """Return this process's effective capabilities as a bit set. Source: proc_pid_status(5)."""
    try:
        with open("/proc/self/status", "rb") as status:  # noqa: PTH123 - this process's own, not the host's
            for line in status:
                if line.startswith(b"CapEff:"):
                    return int(line.split()[1], 16)
    except (OSError, ValueError, IndexError):
        pass
    return 0


def workload_findings(access: Access, table: ProcessTable, tree: CgroupTree | None, *, wall_s: float) -> list[Finding]:
    """Return the state of the process table, of the process ids, the control groups and the environments."""
    return [
        _process_finding(access, table, wall_s),
        _pid_finding(access, wall_s),
        _cgroup_finding(tree, wall_s),
        _environment_finding(table, wall_s),
    ]


def _process_finding(access: Access, table: ProcessTable, wall_s: float) -> Finding:
    count = len(table.processes)
    if not count:
        return Finding(
            source="process_table",
            state="down",
            detail="no process can be seen",
            remedy="pass the host's proc file system with --path.procfs",
        )
    if not access.all_processes:
        return Finding(
            source="process_table",
            state="degraded",
            detail="the kernel's threads cannot be seen: a process namespace of its own, or /proc mounted with hidepid",
            remedy="in Kubernetes set hostPID: true; with hidepid add CAP_SYS_PTRACE; control groups still work",
            last_success_s=wall_s,
        )
    if table.is_truncated:
        return Finding(
            source="process_table",
            state="degraded",
            detail="more new processes than one tick may look at; the rest follow",
            remedy="if this lasts, raise workloads.new_process_budget_s",
            last_success_s=wall_s,
        )
    return Finding(source="process_table", state="up", detail="all processes are visible", last_success_s=wall_s)


def _pid_finding(access: Access, wall_s: float) -> Finding:
    if access.host_pids:
        return Finding(source="pid_view", state="up", detail="process ids are the host's", last_success_s=wall_s)
    return Finding(
        source="pid_view",
        state="degraded",
        detail="process ids are not the host's: GPU drivers hide the processes outside of this agent's container from "
        "it, so the GPUs' energy cannot be split among them",
        remedy="in Kubernetes set hostPID: true; in Docker pass --pid=host",
        last_success_s=wall_s,
    )


def _cgroup_finding(tree: CgroupTree | None, wall_s: float) -> Finding:
    if tree is None:
        return Finding(
            source="cgroups",
            state="down",
            detail="no cgroup hierarchy with CPU accounting: processes are read one by one, short-lived ones are lost",
            remedy="mount the host's cgroup file system and pass --path.cgroupfs",
        )
    mounted = f"cgroup {tree.hierarchy.version} at {tree.hierarchy.root}"
    if tree.is_truncated:
        return Finding(
            source="cgroups",
            state="degraded",
            detail=f"{mounted}: more groups than workloads.max_cgroups; those beyond count for the group above",
            remedy="raise workloads.max_cgroups",
            last_success_s=wall_s,
        )
    if not tree.has_events:
        return Finding(
            source="cgroups",
            state="degraded",
            detail=f"{mounted}: the kernel gives no more watches, so the tree is walked at every tick",
            remedy="raise the sysctl fs.inotify.max_user_watches",
            last_success_s=wall_s,
        )
    return Finding(source="cgroups", state="up", detail=mounted, last_success_s=wall_s)


def _environment_finding(table: ProcessTable, wall_s: float) -> Finding:
    denied_ratio = table.unreadable / max(table.unreadable + table.readable, 1)
    if denied_ratio > _MOSTLY_RATIO:
        return Finding(
            source="environment",
            state="degraded",
            detail=f"{denied_ratio:.0%} of the processes' environments cannot be read: runs come from cgroups and the "
            "process tree, without ranks and names",
            remedy="give the agent both CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH (opt-in: docs/explanation/identity.md)",
        )
    return Finding(source="environment", state="up", detail="launch variables can be read", last_success_s=wall_s)
