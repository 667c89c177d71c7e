"""Lists of pods as the kubelet and the API server write them: JSON of kind ``PodList``, reduced while it is parsed.

Most of such a list is of no use here (who manages which field, probes, volumes, environments with secrets). What is
not wanted is dropped object by object while the text is read, so that it never exists as a whole.

Format: Kubernetes API reference, core/v1 PodList. Pods whose manifest lies on the node are known to the kubelet by a
hash of it; their mirror at the API server has another UID and the hash in ``kubernetes.io/config.hash``.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

from exporter.workloads.kubernetes.records import Owner, Pod, PodSourceError
from exporter.workloads.text import clean_text, shorten_name

__all__ = ["PodPage", "parse_pods"]

_CONFIG_HASH = "kubernetes.io/config.hash"
_CONFIG_MIRROR = "kubernetes.io/config.mirror"
_STRUCTURE = frozenset(
    {
        *("kind", "items", "metadata", "continue", "spec", "status", "annotations", "labels", "ownerReferences"),
        *("controller", "containers", "initContainers", "ephemeralContainers", "resources", "limits", "requests"),
        *("claims", "containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses", "lastState", "state"),
        *("terminated", "running"),
    }
)
_STATUSES = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
_CONTAINERS = ("containers", "initContainers")
_UID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-9a-fA-F]{32}")
_HASH = re.compile(r"[0-9a-f]{32}")
_CONTAINER_ID = re.compile(r"(?:[a-z0-9.+-]{1,32}://)?([0-9a-f]{64})")
_ACCELERATOR = re.compile(r"(?:^|[^a-z])(?:gpu|tpu|npu|mig|gaudi|neuron|neuroncore|neurondevice|ascend)(?![a-z])")
_MOST_LABELS = 64
_LABEL_NAME_LIMIT = 317
_LABEL_VALUE_LIMIT = 63
_MOST_CONTAINERS = 256
_MOST_ACCELERATORS = 1024
_STRING_LIMIT = 2048


class PodPage(NamedTuple):
    """One document.

    Attributes:
        pods: every entry that is a pod.
        continues: token for the next page, or empty.
        skipped: entries that are none.
    """

    pods: list[Pod]
    continues: str
    skipped: int


def parse_pods(body: bytes, *, annotations: Collection[str] = ()) -> PodPage:
    """Return the pods of a list; ``annotations`` are those to keep.

    Raises:
        PodSourceError: this is not a list of pods: no JSON, cut off, or of another kind.
    """
    try:
        document = json.loads(body, object_pairs_hook=_reduced)
    except (ValueError, RecursionError) as exc:
        raise PodSourceError("format", f"expected a list of pods, found no JSON: {str(exc)[:80]}") from None
    items = document.get("items") if isinstance(document, dict) else None
    kind = document.get("kind", "PodList") if isinstance(document, dict) else type(document).__name__
    if items is None and kind == "PodList":
        items = []  # a kubelet without pods writes null
    if not isinstance(items, list) or kind not in {"PodList", "List"}:
        raise PodSourceError("format", f"expected a list of pods, found {str(kind)[:40]!r}")
    pods = [_pod(item, annotations) for item in items]
    found = [pod for pod in pods if pod is not None]
    return PodPage(found, _text(_mapping(document.get("metadata")).get("continue")), len(pods) - len(found))


def _reduced(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return an object without what is neither structure nor short text."""
    return {
        name: value
        for name, value in pairs
        if name in _STRUCTURE or (type(value) is str and len(value) <= _STRING_LIMIT)
    }


def _pod(item: object, annotations: Collection[str]) -> Pod | None:
    metadata = _mapping(_mapping(item).get("metadata"))
    spec, status = _mapping(_mapping(item).get("spec")), _mapping(_mapping(item).get("status"))
    notes = _mapping(metadata.get("annotations"))
    uid, namespace, name = (_text(metadata.get(key)) for key in ("uid", "namespace", "name"))
    config_hash = _text(notes.get(_CONFIG_HASH))
    if _CONFIG_MIRROR in notes and _HASH.fullmatch(config_hash):
        uid = config_hash
    if not (_UID.fullmatch(uid) and namespace and name):
        return None
    return Pod(
        uid=uid.lower(),
        namespace=sys.intern(shorten_name(namespace)),
        name=shorten_name(name),
        node=sys.intern(shorten_name(_text(spec.get("nodeName")))),
        labels=_labels(_mapping(metadata.get("labels"))),
        annotations={
            key: clean_text(_text(notes[key]), limit=_LABEL_VALUE_LIMIT) for key in annotations if _text(notes.get(key))
        },
        owner=_owner(metadata.get("ownerReferences")),
        containers=dict(_container_names(status)),
        knows_containers=True,
        accelerators=_accelerators(spec),
        phase=sys.intern(clean_text(_text(status.get("phase")), limit=16)),
        started_s=_moment(_text(status.get("startTime"))),
    )


def _labels(labels: Mapping[str, object]) -> Mapping[str, str]:
    cleaned: dict[str, str] = {}
    for key, value in labels.items():
        if isinstance(value, str) and len(key) <= _LABEL_NAME_LIMIT and len(cleaned) < _MOST_LABELS:
            cleaned[sys.intern(clean_text(key, limit=_LABEL_NAME_LIMIT))] = clean_text(value, limit=_LABEL_VALUE_LIMIT)
    return cleaned


def _owner(references: object) -> Owner | None:
    """Return the owner that controls the pod; there is at most one."""
    for reference in _list(references):
        entry = _mapping(reference)
        if entry.get("controller") is True:
            kind, name, uid, api = (shorten_name(_text(entry.get(k))) for k in ("kind", "name", "uid", "apiVersion"))
            return Owner(sys.intern(kind), name, uid, sys.intern(api))
    return None


def _container_names(status: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Yield id and name of the containers that run or ran: the present ones first."""
    entries = [_mapping(entry) for key in _STATUSES for entry in _list(status.get(key))][:_MOST_CONTAINERS]
    for entry in entries:
        name = sys.intern(shorten_name(_text(entry.get("name"))))
        before, now = _mapping(entry.get("lastState")), _mapping(entry.get("state"))
        ids = (entry, _mapping(now.get("terminated")), _mapping(before.get("terminated")))
        for identifier in ids:
            match = _CONTAINER_ID.fullmatch(_text(identifier.get("containerID")))
            if match is not None and name:
                yield match[1], name


def _accelerators(spec: Mapping[str, object]) -> int:
    """Return how many devices of accelerator resources, or claims of such, the containers ask for."""
    count = 0
    for container in (_mapping(entry) for key in _CONTAINERS for entry in _list(spec.get(key))[:_MOST_CONTAINERS]):
        resources = _mapping(container.get("resources"))
        wanted = {**_mapping(resources.get("requests")), **_mapping(resources.get("limits"))}
        for resource, quantity in wanted.items():
            if "/" in resource and _ACCELERATOR.search(resource.lower()):
                text = _text(quantity)
                count += int(text) if text.isascii() and text.isdigit() and len(text) < 5 else 1  # noqa: PLR2004
        count += len(_list(resources.get("claims")))
    return min(count, _MOST_ACCELERATORS)


def _moment(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp() if text else None
    except (ValueError, OverflowError, OSError):
        return None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
