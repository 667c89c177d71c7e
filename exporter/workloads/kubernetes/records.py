"""What is known of one pod, whichever source told it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from exporter.errors import SourceError

__all__ = ["Owner", "Pod", "PodSourceError"]


class Owner(NamedTuple):
    """The object that controls a pod, as the pod's own record names it.

    Attributes:
        kind: Job, JobSet, PyTorchJob, ReplicaSet …
        name: its name.
        uid: its UID.
        api: its API group and version, ``batch/v1``.
    """

    kind: str
    name: str
    uid: str
    api: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """One pod of this node. All text is cleaned and capped.

    Attributes:
        uid: as in the cgroup's path: of a static pod the hash of its manifest.
        namespace, name: as in Kubernetes.
        node: the node's name, or empty.
        labels: all its labels, at most 64.
        annotations: those that name runs and queues, no others.
        owner: what controls it, or None.
        containers: names by container id (64 hex digits), of those that ever ran in it as far as the source knows.
        knows_containers: whether the source tells containers at all: then an id that is missing is no container
            of the pod's specification (the sandbox), or too new.
        accelerators: devices of accelerator resources that its containers ask for.
        phase: Pending, Running, Succeeded, Failed, or empty where unknown.
        started_s: start in seconds since the epoch, or None.
    """

    uid: str
    namespace: str
    name: str
    node: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    owner: Owner | None = None
    containers: Mapping[str, str] = field(default_factory=dict)
    knows_containers: bool = False
    accelerators: int = 0
    phase: str = ""
    started_s: float | None = None


class PodSourceError(SourceError):
    """A source of pods gave no usable answer.

    Attributes:
        reason: unauthorized (401), forbidden (403), server (any other status), timeout, io (no connection, name or
            TLS), format, too_large, missing (no file), permission (of a file).
        remedy: what to do about it.
    """

    def __init__(self, reason: str, message: str, *, remedy: str = "") -> None:
        super().__init__("kubernetes", message)
        self.reason = reason
        self.remedy = remedy
