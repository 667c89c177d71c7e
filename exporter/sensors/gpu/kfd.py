"""Reads KFD, amdgpu's compute half: which process holds which GPU, its memory, and how many compute units it fills.

ROCm queues bypass the DRM scheduler, so DRM's fdinfo knows nothing of this work. Process ids are those of the host.
``sdma_<gpuid>`` is left alone: a read of it queues work in the kernel for every process, and copies are no measure of
what a process draws. Source: kfd_process.c and kfd_topology.c of Linux.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from exporter.errors import SourceError, SourceFormatError
from exporter.sensors.sysfs import list_names, parse_register

__all__ = ["KfdNode", "KfdUsage", "KfdUser", "find_nodes", "nodes_of", "parse_properties", "read_usage"]

_MAX_PROPERTIES_BYTES = 8192
_MAX_NUMBER_BYTES = 33
_MAX_PROCESSES = 4096
_MAX_QUEUES = 1024
_BUS_DEVICE_FUNCTION = 0xFFFF
"""Some drivers keep a partition's number in bits 28 to 31 of ``location_id``."""
_FUNCTION = 0x7


class KfdNode(NamedTuple):
    """One GPU, or one partition of a GPU, as ROCm sees it.

    Attributes:
        number: of its topology node; ROCm numbers its GPUs in this order.
        gpu_id: KFD's name of it; another after a reboot.
        address: PCI address; the partition's number may stand in place of the function.
    """

    number: int
    gpu_id: int
    address: str


class KfdUser(NamedTuple):
    """A process that has memory or queues on the GPU.

    Attributes:
        pid: the host's.
        memory_bytes: GPU memory it holds, or None where that is not told.
        occupancy: compute units (on some GPUs: waves) it filled at the moment of the read, or None where not told.
    """

    pid: int
    memory_bytes: int | None
    occupancy: int | None


class KfdUsage(NamedTuple):
    """Who uses a GPU. ``is_known`` False: KFD has no list of processes here, so that nothing is known."""

    users: tuple[KfdUser, ...] = ()
    is_known: bool = False


def parse_properties(text: bytes, *, source: str, path: str) -> dict[str, int]:
    """Return the numbers of a node's ``properties``, one ``name number`` a line; others are left out.

    Raises:
        SourceFormatError: it holds no such line.
    """
    pairs = (line.split() for line in text.split(b"\n"))
    numbers = {
        pair[0].decode("ascii"): int(pair[1])
        for pair in pairs
        if len(pair) == 2 and pair[0].isascii() and pair[1].isdigit() and len(pair[1]) <= 20  # noqa: PLR2004 - u64
    }
    if not numbers:
        raise SourceFormatError(source, f"{path}: expected names and numbers, read {text[:40]!r}")
    return numbers


def find_nodes(sysfs: Path, *, source: str) -> list[KfdNode]:
    """Return every GPU node of the topology, by number; one that is hidden from this process is left out."""
    listing = f"{sysfs}/class/kfd/kfd/topology/nodes"
    nodes = []
    for name in list_names(listing):
        gpu_id = _number(f"{listing}/{name}/gpu_id") if name.isdigit() else None
        path = f"{listing}/{name}/properties"
        if not gpu_id:  # 0: a CPU; unreadable: EPERM, the cgroup of this process does not have the device
            continue
        try:
            properties = parse_properties(_read(path, _MAX_PROPERTIES_BYTES), source=source, path=path)
        except (OSError, SourceError):
            continue
        location = properties.get("location_id", 0) & _BUS_DEVICE_FUNCTION
        nodes.append(KfdNode(int(name), gpu_id, _address(properties.get("domain", 0), location)))
    return sorted(nodes)


def nodes_of(nodes: Collection[KfdNode], address: str, others: Collection[str]) -> list[KfdNode]:
    """Return the nodes of the GPU at ``address``: its own, and those of its partitions.

    ``others``: addresses of all GPUs; a node with the address of another one is that one's (a virtual function).
    """
    slot = address.rpartition(".")[0]
    is_first = address == f"{slot}.0"
    return [
        node
        for node in nodes
        if node.address == address
        or (is_first and node.address.rpartition(".")[0] == slot and node.address not in others)
    ]


def _address(domain: int, location: int) -> str:
    return f"{domain:04x}:{location >> 8:02x}:{location >> 3 & 0x1F:02x}.{location & _FUNCTION}"


def read_usage(sysfs: Path, gpu_ids: Collection[int]) -> KfdUsage:
    """Return the processes on the GPUs ``gpu_ids``, their numbers added up; one that exits meanwhile is skipped."""
    listing = f"{sysfs}/class/kfd/kfd/proc"
    if not gpu_ids or not os.path.isdir(listing):  # noqa: PTH112 - strings throughout
        return KfdUsage()
    users = []
    for name in list_names(listing)[:_MAX_PROCESSES]:
        user = _user(f"{listing}/{name}", int(name), gpu_ids) if name.isdigit() and len(name) <= 10 else None  # noqa: PLR2004 - pid_t
        if user is not None:
            users.append(user)
    return KfdUsage(tuple(users), is_known=True)


def _user(path: str, pid: int, gpu_ids: Collection[int]) -> KfdUser | None:
    """Return the process if it has something on these GPUs: KFD lists all GPUs for every process."""
    memory = _sum([_number(f"{path}/vram_{gpu_id}") for gpu_id in gpu_ids])
    occupancy = _sum([_number(f"{path}/stats_{gpu_id}/cu_occupancy") for gpu_id in gpu_ids])
    if not memory and not occupancy and not _has_queue(path, gpu_ids):
        return None
    return KfdUser(pid, memory, occupancy)


def _has_queue(path: str, gpu_ids: Collection[int]) -> bool:
    queues = list_names(f"{path}/queues")[:_MAX_QUEUES]
    return any(_number(f"{path}/queues/{queue}/gpuid") in gpu_ids for queue in queues)


def _sum(numbers: list[int | None]) -> int | None:
    told = [number for number in numbers if number is not None]
    return sum(told) if told else None


def _number(path: str) -> int | None:
    try:
        return parse_register(_read(path, _MAX_NUMBER_BYTES), source="kfd", path=path)
    except (OSError, SourceError):
        return None


def _read(path: str, limit_bytes: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return os.pread(descriptor, limit_bytes, 0)
    finally:
        os.close(descriptor)
