"""Read what /proc says of processes and of the node; formats from proc_pid_stat(5) and proc_stat(5)."""

from __future__ import annotations

from typing import NamedTuple

from exporter.errors import SourceFormatError

__all__ = ["NodeStat", "ProcessStat", "parse_node_stat", "parse_process_stat"]

_SOURCE = "process_table"
_KERNEL_THREAD = 0x00200000  # PF_KTHREAD, include/linux/sched.h


class ProcessStat(NamedTuple):
    """One process: identity and CPU time, in clock ticks; ``reaped_ticks`` is of children waited for."""

    command: str
    parent_pid: int
    session_id: int
    is_kernel_thread: bool
    cpu_ticks: int
    reaped_ticks: int
    start_ticks: int


class NodeStat(NamedTuple):
    """The node since boot: busy clock ticks (guests once, no steal, no iowait) and processes created."""

    busy_ticks: int
    forks: int


def parse_process_stat(raw: bytes) -> ProcessStat:
    """Parse /proc/PID/stat; the command may hold spaces and brackets, so the last bracket ends it.

    Raises:
        SourceFormatError: the text is not of that form.
    """
    opening, closing = raw.find(b"("), raw.rfind(b")")
    fields = raw[closing + 1 :].split()
    if not 0 < opening < closing:
        raise SourceFormatError(_SOURCE, "/proc/PID/stat: no command in brackets")
    try:
        text = raw[opening + 1 : closing].decode("utf-8", "replace")
        command = "".join(letter if letter.isprintable() else "?" for letter in text)
        user, system, reaped_user, reaped_system = (int(field) for field in fields[11:15])
        return ProcessStat(
            command=command,
            parent_pid=int(fields[1]),
            session_id=int(fields[3]),
            is_kernel_thread=bool(int(fields[6]) & _KERNEL_THREAD),
            cpu_ticks=user + system,
            reaped_ticks=reaped_user + reaped_system,
            start_ticks=int(fields[19]),
        )
    except (ValueError, IndexError) as error:
        raise SourceFormatError(_SOURCE, f"/proc/PID/stat: {error}") from error


def parse_node_stat(raw: bytes) -> NodeStat:
    """Parse /proc/stat; guest time is inside user time and is not added again.

    Raises:
        SourceFormatError: the first line or the count of forks is missing or not a number.
    """
    if not raw.startswith(b"cpu "):
        raise SourceFormatError(_SOURCE, "/proc/stat: the first line is not cpu")
    try:
        _label, user, nice, system, _idle, _iowait, irq, softirq = raw.split(b"\n", 1)[0].split()[:8]
        forks = raw.split(b"\nprocesses ", 1)[1].split(b"\n", 1)[0]
        return NodeStat(sum(map(int, (user, nice, system, irq, softirq))), int(forks))
    except (ValueError, IndexError) as error:
        raise SourceFormatError(_SOURCE, f"/proc/stat: {error}") from error
