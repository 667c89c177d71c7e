"""One authorised request to a server of Kubernetes, and what each way of failing means."""

from __future__ import annotations

from collections.abc import Mapping

from exporter.web_client import HttpError, WebClient
from exporter.workloads.kubernetes.records import PodSourceError
from exporter.workloads.kubernetes.service_account import read_token

__all__ = ["AuthorisedClient"]

_GONE = 410
_OK = 200
_REASONS = {401: "unauthorized", 403: "forbidden", _GONE: "expired"}


class AuthorisedClient:
    """Asks one server with the service account's token. Used by one thread.

    Args:
        who: the server's name in messages.
        ca_file: certificates that may sign the server's; empty: the system's. Read anew after a failure.
        verify: whether the server's certificate is checked.
        remedies: what to do, by reason of failure; ``certificate`` is for one that is not trusted.
    """

    def __init__(
        self,
        base_url: str,
        *,
        who: str,
        token_file: str,
        ca_file: str,
        timeout_s: float,
        max_bytes: int,
        verify: bool = True,
        remedies: Mapping[str, str],
    ) -> None:
        self._base_url = base_url
        self._who = who
        self._token_file = token_file
        self._ca_file = ca_file
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        self._verify = verify
        self._remedies = remedies
        self._client: WebClient | None = None

    def get(self, path: str, query: Mapping[str, str] | None = None) -> bytes:
        """Return the body of a good answer.

        Raises:
            PodSourceError: there is none; ``reason`` is ``expired`` for 410.
        """
        headers = {"Authorization": f"Bearer {read_token(self._token_file)}", "Connection": "close"}
        try:
            answer = self._open().get(path, query, headers=headers)
        except HttpError as exc:
            self._client = None
            is_untrusted = "certificate" in str(exc).lower()
            remedy = self._remedies.get("certificate" if is_untrusted else exc.reason, "")
            raise PodSourceError(exc.reason, f"{self._who}: {exc}", remedy=remedy) from None
        if answer.status != _OK:
            reason = _REASONS.get(answer.status, "server")
            message = f"{self._who} at {self._base_url}{path} answered {answer.status}"
            raise PodSourceError(reason, message, remedy=self._remedies.get(reason, ""))
        return answer.body

    def _open(self) -> WebClient:
        if self._client is None:
            self._client = WebClient(
                self._base_url,
                ca_file=self._ca_file,
                timeout_s=self._timeout_s,
                max_bytes=self._max_bytes,
                verify=self._verify,
            )
        return self._client
