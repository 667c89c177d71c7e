"""The node's processes: who is new, who is gone, who became another program; each looked at once, then rarely.

A look costs four small reads. New processes are looked at when they appear and once more a tick later (a fork that
has not yet become its program), all others in a slow rotation.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace

from exporter.clock import Clock
from exporter.errors import SourceFormatError
from exporter.workloads.bounded_read import read_bounded
from exporter.workloads.cgroup_tree import CgroupNode
from exporter.workloads.command_line import COMMAND_LIMIT_BYTES, parse_command
from exporter.workloads.environment import ENVIRONMENT_LIMIT_BYTES, parse_environ
from exporter.workloads.facts import CgroupIdentity, ProcessFacts
from exporter.workloads.process import Process
from exporter.workloads.procfs import ProcessStat, parse_process_stat
from exporter.workloads.rules import RunSettings, allowed_variables
from exporter.workloads.runs import RunTable

__all__ = ["ProcessTable"]

_STAT_BYTES = 4096
_CGROUP_BYTES = 32_768
_ROTATION_SHARE = 128
_ROTATION_MIN = 16
_MISSING = frozenset({errno.ENOENT, errno.ESRCH, errno.ENOTDIR})


class ProcessTable:
    """Every process that this agent can see.

    Args:
        procfs: the host's proc file system.
        locate: gives the group of a /proc/PID/cgroup content, and its identity.
        runs: told of every process that is not the kernel's.
        ticks_per_s: clock ticks of /proc/PID/stat.

    Attributes:
        processes: by pid.
        changed: processes whose run or group may have changed since the owner last cleared it.
        gone: processes that went since the owner last cleared it.
        is_truncated: whether new processes wait for the next tick, because the budget was used up.
        unreadable, readable: processes of others whose environment could not, or could, be read.
    """

    def __init__(
        self,
        procfs: str,
        clock: Clock,
        *,
        locate: Callable[[bytes], tuple[CgroupNode | None, CgroupIdentity]],
        runs: RunTable,
        run_settings: RunSettings,
        ticks_per_s: int,
        budget_s: float,
    ) -> None:
        self.processes: dict[int, Process] = {}
        self.changed: set[int] = set()
        self.gone: list[Process] = []
        self.is_truncated = False
        self.unreadable = self.readable = 0
        self.errors = 0
        self._procfs = procfs
        self._clock = clock
        self._locate = locate
        self._runs = runs
        self._allowed = allowed_variables(run_settings)
        self._keep_scripts = run_settings.script_names
        self._ticks_per_s = ticks_per_s
        self._budget_s = budget_s
        self._young: list[int] = []
        self._rotation: deque[int] = deque()
        self._listed: tuple[int, ...] = ()

    def refresh(self, *, tick: int, forks: int, previous_s: float | None) -> None:
        """Take in what changed since the last tick; ``previous_s`` is the boot-clock time of that, if there was one."""
        young, self._young = self._young, []
        for pid in young:
            self._look_again(pid, tick, is_young=True)
        if self._has_changed(forks) or self.is_truncated:
            self._list(tick, previous_s)
        for _ in range(min(max(len(self._rotation) // _ROTATION_SHARE, _ROTATION_MIN), len(self._rotation))):
            pid = self._rotation.popleft()
            if pid in self.processes:
                self._rotation.append(pid)
                self._look_again(pid, tick)

    def look_now(self, pid: int, *, tick: int, previous_s: float | None) -> Process | None:
        """Return the process that has this pid now, whatever the budget; None where there is none, or the kernel's.

        A pid that is another's since it was last looked at is told by its start time.
        """
        process = self.processes.get(pid)
        if process is not None:
            stat = self._stat(pid)
            if stat is not None and stat.start_ticks == process.start_ticks:
                if stat.command != process.command:
                    self._look_again(pid, tick)
                return None if process.is_kernel_thread else process
            self.remove(process)
        if self._is_leader(pid):
            self._look(pid, tick, previous_s)
        process = self.processes.get(pid)
        return None if process is None or process.is_kernel_thread else process

    def _is_leader(self, pid: int) -> bool:
        """Return whether this is a process's id: under a thread's, /proc shows its process once more, unlisted."""
        raw = self._read(pid, "status", _STAT_BYTES) or b""
        return b"\nTgid:\t%d\n" % pid in raw

    def rename(self, name: Callable[[CgroupIdentity], CgroupIdentity]) -> set[str]:
        """Give the pods of processes the names that are known now; return the UIDs of the pods that have processes."""
        uids: set[str] = set()
        for process in self.processes.values():
            facts = process.facts
            if facts is None or not facts.cgroup.pod_uid:
                continue
            uids.add(facts.cgroup.pod_uid)
            identity = name(facts.cgroup)
            if identity != facts.cgroup:
                process.facts = replace(facts, cgroup=identity)
                self.changed.add(process.pid)
                self.changed |= self._runs.add(process.facts)
        return uids

    def remove(self, process: Process) -> None:
        """Forget a process that is gone; its pid may be another's already, so look for that."""
        self._listed = ()
        self._forget(process)

    def _forget(self, process: Process) -> None:
        if self.processes.get(process.pid) is not process:
            return
        del self.processes[process.pid]
        self.gone.append(process)
        if process.facts is not None:
            self.changed |= self._runs.remove(process.pid, process.start_ticks)

    def _has_changed(self, forks: int) -> bool:
        """Whether a process may have come or gone: the kernel counts forks, and shows the number of processes."""
        try:
            directory = os.stat(self._procfs)  # noqa: PTH116 - one system call
        except OSError:
            return True
        listed = (forks, directory.st_nlink, directory.st_mtime_ns)
        changed = listed != self._listed
        self._listed = listed
        return changed

    def _list(self, tick: int, previous_s: float | None) -> None:
        try:
            names = {int(name) for name in os.listdir(self._procfs) if name.isdecimal() and name.isascii()}  # noqa: PTH208
        except OSError:
            self.errors += 1
            return
        for pid in self.processes.keys() - names:
            self._forget(self.processes[pid])
        deadline_s = self._clock.monotonic_s() + self._budget_s
        self.is_truncated = False
        for pid in sorted(names - self.processes.keys()):
            if self._clock.monotonic_s() > deadline_s:
                self.is_truncated = True
                return
            self._look(pid, tick, previous_s)

    def _look(self, pid: int, tick: int, previous_s: float | None) -> None:
        stat = self._stat(pid)
        if stat is None:
            return
        process = Process(pid, stat, tick=tick)
        if previous_s is not None and stat.start_ticks >= previous_s * self._ticks_per_s:
            process.cpu_ticks = process.reaped_ticks = 0
        self.processes[pid] = process
        if stat.is_kernel_thread:
            return
        self._young.append(pid)
        self._rotation.append(pid)
        self._identify(process, stat, is_new_program=True)

    def _look_again(self, pid: int, tick: int, *, is_young: bool = False) -> None:
        process = self.processes.get(pid)
        if process is None:
            return
        stat = self._stat(pid)
        if stat is None or stat.start_ticks != process.start_ticks:
            self._forget(process)
            if stat is not None:
                self._look(pid, tick, None)
            return
        is_new_program = stat.command != process.command
        process.command, process.parent_pid = stat.command, stat.parent_pid
        self._identify(process, stat, is_new_program=is_new_program, is_young=is_young)

    def _identify(self, process: Process, stat: ProcessStat, *, is_new_program: bool, is_young: bool = False) -> None:
        """Find out whose the process is, and tell the run table; it wants to hear of the young ones twice."""
        cgroup_raw = self._read(process.pid, "cgroup", _CGROUP_BYTES)
        line_raw = self._read(process.pid, "cmdline", COMMAND_LIMIT_BYTES)
        facts = process.facts
        if cgroup_raw is None or line_raw is None or (facts is not None and process.line_digest and not line_raw):
            return  # gone, or a zombie: what it was stays known
        node, identity = process.node, None if process.node is None else process.node.identity
        place_digest = hash(cgroup_raw)
        if facts is None or identity is None or facts.cgroup is not identity or place_digest != process.place_digest:
            process.place_digest = place_digest
            node, identity = self._locate(cgroup_raw)
        if facts is None or node is not process.node:
            self.changed.add(process.pid)
        digest = hash(line_raw) if line_raw else 0
        if facts is None or is_new_program or digest != process.line_digest:
            process.line_digest = digest
            environment = self._environment(process.pid)
            line = parse_command(line_raw, stat.command, keep_script=self._keep_scripts)
        else:
            environment, line = facts.environment, facts.line
        process.node = node
        before, process.facts = (
            facts,
            ProcessFacts(
                pid=process.pid,
                start_ticks=process.start_ticks,
                parent_pid=stat.parent_pid,
                session_id=stat.session_id,
                command=stat.command,
                uid=facts.uid if facts is not None else self._uid(process.pid),
                started_s=facts.started_s if facts is not None else self._started_s(process.start_ticks),
                cgroup=identity,
                cgroup_key=node.key if node is not None else "",
                environment=environment,
                line=line,
            ),
        )
        if is_young or process.facts != before:
            self.changed |= self._runs.add(process.facts)

    def _started_s(self, start_ticks: int) -> float:
        age_s = self._clock.monotonic_s() - start_ticks / self._ticks_per_s
        return self._clock.wall_s() - max(age_s, 0.0)

    def _stat(self, pid: int) -> ProcessStat | None:
        raw = self._read(pid, "stat", _STAT_BYTES)
        if not raw:
            return None
        try:
            return parse_process_stat(raw)
        except SourceFormatError:
            self.errors += 1
            return None

    def _uid(self, pid: int) -> int:
        try:
            return os.stat(f"{self._procfs}/{pid}").st_uid  # noqa: PTH116 - one system call
        except OSError:
            return -1

    def _environment(self, pid: int) -> Mapping[str, str] | None:
        try:
            descriptor = os.open(f"{self._procfs}/{pid}/environ", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as exc:
            self.unreadable += exc.errno in {errno.EACCES, errno.EPERM}
            return None
        try:
            raw = _read_all(descriptor, ENVIRONMENT_LIMIT_BYTES)
        except OSError as exc:
            self.unreadable += exc.errno in {errno.EACCES, errno.EPERM}
            return None
        finally:
            os.close(descriptor)
        self.readable += 1
        return parse_environ(raw, self._allowed)

    def _read(self, pid: int, name: str, limit: int) -> bytes | None:
        """Return a file of the process, or None if the process is gone or the file may not be read."""
        try:
            return read_bounded(f"{self._procfs}/{pid}/{name}", limit)
        except OSError as exc:
            self.errors += exc.errno not in _MISSING
            return None


def _read_all(descriptor: int, limit: int) -> bytes:
    """Return up to ``limit`` bytes; the kernel hands out an environment a page at a time."""
    parts = []
    size = 0
    while size < limit:
        part = os.read(descriptor, min(131_072, limit - size))
        if not part:
            break
        parts.append(part)
        size += len(part)
    return b"".join(parts)
