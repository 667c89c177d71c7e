"""Keeps up with which GPUs the kubelet gave to which pods, in a thread of its own, and joins them with processes.

The kubelet answers through a socket that only root may open, and limits how often. What it said last stays in force
while it restarts, for ten minutes at most: then whose a GPU is counts as unknown.
"""

from __future__ import annotations

import logging
import random
import threading
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping
from pathlib import Path

from exporter.clock import Clock
from exporter.health import Finding, SourceEvent, State
from exporter.workloads.kubernetes.grpc_client import GrpcError
from exporter.workloads.kubernetes.pod_resources import Allotments, list_pod_resources
from exporter.workloads.kubernetes.pod_table import PodTable
from exporter.workloads.kubernetes.settings import KubernetesSettings
from exporter.workloads.process import Process

__all__ = ["DEFAULT_SOCKET", "PodDevices", "make_pod_devices"]

DEFAULT_SOCKET = "/var/lib/kubelet/pod-resources/kubelet.sock"
_SOURCE = "pod_resources"
_log = logging.getLogger(__name__)
_POLL_S = 30.0
_KEEP_S = 600.0
_SHORTEST_GAP_S = 2.0
_FIRST_RETRY_S = 2.0
_LONGEST_RETRY_S = 120.0
_TIMEOUT_S = 10.0
_FIRST_ANSWER_S = 1.0
_MAX_REPLY_BYTES = 16 << 20
_MOST_UNKNOWN = 1024
_NOTHING = Allotments({}, frozenset())
_REMEDIES = {
    "missing": "mount the kubelet's directory pod-resources, and name its socket in kubernetes.pod_resources_socket",
    "permission": "run the agent as root: only root may open the kubelet's socket",
    "library": "install the Python package h2",
    "unsupported": "Kubernetes 1.28 or newer is needed",
}


def make_pod_devices(settings: KubernetesSettings, clock: Clock, table: PodTable) -> PodDevices | None:
    """Return what knows the pods' GPUs, its thread running; None where no socket is configured and none is mounted.

    Waits up to a second for the first answer, so that GPUs which are held already are their holders' at once.
    """
    configured = settings.pod_resources_socket
    if not configured and not Path(DEFAULT_SOCKET).parent.is_dir():
        return None
    devices = PodDevices(configured or DEFAULT_SOCKET, clock, table)
    devices.start(wait_s=_FIRST_ANSWER_S)
    return devices


class PodDevices:
    """The GPUs that pods hold. ``refresh_if_due`` is the thread's; all else is the sampling loop's and never waits.

    Args:
        path: the kubelet's socket.
        table: gives UIDs and containers of pods by name.
        jitter: gives numbers of 0 to 1.
    """

    def __init__(
        self,
        path: str,
        clock: Clock,
        table: PodTable,
        *,
        timeout_s: float = _TIMEOUT_S,
        jitter: random.Random | None = None,
    ) -> None:
        self._path = path
        self._clock = clock
        self._table = table
        self._timeout_s = timeout_s
        self._jitter = jitter or random.Random()  # noqa: S311 - spreads load
        self._lock = threading.Lock()
        self._wake, self._answered = threading.Event(), threading.Event()
        self._is_closed = False
        self._is_wanted = True
        self._allotments = _NOTHING
        self._version = 0
        self._failures = 0
        self._error: GrpcError | None = None
        self._next_s = self._free_s = float("-inf")
        self._success_s: float | None = None
        self._success_wall_s: float | None = None
        self._told_unknown: set[str] = set()
        self._events: dict[str, int] = {}
        self._seen: frozenset[Hashable] = frozenset()
        self._uids: frozenset[str] = frozenset()

    @property
    def version(self) -> Hashable:
        """Differs from what it was whenever other devices may be whose: compare for equality."""
        return (self._version, self._table.version, self._is_expired())

    def start(self, *, wait_s: float = 0.0) -> None:
        """Begin to ask in a thread of its own, and wait up to ``wait_s`` for the first answer."""
        threading.Thread(target=self._run, name="pod-devices", daemon=True).start()
        self._answered.wait(wait_s)

    def close(self) -> None:
        """End the thread; a call on its way is not waited for."""
        self._is_closed = True
        self._wake.set()

    def note_users(self, users: Collection[Hashable]) -> None:
        """Say who is on a GPU: somebody new is a reason to ask at once."""
        if not self._seen >= frozenset(users):
            self._want()
        self._seen = frozenset(users)

    def holders(self, processes: Iterable[Process]) -> list[tuple[Process, frozenset[str]]]:
        """Return the processes of pods that hold GPUs, each with those; a pod that has none left holds nothing.

        A container's devices are its processes'. Where it has none (it starts, or its name is not known), all
        containers of the pod hold them, and where there are none, the pod's sandbox does.
        """
        by_pod: dict[str, list[Process]] = defaultdict(list)
        for process in processes:
            if process.facts is not None and process.facts.cgroup.pod_uid:
                by_pod[process.facts.cgroup.pod_uid].append(process)
        uids = frozenset(by_pod)
        if not self._uids >= uids:
            self._want()
        self._uids = uids
        allotted = _NOTHING if self._is_expired() else self._allotments
        held: dict[int, tuple[Process, frozenset[str]]] = {}
        for (namespace, name), containers in allotted.devices.items():
            pod = self._table.find_by_name(namespace, name)
            if pod is None or pod.uid not in by_pod:
                continue
            for container, devices in containers.items():
                for process in _members(by_pod[pod.uid], pod.containers, container):
                    before = held.get(process.pid, (process, frozenset()))[1]
                    held[process.pid] = (process, before | devices)
        return list(held.values())

    def _is_expired(self) -> bool:
        success_s = self._success_s
        return success_s is None or self._clock.monotonic_s() - success_s > _KEEP_S

    def _want(self) -> None:
        with self._lock:
            self._is_wanted = True
        self._wake.set()

    def _run(self) -> None:
        while not self._is_closed:
            try:
                self.refresh_if_due()
            except MemoryError:
                raise
            except Exception as exc:  # noqa: BLE001 - the thread's top: devices go stale, the agent goes on
                _log.exception("devices of pods cannot be listed")
                self._fail(GrpcError("internal", f"{type(exc).__name__}: {exc}"[:200]))
            self._answered.set()
            self._wake.clear()
            self._wake.wait(min(max(self.due_in_s(), 0.1), _POLL_S))

    def due_in_s(self) -> float:
        """Return the seconds until the kubelet is asked again."""
        with self._lock:
            reason_s = float("-inf") if self._is_wanted else self._next_s
            return max(reason_s, self._free_s) - self._clock.monotonic_s()

    def refresh_if_due(self) -> bool:
        """Ask the kubelet if there is a reason to; return whether it was asked."""
        if self.due_in_s() > 0:
            return False
        with self._lock:
            self._is_wanted = False
        try:
            allotments = list_pod_resources(self._path, timeout_s=self._timeout_s, max_bytes=_MAX_REPLY_BYTES)
        except GrpcError as exc:
            self._fail(exc)
        else:
            self._succeed(allotments)
        return True

    def _fail(self, error: GrpcError) -> None:
        pause_s = min(_FIRST_RETRY_S * 2.0 ** min(self._failures, 16), _LONGEST_RETRY_S)
        with self._lock:
            self._failures += 1
            self._error = error
            self._free_s = self._next_s = self._clock.monotonic_s() + pause_s * (1.0 - 0.3 * self._jitter.random())
            self._events[error.reason] = self._events.get(error.reason, 0) + 1

    def _succeed(self, allotments: Allotments) -> None:
        now_s = self._clock.monotonic_s()
        with self._lock:
            new = allotments.unknown - self._told_unknown
            if new and len(self._told_unknown) < _MOST_UNKNOWN:
                self._told_unknown |= new
                self._events["unknown_device"] = self._events.get("unknown_device", 0) + len(new)
            self._failures, self._error = 0, None
            self._free_s = now_s + _SHORTEST_GAP_S
            self._next_s = now_s + _POLL_S
            self._success_s, self._success_wall_s = now_s, self._clock.wall_s()
            if allotments != self._allotments:
                self._allotments = allotments
                self._version += 1

    def take_events(self) -> list[SourceEvent]:
        """Return the errors since the previous call."""
        with self._lock:
            events, self._events = self._events, {}
        return [SourceEvent(_SOURCE, "error", reason, count) for reason, count in events.items()]

    def findings(self) -> list[Finding]:
        """Return how well the pods' GPUs are known; nothing before the first answer."""
        finding = self._finding()
        return [finding] if finding is not None else []

    def _finding(self) -> Finding | None:
        with self._lock:
            error, allotments = self._error, self._allotments
            last_s, last_wall_s = self._success_s, self._success_wall_s
        if error is None and last_s is None:
            return None
        known = f"{len(allotments.devices)} pods hold GPUs"
        if error is not None:
            state: State = "down" if self._is_expired() else "degraded"
            kept = "whose GPUs are whose is not known any more" if last_s is not None else "nothing is known"
            detail = f"{error}; {kept if self._is_expired() else f'kept from the last answer: {known}'}"
            remedy = _REMEDIES.get(error.reason, "")
            return Finding(source=_SOURCE, state=state, detail=detail, remedy=remedy, last_success_s=last_wall_s)
        unnamed = sum(self._table.find_by_name(*pod) is None for pod in allotments.devices)
        notes = [f"{unnamed} of them have no UID yet"] if unnamed else []
        if allotments.unknown:
            examples = ", ".join(sorted(allotments.unknown)[:3])
            notes.append(f"{len(allotments.unknown)} devices cannot be told: {examples[:200]}")
        return Finding(
            source=_SOURCE,
            state="degraded" if notes else "up",
            detail="; ".join([known, *notes]),
            last_success_s=last_wall_s,
        )


def _members(pod: Collection[Process], names: Mapping[str, str], container: str) -> Collection[Process]:
    """Return the processes that hold what a container of their pod was given."""
    ids = {process.pid: process.facts.cgroup.container_id for process in pod if process.facts is not None}
    own = [process for process in pod if names.get(ids[process.pid]) == container]
    return own or [process for process in pod if ids[process.pid] in names] or pod
