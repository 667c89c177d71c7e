"""The energy registers of a simulated node: RAPL zones under powercap, and a platform power meter under hwmon.

The true energy is kept unwrapped, in whole microjoules as the hardware counts; the files show what the hardware would.
Sources: Documentation/power/powercap/powercap.rst and hwmon sysfs-interface.rst of Linux.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from exporter.testing.kernel_files import create_text, empty_and_remove, overwrite, remove_tree, wide
from exporter.units import MICROJOULES_PER_JOULE, MICROWATTS_PER_WATT

__all__ = ["AMD_RANGE_UJ", "DENIED", "FAILING", "INTEL_RANGE_UJ", "PlatformMeter", "RaplPackage", "RaplZone"]

INTEL_RANGE_UJ = 262_143_328_850
"""A common range of Intel server packages: wraps after 11 minutes at 400 W."""
AMD_RANGE_UJ = 65_532_610_987
"""The range of AMD packages (2**32 steps of 15.3 µJ): wraps after 164 s at 400 W."""
DENIED = Path("/proc/sys/vm/drop_caches")
"""A file that no reader may open, root included: what ``RaplZone.fail`` links to for EACCES."""
FAILING = Path("/proc/self/mem")
"""A file whose reads at offset 0 fail with EIO: what ``RaplZone.fail`` links to for EIO."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RaplPackage:
    """One CPU package (socket) of a simulated node.

    Attributes:
        idle_w: watts without load.
        joules_per_cpu_s: active joules per CPU second of any process on this socket.
        dram_idle_w: watts of this socket's memory without load, or None for a package without dram domain.
        dram_joules_per_cpu_s: active joules of memory per CPU second.
        range_uj: where the registers wrap, in microjoules.
        start_uj: what the package's register holds at the start.
    """

    idle_w: float = 40.0
    joules_per_cpu_s: float = 5.0
    dram_idle_w: float | None = None
    dram_joules_per_cpu_s: float = 0.0
    range_uj: int = INTEL_RANGE_UJ
    start_uj: int = 123_456_789


class RaplZone:
    """One energy register, its files, and what it really counted.

    Attributes:
        zone: the kernel's name, for example ``intel-rapl:0``.
        idle_w: watts without load.
        joules_per_cpu_s: active joules per CPU second.
        children: zones inside this one, which vanish and recover with it.
    """

    def __init__(
        self,
        sysfs: Path,
        zone: str,
        name: str,
        *,
        range_uj: int,
        idle_w: float,
        joules_per_cpu_s: float,
        start_uj: int = 0,
    ) -> None:
        self.zone = zone
        self.idle_w = idle_w
        self.joules_per_cpu_s = joules_per_cpu_s
        self._range_uj = range_uj
        self._counted_uj = 0.0
        self._register_offset_uj = start_uj
        self._is_readable = True
        self._sysfs = sysfs
        self._name = name
        self._path = _zone_path(sysfs, zone)
        self.children: list[RaplZone] = []
        self._create()

    @property
    def counted_uj(self) -> int:
        """Microjoules drawn since the node was made: the truth, unwrapped, unmoved by resets and faults."""
        return int(self._counted_uj)

    @property
    def register_uj(self) -> int:
        """What the register holds now."""
        return (self.counted_uj + self._register_offset_uj) % self._range_uj

    def draw(self, energy_j: float) -> None:
        """Count ``energy_j``; the file follows at ``write``."""
        self._counted_uj += energy_j * MICROJOULES_PER_JOULE

    def write(self) -> None:
        """Show the register in its file, unless a fault hides it."""
        if self._is_readable:
            overwrite(self._path / "energy_uj", f"{wide(self.register_uj)}\n".encode())

    def reset(self) -> None:
        """Set the register to 0, as a driver that is loaded again does; the truth goes on."""
        self._register_offset_uj = -self.counted_uj
        self.write()

    def vanish(self) -> None:
        """Take the zone and those inside it away, as a driver that is unloaded does."""
        for child in self.children:
            child.vanish()
        self._is_readable = False
        if self._path.exists():
            remove_tree(self._path)
            (self._sysfs / "class/powercap" / self.zone).unlink()

    def garble(self, text: bytes) -> None:
        """Let the register's file hold ``text`` until ``recover``."""
        self._is_readable = False
        overwrite(self._path / "energy_uj", text)

    def fail(self, how: Path) -> None:
        """Let every new reader fail until ``recover``: ``DENIED`` for EACCES, ``FAILING`` for EIO."""
        self._is_readable = False
        empty_and_remove(self._path / "energy_uj")
        (self._path / "energy_uj").symlink_to(how)

    def recover(self) -> None:
        """End the fault, also of the zones inside; the registers have gone on counting."""
        register = self._path / "energy_uj"
        if register.is_symlink():
            register.unlink()
        self._is_readable = True
        self._create()
        for child in self.children:
            child.recover()

    def _create(self) -> None:
        create_text(self._path / "name", f"{self._name}\n")
        create_text(self._path / "enabled", "1\n")
        create_text(self._path / "max_energy_range_uj", f"{self._range_uj}\n")
        _link(self._sysfs, self.zone)
        self.write()


class PlatformMeter:
    """An ACPI power meter that shows the mean power of the whole machine over the last interval."""

    def __init__(self, sysfs: Path, *, other_w: float) -> None:
        self.other_w = other_w
        hwmon = sysfs / "devices/LNXSYSTM:00/ACPI000D:00/hwmon/hwmon0"
        create_text(hwmon / "name", "power_meter\n")
        (hwmon / "device").symlink_to("../..")
        self._path = hwmon / "power1_average"
        link = sysfs / "class/hwmon/hwmon0"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to("../../devices/LNXSYSTM:00/ACPI000D:00/hwmon/hwmon0")
        self.show(other_w)

    def show(self, power_w: float) -> None:
        """Let the meter read ``power_w``."""
        overwrite(self._path, f"{wide(round(power_w * MICROWATTS_PER_WATT))}\n".encode())


def _zone_path(sysfs: Path, zone: str) -> Path:
    control_type, *indices = zone.split(":")
    parts = [":".join([control_type, *indices[: depth + 1]]) for depth in range(len(indices))]
    return (sysfs / "devices/virtual/powercap" / control_type).joinpath(*parts)


def _link(sysfs: Path, zone: str) -> None:
    """Show the zone and its control type in the class directory, as the kernel does."""
    links = sysfs / "class/powercap"
    links.mkdir(parents=True, exist_ok=True)
    for name in (zone.partition(":")[0], zone):
        target = Path("../../devices/virtual/powercap") / _zone_path(Path(), name).relative_to(
            "devices/virtual/powercap"
        )
        if not (links / name).is_symlink():
            (links / name).symlink_to(target)
