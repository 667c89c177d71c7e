"""Pods from the names of log directories: ``NAMESPACE_NAME_UID`` in /var/log/pods. Needs a mount and no right.

The links in /var/log/containers beside it, ``POD_NAMESPACE_CONTAINER-ID.log``, tell the containers' names. Their
names are cut at 251 characters, so of long ones the id is lost. Neither labels nor owners are told.
Source: kubelet, kuberuntime ``BuildPodLogsDirectory`` and legacy log symlinks.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from exporter.workloads.kubernetes.documents import PodPage
from exporter.workloads.kubernetes.records import Pod, PodSourceError
from exporter.workloads.text import shorten_name

__all__ = ["LogDirectorySource"]

_POD = re.compile(r"([a-z0-9-]{1,63})_([a-z0-9.-]{1,253})_([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32})")
_CONTAINER = re.compile(r"([a-z0-9.-]{1,253})_([a-z0-9-]{1,63})_([a-z0-9-]{1,63})-([0-9a-f]{64})\.log")
_MOST_ENTRIES = 10_000


class LogDirectorySource:
    """Implements ``PodSource``."""

    name = "log_directories"
    seconds_per_call = 10.0
    note = "neither labels nor owners are known from log directories, so runs of Kubernetes are not recognised"

    def __init__(self, directory: str) -> None:
        self._directory = Path(directory)

    def fetch(self) -> PodPage:
        """Return every pod that has logs on the node, those that ended too. Raises ``PodSourceError``."""
        names = _names(self._directory, is_required=True)
        containers: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
        for entry in _names(self._directory.with_name("containers"), is_required=False):
            match = _CONTAINER.fullmatch(entry)
            if match is not None:
                containers[match[2], shorten_name(match[1])][match[4]] = match[3]
        matches = [_POD.fullmatch(entry) for entry in names]
        found = [match for match in matches if match is not None]
        pods = [_pod(match[1], shorten_name(match[2]), match[3], containers) for match in found]
        return PodPage(pods, "", len(matches) - len(found))


def _pod(namespace: str, name: str, uid: str, containers: dict[tuple[str, str], dict[str, str]]) -> Pod:
    known = containers.get((namespace, name), {})
    return Pod(uid=uid, namespace=namespace, name=name, containers=known, knows_containers=bool(known))


def _names(directory: Path, *, is_required: bool) -> list[str]:
    try:
        return list(_scan(directory))
    except OSError as exc:
        if not is_required:
            return []
        reason = "missing" if isinstance(exc, FileNotFoundError | NotADirectoryError) else "permission"
        raise PodSourceError(
            reason,
            f"{directory}: {exc.strerror}",
            remedy="mount the node's /var/log/pods read-only, or leave log_directories out of kubernetes.sources",
        ) from None


def _scan(directory: Path) -> Iterator[str]:
    with os.scandir(directory) as entries:
        for count, entry in enumerate(entries):
            if count >= _MOST_ENTRIES:
                return
            yield entry.name
