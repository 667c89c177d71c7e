"""Builders of process facts for the tests of identity."""

from __future__ import annotations

from exporter.workloads.cgroup_paths import classify_cgroup
from exporter.workloads.command_line import parse_command
from exporter.workloads.facts import CommandFacts, ProcessFacts
from exporter.workloads.rules import RunSettings
from exporter.workloads.runs import RunTable

__all__ = ["SESSION", "build_process", "build_table"]

SESSION = "/user.slice/user-1000.slice/session-3.scope"


def build_table(
    settings: RunSettings | None = None, *, boot_id: str = "boot-1", hostname: str = "node1", readable: bool = True
) -> RunTable:
    """Return an empty table on a node where uid 1000 is ada."""
    users = {0: "root", 1000: "ada", 1001: "bob"}
    return RunTable(
        settings or RunSettings(),
        boot_id=boot_id,
        hostname=hostname,
        user_name=lambda uid: users.get(uid, ""),
        environment_readable=readable,
    )


def build_process(
    pid: int,
    parent: int = 1,
    *,
    args: str = "python\0train.py",
    comm: str = "python",
    env: dict[str, str] | None = None,
    readable: bool = True,
    cgroup: str = SESSION,
    uid: int = 1000,
    start: int | None = None,
    started_s: float = 1_000_000.0,
    session: int = 50,
) -> ProcessFacts:
    """Return a process as the readers would see it; ``args`` is its command line with NULs between."""
    line = parse_command(args.encode(), comm, keep_script=True) if args else CommandFacts()
    return ProcessFacts(
        pid=pid,
        start_ticks=pid * 10 if start is None else start,
        parent_pid=parent,
        session_id=session,
        command=comm,
        uid=uid,
        started_s=started_s,
        cgroup=classify_cgroup(cgroup),
        cgroup_key=f"{cgroup}#7",
        environment=(env or {}) if readable else None,
        line=line,
    )
