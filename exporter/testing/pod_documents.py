"""Pods as Kubernetes writes them, and the control groups that the kubelet makes of them, for tests.

Documents are built from the API reference (core/v1 Pod) with what real ones are full of: managed fields, probes,
tolerations, mounts, environments. About 5 kB a pod, as measured of real kubelets.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["FakePod", "pod_list"]

_EPOCH = "2026-03-01T08:00:00Z"


@dataclass(slots=True, kw_only=True)
class FakePod:
    """One pod; change it, and the next list shows the change.

    Attributes:
        name, namespace, uid: what identifies it; ``uid`` is that of the cgroup.
        labels, annotations: as in its metadata.
        owner: kind, name, UID and API version of its controller, or None.
        containers: names.
        accelerators: devices of ``nvidia.com/gpu`` that the first container asks for.
        restarts: how often its containers were replaced: each time their ids change.
        is_static: whether its manifest lies on the node; ``mirror_uid`` is then its UID at the API server.
        is_known: whether lists hold it.
        has_statuses: whether container ids are told yet.
    """

    name: str
    uid: str
    namespace: str = "default"
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    owner: tuple[str, str, str, str] | None = None
    containers: Sequence[str] = ("main",)
    accelerators: int = 0
    restarts: int = 0
    is_static: bool = False
    mirror_uid: str = ""
    is_known: bool = True
    has_statuses: bool = True

    def container_id(self, container: str = "main") -> str:
        """Return the id of a container; ``POD`` is the sandbox, which no list ever shows."""
        return self._container_id(container, self.restarts)

    def _container_id(self, container: str, restarts: int) -> str:
        return hashlib.sha256(f"{self.uid}/{container}/{restarts}".encode()).hexdigest()

    def cgroup(self, container: str = "") -> str:
        """Return the path of the pod's group, or of a container's, under the systemd driver with containerd."""
        pod = f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{self.uid.replace('-', '_')}.slice"
        return f"{pod}/cri-containerd-{self.container_id(container)}.scope" if container else pod

    def document(self, *, of_api_server: bool = False) -> dict[str, object]:
        """Return the pod's JSON object, as the kubelet or the API server shows it."""
        annotations = dict(self.annotations)
        uid = self.uid
        if self.is_static:
            annotations |= {"kubernetes.io/config.hash": self.uid, "kubernetes.io/config.source": "file"}
            if of_api_server:
                annotations["kubernetes.io/config.mirror"] = self.uid
                uid = self.mirror_uid
        metadata: dict[str, object] = {
            "name": self.name,
            "namespace": self.namespace,
            "uid": uid,
            "resourceVersion": "184467",
            "creationTimestamp": _EPOCH,
            "labels": dict(self.labels),
            "annotations": annotations,
            "managedFields": [_managed_fields("kube-controller-manager"), _managed_fields("kubelet", "status")],
        }
        if self.owner is not None:
            kind, name, owner_uid, api = self.owner
            reference = {"apiVersion": api, "kind": kind, "name": name, "uid": owner_uid}
            metadata["ownerReferences"] = [{**reference, "controller": True, "blockOwnerDeletion": True}]
        return {
            "metadata": metadata,
            "spec": {
                "nodeName": "node-1",
                "containers": [self._container(name, index) for index, name in enumerate(self.containers)],
                "volumes": [{"name": "data", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}],
                "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}],
                "serviceAccountName": "default",
            },
            "status": self._status(),
        }

    def _container(self, name: str, index: int) -> dict[str, object]:
        wanted = {"cpu": "4", "memory": "16Gi"}
        if index == 0 and self.accelerators:
            wanted["nvidia.com/gpu"] = str(self.accelerators)
        return {
            "name": name,
            "image": "registry.example/train@sha256:" + "0" * 64,
            "command": ["torchrun", "train.py"],
            "env": [
                {"name": "WANDB_API_KEY", "value": "canary-secret"},
                {"name": "POD_IP", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}}},
            ],
            "resources": {"limits": wanted, "requests": wanted},
            "volumeMounts": [{"name": "data", "mountPath": "/data", "readOnly": True}],
            "livenessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 10},
        }

    def _status(self) -> dict[str, object]:
        status: dict[str, object] = {
            "phase": "Running",
            "startTime": _EPOCH,
            "podIP": "10.1.2.3",
            "conditions": [{"type": kind, "status": "True"} for kind in ("Initialized", "Ready", "PodScheduled")],
        }
        if self.has_statuses:
            status["containerStatuses"] = [self._container_status(name) for name in self.containers]
        return status

    def _container_status(self, name: str) -> dict[str, object]:
        before: dict[str, object] = {}
        if self.restarts:
            old = f"containerd://{self._container_id(name, self.restarts - 1)}"
            before = {"terminated": {"exitCode": 1, "reason": "Error", "containerID": old}}
        return {
            "name": name,
            "containerID": f"containerd://{self.container_id(name)}",
            "state": {"running": {"startedAt": _EPOCH}},
            "lastState": before,
            "ready": True,
            "restartCount": self.restarts,
        }


def _managed_fields(manager: str, part: str = "spec") -> dict[str, object]:
    keys = [f'k:{{"name":"{name}-{part}"}}' for name in ("main", "data", "POD_IP", "token", "config", "logs")]
    fields: dict[str, object] = {
        key: {".": {}, "f:name": {}, "f:image": {}, "f:resources": {}, "f:env": {".": {}}} for key in keys
    }
    return {"manager": manager, "operation": "Update", "apiVersion": "v1", "time": _EPOCH, "fieldsV1": fields}


def pod_list(pods: Sequence[FakePod], *, of_api_server: bool = False, continues: str = "") -> Mapping[str, object]:
    """Return a list of those pods that lists hold."""
    shown = [pod.document(of_api_server=of_api_server) for pod in pods if pod.is_known]
    metadata = {"continue": continues} if continues else {}
    return {"kind": "PodList", "apiVersion": "v1", "metadata": metadata, "items": shown}
