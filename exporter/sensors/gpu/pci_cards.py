"""Finds the PCI devices that one kernel driver holds, and reads their sysfs attributes through descriptors kept open.

Knows no vendor. A driver's directory lists real devices only: partitions of one (``amdgpu_xcp``) are platform devices
and do not appear in it. Sources: sysfs-bus-pci of Linux (Documentation/ABI/testing), drm-uapi.rst for the minors.
"""

from __future__ import annotations

import errno
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from exporter.errors import DeviceLostError, SourceError
from exporter.sensors.sysfs import list_names, parse_register, read_name, translated

__all__ = ["OpenAttributes", "PciCard", "driver_path", "find_cards", "hwmon_paths"]

_ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_RENDER = re.compile(r"renderD([0-9]{1,6})")
_ID = re.compile(r"0x([0-9a-fA-F]{1,8})")
_MAX_NUMBER_BYTES = 33


class PciCard(NamedTuple):
    """One PCI device.

    Attributes:
        address: ``0000:3b:00.0`` in lower case.
        path: its directory, links resolved.
        vendor, device: its PCI ids, or -1 where they cannot be read.
        render_minor: number of ``/dev/dri/renderD<n>``, or None where it has none.
    """

    address: str
    path: str
    vendor: int
    device: int
    render_minor: int | None


def driver_path(sysfs: Path, driver: str) -> str:
    """Return the directory that lists the devices of ``driver``."""
    return f"{sysfs}/bus/pci/drivers/{driver}"


def find_cards(sysfs: Path, driver: str) -> list[PciCard]:
    """Return every PCI device that ``driver`` holds, by address; none where it is not loaded."""
    listing = driver_path(sysfs, driver)
    cards = []
    for address in list_names(listing):
        path = os.path.realpath(f"{listing}/{address}")
        if not _ADDRESS.fullmatch(address) or not os.path.isdir(path):  # noqa: PTH112 - strings throughout
            continue
        minors = (_RENDER.fullmatch(name) for name in list_names(f"{path}/drm"))
        minor = next((int(match[1]) for match in minors if match), None)
        cards.append(PciCard(address, path, _id(f"{path}/vendor"), _id(f"{path}/device"), minor))
    return cards


def _id(path: str) -> int:
    match = _ID.fullmatch(read_name(path) or "")
    return int(match[1], 16) if match else -1


def hwmon_paths(card: PciCard) -> list[tuple[str, str]]:
    """Return name and directory of every hwmon chip of ``card``, sorted by directory."""
    listing = f"{card.path}/hwmon"
    paths = [f"{listing}/{entry}" for entry in list_names(listing)]
    return [(read_name(f"{path}/name") or "", path) for path in paths]


class OpenAttributes:
    """The attributes of one device, each opened at its first read. One thread at a time.

    Attributes:
        path: the device's directory; as long as it exists, the device does.
    """

    def __init__(self, path: str, *, source: str) -> None:
        self.path = path
        self._source = source
        self._descriptors: dict[str, int] = {}

    def check(self) -> None:
        """Raise if the device is gone.

        Raises:
            DeviceLostError: its directory is.
        """
        if not os.path.isdir(self.path):  # noqa: PTH112 - one system call at every read
            self.close()
            raise DeviceLostError(self._source, f"{self.path}: the device is no longer there")

    def number(self, path: str) -> int | None:
        """Return the number in the attribute at ``path``; None where the device has or knows none now.

        Raises:
            SourcePermissionError: EACCES.
            SourceFormatError: it holds no number.
        """
        text = self.text(path, _MAX_NUMBER_BYTES)
        return None if text is None else parse_register(text, source=self._source, path=path)

    def optional(self, path: str) -> int | None:
        """Return the same for an attribute that the reading can do without: None for every failure."""
        try:
            return self.number(path)
        except SourceError:
            return None

    def text(self, path: str, limit_bytes: int) -> bytes | None:
        """Return the first bytes of the attribute, or None where it is absent or has nothing to say (EINVAL, ENODATA).

        EPERM counts as nothing to say: amdgpu answers it while the device is suspended.

        Raises:
            SourcePermissionError: EACCES.
        """
        try:
            return self.strictly(path, limit_bytes)
        except OSError as exc:
            if exc.errno == errno.EACCES:
                raise translated(exc, source=self._source, path=path) from exc
            return None

    def strictly(self, path: str, limit_bytes: int) -> bytes:
        """Return the first bytes of the attribute.

        Raises:
            OSError: as the kernel answers.
        """
        kept = self._descriptors.get(path)
        if kept is not None:
            try:
                return os.pread(kept, limit_bytes, 0)
            except OSError:  # ENODEV for ever once the driver was bound anew: the path leads to the new attribute
                with suppress(KeyError):  # closed by another thread while this read hung
                    os.close(self._descriptors.pop(path))
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            text = os.pread(descriptor, limit_bytes, 0)
        except OSError:
            os.close(descriptor)
            raise
        self._descriptors[path] = descriptor
        return text

    def close(self) -> None:
        """Close every descriptor; a later read opens them again."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])
