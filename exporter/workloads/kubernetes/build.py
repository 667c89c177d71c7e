"""Puts together what names pods, by the settings and by where this process runs."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from exporter.clock import Clock
from exporter.workloads.kubernetes.api_server import ApiServerSource
from exporter.workloads.kubernetes.kubelet import KubeletSource
from exporter.workloads.kubernetes.log_directories import LogDirectorySource
from exporter.workloads.kubernetes.pod_names import PodNames
from exporter.workloads.kubernetes.pod_runs import kept_annotations
from exporter.workloads.kubernetes.pod_table import PodTable
from exporter.workloads.kubernetes.refresher import PodRefresher, PodSource
from exporter.workloads.kubernetes.service_account import is_enabled
from exporter.workloads.kubernetes.settings import KubernetesSettings, SourceName

__all__ = ["make_pod_names"]

_FIRST_ANSWER_S = 1.0


def make_pod_names(
    settings: KubernetesSettings,
    clock: Clock,
    *,
    environ: Mapping[str, str] | None = None,
    with_thread: bool = True,
) -> PodNames | None:
    """Return what names the pods of this node, or None where that is not wanted.

    Waits up to a second for the first answer, so that the pods which are there already need not wait for their names.
    ``environ`` is this process's environment; without a thread the caller must refresh.
    """
    environ = os.environ if environ is None else environ
    if not is_enabled(settings, environ) or not settings.sources:
        return None
    table = PodTable(keep_s=settings.keep_s)
    sources = [_source(name, settings, environ) for name in settings.sources]
    refresher = PodRefresher(sources, table, clock, refresh_interval_s=settings.refresh_interval_s)
    if with_thread:
        refresher.start(wait_s=_FIRST_ANSWER_S)
    return PodNames(settings, clock, table, refresher)


def _source(name: SourceName, settings: KubernetesSettings, environ: Mapping[str, str]) -> PodSource:
    if name == "log_directories":
        return LogDirectorySource(settings.log_directory)
    kind = KubeletSource if name == "kubelet" else ApiServerSource
    node_name = settings.node_name or environ.get("NODE_NAME") or socket.gethostname()
    return kind(settings, node_name=node_name, environ=environ, annotations=kept_annotations(settings))
