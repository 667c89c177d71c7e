"""One process as the table knows it."""

from __future__ import annotations

from exporter.workloads.cgroup_tree import CgroupNode
from exporter.workloads.facts import ProcessFacts
from exporter.workloads.procfs import ProcessStat
from exporter.workloads.records import RunKey

__all__ = ["Process"]


class Process:
    """A live process; mutable, because most of what is known of it stays what it was.

    Attributes:
        pid, start_ticks: what identifies it.
        command, parent_pid: as last looked at.
        is_kernel_thread: a thread of the kernel: it has no workload.
        node: its control group, or None where that is unknown.
        place_digest: hash of what its cgroup file said, to see whether it moved.
        line_digest: hash of its command line, to see whether it became another program.
        facts: what the run table was told; None for kernel threads.
        run: the run it belongs to, or None.
        membership: under what its group counts it, or None.
        looked_tick: the tick in which it was first looked at.
        cpu_ticks, reaped_ticks: its own CPU time and that of children waited for, in clock ticks, as last read.
        The rest is the tracking's: descriptor, when to read next, and what its parent owes to it.
    """

    __slots__ = (
        "command",
        "cpu_ticks",
        "descriptor",
        "due_tick",
        "facts",
        "is_counted",
        "is_kernel_thread",
        "line_digest",
        "looked_tick",
        "membership",
        "node",
        "owed_ticks",
        "owed_until",
        "parent_pid",
        "pause_ticks",
        "pid",
        "place_digest",
        "reaped_ticks",
        "run",
        "start_ticks",
    )

    def __init__(self, pid: int, stat: ProcessStat, *, tick: int) -> None:
        self.pid = pid
        self.start_ticks = stat.start_ticks
        self.command = stat.command
        self.parent_pid = stat.parent_pid
        self.is_kernel_thread = stat.is_kernel_thread
        self.node: CgroupNode | None = None
        self.place_digest = 0
        self.line_digest = 0
        self.facts: ProcessFacts | None = None
        self.run: RunKey | None = None
        self.membership: tuple[CgroupNode, RunKey | None] | None = None
        self.looked_tick = tick
        self.cpu_ticks = stat.cpu_ticks
        self.reaped_ticks = stat.reaped_ticks
        self.descriptor = -1
        self.due_tick = 0
        self.pause_ticks = 0
        self.owed_ticks = 0
        self.owed_until = 0
        self.is_counted = True
