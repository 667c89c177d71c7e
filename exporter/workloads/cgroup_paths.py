"""The grammar of cgroup paths: from a path alone to the pod, container, job, machine or unit it belongs to.

Segments are matched, never absolute prefixes: a reader in a cgroup namespace of its own sees others as
``/../leaf``. Containers, jobs and machines come before systemd units, because a unit may run inside of one.
What no rule knows is an unknown cgroup: it keeps its energy under its own path.

Sources: kubelet and CRI runtime cgroup drivers, Slurm cgroup.conf(5), systemd.slice(5), the libvirt cgroup page.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from exporter.workloads.facts import SHORT_ID, CgroupIdentity
from exporter.workloads.records import WorkloadId
from exporter.workloads.text import shorten_name

__all__ = ["UserName", "classify_cgroup"]

UserName = Callable[[int], str]
"""Gives the login name of a uid, or an empty string."""

_UUID = r"[0-9a-fA-F]{8}(?:[-_][0-9a-fA-F]{4}){3}[-_][0-9a-fA-F]{12}"
_POD = re.compile(rf"(?:^|-)pod({_UUID}|[0-9a-fA-F]{{32}})(?:\.slice)?(?=$|:)")
_CONTAINER = re.compile(r"(?:^|.*[-:._])([0-9a-f]{64})(?:\.scope|\.service)?$")
_FARGATE = re.compile(r"[0-9a-f]{32}-[0-9]{6,12}$")
_SLURM_SCOPE = re.compile(r"(?:.+_)?slurmstepd\.scope$|slurm(?:_.+)?$")
_SLURM_JOB = re.compile(r"job_([0-9]{1,12})$")
_SLURM_SLUID = re.compile(r"s[0-9A-Z]{13}$")
_SLURM_STEP = re.compile(r"step_([0-9A-Za-z_+]{1,32})$")
_PBS_JOB = re.compile(r"([0-9]{1,12}(?:\[[0-9]*\])?\.[A-Za-z0-9._-]+?)(?:\.slice|\.scope)?$")
_LSF_JOB = re.compile(r"job\.([0-9]{1,12}(?:\[[0-9]+\])?)(?:\..*)?$")
_MACHINE = re.compile(r"machine-(?:(qemu|lxc|xen|ch|bhyve)-[0-9]+-)?(.+)\.scope$")
_LIBVIRT_V1 = re.compile(r"(?:qemu-[0-9]+-)?(.+)\.libvirt-(qemu|lxc)$")
_NSPAWN = re.compile(r"systemd-nspawn@(.+)\.service$")
_LXC = re.compile(r"lxc\.(?:payload|monitor)[./](.+)$")
_UNIT = re.compile(r".+\.(?:service|scope|mount|socket|swap)$")
_USER_SLICE = re.compile(r"user-([0-9]{1,10})\.slice$")
_USER_MANAGER = re.compile(r"user@([0-9]{1,10})\.service$")
_SESSION = re.compile(r"(session-.+)\.scope$")
_ESCAPE = re.compile(r"\\x([0-9a-fA-F]{2})")

_DEPTH_LIMIT = 256


def classify_cgroup(path: str, *, user_name: UserName | None = None) -> CgroupIdentity:
    """Return whom the cgroup at ``path`` belongs to; any text is accepted.

    ``path`` is relative to the hierarchy's root, with or without leading ``/..`` segments. A session's and a user
    unit's namespace is the user: the name that ``user_name`` gives, else the uid. The innermost container, job or
    machine wins, but a container inside a pod or a job is the pod's or the job's; of nested pods the innermost wins.
    """
    segments = [part for part in path.split("/")[:_DEPTH_LIMIT] if part not in {"", ".", ".."}]
    if not segments:
        return CgroupIdentity(WorkloadId("system", "", ""), is_root=True)
    for index in range(len(segments) - 1, -1, -1):
        for rule in (_pod, _slurm, _pbs, _lsf, _container, _machine):
            found = rule(segments, index)
            if found is not None:
                return _owner(segments, index, found)
    return CgroupIdentity(_systemd(segments, user_name) or WorkloadId("cgroup", "", shorten_name(path)))


def _owner(segments: Sequence[str], index: int, found: CgroupIdentity) -> CgroupIdentity:
    """Return the pod or job around a container, whatever runs inside it, else ``found`` itself."""
    if found.pod_uid or found.job_system:
        return found
    owners = (rule(segments, above) for above in range(index - 1, -1, -1) for rule in (_pod, _slurm, _pbs, _lsf))
    return next((owner for owner in owners if owner is not None), found)


def _pod(segments: Sequence[str], index: int) -> CgroupIdentity | None:
    match = _POD.search(segments[index])
    if match is None:
        return None
    uid = match[1].replace("_", "-").lower()
    container = ""
    for segment in segments[index:]:
        inner = _CONTAINER.match(segment)
        if inner is not None and "conmon" not in segment:
            container = inner[1]
            break
    return CgroupIdentity(
        WorkloadId("pod", "", uid, container[:SHORT_ID]),
        pod_uid=uid,
        container_id=container,
    )


def _container(segments: Sequence[str], index: int) -> CgroupIdentity | None:
    segment = segments[index]
    match = _CONTAINER.match(segment)
    if match is not None:
        identity = "" if "conmon" in segment else match[1]
        return CgroupIdentity(WorkloadId("container", "", match[1][:SHORT_ID]), container_id=identity)
    if _FARGATE.match(segment) and "ecs" in segments[:index]:
        return CgroupIdentity(WorkloadId("container", "", segment))
    match = _LXC.match(segment)
    if match is not None:
        return CgroupIdentity(WorkloadId("container", "", shorten_name(match[1])))
    if index == 1 and segments[0] == "lxc":
        return CgroupIdentity(WorkloadId("container", "", shorten_name(segment)))
    return None


def _slurm(segments: Sequence[str], index: int) -> CgroupIdentity | None:
    job = _SLURM_JOB.match(segments[index])
    sluid = _SLURM_SLUID.match(segments[index])
    if job is None and sluid is None:
        return None
    step = _SLURM_STEP.match(segments[index + 1]) if index + 1 < len(segments) else None
    if step is None and not any(_SLURM_SCOPE.match(above) for above in segments[max(0, index - 2) : index]):
        return None
    job_id = job[1] if job is not None else segments[index]
    return _job("slurm", job_id, step[1] if step is not None else "")


def _pbs(segments: Sequence[str], index: int) -> CgroupIdentity | None:
    match = _PBS_JOB.match(_unescape(segments[index]))
    if match is None or not any(above.startswith("pbs") for above in segments[max(0, index - 2) : index]):
        return None
    return _job("pbs", shorten_name(match[1]))


def _lsf(segments: Sequence[str], index: int) -> CgroupIdentity | None:
    match = _LSF_JOB.match(segments[index])
    return _job("lsf", match[1]) if match is not None and "lsf" in segments[max(0, index - 2) : index] else None


def _job(system: str, job_id: str, step: str = "") -> CgroupIdentity:
    workload = WorkloadId(f"{system}_job", "", job_id)
    return CgroupIdentity(workload, job_system=system, job_id=job_id, step=step)


def _machine(segments: Sequence[str], index: int) -> CgroupIdentity | None:
    segment = _unescape(segments[index])
    match = _MACHINE.match(segment)
    if match is not None:
        kind = "vm" if match[1] not in {None, "lxc"} else "container"
        return CgroupIdentity(WorkloadId(kind, "", shorten_name(match[2])))
    match = _LIBVIRT_V1.match(segment)
    if match is not None:
        return CgroupIdentity(WorkloadId("vm" if match[2] == "qemu" else "container", "", shorten_name(match[1])))
    if segment.endswith(".scope") and index and segments[index - 1] == "qemu.slice":
        return CgroupIdentity(WorkloadId("vm", "", shorten_name(segment.removesuffix(".scope"))))
    match = _NSPAWN.match(segment)
    return CgroupIdentity(WorkloadId("container", "", shorten_name(match[1]))) if match is not None else None


def _systemd(segments: Sequence[str], user_name: UserName | None) -> WorkloadId | None:
    """Return the outermost unit; below a user's manager that of the user; else the innermost slice."""
    user = ""
    manager = ""
    for segment in segments:
        owner = _USER_SLICE.match(segment) or _USER_MANAGER.match(segment)
        if owner is not None:
            user = _user(int(owner[1]), user_name)
        session = _SESSION.match(segment)
        if session is not None and user and not manager:
            return WorkloadId("session", user, shorten_name(session[1]))
        if _USER_MANAGER.match(segment):
            manager = segment
        elif _UNIT.match(segment):
            kind = "user_unit" if manager else "unit"
            return WorkloadId(kind, user if manager else "", shorten_name(_unescape(segment)))
    if manager:
        return WorkloadId("user_unit", user, manager)
    slices = [segment for segment in segments if segment.endswith(".slice")]
    return WorkloadId("slice", user, shorten_name(_unescape(slices[-1]))) if slices else None


def _user(uid: int, user_name: UserName | None) -> str:
    return (shorten_name(user_name(uid)) if user_name is not None else "") or str(uid)


def _unescape(segment: str) -> str:
    """Undo systemd's escapes. Source: systemd-escape(1)."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), segment) if "\\" in segment else segment
