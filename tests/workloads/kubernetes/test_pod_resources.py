"""What the kubelet says of devices: the call over a real socket with all its faults, the messages and the ids."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.testing.fake_pod_resources import (
    DynamicDevice,
    FakeAllotment,
    FakePodResources,
    Fault,
    encode_field,
    encode_list,
)
from exporter.workloads.kubernetes.device_ids import claim_device, claim_dynamic_device, is_gpu_resource
from exporter.workloads.kubernetes.grpc_client import GrpcError
from exporter.workloads.kubernetes.pod_resources import Allotments, list_pod_resources, parse_allotments
from exporter.workloads.kubernetes.protobuf import ProtobufError, fields

GPU = "GPU-11111111-2222-3333-4444-555555555555"
MIG = "MIG-11111111-2222-3333-4444-666666666666"
HOLDER = FakeAllotment(namespace="ml", pod="train-0", devices={"nvidia.com/gpu": [GPU]})


@pytest.fixture
def kubelet(tmp_path: Path) -> Iterator[FakePodResources]:
    with FakePodResources(tmp_path / "kubelet.sock") as server:
        server.allotments = [HOLDER]
        yield server
        assert server.errors == []


def ask(kubelet: FakePodResources, *, timeout_s: float = 5.0, max_bytes: int = 16 << 20) -> Allotments:
    return list_pod_resources(str(kubelet.path), timeout_s=timeout_s, max_bytes=max_bytes)


def test_a_kubelet_tells_who_was_given_which_gpu(kubelet: FakePodResources) -> None:
    assert ask(kubelet).devices == {("ml", "train-0"): {"main": frozenset({GPU})}}


@pytest.mark.parametrize("frame_bytes", [1, 7, 16_384])
def test_a_reply_in_many_frames_is_put_together(kubelet: FakePodResources, frame_bytes: int) -> None:
    kubelet.frame_bytes = frame_bytes
    kubelet.allotments = [HOLDER] * 5

    assert ask(kubelet).devices == {("ml", "train-0"): {"main": frozenset({GPU})}}


def test_five_megabytes_pass_the_window_many_times(kubelet: FakePodResources) -> None:
    many = [
        FakeAllotment(
            namespace="ml", pod=f"p-{number}", devices={"nvidia.com/gpu": [GPU], "x.org/y": ["d" * 1000] * 50}
        )
        for number in range(100)
    ]
    kubelet.allotments = many
    assert len(encode_list(many)) > 5_000_000

    assert len(ask(kubelet).devices) == 100


def test_a_reply_beyond_the_bound_is_refused(kubelet: FakePodResources) -> None:
    kubelet.body = encode_field(9, bytes(200_000))

    with pytest.raises(GrpcError, match="100000 bytes") as caught:
        ask(kubelet, max_bytes=100_000)

    assert caught.value.reason == "too_large"


@pytest.mark.parametrize(
    ("status", "reason"), [(8, "exhausted"), (14, "unavailable"), (12, "unsupported"), (2, "server")]
)
def test_the_servers_status_becomes_a_reason(kubelet: FakePodResources, status: int, reason: str) -> None:
    kubelet.status = status

    with pytest.raises(GrpcError, match="rate limit reached!") as caught:
        ask(kubelet)

    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("goaway", "unavailable"),
        ("reset", "unavailable"),
        ("hangup", "unavailable"),
        ("bad_frame", "format"),
        ("no_trailers", "server"),
        ("compressed", "format"),
        ("not_found", "server"),
    ],
)
def test_every_way_to_fail_is_told(kubelet: FakePodResources, fault: Fault, reason: str) -> None:
    kubelet.fault = fault

    with pytest.raises(GrpcError) as caught:
        ask(kubelet)

    assert caught.value.reason == reason
    assert str(kubelet.path) in str(caught.value)


def test_a_kubelet_that_hangs_costs_no_more_than_the_deadline(kubelet: FakePodResources) -> None:
    kubelet.fault = "hang"
    began_s = time.monotonic()

    with pytest.raises(GrpcError) as caught:
        ask(kubelet, timeout_s=0.2)

    assert caught.value.reason == "timeout"
    assert time.monotonic() - began_s < 3.0


@pytest.mark.parametrize(("leave_socket", "reason"), [(False, "missing"), (True, "refused")])
def test_a_kubelet_that_is_not_there_is_told(tmp_path: Path, *, leave_socket: bool, reason: str) -> None:
    kubelet = FakePodResources(tmp_path / "kubelet.sock")
    kubelet.start()
    kubelet.stop(leave_socket=leave_socket)

    with pytest.raises(GrpcError) as caught:
        ask(kubelet)

    assert caught.value.reason == reason


def test_a_reply_that_is_no_message_is_a_format_error(kubelet: FakePodResources) -> None:
    kubelet.body = b"\x0a\xff"

    with pytest.raises(GrpcError) as caught:
        ask(kubelet)

    assert caught.value.reason == "format"


@pytest.mark.parametrize(
    ("device_id", "device"),
    [
        (GPU, GPU),
        (f"{GPU}::3", GPU),
        (MIG, MIG),
        (f"{MIG}::0", MIG),
        (f"MIG-{GPU}/1/0", f"MIG-{GPU}/1/0"),
        ("nvidia0", "minor:0"),
        ("nvidia3/gi7", "minor:3/gi7"),
        ("nvidia0/vgpu2", "minor:0"),
        ("nvidia0/gi1/vgpu2", "minor:0/gi1"),
        ("0000:C1:00.0", "pci:0000:c1:00.0"),
        ("00000000:c1:00.0", "pci:0000:c1:00.0"),
        ("amdgpu_xcp_3", ""),
        ("card0-0", ""),
        ("GPU-1", ""),
        ("", ""),
    ],
)
def test_every_form_of_a_device_id_is_told(device_id: str, device: str) -> None:
    assert claim_device(device_id) == device


@pytest.mark.parametrize(
    ("driver", "name", "cdi", "device"),
    [
        ("gpu.nvidia.com", "gpu-2", ("k8s.gpu.nvidia.com/claim=0b-gpu-2",), "minor:2"),
        ("gpu.nvidia.com", "gpu-0-mig-1g5gb-19-0", (), ""),
        ("gpu.nvidia.com", "gpu-0-mig-1g5gb-19-0", (f"k8s.gpu.nvidia.com/device={MIG}",), MIG),
        ("gpu.intel.com", "0000-03-00-0-0x56c0", (), "pci:0000:03:00.0"),
        ("compute-domain.nvidia.com", "channel-0", (), None),
        ("dra.net", "eth1", (), None),
    ],
)
def test_claimed_devices_are_told(driver: str, name: str, cdi: tuple[str, ...], device: str | None) -> None:
    assert claim_dynamic_device(driver, name, cdi) == device


@pytest.mark.parametrize(
    ("resource", "is_gpu"),
    [
        ("nvidia.com/gpu", True),
        ("nvidia.com/gpu.shared", True),
        ("nvidia.com/mig-1g.5gb", True),
        ("amd.com/gpu", True),
        ("amd.com/gpu_cpx", True),
        ("gpu.intel.com/i915", True),
        ("gpu.intel.com/i915_monitoring", False),
        ("rdma/hca_shared_devices", False),
        ("intel.com/sriov_netdevice", False),
        ("cpu", False),
    ],
)
def test_only_resources_of_gpus_count(resource: str, *, is_gpu: bool) -> None:
    """A network card's PCI address must not be taken for a GPU's."""
    assert is_gpu_resource(resource) == is_gpu


def test_replicas_claims_and_unknown_devices_of_one_container_are_joined() -> None:
    listed = FakeAllotment(
        namespace="ml",
        pod="p",
        devices={
            "nvidia.com/gpu.shared": [f"{GPU}::0", f"{GPU}::1"],
            "amd.com/gpu": ["amdgpu_xcp_1"],
            "rdma/hca": ["h"],
        },
        dynamic=[DynamicDevice("gpu.nvidia.com", "gpu-5", "k8s.gpu.nvidia.com/claim=1-gpu-5")],
    )

    found = parse_allotments(encode_field(7, 1 << 40) + encode_list([listed]))

    assert found.devices == {("ml", "p"): {"main": frozenset({GPU, "minor:5"})}}
    assert found.unknown == {"amd.com/gpu amdgpu_xcp_1"}


def test_a_pod_without_gpus_is_not_kept() -> None:
    assert parse_allotments(encode_list([FakeAllotment(namespace="a", pod="b")])) == Allotments({}, frozenset())


@given(st.binary(max_size=200))
def test_any_bytes_are_a_list_or_the_parsers_own_error(raw: bytes) -> None:
    try:
        parse_allotments(raw)
    except ProtobufError:
        return


@given(st.data())
def test_a_damaged_list_is_a_list_or_the_parsers_own_error(data: st.DataObject) -> None:
    raw = bytearray(encode_list([HOLDER, HOLDER]))
    for place in data.draw(st.lists(st.integers(0, len(raw) - 1), max_size=8)):
        raw[place] = data.draw(st.integers(0, 255))
    try:
        parse_allotments(bytes(raw[: data.draw(st.integers(0, len(raw)))]))
    except ProtobufError:
        return


@given(st.lists(st.tuples(st.integers(1, 1 << 28), st.binary(max_size=300) | st.integers(0, (1 << 64) - 1))))
def test_fields_come_back_as_they_were_written(written: list[tuple[int, bytes | int]]) -> None:
    raw = b"".join(encode_field(number, content) for number, content in written)

    read = [(number, bytes(content)) for number, content in fields(memoryview(raw))]

    assert read == [(number, content) for number, content in written if isinstance(content, bytes)]
