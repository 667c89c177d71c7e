"""Where ``wattribute top`` and ``check`` get their data: an agent that runs, or a node sampled in this process."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Protocol

from exporter.cli.node_view import NodeView, node_view
from exporter.clock import Clock
from exporter.config import Settings
from exporter.errors import ExporterError, SourceError
from exporter.exposition.api import snapshot_document
from exporter.exposition.labels import clean_label
from exporter.exposition.listen import parse_address
from exporter.host import Roots
from exporter.node import Node

__all__ = ["AgentFeed", "Feed", "NodeFeed", "agent_url", "is_agent", "without_state"]

_LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - compared with, not listened on
_TIMEOUT_S = 2.0
_MAX_BYTES = 32 << 20
_HEALTH_WORDS = ("healthy", "starting", "no tick for ")


class Feed(Protocol):
    """Views of one node, one after the other."""

    name: str

    def read(self) -> NodeView:
        """Return the node as it is now; raises ExporterError where it cannot be had."""
        ...

    def close(self) -> None:
        """Release what is open."""
        ...


class AgentFeed:
    """The snapshots of the agent at ``url``."""

    def __init__(self, url: str) -> None:
        self.name = (url if "://" in url else f"http://{url}").rstrip("/")

    def read(self) -> NodeView:
        """Return the agent's last snapshot.

        Raises:
            SourceError: nobody answers, or not with a snapshot.
        """
        answer = _fetch(f"{self.name}/api/v1/snapshot")
        try:
            document = json.loads(answer)
        except (ValueError, RecursionError) as exc:
            found = clean_label(answer[:80].decode("latin-1").strip())
            raise SourceError("agent", f"expected a snapshot from {self.name}, found: {found}") from exc
        return node_view(document)

    def close(self) -> None:
        """Do nothing: every read opens its own connection."""


class NodeFeed:
    """The machine itself, sampled here. Without state file: counters begin at zero and no agent is disturbed."""

    name = "no agent, sampled here"

    def __init__(self, settings: Settings, *, roots: Roots, clock: Clock) -> None:
        self._node = Node(without_state(settings), roots=roots, clock=clock)
        self._node.start()
        self._node.tick()  # the first page of a new series shows zero; what it drew is on the next

    def read(self) -> NodeView:
        """Sample; what is returned covers the time since the previous call."""
        return node_view(json.loads(snapshot_document(self._node.tick())))

    def close(self) -> None:
        """Release descriptors."""
        self._node.close()


def without_state(settings: Settings) -> Settings:
    """Return ``settings`` without a state file: only one process may write it, and a look books nothing."""
    return replace(settings, ledger=replace(settings.ledger, state_path=""))


def agent_url(address: str) -> str:
    """Return where an agent that listens on ``address`` is reached from this machine; raises ListenError."""
    host, port = parse_address(address)
    if host not in _LOOPBACK and ":" in host:
        host = f"[{host}]"
    return f"http://{_LOOPBACK.get(host, host)}:{port}"


def is_agent(url: str) -> bool:
    """Tell whether what answers at ``url`` is an agent of this kind, healthy or not."""
    try:
        return _fetch(f"{url}/-/healthy").decode("latin-1").startswith(_HEALTH_WORDS)
    except ExporterError:
        return False


def _fetch(url: str) -> bytes:
    """Return the answer's body, whatever its status; no proxy, as the agent is on this machine or its network."""
    import http.client
    import urllib.error
    import urllib.request

    if not url.startswith(("http://", "https://")):
        raise SourceError("agent", f"expected http://HOST:PORT for --agent, found {url[:80]!r}")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=_TIMEOUT_S) as answer:
            return bytes(answer.read(_MAX_BYTES))
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.read(_MAX_BYTES)
    except (OSError, ValueError, http.client.HTTPException) as exc:
        reason = getattr(exc, "reason", exc)
        raise SourceError("agent", f"no agent answers at {url}: {reason}; is it running, and at this address?") from exc
