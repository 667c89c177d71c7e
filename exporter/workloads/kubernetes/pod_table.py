"""The pods of this node by UID and by name, those that are gone for a while too. One thread writes, any may read."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import NamedTuple

from exporter.workloads.kubernetes.records import Pod

__all__ = ["PodTable"]

_MOST_GONE = 1000
_MOST_CONTAINERS = 64


class _State(NamedTuple):
    """What readers see; replaced as a whole."""

    pods: Mapping[str, Pod]
    by_name: Mapping[tuple[str, str], Pod]
    version: int


class PodTable:
    """What is known of pods now.

    Args:
        keep_s: how long pods that are not listed any more stay known.
    """

    def __init__(self, *, keep_s: float) -> None:
        self._keep_s = keep_s
        self._listed_s: dict[str, float] = {}
        self._state = _State({}, {}, 0)

    @property
    def version(self) -> int:
        """Grows whenever what is known of any pod changes."""
        return self._state.version

    @property
    def pods(self) -> Mapping[str, Pod]:
        """Every known pod by UID; the mapping is never changed, but replaced."""
        return self._state.pods

    def find(self, uid: str) -> Pod | None:
        """Return the pod with this UID, as it stands in the path of its cgroup."""
        return self._state.pods.get(uid)

    def find_by_name(self, namespace: str, name: str) -> Pod | None:
        """Return the pod of this name: of several incarnations one that is still listed, the last to start."""
        return self._state.by_name.get((namespace, name))

    def update(self, listed: Collection[Pod], *, now_s: float) -> None:
        """Take in a list of all pods of the node; only the refreshing thread calls this."""
        before = self._state
        for pod in listed:
            self._listed_s[pod.uid] = now_s
        self._forget(now_s)
        pods = {uid: before.pods[uid] for uid in self._listed_s if uid in before.pods}
        for pod in listed:
            pods[pod.uid] = _joined(before.pods.get(pod.uid), pod)
        if pods == before.pods:
            return
        order = sorted(pods.values(), key=lambda pod: (self._listed_s[pod.uid], pod.started_s or 0.0))
        self._state = _State(pods, {(pod.namespace, pod.name): pod for pod in order}, before.version + 1)

    def _forget(self, now_s: float) -> None:
        gone = sorted((at_s, uid) for uid, at_s in self._listed_s.items() if at_s < now_s)
        too_many = len(gone) - _MOST_GONE
        for index, (at_s, uid) in enumerate(gone):
            if index < too_many or at_s < now_s - self._keep_s:
                del self._listed_s[uid]


def _joined(before: Pod | None, pod: Pod) -> Pod:
    """Return what is known with what is told now: a poorer source takes nothing away, and past containers stay.

    Of names in directories alone neither the node nor anything else of a pod is known.
    """
    if before is None:
        return pod
    if before.knows_containers and not pod.knows_containers:
        return before
    if before.node and not pod.node:
        return replace(before, containers=_merged(before, pod))
    return replace(pod, containers=_merged(before, pod))


def _merged(before: Pod, pod: Pod) -> Mapping[str, str]:
    if before.containers.keys() <= pod.containers.keys():
        return pod.containers
    past = [(key, name) for key, name in before.containers.items() if key not in pod.containers]
    room = max(_MOST_CONTAINERS - len(pod.containers), 0)
    return {**dict(past[-room:] if room else []), **pod.containers}
