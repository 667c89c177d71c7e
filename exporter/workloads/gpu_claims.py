"""Which GPUs a batch scheduler or the kubelet allotted to whom, whether or not anything runs on them.

Of pods the kubelet tells (``PodDevices``). Of batch jobs two things tell: what the devices controller of cgroup v1 lets
a job's group open, and the job's variables. Users can forge the variables, so they count only where the controller does
not restrict the job. CUDA_VISIBLE_DEVICES is not read: its numbers are relative to what the process may see, and
anybody may set it.

Sources: Documentation/admin-guide/cgroup-v1/devices.rst; security/device_cgroup.c, devcgroup_seq_show: a group that
denies single devices but allows by default shows ``a *:* rwm`` all the same, so do the jobs of a Slurm that is not
itself restricted; srun(1), output environment variables; gres.conf(5), AutoDetect and Links, on the order of GPUs.
Version 2 restricts devices by BPF programs, which nobody can read.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterator
from typing import NamedTuple

from exporter.host import Roots
from exporter.workloads.bounded_read import read_or_empty
from exporter.workloads.facts import CgroupIdentity
from exporter.workloads.kubernetes.pod_devices import PodDevices
from exporter.workloads.leaf_places import LeafPlaces
from exporter.workloads.process import Process
from exporter.workloads.records import GpuClaim, RunKey, WorkloadId
from exporter.workloads.usage import Leaf, leaf_of

__all__ = ["ALLOTMENT_VARIABLES", "GpuClaims", "parse_allowed_gpus", "parse_gpu_list"]

ALLOTMENT_VARIABLES = ("SLURM_STEP_GPUS", "SLURM_JOB_GPUS")
"""Numbers of GPUs on the node, not relative to a job; the nearer first. Slurm counts the records of gres.conf, with
AutoDetect those that the driver lists, in its order: the driver's own numbers, unless gres.conf leaves some out or has
another order. They need not be the numbers of device files (seen with Slurm 22.05)."""

_NVIDIA_MAJOR = "195"
_GPU_MINORS = 254
"""NVIDIA's minor numbers below this are GPUs; 254 is nvidia-modeset, 255 nvidiactl. Source: nv-chardev-numbers.h."""
_REREAD_S = 60.0
_LIST_BYTES = 1 << 16
_CGROUP_BYTES = 32_768
_DEPTH_LIMIT = 64
_NUMBER_RANGE = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")


class _Place(NamedTuple):
    """Where a process is in the devices hierarchy."""

    start_ticks: int
    path: str


class GpuClaims:
    """The GPUs that batch jobs and pods hold, kept until processes change or a minute has passed. Not thread-safe.

    Args:
        roots: ``devices`` below the cgroup file system is the controller's hierarchy, if it is there.
        classify: gives whom a group belongs to.
        run_identity: gives what a run's key was made of.
        pod_devices: gives what pods hold, or None where nobody tells.
    """

    def __init__(
        self,
        roots: Roots,
        *,
        classify: Callable[[str], CgroupIdentity],
        run_identity: Callable[[RunKey], str],
        pod_devices: PodDevices | None = None,
    ) -> None:
        self._procfs = str(roots.procfs)
        self._devices = str(roots.cgroupfs / "devices")
        self._classify = classify
        self._run_identity = run_identity
        self._pod_devices = pod_devices
        self._pod_version: Hashable = None
        self._pod_holders: list[tuple[Process, frozenset[str]]] = []
        self._holders: list[tuple[Process, frozenset[str]]] = []
        self._allowed: dict[str, frozenset[int] | None] = {}
        self._places: dict[int, _Place] = {}
        self._is_stale = True
        self._read_at_s = float("-inf")

    def note_change(self) -> None:
        """Note that processes came, went or changed."""
        self._is_stale = True

    def refresh(self, processes: Collection[Process], *, now_s: float) -> None:
        """Find out who holds GPUs, if that may have changed."""
        devices = self._pod_devices
        if devices is not None and (self._is_stale or self._pod_version != devices.version):
            self._pod_version = devices.version
            self._pod_holders = devices.holders(processes)
        is_due = now_s - self._read_at_s >= _REREAD_S
        if not (self._is_stale or is_due):
            return
        self._is_stale = False
        self._read_at_s = now_s if is_due else self._read_at_s
        known, self._allowed = {} if is_due else self._allowed, {}
        places, self._places = {} if is_due else self._places, {}
        held = ((process, self._held(process, known, places)) for process in processes)
        self._holders = [(process, gpus) for process, gpus in held if gpus]

    def claims(self, places: LeafPlaces, *, users: Collection[Leaf] = ()) -> list[GpuClaim]:
        """Return one entry per leaf and GPU.

        A scheduler allots to a job. Where a job has several leaves that see the same GPU (a batch script and the run
        that it named, the ``sleep`` of an external step), those with processes on a GPU, which are ``users``, hold it,
        else those of a run, else all.
        """
        if self._pod_devices is not None:
            self._pod_devices.note_users(users)
        held: dict[Leaf, set[str]] = defaultdict(set)
        best: dict[tuple[WorkloadId, str], int] = defaultdict(int)
        for process, gpus in (*self._holders, *self._pod_holders):
            leaf = leaf_of(process)
            held[leaf] |= gpus
            for gpu in gpus:
                best[leaf.workload, gpu] = max(best[leaf.workload, gpu], _strength(leaf, users))
        return [
            GpuClaim(places.place(leaf), gpu)
            for leaf, gpus in held.items()
            for gpu in sorted(gpus)
            if _strength(leaf, users) == best[leaf.workload, gpu]
        ]

    def _held(
        self, process: Process, known: dict[str, frozenset[int] | None], places: dict[int, _Place]
    ) -> frozenset[str]:
        """Return the GPUs that a process's job holds, as ``GpuClaim`` names them."""
        facts = process.facts
        if facts is None:
            return frozenset()
        if facts.cgroup.job_system:
            allowed = self._allowed_to(self._path(process, places), known)
            if allowed is not None:
                return frozenset(f"minor:{number}" for number in allowed)
        elif (
            process.run is None
            or facts.cgroup.pod_uid
            or facts.cgroup.container_id
            or self._run_identity(process.run) != "slurm"
        ):
            return frozenset()  # no batch job; one whose Slurm does without groups is told by its run
        variables = facts.environment or {}
        told = next((variables[name] for name in ALLOTMENT_VARIABLES if variables.get(name)), "")
        return frozenset(f"index:{number}" for number in parse_gpu_list(told))

    def _path(self, process: Process, places: dict[int, _Place]) -> str:
        """Return the path of a process's group: that of its accounting, else what its devices hierarchy says."""
        if process.node is not None and process.node.identity.job_system:
            return process.node.path
        place = places.get(process.pid)
        if place is None or place.start_ticks != process.start_ticks:
            raw = read_or_empty(f"{self._procfs}/{process.pid}/cgroup", _CGROUP_BYTES)
            place = _Place(process.start_ticks, _devices_path(raw))
        self._places[process.pid] = place
        return place.path

    def _allowed_to(self, path: str, known: dict[str, frozenset[int] | None]) -> frozenset[int] | None:
        """Return the GPUs of the nearest group of the job that is restricted; None if none is."""
        if path not in self._allowed:
            self._allowed[path] = known[path] if path in known else self._read_upwards(path)
        return self._allowed[path]

    def _read_upwards(self, path: str) -> frozenset[int] | None:
        for group in _upwards(path):
            if not self._classify(group).job_system:
                return None  # above the job: what a restricted container or the whole of the batch system may use
            raw = read_or_empty(f"{self._devices}{group}/devices.list", _LIST_BYTES)
            allowed = parse_allowed_gpus(raw) if self._is_there(group, raw) else None
            if allowed is not None:
                return allowed
        return None

    def _is_there(self, group: str, raw: bytes) -> bool:
        """Return whether there is a list: an empty one allows nothing, a missing one says nothing."""
        return bool(raw) or os.access(f"{self._devices}{group}/devices.list", os.R_OK)


def _strength(leaf: Leaf, users: Collection[Leaf]) -> int:
    return 2 if leaf in users else int(leaf.run is not None)


def _devices_path(cgroup_raw: bytes) -> str:
    for line in cgroup_raw.split(b"\n"):
        _number, _, rest = line.partition(b":")
        controllers, _, path = rest.partition(b":")
        if b"devices" in controllers.split(b","):
            return os.fsdecode(path.removesuffix(b" (deleted)"))
    return ""


def _upwards(path: str) -> Iterator[str]:
    """Yield the group and those above it; nothing for a path that leads out of the hierarchy."""
    if ".." in path.split("/"):
        return
    for _ in range(_DEPTH_LIMIT):
        if path in ("", "/"):
            return
        yield path
        path = path.rpartition("/")[0]


def parse_allowed_gpus(raw: bytes) -> frozenset[int] | None:
    """Return the minor numbers of the GPUs that ``devices.list`` allows to use; None where it allows all.

    Lines that are none, and those that allow no more than to make device nodes (``m``), are passed over.
    """
    minors: set[int] = set()
    for line in raw.decode("ascii", "replace").split("\n"):
        kind, _, rest = line.partition(" ")
        device, _, access = rest.partition(" ")
        major, _, minor = device.partition(":")
        if kind not in {"a", "c"} or not {"r", "w"} & set(access):
            continue
        if major in {"*", _NVIDIA_MAJOR} and minor == "*":
            return None
        if major == _NVIDIA_MAJOR:
            minors |= parse_gpu_list(minor) if minor.isdecimal() else set()
    return frozenset(minors)


def parse_gpu_list(text: str) -> frozenset[int]:
    """Return the GPUs that a list such as ``0-2,5`` names, without parts of another form and numbers of no GPU."""
    found: set[int] = set()
    for part in text.split(","):
        match = _NUMBER_RANGE.fullmatch(part.strip())
        if match is not None:
            first, last = int(match[1]), int(match[2] or match[1])
            found.update(range(first, min(last + 1, _GPU_MINORS)))
    return frozenset(found)
