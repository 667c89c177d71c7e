"""Renders the chart with the values that people use, once per values, Helm and Kubernetes."""

from __future__ import annotations

import functools
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

__all__ = [
    "CHART",
    "HELMS",
    "KUBERNETES",
    "MATRIX",
    "ROOT",
    "Object",
    "agents",
    "configuration",
    "container",
    "find",
    "pods",
    "render",
    "run_helm",
]

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "wattribute"
HELMS = ("v3", "v4")
KUBERNETES = ("1.27", "1.30", "1.35")

Object = dict[str, Any]
"""A Kubernetes object as YAML has it: what is in it depends on its kind."""

_PROVIDER = {"kind": "electricity_maps", "key_file": "/etc/wattribute/secrets/grid/key"}
_GATEWAY = {"enabled": True, "secrets": [{"name": "grid"}], "config": {"carbon": {"providers": [_PROVIDER]}}}
_NVIDIA_NODES = {"runtimeClassName": "nvidia", "nodeSelector": {"nvidia.com/gpu.present": "true"}}

MATRIX: Mapping[str, Object] = {
    "defaults": {},
    "grid": {"config": {"carbon": {"grid_zone": "DE"}}, "clusterName": "west", "commonLabels": {"team": "hpc"}},
    "nvidia": {"nvidia": {"runtimeClassName": "nvidia"}},
    "nvidia-nodes": {"nvidia": _NVIDIA_NODES},
    "gateway": {"gateway": {**_GATEWAY, "volumeSize": "1Gi", "storageClassName": "fast"}},
    "gateway-plain": {
        "gateway": {**_GATEWAY, "replicas": 2, "config": {"carbon": {"providers": [{"kind": "gb_carbon_intensity"}]}}}
    },
    "agent-secret": {
        "secrets": [{"name": "grid"}],
        "config": {"carbon": {"grid_zone": "DE", "providers": [_PROVIDER]}},
    },
    "pod-monitor": {
        "clusterName": "west",
        "prometheus": {
            "podMonitor": {"enabled": True, "additionalLabels": {"release": "prometheus"}},
            "rules": {"enabled": True, "additionalLabels": {"release": "prometheus"}},
        },
    },
    "service-monitor": {"prometheus": {"serviceMonitor": {"enabled": True}}, "dashboards": {"enabled": True}},
    "network-policy": {
        "gateway": _GATEWAY,
        "networkPolicy": {"enabled": True, "from": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]},
    },
    "api-server": {"kubernetes": {"identity": "api-server"}},
    "logs": {"kubernetes": {"identity": "logs"}},
    "no-identity": {"kubernetes": {"identity": "none"}},
    "kubelet-ca": {"kubernetes": {"kubeletCaConfigMap": "kubelet-ca", "podResources": False}},
    "no-host-pid": {"agent": {"hostPID": False}},
    "environments": {"agent": {"readEnvironments": True}},
    "no-rbac": {"rbac": {"create": False}, "serviceAccount": {"create": False, "name": "given"}},
    "everything-else": {
        "fullnameOverride": "watts",
        "namespaceOverride": "energy",
        "global": {"imageRegistry": "registry.example", "imagePullSecrets": ["pull"]},
        "image": {"digest": f"sha256:{'0' * 64}"},
        "agent": {
            "port": 11187,
            "hostNetwork": True,
            "priorityClassName": "system-node-critical",
            "extraArgs": ["--log.level=debug"],
            "env": [{"name": "LANG", "value": "C.UTF-8"}],
            "extraVolumes": [{"name": "more", "emptyDir": {}}],
            "extraVolumeMounts": [{"name": "more", "mountPath": "/more", "readOnly": True}],
        },
        "service": {"enabled": False},
        "extraManifests": [
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "{{ .Release.Name }}-more"},
                "data": {"a": "b"},
            }
        ],
    },
}
"""Values by the name of the case."""


def run_helm(helm: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Return what the Helm of this version (``v3`` or ``v4``) answers; skip where it is not there."""
    program = ROOT / ".cache" / "helm" / helm / "helm"
    if not program.exists():
        pytest.skip(f"no Helm {helm} in .cache/helm: call .ci/helm, which fetches it")
    with tempfile.TemporaryDirectory() as home:
        environ = {"HOME": home, "PATH": os.environ["PATH"]}
        return subprocess.run([program, *arguments], capture_output=True, text=True, env=environ, check=False)


@functools.cache
def _rendered(chart: Path, helm: str, kubernetes: str, values: str) -> str:
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(values)
        file.flush()
        arguments = ("-n", "monitoring", "-f", file.name, "--kube-version", kubernetes)
        done = run_helm(helm, "template", "wattribute", str(chart), *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def render(values: Object, *, helm: str = "v3", kubernetes: str = "1.35", chart: Path = CHART) -> list[Object]:
    """Return every object of the release ``wattribute`` in the namespace ``monitoring``."""
    text = _rendered(chart, helm, kubernetes, yaml.safe_dump(values))
    return [item for item in yaml.load_all(text, Loader=_LOADER) if item]


_LOADER: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def find(objects: Sequence[Object], kind: str, name: str | None = None) -> Object:
    """Return the only object of this kind, or of this kind and name."""
    (found,) = (o for o in objects if o["kind"] == kind and name in (None, o["metadata"]["name"]))
    return found


def agents(objects: Sequence[Object]) -> list[Object]:
    """Return the specifications of the pods of every DaemonSet, in order."""
    return [o["spec"]["template"]["spec"] for o in objects if o["kind"] == "DaemonSet"]


def pods(objects: Sequence[Object]) -> Iterator[Object]:
    """Yield the specification of every kind of pod: agents, gateway, test."""
    for item in objects:
        if item["kind"] in ("DaemonSet", "Deployment"):
            yield item["spec"]["template"]["spec"]
        elif item["kind"] == "Pod":
            yield item["spec"]


def container(pod: Object) -> Object:
    """Return the only container of a pod."""
    (only,) = pod["containers"]
    found: Object = only
    return found


def configuration(objects: Sequence[Object], name: str = "wattribute") -> str:
    """Return the text of the configuration file in the ConfigMap of this name."""
    return str(find(objects, "ConfigMap", name)["data"]["wattribute.yaml"])
