"""An API server that lists the pods of a node, page by page, as Kubernetes does."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import ClassVar

from exporter.testing.fake_kubelet import FakeKubelet
from exporter.testing.pod_documents import pod_list

__all__ = ["FakeApiServer"]


class FakeApiServer(FakeKubelet):
    """Serves ``/api/v1/pods`` with ``fieldSelector``, ``limit`` and ``continue``.

    Attributes:
        page_size: pods in a page at most, whatever the client asks for; 0: what it asks for.
        expires: how many continue tokens are refused with 410 from now on.
        queries: every query it was asked, in order.
    """

    of_api_server: ClassVar[bool] = True
    page_size: int = 0
    expires: int = 0
    queries: Sequence[Mapping[str, str]] = ()

    def page(self, path: str, query: dict[str, str]) -> tuple[int, bytes]:
        """Return status and body for an authorised request."""
        self.queries = (*self.queries, query)
        if path != "/api/v1/pods" or query.get("fieldSelector") != "spec.nodeName=node-1":
            return 404, b'{"kind":"Status","code":404}'
        if "continue" in query and self.expires:
            self.expires -= 1
            return 410, b'{"kind":"Status","reason":"Expired","code":410}'
        size = self.page_size or (len(self.pods) if query.get("resourceVersion") == "0" else int(query["limit"]))
        start = int(query.get("continue", "0"))
        end = start + max(size, 1)
        more = str(end) if end < len(self.pods) else ""
        return 200, json.dumps(pod_list(self.pods[start:end], of_api_server=True, continues=more)).encode()
