"""Pods from the node's own kubelet: ``GET /pods``, everything the kubelet runs, with labels and container ids.

Source: Kubernetes documentation, "Kubelet authentication/authorization"; KEP 2862 on ``nodes/pods``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from exporter.workloads.kubernetes.documents import PodPage, parse_pods
from exporter.workloads.kubernetes.requests import AuthorisedClient
from exporter.workloads.kubernetes.service_account import ca_file, kubelet_url
from exporter.workloads.kubernetes.settings import KubernetesSettings

__all__ = ["KubeletSource"]

_REMEDIES = {
    "unauthorized": "the token is not accepted: it may have expired, or the kubelet runs without "
    "authentication.webhook.enabled",
    "forbidden": 'bind the agent\'s service account to a ClusterRole with apiGroups [""], resources ["nodes/pods"], '
    'verbs ["get"]; before Kubernetes 1.33 the kubelet asks for nodes/proxy, which allows commands in containers too: '
    "there rather set kubernetes.sources to [log_directories] or [api_server]",
    "certificate": "set kubernetes.kubelet_ca_file to the certificates that sign the kubelet's; where it signs its "
    "own, that is the node's /var/lib/kubelet/pki/kubelet.crt, and kubernetes.kubelet_url must hold the host's name",
    "io": "check that the agent's pod reaches the node at port 10250; set kubernetes.kubelet_url, or the variable "
    "HOST_IP from status.hostIP",
    "timeout": "check that no network policy keeps the agent's pod from the node at port 10250",
    "too_large": "raise kubernetes.max_answer_bytes",
}


class KubeletSource:
    """Implements ``PodSource``."""

    name = "kubelet"
    seconds_per_call = 15.0
    """Calls beyond the regular ones are this far apart in the long run: the kubelet is on the node, so it may be asked
    when pods come and go."""

    def __init__(
        self,
        settings: KubernetesSettings,
        *,
        node_name: str,
        environ: Mapping[str, str],
        annotations: Collection[str],
    ) -> None:
        self._annotations = annotations
        self.note = ""
        if settings.kubelet_insecure_skip_verify:
            self.note = "its certificate is not checked (kubernetes.kubelet_insecure_skip_verify)"
        self._client = AuthorisedClient(
            kubelet_url(settings, environ, node_name),
            who="the kubelet",
            token_file=settings.token_file,
            ca_file=ca_file(settings.kubelet_ca_file, settings),
            timeout_s=settings.timeout_s,
            max_bytes=settings.max_answer_bytes,
            verify=not settings.kubelet_insecure_skip_verify,
            remedies=_REMEDIES,
        )

    def fetch(self) -> PodPage:
        """Return every pod of the node. Raises ``PodSourceError``."""
        return parse_pods(self._client.get("/pods"), annotations=self._annotations)
