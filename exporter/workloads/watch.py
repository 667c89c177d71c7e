"""Learning of new and removed directories from the kernel instead of looking for them. Source: inotify(7).

Works on cgroup file systems and on ordinary ones. Where it is not available, or its watches run out, ``is_complete``
tells so and the owner has to walk the tree.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["DirectoryEvent", "DirectoryWatch"]

_CREATE, _DELETE, _MOVED_FROM, _MOVED_TO = 0x100, 0x200, 0x40, 0x80
_OVERFLOW, _IGNORED, _IS_DIRECTORY, _ONLY_DIRECTORIES = 0x4000, 0x8000, 0x40000000, 0x01000000
_MASK = _CREATE | _DELETE | _MOVED_FROM | _MOVED_TO | _ONLY_DIRECTORIES
_HEADER = struct.Struct("iIII")
_BUFFER_BYTES = 65_536
_MAX_READS = 64


class DirectoryEvent(NamedTuple):
    """A subdirectory that came or went.

    Attributes:
        watch: the id that ``add`` gave for the directory it is in.
        name: its name.
        is_new: whether it came.
    """

    watch: int
    name: str
    is_new: bool


class DirectoryWatch:
    """Watches directories for subdirectories.

    Attributes:
        is_complete: False once an event may have been missed; set it to True after a walk.
        is_available: whether the kernel offers inotify to this process.
    """

    def __init__(self) -> None:
        self.is_complete = True
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = int(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        self.is_available = self._descriptor >= 0

    def add(self, path: str) -> int:
        """Watch the directory at ``path`` and return its id, or -1 where that is not possible."""
        if not self.is_available:
            return -1
        return int(self._libc.inotify_add_watch(self._descriptor, os.fsencode(path), _MASK))

    def events(self) -> Iterator[DirectoryEvent]:
        """Yield what happened since the previous call, in order."""
        for _ in range(_MAX_READS if self.is_available else 0):
            try:
                data = os.read(self._descriptor, _BUFFER_BYTES)
            except BlockingIOError:
                return
            yield from self._parsed(data)
        self.is_complete = self.is_complete and not self.is_available

    def _parsed(self, data: bytes) -> Iterator[DirectoryEvent]:
        offset = 0
        while offset < len(data):
            watch, mask, _, length = _HEADER.unpack_from(data, offset)
            offset += _HEADER.size
            name = os.fsdecode(data[offset : offset + length].rstrip(b"\0"))
            offset += length
            if mask & _OVERFLOW:
                self.is_complete = False
            elif mask & _IS_DIRECTORY and not mask & _IGNORED:
                yield DirectoryEvent(watch, name, bool(mask & (_CREATE | _MOVED_TO)))

    def close(self) -> None:
        """Release the descriptor and with it all watches."""
        if self.is_available:
            os.close(self._descriptor)
        self.is_available = False
