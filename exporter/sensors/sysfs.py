"""Bounded reads of sysfs attributes, and the two things they hold: one number, or one name.

A sysfs attribute is one short text per file; anything longer or of another shape is not what the kernel writes.
Source: Documentation/filesystems/sysfs.rst of Linux.
"""

from __future__ import annotations

import errno
import os

from exporter.errors import (
    DeviceLostError,
    SourceError,
    SourceFormatError,
    SourcePermissionError,
    SourceUnsupportedError,
)

__all__ = ["clean_name", "list_names", "open_attribute", "parse_register", "read_name", "read_register", "translated"]

_MAX_REGISTER_BYTES = 32
_MAX_REGISTER_DIGITS = 19
_MAX_NAME_BYTES = 256
_MAX_NAME_LENGTH = 64
_OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
_FROM_ERRNO: dict[int, type[SourceError]] = {
    errno.EACCES: SourcePermissionError,
    errno.EPERM: SourcePermissionError,
    errno.ENOENT: DeviceLostError,
    errno.ENODEV: DeviceLostError,
    errno.ENXIO: DeviceLostError,
    errno.EOPNOTSUPP: SourceUnsupportedError,
}


def translated(error: OSError, *, source: str, path: str) -> SourceError:
    """Return the ``SourceError`` that says what ``error`` means for the attribute at ``path``."""
    kind = _FROM_ERRNO.get(error.errno or 0, SourceError)
    name = errno.errorcode.get(error.errno or 0, "error")
    return kind(source, f"{path}: {name} ({os.strerror(error.errno or 0)})")


def open_attribute(path: str, *, source: str) -> int:
    """Return a descriptor on the attribute at ``path``.

    Raises:
        SourceError: it cannot be opened; the kind says whether it is gone, forbidden or failing.
    """
    try:
        return os.open(path, _OPEN_FLAGS)
    except OSError as exc:
        raise translated(exc, source=source, path=path) from exc


def read_register(descriptor: int, *, source: str, path: str) -> int:
    """Return the number that the attribute holds now, in the attribute's unit. One system call.

    Raises:
        SourceError: the read failed, or the text is not one number.
    """
    try:
        text = os.pread(descriptor, _MAX_REGISTER_BYTES + 1, 0)
    except OSError as exc:
        raise translated(exc, source=source, path=path) from exc
    return parse_register(text, source=source, path=path)


def parse_register(text: bytes, *, source: str, path: str) -> int:
    """Return the one non-negative integer below 10**19 that ``text`` holds.

    Raises:
        SourceFormatError: it holds anything else.
    """
    digits = text.strip()
    if len(text) > _MAX_REGISTER_BYTES or len(digits) > _MAX_REGISTER_DIGITS or not digits.isdigit():
        raise SourceFormatError(source, f"{path}: expected one number, read {text[:_MAX_REGISTER_BYTES]!r}")
    return int(digits)


def list_names(path: str) -> list[str]:
    """Return the names in the directory at ``path``, sorted; none where it cannot be listed."""
    try:
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries)
    except OSError:
        return []


def read_name(path: str) -> str | None:
    """Return the cleaned first bytes of the attribute at ``path``, or None where it cannot be read or is empty."""
    try:
        descriptor = os.open(path, _OPEN_FLAGS)
    except OSError:
        return None
    try:
        text = os.pread(descriptor, _MAX_NAME_BYTES, 0)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return clean_name(text) or None


def clean_name(text: bytes) -> str:
    """Return ``text`` as a label value: valid UTF-8, printable characters only, at most 64 of them."""
    printable = (char for char in text.decode("utf-8", "replace") if char.isprintable())
    return "".join(printable).strip()[:_MAX_NAME_LENGTH].strip()
