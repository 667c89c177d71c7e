"""Finds the few hwmon chips that measure CPUs or the whole machine; every other chip is left alone.

Most hwmon power sensors belong to GPUs, batteries, network cards, drives and power supplies, so chips are taken from
an allow-list by name. Owns names and layout of that tree; reading is ``meter``'s, meaning is ``components``'.
Sources: hwmon sysfs-interface.rst, acpi_power_meter.rst, amd_energy.rst, fam15h_power.rst of Linux; NVIDIA Grace
performance tuning guide, power telemetry, for the texts in ``power1_oem_info``.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal, NamedTuple

from exporter.health import Finding
from exporter.sensors.meter import Found, Look, Role, RoleKind
from exporter.sensors.records import DomainKey
from exporter.sensors.sysfs import list_names, read_name

__all__ = ["find_hwmon"]

_ChipKind = Literal["amd_energy", "acpi_meter", "cpu_power"]
_CHIPS: dict[str, _ChipKind] = {
    "amd_energy": "amd_energy",
    "zenergy": "amd_energy",  # a fork of amd_energy with the same channels
    "power_meter": "acpi_meter",
    "acpi_power_meter": "acpi_meter",
    "fam15h_power": "cpu_power",  # one chip per package of AMD family 15h and 16h
}
_SOCKET = re.compile(r"Esocket(?P<socket>[0-9]{1,6})")
_GRACE_RAIL = re.compile(r"(?P<rail>Module|Grace|CPU|SysIO) Power Socket (?P<socket>[0-9]{1,6})")
_GRACE_ROLES: dict[str, tuple[str, RoleKind]] = {
    "Module": ("module", "module"),
    "Grace": ("package", "package"),
    "CPU": ("cpu", "rail"),
    "SysIO": ("sysio", "rail"),
}
_REGISTER = re.compile(r"(?P<channel>(energy|power)[0-9]{1,4})_(?P<item>input|average)")
_MAX_PLATFORM_W = 100_000.0  # a rack; above it an answer is an error code


class _Chip(NamedTuple):
    name: str
    device: str  # stable across boots: the last part of the resolved device path
    attributes: dict[str, str]  # name to path


def find_hwmon(sysfs: Path, *, source: str, max_package_w: float) -> Look:
    """Return the registers of every known chip under ``sysfs``, one per channel. Never raises for what it holds."""
    chips = sysfs / "class/hwmon"
    found: list[Found] = []
    for entry in list_names(str(chips)):
        chip = _chip(f"{chips}/{entry}")
        if chip is not None:
            found.extend(_channels(chip, source=source, max_package_w=max_package_w))
    notice = Finding(source=source, state="absent", detail=f"{chips} has no chip that measures a CPU or the machine")
    return Look(sorted(found), [] if found else [notice])


def _chip(path: str) -> _Chip | None:
    """Return the chip at ``path`` if its name is on the list; older drivers keep everything in ``device/``."""
    name = read_name(f"{path}/name") or read_name(f"{path}/device/name")
    if name not in _CHIPS:
        return None
    attributes = {entry: f"{path}/device/{entry}" for entry in list_names(f"{path}/device")}
    attributes.update({entry: f"{path}/{entry}" for entry in list_names(path)})
    return _Chip(name, _device(path) or name, attributes)


def _device(path: str) -> str:
    """Return the device's own name, which stays when hwmon numbers change (F22)."""
    link = Path(path, "device")
    name = Path(os.path.realpath(link if link.is_dir() else path)).name
    return "" if name in {"device", "hwmon"} or re.fullmatch(r"hwmon[0-9]+", name) else name


def _channels(chip: _Chip, *, source: str, max_package_w: float) -> list[Found]:
    found = []
    for channel, item in _registers(chip).items():
        described = _role(chip, channel)
        if (
            described is None
            or _reads(chip, f"{channel}_enable") == "0"
            or _reads(chip, f"{channel}_is_battery") == "1"
        ):
            continue
        domain, device, role = described
        is_package = role.kind in {"package", "rail"}
        found.append(
            Found(
                key=DomainKey(source, domain, device),
                path=chip.attributes[f"{channel}_{item}"],
                unit="energy" if channel.startswith("energy") else "power",
                range_uj=None,  # the drivers accumulate in 64 bits
                max_power_w=max_package_w if is_package else _MAX_PLATFORM_W,
                role=role,
            )
        )
    return found


def _registers(chip: _Chip) -> dict[str, str]:
    """Return the attribute to read of each channel: energy before power, an average before a momentary value (F23)."""
    items: dict[str, str] = {}
    for name in chip.attributes:
        match = _REGISTER.fullmatch(name)
        if match and items.get(match["channel"]) != "average":
            items[match["channel"]] = match["item"]
    energies = {channel: item for channel, item in items.items() if channel.startswith("energy") and item == "input"}
    return dict(sorted((energies or items).items()))


def _reads(chip: _Chip, attribute: str) -> str | None:
    path = chip.attributes.get(attribute)
    return read_name(path) if path else None


def _role(chip: _Chip, channel: str) -> tuple[str, str, Role] | None:
    """Return domain, device and role of a channel, or None for one that would count something twice."""
    kind = _CHIPS[chip.name]
    if kind == "amd_energy":
        match = _SOCKET.fullmatch(_reads(chip, f"{channel}_label") or "")  # cores lie within their socket
        return ("package", f"{chip.device}-{match['socket']}", Role("package", match["socket"])) if match else None
    if kind == "cpu_power":
        return "package", chip.device, Role("package", chip.device)
    text = _reads(chip, f"{channel}_oem_info") or _reads(chip, f"{channel}_label") or ""
    rail = _GRACE_RAIL.fullmatch(text)
    if rail is None:
        return "platform", chip.device, Role("platform", chip.device)
    domain, role = _GRACE_ROLES[rail["rail"]]
    return domain, rail["socket"], Role(role, rail["socket"])
