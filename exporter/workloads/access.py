"""What this agent may see of the node's processes and groups, found once, and said in words."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from exporter.health import Finding
from exporter.host import Roots

if TYPE_CHECKING:
    from exporter.workloads.cgroup_tree import CgroupTree
    from exporter.workloads.process_table import ProcessTable

__all__ = ["Access", "probe_access", "workload_findings"]

_CAP_DAC_READ_SEARCH, _CAP_SYS_PTRACE = 2, 19
_KTHREADD = b"2 (kthreadd)"
_MOSTLY_RATIO = 0.5


class Access(NamedTuple):
    """What the agent may see.

    Attributes:
        environments: other users' environments.
        all_processes: the whole node's processes: not hidden, not in a process namespace of its own.
        cpu_count: logical CPUs online.
    """

    environments: bool
    all_processes: bool
    cpu_count: int


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
    return Access(has_both or os.geteuid() != 0, second.startswith(_KTHREADD), roots.cpu_count())


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
    """Return the state of the process table, the control groups and the environments."""
    return [_process_finding(access, table, wall_s), _cgroup_finding(tree, wall_s), _environment_finding(table, wall_s)]


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
