"""Pods of this node from the API server: a list by field selector, page by page, now and then. No watch is held.

Source: Kubernetes API concepts, "Retrieving large results sets in chunks" and "Resource versions".
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from exporter.workloads.kubernetes.documents import PodPage, parse_pods
from exporter.workloads.kubernetes.records import Pod, PodSourceError
from exporter.workloads.kubernetes.requests import AuthorisedClient
from exporter.workloads.kubernetes.service_account import api_server_url, ca_file
from exporter.workloads.kubernetes.settings import KubernetesSettings

__all__ = ["ApiServerSource"]

_PAGE_SIZE = 250
_MOST_PAGES = 20
_REMEDIES = {
    "unauthorized": "the token is not accepted: mount the service account's own",
    "forbidden": 'bind the agent\'s service account to a ClusterRole with apiGroups [""], resources ["pods"], '
    'verbs ["list"]',
    "certificate": "set kubernetes.api_server_ca_file to the certificates that sign the API server's",
    "io": "set kubernetes.api_server_url, or check that the agent's pod reaches the API server",
    "too_large": "raise kubernetes.max_answer_bytes",
}


class ApiServerSource:
    """Implements ``PodSource``."""

    name = "api_server"
    seconds_per_call = 60.0
    """Calls beyond the regular ones are this far apart in the long run: every node of the cluster asks one server."""
    note = ""

    def __init__(
        self,
        settings: KubernetesSettings,
        *,
        node_name: str,
        environ: Mapping[str, str],
        annotations: Collection[str],
    ) -> None:
        self._annotations = annotations
        self._selector = f"spec.nodeName={node_name}"
        self._client = AuthorisedClient(
            api_server_url(settings, environ),
            who="the API server",
            token_file=settings.token_file,
            ca_file=ca_file(settings.api_server_ca_file, settings),
            timeout_s=settings.timeout_s,
            max_bytes=settings.max_answer_bytes,
            remedies=_REMEDIES,
        )

    def fetch(self) -> PodPage:
        """Return every pod of the node. Raises ``PodSourceError``.

        The first page may come from the server's cache (resource version 0), which spares its store. A list that
        became too old between two pages is begun again, once, from the store.
        """
        try:
            return self._list({"resourceVersion": "0"})
        except PodSourceError as exc:
            if exc.reason != "expired":
                raise
        return self._list({})

    def _list(self, first: Mapping[str, str]) -> PodPage:
        pods: list[Pod] = []
        skipped = 0
        more = first
        for _ in range(_MOST_PAGES):
            query = {"fieldSelector": self._selector, "limit": str(_PAGE_SIZE), **more}
            page = parse_pods(self._client.get("/api/v1/pods", query), annotations=self._annotations)
            pods += page.pods
            skipped += page.skipped
            if not page.continues:
                return PodPage(pods, "", skipped)
            more = {"continue": page.continues}
        raise PodSourceError("too_large", f"the API server listed more than {_MOST_PAGES} pages of pods for this node")
