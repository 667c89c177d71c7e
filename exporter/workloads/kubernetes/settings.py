"""Settings of naming pods: who is asked, how, and what is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["KubernetesSettings", "SourceName"]

SourceName = Literal["kubelet", "api_server", "log_directories"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesSettings:
    """How pods get their names. Without, pods are named by their UID and nothing else is lost."""

    enabled: Literal["auto", "true", "false"] = "auto"
    """``auto``: if the agent runs in a pod, which the variable KUBERNETES_SERVICE_HOST and the token file tell."""
    sources: Sequence[SourceName] = ("kubelet", "log_directories")
    """Who is asked, the preferred first; the next is asked while one fails.

    ``kubelet``: the node's own, which needs the right ``get`` on ``nodes/pods`` (before Kubernetes 1.33
    ``nodes/proxy``, which also allows commands in containers: prefer another source there); ``api_server``: needs
    ``list`` on ``pods`` of the whole cluster; ``log_directories``: the names of the directories in
    ``log_directory``, which needs no right but a mount, and tells neither labels nor owners."""
    node_name: str = ""
    """The node's name in Kubernetes; empty: the variable NODE_NAME, else the host name."""
    kubelet_url: str = ""
    """Address of the kubelet; empty: ``https://`` with the variable HOST_IP, else the node's name, and port 10250."""
    kubelet_ca_file: str = ""
    """Certificates that may sign the kubelet's; empty: those of the service account. Where the kubelet signs its own,
    mount its ``/var/lib/kubelet/pki/kubelet.crt`` and name it here."""
    kubelet_insecure_skip_verify: bool = False
    """Do not check the kubelet's certificate: whoever takes its address gets the token. Shown as degraded."""
    api_server_url: str = ""
    """Address of the API server; empty: what KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT say."""
    api_server_ca_file: str = ""
    """Certificates that may sign the API server's; empty: those of the service account."""
    token_file: str = "/var/run/secrets/kubernetes.io/serviceaccount/token"  # noqa: S105 - a path
    """The service account's token, read anew for every request, since it is rotated. ``ca.crt`` beside it holds the
    service account's certificates."""
    log_directory: str = "/var/log/pods"
    """Where the kubelet keeps the logs of pods; ``containers`` beside it gives the names of containers."""
    pod_resources_socket: str = ""
    """The kubelet's socket that tells which GPUs pods were given, so that an idle one is charged to its pod; empty:
    ``/var/lib/kubelet/pod-resources/kubelet.sock``, if its directory is there. Only root may open it."""
    refresh_interval_s: float = 300.0
    """Seconds between two lists of all pods; pods that are not known yet are asked for at once. 30 to 3600."""
    name_wait_s: float = 15.0
    """Seconds that a new pod waits for its name before its UID stands for it. Until then its energy is booked on the
    workload ``starting``. 0 to 120."""
    keep_s: float = 1800.0
    """Seconds for which the names of pods that are gone are kept. At least 60."""
    timeout_s: float = 10.0
    """Seconds for one request as a whole. Above 0, at most 60."""
    max_answer_bytes: int = 67_108_864
    """Bytes of one answer, unpacked; more is an error. 250 pods take about 1.4 million. 65536 to 67108864."""
    labels: Sequence[str] = (
        "app.kubernetes.io/name",
        "app.kubernetes.io/instance",
        "app.kubernetes.io/part-of",
        "app",
        "team",
        "kueue.x-k8s.io/queue-name",
        "kueue.x-k8s.io/priority-class",
    )
    """Labels of pods that may leave the agent. Budgets may select by any label: those stay inside."""
    team_labels: Sequence[str] = ("team", "app.kubernetes.io/part-of")
    """Labels that name the team, the preferred first."""
    queue_labels: Sequence[str] = (
        "kueue.x-k8s.io/queue-name",
        "kueue.x-k8s.io/local-queue-name",
        "volcano.sh/queue-name",
    )
    """Labels or annotations that name the queue, the preferred first."""
