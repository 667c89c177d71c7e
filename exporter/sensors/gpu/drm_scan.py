"""Walks /proc for processes that hold a DRM device open, within a budget of time, and keeps their clients' counters.

The walk over every descriptor of every process is what costs. So a process without a GPU is remembered by (pid, start
time) and looked at again only now and then. Source: proc_pid_fd(5), proc_pid_stat(5).
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from exporter.clock import Clock
from exporter.errors import SourceFormatError
from exporter.sensors.gpu.drm_fdinfo import MAX_FDINFO_BYTES, DrmClient, parse_fdinfo
from exporter.sensors.sysfs import list_names

__all__ = ["ClientKey", "DrmScan", "DrmScanner", "DrmUse", "parse_start_time"]

ClientKey = tuple[str, int]
"""PCI address and client number: dup and fork repeat a client, and it is counted once."""

_DEVICE_FILE = re.compile(r"/dev/dri/(renderD|card)[0-9]{1,6}")
_RECHECK_S = 30.0
"""Seconds after which a process without a GPU is walked again at the latest: it may have opened one since."""
_MIN_INTERVAL_S = 0.5
"""Scans closer than this are one: every GPU of a node asks for its own."""
_FILES_PER_LOOK = 128
"""Descriptors after which the clock is looked at: a process may have a million of them."""
_MAX_STAT_BYTES = 4096
_START_FIELD = 19
"""Of the fields after the command's closing parenthesis: field 22 of proc_pid_stat(5)."""


class DrmUse(NamedTuple):
    """One client of a GPU.

    Attributes:
        pid: the oldest process that holds it: the one that opened it, unless that has exited.
        client: its fdinfo with ``busy`` never less than ever before.
        baseline: what to count its ``busy`` from if it was not seen before: zero for a client that is known to be
            new, else its first reading.
    """

    pid: int
    client: DrmClient
    baseline: Mapping[str, int]


class DrmScan(NamedTuple):
    """Every client found.

    Attributes:
        at_s: boot-clock time at which the walk began.
        uses: the clients.
        readable, denied: how many processes other than this one could and could not be looked into.
        malformed: how many fdinfo texts had another format.
        is_complete: whether the budget was enough for all processes that were due.
    """

    at_s: float
    uses: Mapping[ClientKey, DrmUse]
    readable: int = 0
    denied: int = 0
    malformed: int = 0
    is_complete: bool = True


class _Process(NamedTuple):
    pid: int
    start: int


class _Checked(NamedTuple):
    """What the last walk over a process found, and when it and the first one were."""

    kind: Literal["holder", "without", "denied"]
    at_s: float
    first_at_s: float

    def is_due(self, now_s: float) -> bool:
        """Whether to walk again: soon after a process is first seen, for it may be about to open a GPU, then rarely."""
        return now_s - self.at_s >= min(self.at_s - self.first_at_s, _RECHECK_S)


class _OutOfTimeError(Exception):
    """The budget is spent."""


def parse_start_time(stat: bytes) -> int | None:
    """Return the start time in clock ticks since boot from a ``/proc/<pid>/stat``, or None where it holds none."""
    fields = stat.rpartition(b")")[2].split()
    digits = fields[_START_FIELD] if len(fields) > _START_FIELD else b""
    return int(digits) if digits.isdigit() and len(digits) <= 20 else None  # noqa: PLR2004 - u64


class DrmScanner:
    """The walk. Any thread may ask for a scan; one walks, the others wait for it.

    The budget bounds the walk over descriptors; listing the processes costs some ten microseconds each on top.
    """

    def __init__(self, procfs: Path, clock: Clock, *, source: str, budget_s: float) -> None:
        self._procfs = str(procfs)
        self._clock = clock
        self._source = source
        self._budget_s = budget_s
        self._lock = threading.Lock()
        self._last: DrmScan | None = None
        self._checked: dict[_Process, _Checked] = {}
        self._present: frozenset[_Process] = frozenset()
        self._starts_with_holders = True

    def scan(self) -> DrmScan:
        """Return what is there now, or was a moment ago."""
        with self._lock:
            now_s = self._clock.monotonic_s()
            if self._last is None or now_s - self._last.at_s >= _MIN_INTERVAL_S:
                self._last = self._scanned(now_s)
            return self._last

    def _scanned(self, now_s: float) -> DrmScan:
        present_before, present = self._present, self._processes()
        checked = {process: self._checked[process] for process in present if process in self._checked}
        held = {process for process, last in checked.items() if last.kind == "holder"}
        found: dict[ClientKey, tuple[_Process, DrmClient]] = {}
        malformed, is_complete = 0, True
        try:
            for process in self._due(present, checked, now_s):
                kind, clients, bad = self._walked(process, now_s + self._budget_s)
                first_at_s = checked[process].first_at_s if process in checked else now_s
                checked[process] = _Checked(kind, now_s, first_at_s)
                malformed += bad
                for client in clients:
                    key = (client.pdev, client.client_id or 0)
                    if key not in found or process.start < found[key][0].start:
                        found[key] = process, client
        except _OutOfTimeError:
            is_complete = False
        earlier = self._last.uses if self._last else {}
        uses = {} if is_complete else dict(earlier)  # what was not reached is not gone
        for key, (process, client) in found.items():
            is_new = self._last is not None and (process in held or process not in present_before)
            uses[key] = _merged(process.pid, client, earlier.get(key), is_new=is_new)
        self._checked, self._present = checked, present
        self._starts_with_holders = is_complete or not self._starts_with_holders
        denied = sum(last.kind == "denied" for last in checked.values())
        return DrmScan(now_s, uses, len(checked) - denied, denied, malformed, is_complete)

    def _processes(self) -> frozenset[_Process]:
        """Return every process but this one; one that exits meanwhile is skipped."""
        try:
            own = os.readlink(f"{self._procfs}/self")  # noqa: PTH115 - strings throughout
        except OSError:
            own = ""
        found = set()
        for name in list_names(self._procfs):
            if not name.isdigit() or name == own:
                continue
            start = parse_start_time(_read(f"{self._procfs}/{name}/stat", _MAX_STAT_BYTES))
            if start is not None:
                found.add(_Process(int(name), start))
        return frozenset(found)

    def _due(self, present: frozenset[_Process], checked: Mapping[_Process, _Checked], now_s: float) -> list[_Process]:
        """Return the processes to walk: first those with a GPU, then new ones, then those not looked at for long.

        After a walk that was cut short it is the other way round, so that nobody waits for ever.
        """
        new = [process for process in present if process not in checked]
        holders = [process for process, last in checked.items() if last.kind == "holder"]
        others = [
            (last.at_s, process) for process, last in checked.items() if last.kind != "holder" and last.is_due(now_s)
        ]
        rest = [*sorted(new), *(process for _, process in sorted(others))]
        return [*sorted(holders), *rest] if self._starts_with_holders else [*rest, *sorted(holders)]

    def _walked(
        self, process: _Process, deadline_s: float
    ) -> tuple[Literal["holder", "without", "denied"], list[DrmClient], int]:
        """Return whether the process holds a GPU, its clients, and how many texts were malformed."""
        path = f"{self._procfs}/{process.pid}"
        clients, malformed, is_holder = [], 0, False
        self._check_time(deadline_s)
        try:
            names = os.listdir(f"{path}/fd")  # noqa: PTH208 - strings throughout
        except PermissionError:
            return "denied", [], 0
        except OSError:  # exited
            return "without", [], 0
        for number, name in enumerate(names):
            if number % _FILES_PER_LOOK == _FILES_PER_LOOK - 1:
                self._check_time(deadline_s)
            if not _is_device(f"{path}/fd/{name}"):
                continue
            is_holder = True
            info = f"{path}/fdinfo/{name}"
            try:
                client = parse_fdinfo(_read(info, MAX_FDINFO_BYTES), source=self._source, path=info)
            except SourceFormatError:
                malformed += 1
                continue
            if client is not None and client.client_id is not None:
                clients.append(client)
        return ("holder" if is_holder else "without"), clients, malformed

    def _check_time(self, deadline_s: float) -> None:
        if self._clock.monotonic_s() > deadline_s:
            raise _OutOfTimeError


def _merged(pid: int, client: DrmClient, before: DrmUse | None, *, is_new: bool) -> DrmUse:
    if before is None:
        return DrmUse(pid, client, {} if is_new else client.busy)
    busy = {engine: max(value, before.client.busy.get(engine, 0)) for engine, value in client.busy.items()}
    return DrmUse(pid, client._replace(busy={**before.client.busy, **busy}), before.baseline)


def _is_device(path: str) -> bool:
    try:
        return _DEVICE_FILE.fullmatch(os.readlink(path)) is not None  # noqa: PTH115 - a Path each would cost more
    except OSError:
        return False


def _read(path: str, limit_bytes: int) -> bytes:
    """Return the first bytes of the file, or nothing where it cannot be read: the process is gone or not ours."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return b""
    try:
        return os.pread(descriptor, limit_bytes, 0)
    except OSError:
        return b""
    finally:
        os.close(descriptor)
