"""Builds powercap, hwmon and cpuinfo trees the way the kernel lays them out, and moves them through time."""

from __future__ import annotations

import shutil
from pathlib import Path

from exporter.host import Roots
from exporter.sensors import EnergySample, SensorSet, SensorSettings

__all__ = [
    "AMD_RANGE_UJ",
    "DENIED",
    "FAILING",
    "INTEL_RANGE_UJ",
    "XEON",
    "ManualClock",
    "Tree",
    "cpuinfo",
]

INTEL_RANGE_UJ = 262_143_328_850
AMD_RANGE_UJ = 65_532_610_987
XEON = "Intel(R) Xeon(R) Gold 6248 CPU @ 2.50GHz"
DENIED = Path("/proc/sys/vm/drop_caches")
"""Mode 0200 and sysctl checks it without regard to capabilities: EACCES for every reader, root included."""
FAILING = Path("/proc/self/mem")
"""Opens, and answers EIO to a read at offset 0, where nothing is mapped."""


class ManualClock:
    """A clock that stands still until told."""

    def __init__(self, now_s: float = 1000.0) -> None:
        self.now_s = now_s

    def monotonic_s(self) -> float:
        return self.now_s

    def wall_s(self) -> float:
        return 1_700_000_000.0 + self.now_s


def cpuinfo(
    name: str = XEON, *, vendor: str = "GenuineIntel", packages: int = 2, threads: int = 4, flags: str = "fpu sse"
) -> str:
    """Return a cpuinfo text with ``threads`` logical CPUs spread over ``packages``."""
    block = "processor\t: {cpu}\nvendor_id\t: {vendor}\ncpu family\t: 6\nmodel\t\t: 85\nmodel name\t: {name}\n"
    block += "physical id\t: {package}\ncpu cores\t: 20\nflags\t\t: {flags}\n\n"
    return "".join(
        block.format(cpu=cpu, vendor=vendor, name=name, package=cpu % packages, flags=flags) for cpu in range(threads)
    )


class Tree:
    """One machine's files below ``root``, its clock, and the sensors that look at them."""

    def __init__(self, root: Path, *, cpu: str | None = None, has_class: bool = True) -> None:
        self.root = root
        self.roots = Roots(procfs=root / "proc", sysfs=root / "sys", cgroupfs=root / "cgroup")
        self.clock = ManualClock()
        self.has_class = has_class
        self.powercap = self.roots.sysfs / "devices/virtual/powercap"
        self.roots.procfs.mkdir(parents=True)
        self.roots.sysfs.mkdir()
        (self.roots.procfs / "cpuinfo").write_text(cpuinfo() if cpu is None else cpu)

    def zone_path(self, zone: str) -> Path:
        """Return the directory of ``zone``, which nests: ``intel-rapl:0:1`` lies in ``intel-rapl:0``."""
        control_type, *indices = zone.split(":")
        parts = [":".join([control_type, *indices[: depth + 1]]) for depth in range(len(indices))]
        return self.powercap.joinpath(control_type, *parts)

    def zone(
        self, zone: str, name: str | bytes, raw_uj: int | str | Path = 0, *, range_uj: int | str | None = INTEL_RANGE_UJ
    ) -> None:
        """Add a zone; a path as ``raw_uj`` is linked to, ``range_uj`` None leaves the file out."""
        path = self.zone_path(zone)
        path.mkdir(parents=True, exist_ok=True)
        (path / "name").write_bytes(name if isinstance(name, bytes) else f"{name}\n".encode())
        if range_uj is not None:
            (path / "max_energy_range_uj").write_text(f"{range_uj}\n")
        if isinstance(raw_uj, Path):
            (path / "energy_uj").symlink_to(raw_uj)
        else:
            (path / "energy_uj").write_text(f"{raw_uj}\n")
        if self.has_class:
            self._link(zone, path)

    def _link(self, zone: str, path: Path) -> None:
        links = self.roots.sysfs / "class/powercap"
        links.mkdir(parents=True, exist_ok=True)
        relative = Path("../../devices/virtual/powercap")
        for name, target in ((zone.split(":", maxsplit=1)[0], path), (zone, path)):
            inside = self.powercap / name if ":" not in name else target
            if not (links / name).is_symlink():
                (links / name).symlink_to(relative / inside.relative_to(self.powercap))

    def set_uj(self, zone: str, raw_uj: int | str | bytes) -> None:
        """Let the register of ``zone`` read ``raw_uj``."""
        data = raw_uj if isinstance(raw_uj, bytes) else f"{raw_uj}\n".encode()
        (self.zone_path(zone) / "energy_uj").write_bytes(data)

    def remove(self, zone: str) -> None:
        """Unplug ``zone``: readers of the open register get nothing more."""
        self.set_uj(zone, b"")
        shutil.rmtree(self.zone_path(zone))
        (self.roots.sysfs / "class/powercap" / zone).unlink(missing_ok=True)

    def chip(self, number: int, device: str, name: str | None, **attributes: object) -> Path:
        """Add hwmon chip ``number`` of ``device``, with its attributes in the hwmon directory."""
        hwmon = self.roots.sysfs / "devices" / device / "hwmon" / f"hwmon{number}"
        hwmon.mkdir(parents=True)
        (hwmon / "device").symlink_to("../..")
        links = self.roots.sysfs / "class/hwmon"
        links.mkdir(parents=True, exist_ok=True)
        (links / f"hwmon{number}").symlink_to(Path("../..") / hwmon.relative_to(self.roots.sysfs))
        if name is not None:
            (hwmon / "name").write_text(f"{name}\n")
        for attribute, value in attributes.items():
            (hwmon / attribute).write_text(f"{value}\n")
        return hwmon

    def sensors(self, settings: SensorSettings | None = None) -> SensorSet:
        """Return the sensors of this machine."""
        return SensorSet(self.roots, self.clock, settings or SensorSettings())

    def started(self, settings: SensorSettings | None = None) -> SensorSet:
        """Return the sensors of this machine after their first read."""
        sensors = self.sensors(settings)
        sensors.resume({})
        return sensors

    def tick(self, sensors: SensorSet, *, seconds: float = 5.0, busy_ratio: float = 0.5) -> EnergySample:
        """Let time pass and sample."""
        self.clock.now_s += seconds
        return sensors.sample(busy_ratio=busy_ratio)
