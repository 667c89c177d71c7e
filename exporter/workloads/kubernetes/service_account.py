"""Who the agent is to Kubernetes: its service account's token, and where the cluster says it is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from exporter.workloads.bounded_read import read_bounded
from exporter.workloads.kubernetes.records import PodSourceError
from exporter.workloads.kubernetes.settings import KubernetesSettings

__all__ = ["api_server_url", "ca_file", "is_enabled", "kubelet_url", "read_token"]

_TOKEN_LIMIT_BYTES = 65_536
_KUBELET_PORT = 10250


def is_enabled(settings: KubernetesSettings, environ: Mapping[str, str]) -> bool:
    """Return whether pods are to be named: as configured, else if this is a pod with a service account."""
    if settings.enabled != "auto":
        return settings.enabled == "true"
    return bool(environ.get("KUBERNETES_SERVICE_HOST")) and os.access(settings.token_file, os.R_OK)


def read_token(path: str) -> str:
    """Return the token that is in the file now.

    Raises:
        PodSourceError: there is none. The text never holds what was read.
    """
    try:
        token = read_bounded(path, _TOKEN_LIMIT_BYTES).strip()
    except FileNotFoundError:
        raise PodSourceError("missing", f"{path}: no such file", remedy=_MOUNT_IT) from None
    except OSError as exc:
        raise PodSourceError("permission", f"{path}: {exc.strerror}", remedy=_MOUNT_IT) from None
    if not token or not token.isascii() or not token.decode("ascii").isprintable() or b" " in token:
        raise PodSourceError("format", f"{path}: expected a token, found other text", remedy=_MOUNT_IT)
    return token.decode("ascii")


_MOUNT_IT = (
    "set automountServiceAccountToken: true for the agent's pod, or name the token's file in kubernetes.token_file"
)


def ca_file(configured: str, settings: KubernetesSettings) -> str:
    """Return the certificates to trust: as configured, else those of the service account, else the system's ("")."""
    beside = Path(settings.token_file).with_name("ca.crt")
    return configured or (str(beside) if beside.is_file() else "")


def kubelet_url(settings: KubernetesSettings, environ: Mapping[str, str], node_name: str) -> str:
    """Return the kubelet's address: as configured, else the node's address or name with the kubelet's port."""
    host = environ.get("HOST_IP") or node_name
    return settings.kubelet_url or f"https://{_bracketed(host)}:{_KUBELET_PORT}"


def api_server_url(settings: KubernetesSettings, environ: Mapping[str, str]) -> str:
    """Return the API server's address: as configured, else what every pod is told, else an empty text."""
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "443")
    return settings.api_server_url or (f"https://{_bracketed(host)}:{port}" if host else "")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
