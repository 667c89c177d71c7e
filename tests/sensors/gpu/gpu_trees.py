"""Builds sysfs and procfs trees of AMD, Intel and Gaudi GPUs from the formats' documentation; none is a capture.

Layout: sysfs-bus-pci, hwmon sysfs-interface.rst, drm-usage-stats.rst, kfd_topology.c, kfd_process.c and
kgd_pp_interface.h of Linux.
"""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from exporter.host import Roots
from tests.sensors.trees import ManualClock

__all__ = ["METRICS_TABLES", "GpuTree", "as_nobody", "fdinfo", "gpu_metrics"]

_U8, _U16, _U32, _U64 = ctypes.c_uint8, ctypes.c_uint16, ctypes.c_uint32, ctypes.c_uint64
_Fields = list[tuple[str, type]]

_HEADER: _Fields = [("size", _U16), ("format", _U8), ("content", _U8)]
_DIE_1_1: _Fields = [
    ("temperatures", _U16 * 6),
    ("activities", _U16 * 3),
    ("power", _U16),
    ("energy", _U64),
    ("system_clock_counter", _U64),
    ("average_clocks", _U16 * 7),
    ("current_clocks", _U16 * 7),
    ("throttle_status", _U32),
    ("fan_speed", _U16),
    ("pcie_link", _U16 * 2),
    ("padding", _U16),
    ("activities_acc", _U32 * 2),
    ("temperature_hbm", _U16 * 4),
]
_FIRMWARE_TIME: _Fields = [("firmware_time", _U64)]
_SOCKET: _Fields = [("temperatures", _U16 * 3), ("power", _U16), ("activities", _U16 * 2)]
_ENERGY: _Fields = [("energy", _U64), ("system_clock_counter", _U64)]
_LINKS: _Fields = [("pcie_xgmi_links", _U16 * 4), ("activities_acc", _U32 * 2), ("pcie", _U64 * 5)]
_NAKS: _Fields = [("pcie_naks", _U32 * 2)]
_XGMI: _Fields = [("xgmi_data", _U64 * 16)]
_CLOCKS: _Fields = [("clocks", _U16 * 21), ("last", _U16)]
_ENGINES: _Fields = [("vcn", _U16 * 4), ("jpeg", _U16 * 32)]
_RESIDENCIES: _Fields = [("residencies", _U32 * 6)]
_XCP: _Fields = [("gfx_inst", _U32 * 8), ("jpeg", _U16 * 32), ("vcn", _U16 * 4), ("gfx_acc", _U64 * 8)]
_THROTTLE: _Fields = [("throttle_status", _U32), ("gfxclk_lock_status", _U32)]


def _struct(name: str, fields: _Fields) -> type[ctypes.LittleEndianStructure]:
    return type(name, (ctypes.LittleEndianStructure,), {"_fields_": fields})


def _table(name: str, fields: _Fields) -> type[ctypes.LittleEndianStructure]:
    return _struct(name, _HEADER + fields)


_Partition = _struct("Partition", _XCP)
_Partition11 = _struct("Partition11", [*_XCP, ("below_limit", _U64 * 8)])
_TAIL_1_6: _Fields = [("partitions", _Partition * 8), ("recoveries", _U32)]
_ONE_6: _Fields = (
    _SOCKET + _ENERGY + _RESIDENCIES + [("gfxclk_lock_status", _U32)] + _LINKS + _NAKS + _XGMI + _FIRMWARE_TIME
)
_ONE_7: _Fields = [
    *_SOCKET,
    ("mem_max_bandwidth", _U64),
    *_ENERGY,
    *_RESIDENCIES,
    ("gfxclk_lock_status", _U32),
    *_LINKS,
    *_NAKS,
    *_XGMI,
    ("xgmi_link_status", _U16 * 8),
    ("padding", _U16),
    *_FIRMWARE_TIME,
    *_CLOCKS,
    ("partitions", _Partition11 * 8),
    ("recoveries", _U32),
]
METRICS_TABLES: dict[str, type[ctypes.LittleEndianStructure]] = {
    "1.1": _table("V11", _DIE_1_1),
    "1.2": _table("V12", _DIE_1_1 + _FIRMWARE_TIME),
    "1.3": _table(
        "V13",
        [*_DIE_1_1, *_FIRMWARE_TIME, ("voltages", _U16 * 3), ("padding1", _U16), ("indep_throttle_status", _U64)],
    ),
    "1.4": _table(
        "V14", [*_SOCKET, ("vcn", _U16 * 4), *_ENERGY, *_THROTTLE, *_LINKS, *_XGMI, *_FIRMWARE_TIME, *_CLOCKS]
    ),
    "1.5": _table("V15", _SOCKET + _ENGINES + _ENERGY + _THROTTLE + _LINKS + _NAKS + _XGMI + _FIRMWARE_TIME + _CLOCKS),
    "1.6 taken back": _table(
        "V16a",
        _SOCKET + _ENGINES + _ENERGY + _RESIDENCIES + _THROTTLE + _LINKS + _NAKS + _XGMI + _FIRMWARE_TIME + _CLOCKS,
    ),
    "1.6": _table("V16", _ONE_6 + _CLOCKS + _TAIL_1_6),
    "1.6 short": _table("V16s", _ONE_6 + _CLOCKS + _TAIL_1_6[:1]),
    "1.7": _table("V17", _ONE_7),
}
"""The tables' structs, laid out by the C rules of this machine's compiler (natural alignment)."""


def gpu_metrics(version: str = "1.3", *, energy: int = 0, power: int = 0xFFFF, firmware_time: int = 0) -> bytes:
    """Return a table; ``energy`` is in units of 2**-16 J, ``power`` in watts, ``firmware_time`` in 10 ns."""
    table = METRICS_TABLES[version]()
    ctypes.memset(ctypes.byref(table), 0xFF, ctypes.sizeof(table))
    table.size, table.format, table.content = ctypes.sizeof(table), 1, int(version[2])
    table.energy, table.power = energy, power
    if version != "1.1":
        table.firmware_time = firmware_time
    return bytes(table)


def fdinfo(driver: str, pdev: str, client: int, **values: object) -> str:
    """Return an fdinfo text; ``drm_engine_render="5 ns"`` becomes ``drm-engine-render: 5 ns``."""
    lines = ["pos:\t0", "flags:\t02100002", "mnt_id:\t26", f"drm-driver:\t{driver}", f"drm-pdev:\t{pdev}"]
    lines.append(f"drm-client-id:\t{client}")
    lines += [f"{key.replace('_', '-')}:\t{value}" for key, value in values.items()]
    return "\n".join(lines) + "\n"


@contextmanager
def as_nobody() -> Iterator[None]:
    """Run the body without root's rights over files, whoever runs the tests."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


class GpuTree:
    """One machine's GPUs below ``root``, and its clock."""

    def __init__(self, root: Path) -> None:
        self.roots = Roots(procfs=root / "proc", sysfs=root / "sys", cgroupfs=root / "cgroup")
        self.clock = ManualClock()
        self.kfd = self.roots.sysfs / "class/kfd/kfd"
        self.roots.procfs.mkdir(parents=True)
        self.roots.sysfs.mkdir()

    def device(self, address: str) -> Path:
        """Return the directory of a PCI device."""
        return self.roots.sysfs / "devices/pci0000:00" / address

    def card(
        self,
        address: str,
        driver: str,
        *,
        vendor: int,
        device: int = 1,
        render: int | None = None,
        **attributes: object,
    ) -> Path:
        """Add a PCI device that ``driver`` holds."""
        path = self.device(address)
        path.mkdir(parents=True)
        listing = self.roots.sysfs / "bus/pci/drivers" / driver
        listing.mkdir(parents=True, exist_ok=True)
        (listing / "bind").touch()
        (listing / address).symlink_to(Path("../../../../devices/pci0000:00") / address)
        if render is not None:
            (path / "drm" / f"renderD{render}").mkdir(parents=True)
        self.write(path, vendor=f"{vendor:#06x}", device=f"{device:#06x}", **attributes)
        return path

    def hwmon(self, address: str, name: str, *, number: int = 0, **attributes: object) -> Path:
        """Add an hwmon chip to the device."""
        path = self.device(address) / "hwmon" / f"hwmon{number}"
        path.mkdir(parents=True)
        self.write(path, name=name, **attributes)
        return path

    @staticmethod
    def write(path: Path, **attributes: object) -> None:
        """Let attributes read as given; a path is linked to, bytes are written as they are, open files see it."""
        for name, value in attributes.items():
            file = path / name
            if isinstance(value, Path):
                file.unlink(missing_ok=True)
                file.symlink_to(value)
            else:
                file.write_bytes(value if isinstance(value, bytes) else f"{value}\n".encode())

    def unplug(self, address: str, driver: str) -> None:
        """Take the device away."""
        shutil.rmtree(self.device(address))
        (self.roots.sysfs / "bus/pci/drivers" / driver / address).unlink()

    def amd(self, address: str, *, render: int = 128, device: int = 0x740F, **attributes: object) -> Path:
        """Add an AMD GPU with 300 W of power."""
        path = self.card(address, "amdgpu", vendor=0x1002, device=device, render=render, **attributes)
        self.hwmon(address, "amdgpu", power1_average=300_000_000, power1_cap=500_000_000, temp1_input=45_000)
        return path

    def node(self, number: int, gpu_id: int | Path, location: int, *, domain: int = 0) -> None:
        """Add a node to KFD's topology."""
        path = self.kfd / "topology/nodes" / str(number)
        path.mkdir(parents=True)
        properties = f"cpu_cores_count 0\nsimd_count 440\nlocation_id {location}\ndomain {domain}"
        self.write(path, gpu_id=gpu_id, properties=properties)

    def kfd_process(
        self, pid: int, gpu_id: int, *, vram: int = 0, occupancy: int | None = None, queues: int = 0
    ) -> Path:
        """Add a process to KFD's list, or a GPU to the process."""
        path = self.kfd / "proc" / str(pid)
        path.mkdir(parents=True, exist_ok=True)
        self.write(path, **{f"vram_{gpu_id}": vram, f"sdma_{gpu_id}": 0})
        if occupancy is not None:
            (path / f"stats_{gpu_id}").mkdir(exist_ok=True)
            self.write(path / f"stats_{gpu_id}", cu_occupancy=occupancy)
        for queue in range(queues):
            (path / "queues" / f"{gpu_id}{queue}").mkdir(parents=True, exist_ok=True)
            self.write(path / "queues" / f"{gpu_id}{queue}", gpuid=gpu_id)
        return path

    def process(self, pid: int, files: Mapping[int, tuple[str, str | bytes]], *, start: int = 100) -> Path:
        """Add or replace a process: per descriptor, what it leads to and its fdinfo."""
        path = self.roots.procfs / str(pid)
        shutil.rmtree(path, ignore_errors=True)
        (path / "fd").mkdir(parents=True)
        (path / "fdinfo").mkdir()
        (path / "stat").write_text(f"{pid} (py) thon) S " + " ".join(["0"] * 18) + f" {start} 0 0\n")
        for number, (target, text) in files.items():
            (path / "fd" / str(number)).symlink_to(target)
            (path / "fdinfo" / str(number)).write_bytes(text if isinstance(text, bytes) else text.encode())
        return path
