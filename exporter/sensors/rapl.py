"""Finds the energy domains that Linux shows under its powercap class: Intel and AMD RAPL, by MSR, TPMI or MMIO.

Owns names, numbering and layout of that tree; reading is ``meter``'s, meaning is ``components``'. A look is a pure
function of the tree, so that hot-plug is two looks compared.
Sources: Documentation/power/powercap/powercap.rst and drivers/powercap/intel_rapl_common.c of Linux; zone numbers are
hexadecimal because the class names its devices with ``%x``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from exporter.errors import SourceError
from exporter.health import Finding
from exporter.sensors.meter import Found, Look, Role, RoleKind
from exporter.sensors.records import DomainKey
from exporter.sensors.sysfs import list_names, open_attribute, read_name, read_register

__all__ = ["find_rapl"]

_ZONE = re.compile(r"(?P<type>[A-Za-z0-9_-]{1,64})(?P<indices>(:[0-9a-f]{1,8})+)")
_TYPE = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PACKAGE = re.compile(r"package-(?P<package>[0-9]{1,6})(-die-(?P<die>[0-9]{1,6}))?")
_PREFERRED_TYPE = "intel-rapl"  # MSR and TPMI, AMD included; other types repeat its packages
_MAX_DEPTH = 4
_MAX_ZONES = 4096
_PSYS_PACKAGES = 8  # a platform domain may hold this many packages' power
_INSIDE: dict[str, RoleKind] = {"dram": "dram", "psys": "psys"}


class _Zone(NamedTuple):
    name: str  # the directory's, for example intel-rapl:0:1
    path: str
    control_type: str
    indices: tuple[int, ...]


def find_rapl(sysfs: Path, *, source: str, max_package_w: float) -> Look:
    """Return every powercap zone with an energy counter under ``sysfs``.

    ``max_package_w`` is the highest plausible mean power of one package. Never raises for what the tree holds.
    """
    base = next((path for path in _bases(sysfs) if list_names(path)), None)
    if base is None:
        return Look([], [_nothing_there(sysfs, source)])
    zones = sorted(
        _zones(base), key=lambda zone: (zone.control_type != _PREFERRED_TYPE, zone.control_type, zone.indices)
    )
    places: dict[str, str] = {}
    found = [
        _described(zone, name, places, source=source, max_package_w=max_package_w)
        for zone in zones
        if (name := _domain_name(zone)) is not None
    ]
    return Look(found, [] if found else [_nothing_there(sysfs, source)])


def _bases(sysfs: Path) -> Iterator[str]:
    yield str(sysfs / "class/powercap")
    yield str(sysfs / "devices/virtual/powercap")


def _zones(base: str) -> Iterator[_Zone]:
    """Yield each zone once, however often links show it; names are unique within the class, so loops end."""
    seen: set[str] = set()
    pending = [(base, "", 0)]
    while pending and len(seen) < _MAX_ZONES:
        path, parent, depth = pending.pop()
        for name in list_names(path):
            match = _ZONE.fullmatch(name)
            if name in seen or not (match or (depth == 0 and _TYPE.fullmatch(name))) or not name.startswith(parent):
                continue
            seen.add(name)
            child = f"{path}/{name}"
            if match:
                indices = tuple(int(index, 16) for index in match["indices"][1:].split(":"))
                yield _Zone(name, child, match["type"], indices)
            if depth < _MAX_DEPTH:
                pending.append((child, f"{name}:" if match else f"{name}", depth + 1))


def _domain_name(zone: _Zone) -> str | None:
    """Return the zone's name, or None for a zone without energy counter (a plain power limit) or without name."""
    return read_name(f"{zone.path}/name") if os.path.lexists(f"{zone.path}/energy_uj") else None


def _described(zone: _Zone, name: str, places: dict[str, str], *, source: str, max_package_w: float) -> Found:
    """Return the domain of ``zone``; ``places`` collects which package each zone is, for its children."""
    package = _PACKAGE.fullmatch(name)
    kind: RoleKind
    if package:
        place = str(int(package["package"])) + (f"-die-{int(package['die'])}" if package["die"] else "")
        domain, kind = "package", "package"
    else:
        place = places.get(zone.name.rpartition(":")[0], "") or ":".join(f"{index:x}" for index in zone.indices)
        domain, kind = name, _INSIDE.get(name, "inside")
    places[zone.name] = place
    suffix = "" if zone.control_type == _PREFERRED_TYPE else f"-{zone.control_type.removeprefix(_PREFERRED_TYPE + '-')}"
    range_uj, note = _range(f"{zone.path}/max_energy_range_uj", source)
    return Found(
        key=DomainKey(source, domain, place + suffix),
        path=f"{zone.path}/energy_uj",
        unit="energy",
        range_uj=range_uj,
        max_power_w=max_package_w * (_PSYS_PACKAGES if kind == "psys" else 1),
        role=Role(kind, place, 0 if not suffix else 1),
        note=note,
    )


def _range(path: str, source: str) -> tuple[int | None, str]:
    """Return the register's range, or None and why wraps cannot be corrected (F09)."""
    try:
        descriptor = open_attribute(path, source=source)
        try:
            range_uj = read_register(descriptor, source=source, path=path)
        finally:
            os.close(descriptor)
    except SourceError as exc:
        return None, f"the range is unknown, so wraps count as resets: {exc}"
    return (range_uj, "") if range_uj else (None, f"the range is unknown, so wraps count as resets: {path}: 0")


def _nothing_there(sysfs: Path, source: str) -> Finding:
    """Say why there is no domain: container runtimes mask devices/virtual/powercap and leave dangling links behind."""
    listed = list_names(str(sysfs / "class/powercap"))
    if any(name.startswith(_PREFERRED_TYPE) for name in listed):
        detail = f"{sysfs}/class/powercap lists zones that lead nowhere: a container runtime masks them"
        remedy = "mount the host's /sys into the container and pass --path.sysfs=/host/sys"
    else:
        detail = (
            f"{sysfs}/class/powercap has no energy domain: a virtual machine, a container whose runtime masks it, "
            "or the intel_rapl driver is not loaded"
        )
        remedy = (
            "in a container mount the host's /sys and pass --path.sysfs=/host/sys; "
            "on bare metal: modprobe intel_rapl_msr; in a virtual machine nothing can be done"
        )
    return Finding(source=source, state="absent", detail=detail, remedy=remedy)
