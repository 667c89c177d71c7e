"""Reading the kernel's small files: one open, one read, one close, never more than a limit, never waiting.

``O_NONBLOCK`` because a tree that somebody else wrote may hold a FIFO where a file is expected.
"""

from __future__ import annotations

import os

__all__ = ["read_bounded", "read_or_empty"]


def read_bounded(path: str, limit_bytes: int) -> bytes:
    """Return what one read of at most ``limit_bytes`` gives.

    Raises:
        OSError: the file cannot be opened or read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return os.read(descriptor, limit_bytes)
    finally:
        os.close(descriptor)


def read_or_empty(path: str, limit_bytes: int) -> bytes:
    """Return the same, or nothing where the file cannot be read: gone, denied and empty are one to the caller."""
    try:
        return read_bounded(path, limit_bytes)
    except OSError:
        return b""
