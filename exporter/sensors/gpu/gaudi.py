"""Reads Gaudi accelerators: the power sensor that habanalabs passes on through hwmon, and nothing of processes.

There is no energy counter and no per-process accounting; one process opens a device at a time, but the kernel does not
say which. Sources: drivers/accel/habanalabs/common/hwmon.c and sysfs-driver-habanalabs of Linux.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Sequence
from typing import NamedTuple

from exporter.clock import Clock
from exporter.errors import SourceBusyError, SourceFormatError, SourceUnsupportedError
from exporter.health import Finding
from exporter.host import Roots
from exporter.sensors.gpu.boards import Boards
from exporter.sensors.gpu.pci_cards import OpenAttributes, PciCard, driver_path, find_cards, hwmon_paths
from exporter.sensors.gpu.records import GpuFacts, GpuReading
from exporter.sensors.sysfs import clean_name, list_names, parse_register, read_name, translated
from exporter.units import MICROWATTS_PER_WATT

__all__ = ["GaudiDriver"]

_SOURCE = "gaudi"
_DRIVER = "habanalabs"
_VENDOR = 0x1DA3
_POWER = re.compile(r"power([0-9]{1,2})_input")
_ACCEL = re.compile(r"accel([0-9]{1,6})")
_OLD_CLASS = re.compile(r"hl([0-9]{1,6})")
_MAX_NUMBER_BYTES = 33
_MIN_W, _MAX_W = 10, 2000
_PER_WATT = (MICROWATTS_PER_WATT, 1_000, 1)
"""hwmon's unit is the microwatt, but the driver passes on what the firmware says, which may be milliwatts or watts.
The ranges in which 10 to 2000 W come out do not overlap, so one value tells which it is."""
_MILLIWATTS_PER_WATT = 1_000
_MILLIDEGREES = 1_000
_IN_RESET = frozenset({errno.ENODEV, errno.ENOENT, errno.ENXIO, errno.EBUSY, errno.EAGAIN, errno.ETIMEDOUT})
"""A reset answers ENODEV, or takes the hwmon chip away for a while; the PCI device stays."""


class _Board(NamedTuple):
    facts: GpuFacts
    card: PciCard
    attributes: OpenAttributes
    power: str
    limit: str
    temperature: str


class GaudiDriver:
    """Every accelerator that the kernel driver habanalabs holds and that has a power sensor."""

    source = _SOURCE

    def __init__(self, roots: Roots, clock: Clock) -> None:
        self._sysfs = roots.sysfs
        self._clock = clock
        self._boards: Boards[_Board] = Boards(_SOURCE)

    def look(self) -> Sequence[GpuFacts]:
        """Return every accelerator, by PCI address.

        Raises:
            SourceUnsupportedError: habanalabs holds none.
        """
        cards = [card for card in find_cards(self._sysfs, _DRIVER) if card.vendor == _VENDOR]
        kept = self._boards.by_card()
        old_numbers = self._old_numbers()
        boards = {}
        for index, card in enumerate(cards):
            before = kept.get(card)
            attributes = before.attributes if before else OpenAttributes(card.path, source=_SOURCE)
            boards[card.address] = _board(card, index, attributes, old_numbers.get(card.address))
        facts = self._boards.replace(boards)
        if not boards:
            raise SourceUnsupportedError(_SOURCE, f"{driver_path(self._sysfs, _DRIVER)} lists no accelerator")
        return facts

    def _old_numbers(self) -> dict[str, tuple[int, str]]:
        """Return number and class directory by PCI address, as kernels before 6.3 have them."""
        listing = f"{self._sysfs}/class/habanalabs"
        matches = [match for match in map(_OLD_CLASS.fullmatch, list_names(listing)) if match]
        return {
            (read_name(f"{listing}/{match[0]}/pci_addr") or "").lower(): (int(match[1]), f"{listing}/{match[0]}")
            for match in matches
        }

    def read(self, gpu: GpuFacts) -> GpuReading:
        """Return a reading of ``gpu``.

        Raises:
            SourceBusyError: it is being reset.
            DeviceLostError: it is gone.
            SourceError: this read failed.
        """
        board = self._boards.of(gpu)
        board.attributes.check()
        read_at_s = self._clock.monotonic_s()
        power_w = _power_w(board)
        limit_mw = board.attributes.optional(board.limit)
        temperature = board.attributes.optional(board.temperature)
        limit_w = limit_mw / _MILLIWATTS_PER_WATT if limit_mw else None
        return GpuReading(
            read_at_s=read_at_s,
            power_w=power_w,
            power_limit_w=limit_w if limit_w and _MIN_W <= limit_w <= _MAX_W else None,
            temperature_celsius=None if temperature is None else temperature / _MILLIDEGREES,
        )

    def findings(self, gpu: GpuFacts) -> Sequence[Finding]:
        """Return what is missing of ``gpu``."""
        board = self._boards.get(gpu)
        if board is None or board.power:
            return []
        return [
            Finding(
                source=_SOURCE,
                state="degraded",
                item=f"gpu {gpu.index} {gpu.uuid} power",
                detail=f"{board.card.path}/hwmon has no power sensor: the firmware lists none, or is being loaded",
                remedy="update the accelerator's firmware",
            )
        ]

    def unusable(self) -> Sequence[Finding]:
        """Return nothing: what the kernel does not list is not there."""
        return ()

    def release(self) -> None:
        """Close every attribute."""
        self._boards.replace({})


def _board(card: PciCard, index: int, attributes: OpenAttributes, old: tuple[int, str] | None) -> _Board:
    """Return the accelerator of ``card``. Its hwmon chip bears the card's name (HL205), so it is told by its place.

    Of several power sensors the first is taken: they lie within one another and have no labels.
    """
    name, hwmon, power = "", "", ""
    for chip, path in hwmon_paths(card):
        numbers = sorted(int(match[1]) for match in map(_POWER.fullmatch, list_names(path)) if match)
        if numbers and not power:
            name, hwmon, power = chip, path, f"{path}/power{numbers[0]}_input"
    accels = (_ACCEL.fullmatch(entry) for entry in list_names(f"{card.path}/accel"))
    minor = next((int(match[1]) for match in accels if match), old[0] if old else None)
    facts = GpuFacts(
        source=_SOURCE,
        uuid=card.address,
        index=index if minor is None else minor,
        vendor="Habana",
        model=clean_name(name.encode()) or f"accelerator {card.device:04x}",
        minor=minor,
        pci_bus_id=card.address,
        restricted="no_processes",
    )
    limit = f"{old[1] if old else card.path}/max_power"
    return _Board(facts, card, attributes, power, limit, f"{hwmon}/temp1_input" if hwmon else "")


def _power_w(board: _Board) -> float | None:
    """Return the power of the board, its scale told by what is plausible.

    Raises:
        SourceError: the sensor does not answer, or answers what no scale makes plausible.
    """
    if not board.power:
        return None
    try:
        text = board.attributes.strictly(board.power, _MAX_NUMBER_BYTES)
    except OSError as exc:
        if exc.errno in _IN_RESET and os.path.isdir(board.card.path):  # noqa: PTH112 - strings throughout
            raise SourceBusyError(_SOURCE, f"{board.power}: no answer, as during a reset of the device") from exc
        raise translated(exc, source=_SOURCE, path=board.power) from exc
    raw = parse_register(text, source=_SOURCE, path=board.power)
    for per_watt in _PER_WATT:
        if _MIN_W * per_watt <= raw <= _MAX_W * per_watt:
            return raw / per_watt
    raise SourceFormatError(_SOURCE, f"{board.power}: {raw} is between {_MIN_W} and {_MAX_W} W in no unit")
