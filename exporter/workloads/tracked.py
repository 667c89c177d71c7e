"""CPU time of single processes: read one by one, only where a group's own time does not tell enough.

A process whose time stands still is read less and less often. Children that lived and died between two ticks show in
their parent's time of waited-for children, less what was counted of them already. Source: proc_pid_stat(5).
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import suppress

from exporter.workloads.bounded_read import read_or_empty
from exporter.workloads.process import Process

__all__ = ["TrackedProcesses"]

_STAT_BYTES = 1024
_LONGEST_PAUSE_TICKS = 12
_OWED_TICKS = 2


class TrackedProcesses:
    """The processes that are read every tick, or nearly so."""

    def __init__(self, procfs: str, *, ticks_per_s: int, max_processes: int, max_descriptors: int) -> None:
        self._procfs = procfs
        self._ticks_per_s = ticks_per_s
        self._max_processes = max_processes
        self._descriptors_left = max_descriptors
        self._tracked: dict[int, Process] = {}
        self._gone: list[Process] = []

    def __contains__(self, pid: int) -> bool:
        return pid in self._tracked

    def __len__(self) -> int:
        return len(self._tracked)

    def processes(self) -> Collection[Process]:
        """Return every process that is tracked now."""
        return self._tracked.values()

    def track(self, process: Process, *, tick: int) -> None:
        """Begin to count a process from where it was last looked at, or from now if that is long ago."""
        if process.pid in self._tracked or len(self._tracked) >= self._max_processes:
            return
        self._tracked[process.pid] = process
        process.pause_ticks = 0
        process.due_tick = tick
        process.is_counted = process.looked_tick >= tick - 1

    def drop(self, process: Process) -> None:
        """Stop counting; a process that is gone is remembered for what its parent will show of it."""
        if self._tracked.get(process.pid) is not process:
            return
        del self._tracked[process.pid]
        self._close(process)

    def lose(self, process: Process) -> None:
        """Stop counting a process that is gone."""
        if self._tracked.get(process.pid) is process:
            self.drop(process)
            self._gone.append(process)

    def read(self, *, tick: int) -> tuple[list[tuple[Process, float]], list[Process]]:
        """Return the processes that used CPU since they were last read, in seconds, and those found to be gone."""
        found: list[tuple[Process, int, int]] = []
        gone: list[Process] = []
        for process in self._tracked.values():
            if process.due_tick <= tick:
                times = self._times(process)
                if times is None:
                    gone.append(process)
                else:
                    found.append((process, *times))
        for process in gone:
            self.lose(process)
        self._owe(tick)
        return list(self._used(found, tick)), gone

    def _owe(self, tick: int) -> None:
        """Tell the parents of those that are gone how much of their children's time was counted already."""
        for process in self._gone:
            parent = self._tracked.get(process.parent_pid)
            if parent is not None:
                parent.owed_ticks += process.cpu_ticks + process.reaped_ticks
                parent.owed_until = tick + _OWED_TICKS
                parent.due_tick = min(parent.due_tick, tick + 1)
        self._gone.clear()

    def _used(self, found: list[tuple[Process, int, int]], tick: int) -> Iterator[tuple[Process, float]]:
        for process, cpu_ticks, reaped_ticks in found:
            own = max(cpu_ticks - process.cpu_ticks, 0)
            reaped = max(reaped_ticks - process.reaped_ticks, 0)
            explained = min(reaped, process.owed_ticks)
            process.owed_ticks = process.owed_ticks - explained if tick < process.owed_until else 0
            process.cpu_ticks, process.reaped_ticks = cpu_ticks, reaped_ticks
            used_ticks = own + reaped - explained if process.is_counted else 0
            process.is_counted = True
            process.pause_ticks = 0 if own or reaped else min(process.pause_ticks + 1, _LONGEST_PAUSE_TICKS)
            process.due_tick = tick + max(process.pause_ticks, 1)
            if used_ticks:
                yield process, used_ticks / self._ticks_per_s

    def _times(self, process: Process) -> tuple[int, int] | None:
        """Return own and waited-for clock ticks, or None if the process is gone or its pid is another's now."""
        raw = self._raw(process)
        fields = raw[raw.rfind(b")") + 2 :].split(b" ", 20)
        try:
            user, system, reaped_user, reaped_system = map(int, fields[11:15])
            if int(fields[19]) != process.start_ticks:
                return None
        except (ValueError, IndexError):
            return None
        return user + system, reaped_user + reaped_system

    def _raw(self, process: Process) -> bytes:
        if process.descriptor < 0 and self._descriptors_left > 0:
            with suppress(OSError):
                process.descriptor = os.open(f"{self._procfs}/{process.pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
                self._descriptors_left -= 1
        if process.descriptor < 0:
            return read_or_empty(f"{self._procfs}/{process.pid}/stat", _STAT_BYTES)
        try:
            return os.pread(process.descriptor, _STAT_BYTES, 0)
        except OSError:
            return b""

    def _close(self, process: Process) -> None:
        if process.descriptor >= 0:
            os.close(process.descriptor)
            process.descriptor = -1
            self._descriptors_left += 1

    def close(self) -> None:
        """Release every descriptor."""
        for process in self._tracked.values():
            self._close(process)
