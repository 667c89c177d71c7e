"""Lists of pods: what is kept of them, and that nothing but a counted error comes of any other text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.testing.pod_documents import FakePod, pod_list
from exporter.workloads.kubernetes.documents import parse_pods
from exporter.workloads.kubernetes.records import Owner, Pod, PodSourceError

UID = "0a1b2c3d-1111-4222-8333-000000000001"
HASH = "0123456789abcdef0123456789abcdef"


def parsed(*pods: FakePod, of_api_server: bool = False) -> list[Pod]:
    return parse_pods(json.dumps(pod_list(pods, of_api_server=of_api_server)).encode(), annotations=["keep"]).pods


def test_a_pod_is_read_with_what_names_it_and_no_more() -> None:
    fake = FakePod(
        name="trainer-0",
        uid=UID.upper(),
        namespace="ml",
        labels={"app": "bert"},
        annotations={"keep": "yes", "kubectl.kubernetes.io/last-applied-configuration": "x" * 9000, "other": "no"},
        owner=("Job", "bert", "11", "batch/v1"),
        containers=("main", "sidecar"),
        accelerators=8,
        restarts=1,
    )
    (pod,) = parsed(fake)

    assert (pod.uid, pod.namespace, pod.name, pod.node) == (UID, "ml", "trainer-0", "node-1")
    assert (pod.labels, pod.annotations) == ({"app": "bert"}, {"keep": "yes"})
    assert pod.owner == Owner("Job", "bert", "11", "batch/v1")
    assert sorted(pod.containers.values()) == ["main", "main", "sidecar", "sidecar"]
    assert (pod.accelerators, pod.phase, pod.started_s) == (8, "Running", 1772352000.0)


def test_a_static_pods_mirror_at_the_api_server_is_known_by_the_hash() -> None:
    """F58: the cgroup has the hash, the API server another UID."""
    static = FakePod(name="etcd", uid=HASH, is_static=True, mirror_uid=UID)

    assert [pod.uid for pod in parsed(static)] == [HASH]
    assert [pod.uid for pod in parsed(static, of_api_server=True)] == [HASH]


def test_a_pod_that_claims_the_uid_of_another_by_annotation_keeps_its_own() -> None:
    """S-13: only hashes of manifests are taken from annotations, never UIDs."""
    other = "0a1b2c3d-1111-4222-8333-000000000002"
    forged = FakePod(
        name="forger",
        uid=UID,
        annotations={"kubernetes.io/config.hash": other, "kubernetes.io/config.mirror": other},
    )

    assert [pod.uid for pod in parsed(forged)] == [UID]


@pytest.mark.parametrize(
    ("resource", "count"),
    [
        ("nvidia.com/gpu", 2),
        ("nvidia.com/mig-1g.5gb", 2),
        ("nvidia.com/gpu.shared", 2),
        ("amd.com/gpu", 2),
        ("gpu.intel.com/i915", 2),
        ("google.com/tpu", 2),
        ("habana.ai/gaudi", 2),
        ("aws.amazon.com/neuroncore", 2),
        ("example.com/input-device", 0),
        ("hugepages-2Mi", 0),
        ("rdma/hca", 0),
    ],
)
def test_accelerators_are_known_by_the_words_in_their_resource(resource: str, count: int) -> None:
    container = {"name": "main", "resources": {"limits": {resource: "2", "cpu": "4"}, "requests": {resource: "2"}}}
    item = {"metadata": {"uid": UID, "name": "a", "namespace": "b"}, "spec": {"containers": [container]}}

    assert parse_pods(json.dumps({"items": [item]}).encode()).pods[0].accelerators == count


def test_a_claim_of_a_device_counts_as_an_accelerator() -> None:
    container = {"name": "main", "resources": {"claims": [{"name": "gpu"}]}}
    item = {"metadata": {"uid": UID, "name": "a", "namespace": "b"}, "spec": {"containers": [container]}}

    assert parse_pods(json.dumps({"items": [item]}).encode()).pods[0].accelerators == 1


def test_entries_that_are_no_pods_are_counted_and_the_others_kept() -> None:
    good = FakePod(name="a", uid=UID).document()
    items = [good, None, 3, {}, {"metadata": {"uid": "../../etc", "name": "x", "namespace": "y"}}]
    page = parse_pods(json.dumps({"kind": "PodList", "items": items}).encode())

    assert (len(page.pods), page.skipped) == (1, 4)


def test_a_kubelet_without_pods_writes_null() -> None:
    assert parse_pods(b'{"kind":"PodList","apiVersion":"v1","metadata":{},"items":null}').pods == []


def test_text_is_cleaned_and_cut() -> None:
    metadata = {"uid": UID, "name": "n" * 300, "namespace": "a\nb", "labels": {f"k{i}": "v" * 200 for i in range(99)}}
    (pod,) = parse_pods(json.dumps({"items": [{"metadata": metadata}]}).encode()).pods

    assert (len(pod.name), pod.namespace, len(pod.labels)) == (128, "a\ufffdb", 64)
    assert {len(value) for value in pod.labels.values()} == {63}


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"{", b'{"items":{}}', b'{"kind":"Status"}', b"\xff\xfe", b"[" * 100_000, b'{"a":1' * 5000],
)
def test_what_is_no_list_of_pods_is_a_format_error(body: bytes) -> None:
    with pytest.raises(PodSourceError) as caught:
        parse_pods(body)

    assert caught.value.reason == "format"


_WORDS = """
    kind items metadata name namespace uid labels annotations ownerReferences controller spec status containers
    resources limits claims containerStatuses containerID lastState terminated nodeName phase startTime continue
    nvidia.com/gpu kubernetes.io/config.hash
"""
KEYS = st.sampled_from(_WORDS.split())
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([UID, HASH, "PodList"])
TREES = st.recursive(LEAVES, lambda below: st.lists(below) | st.dictionaries(KEYS | st.text(), below), max_leaves=40)


def check(body: bytes) -> None:
    """Raise whatever is not meant to be raised."""
    pods, error = [], None
    try:
        pods = parse_pods(body, annotations=["keep"]).pods
    except PodSourceError as exc:
        error = exc

    assert error is None or (error.reason == "format" and str(error).isprintable())
    assert all((pod.name + pod.namespace + "".join(pod.labels.values())).isprintable() for pod in pods)


@given(st.binary())
def test_any_bytes_give_pods_or_a_format_error(body: bytes) -> None:
    """S-21."""
    check(body)


@given(TREES)
def test_any_json_gives_pods_or_a_format_error(tree: Any) -> None:
    """S-21."""
    check(json.dumps(tree).encode())
    check(json.dumps({"kind": "PodList", "items": [tree, {"metadata": tree, "spec": tree, "status": tree}]}).encode())


@given(st.data())
def test_a_list_cut_or_changed_anywhere_gives_pods_or_a_format_error(data: st.DataObject) -> None:
    """S-21, F57."""
    body = bytearray(json.dumps(pod_list([FakePod(name="a", uid=UID, restarts=1)])).encode())
    place = data.draw(st.integers(0, len(body) - 1))
    body[place : data.draw(st.integers(place, len(body)))] = data.draw(st.binary(max_size=8))
    check(bytes(body))
