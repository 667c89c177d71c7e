"""Gives cgroups of pods their names: what the sampling loop asks, from memory.

A series whose labels change is another series, and joules must not move from one to the other. So a workload's name
is decided forward only: whatever a pod used is booked on the name that it had at that moment. To keep pods from
beginning under their UID, a new one waits a little: until the kubelet told its name, at most ``name_wait_s``, what it
uses is booked on one common workload, ``starting``. Where no source works, nothing is waited for.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from exporter.clock import Clock
from exporter.health import Finding, SourceEvent
from exporter.workloads.facts import CgroupIdentity, PodLaunch
from exporter.workloads.kubernetes.pod_runs import launch_of, owner_of
from exporter.workloads.kubernetes.pod_table import PodTable
from exporter.workloads.kubernetes.records import Pod
from exporter.workloads.kubernetes.refresher import PodRefresher
from exporter.workloads.kubernetes.settings import KubernetesSettings
from exporter.workloads.records import PodFacts, WorkloadId

__all__ = ["STARTING", "PodNames"]

STARTING = WorkloadId("pod", "", "starting")
"""What new pods use before their names are known."""


class PodNames:
    """The names of the pods on this node. Not thread-safe: the sampling loop's own, over a table that a thread fills.

    Attributes:
        table: what is known of pods.
        labels: all labels of the pods that were named, by workload.
        facts: what may be told of the pods that are on the node now.
    """

    def __init__(
        self, settings: KubernetesSettings, clock: Clock, table: PodTable, refresher: PodRefresher | None = None
    ) -> None:
        self.table = table
        self.labels: Mapping[WorkloadId, Mapping[str, str]] = {}
        self.facts: Sequence[PodFacts] = ()
        self._settings = settings
        self._clock = clock
        self._refresher = refresher
        self._known: dict[tuple[str, str], CgroupIdentity] = {}
        self._launches: dict[str, PodLaunch] = {}
        self._first_seen_s: dict[str, float] = {}
        self._uids: dict[WorkloadId, str] = {}
        self._unknown: set[str] = set()
        self._has_waiting = False
        self._version = -1
        self._tree_version = -1

    def name(self, identity: CgroupIdentity) -> CgroupIdentity:
        """Return ``identity`` with the pod's and the container's name as far as known now; of no pod, as it is."""
        if not identity.pod_uid:
            return identity
        key = (identity.pod_uid, identity.container_id)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._named(identity)
        return known

    def is_due(self, tree_version: int) -> bool:
        """Return whether names may have changed since ``begin``: pods came, were told of, or have waited enough."""
        return self._has_waiting or (self.table.version, tree_version) != (self._version, self._tree_version)

    def begin(self, tree_version: int) -> None:
        """Forget what was derived, so that ``name`` derives it anew for every cgroup of a pod."""
        self._version, self._tree_version = self.table.version, tree_version
        self._known.clear()
        self._unknown.clear()
        self._has_waiting = False

    def finish(self, uids: Collection[str]) -> None:
        """Take note of the pods that are on the node, now that all were named, and ask for those nobody knows."""
        pods = self.table.pods
        self._first_seen_s = {uid: at_s for uid, at_s in self._first_seen_s.items() if uid in uids}
        self._launches = {uid: launch for uid, launch in self._launches.items() if uid in pods}
        self._uids = {workload: uid for workload, uid in self._uids.items() if uid in pods}
        self.labels = {workload: pods[uid].labels for workload, uid in self._uids.items() if pods[uid].labels}
        self.facts = tuple(self._facts(pods[uid]) for uid in sorted(uids) if uid in pods)
        if self._refresher is not None:
            self._refresher.want(frozenset(self._unknown))

    def _named(self, identity: CgroupIdentity) -> CgroupIdentity:
        uid = identity.pod_uid
        pod = self.table.find(uid)
        if pod is None:
            self._unknown.add(uid)
            if not self._waits(uid):
                return identity._replace(workload=identity.place, pod=None, is_pending=False)
            self._has_waiting = True
            return identity._replace(workload=STARTING, pod=None, is_pending=True)
        workload = WorkloadId("pod", pod.namespace, pod.name, self._container(pod, identity))
        self._uids[workload] = uid
        return identity._replace(workload=workload, pod=self._launch(pod), is_pending=False)

    def _waits(self, uid: str) -> bool:
        now_s = self._clock.monotonic_s()
        first_s = self._first_seen_s.setdefault(uid, now_s)
        is_hopeful = self._refresher is not None and self._refresher.is_working()
        return is_hopeful and now_s - first_s < self._settings.name_wait_s

    def _container(self, pod: Pod, identity: CgroupIdentity) -> str:
        """Return the container's name; a sandbox, and a container that no list has yet, are the pod itself."""
        container = identity.container_id
        if not container:
            return ""
        if container not in pod.containers:
            self._unknown.add(container)
        return pod.containers.get(container, "" if pod.knows_containers else identity.place.container)

    def _launch(self, pod: Pod) -> PodLaunch:
        """Return what the pod says of its run; what the run's key is made of stays what it was first."""
        launch, before = launch_of(pod, self._settings), self._launches.get(pod.uid)
        if before is not None and (before.key or before.explicit):
            launch = before._replace(queue=launch.queue, team=launch.team)
        self._launches[pod.uid] = launch
        return launch

    def _facts(self, pod: Pod) -> PodFacts:
        launch = self._launches.get(pod.uid) or launch_of(pod, self._settings)
        kind, name = owner_of(pod)
        return PodFacts(
            namespace=pod.namespace,
            name=pod.name,
            uid=pod.uid,
            node=pod.node,
            owner_kind=kind,
            owner_name=name,
            queue=launch.queue,
            team=launch.team,
            labels={key: pod.labels[key] for key in self._settings.labels if key in pod.labels},
        )

    def refresh_if_due(self) -> bool:
        """Ask the sources now if there is a reason to, for owners without the thread; return whether one was asked."""
        return self._refresher is not None and self._refresher.refresh_if_due()

    def take_events(self) -> list[SourceEvent]:
        """Return the errors of the sources since the previous call."""
        return self._refresher.take_events() if self._refresher is not None else []

    def findings(self) -> list[Finding]:
        """Return how pods are named at present."""
        return [self._refresher.finding()] if self._refresher is not None else []

    def close(self) -> None:
        """End the thread that asks."""
        if self._refresher is not None:
            self._refresher.close()
