"""Regular files that behave like kernel files for readers that keep them open.

A number is written in place, in digits of fixed width, by one ``pwrite``: a reader never sees an empty or a short
file, as it would after truncate-then-write. A file that goes away is emptied first, so that a kept descriptor gives
nothing more (the kernel would answer ESRCH or ENODEV).
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["create_text", "empty_and_remove", "overwrite", "remove_tree", "wide"]

_DIGITS = 18


def wide(number: int, *, digits: int = _DIGITS) -> str:
    """Return ``number`` (not negative) with leading zeros, ``digits`` wide."""
    return f"{number:0{digits}d}"


def create_text(path: Path, text: str | bytes) -> None:
    """Write a new file, and the directories above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


def overwrite(path: str | Path, text: bytes) -> None:
    """Replace the file's content in place; atomic for readers as long as the length stays the same."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.pwrite(descriptor, text, 0)
        if os.fstat(descriptor).st_size != len(text):
            os.ftruncate(descriptor, len(text))
    finally:
        os.close(descriptor)


def empty_and_remove(path: str | Path) -> None:
    """Remove the file; descriptors that are still open read nothing."""
    path = Path(path)
    if not path.is_symlink():
        os.truncate(path, 0)
    path.unlink()


def remove_tree(path: Path) -> None:
    """Remove a directory with everything in it, emptying each file first."""
    for entry in list(os.scandir(path)):
        if entry.is_dir(follow_symlinks=False):
            remove_tree(Path(entry.path))
        else:
            empty_and_remove(entry.path)
    path.rmdir()
