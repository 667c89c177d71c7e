"""Which devices the kubelet gave to which containers: its reply to ``List`` of the service ``v1.PodResourcesLister``.

Source: k8s.io/kubelet, pkg/apis/podresources/v1/api.proto (field numbers below). Processors and memory, which newer
kubelets list twice, are not read. Kubelets before 1.34 list pods that have ended too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from exporter.workloads.kubernetes.device_ids import claim_device, claim_dynamic_device, is_gpu_resource
from exporter.workloads.kubernetes.grpc_client import GrpcError, call_unary
from exporter.workloads.kubernetes.protobuf import ProtobufError, fields, text

__all__ = ["Allotments", "list_pod_resources", "parse_allotments"]

_METHOD = "/v1.PodResourcesLister/List"
_LIST_PODS = 1
_POD_NAME, _POD_NAMESPACE, _POD_CONTAINERS = 1, 2, 3
_CONTAINER_NAME, _CONTAINER_DEVICES, _CONTAINER_DYNAMIC = 1, 2, 5
_DEVICES_RESOURCE, _DEVICES_ID = 1, 2
_DYNAMIC_CLAIM_RESOURCES = 4
_CLAIM_CDI, _CLAIM_DRIVER, _CLAIM_DEVICE = 1, 2, 4
_CDI_NAME = 1


class Allotments(NamedTuple):
    """One list.

    Attributes:
        devices: GPUs, in the form of ``GpuClaim.device``, by container within pod (namespace and name); no other pods.
        unknown: GPUs whose name tells no device, as the list has them.
    """

    devices: Mapping[tuple[str, str], Mapping[str, frozenset[str]]]
    unknown: frozenset[str]


def list_pod_resources(path: str, *, timeout_s: float, max_bytes: int) -> Allotments:
    """Ask the kubelet at the socket ``path``. Raises ``GrpcError``."""
    body = call_unary(path, _METHOD, b"", timeout_s=timeout_s, max_bytes=max_bytes)
    try:
        return parse_allotments(body)
    except ProtobufError as exc:
        raise GrpcError("format", f"{path}: expected a list of pods' resources, found {exc}") from None


def parse_allotments(body: bytes) -> Allotments:
    """Return the GPUs in a ``ListPodResourcesResponse``. Raises ``ProtobufError``."""
    pods: dict[tuple[str, str], dict[str, frozenset[str]]] = {}
    unknown: set[str] = set()
    for number, pod in fields(memoryview(body)):
        if number == _LIST_PODS:
            key, containers = _pod(pod, unknown)
            for container, devices in containers.items():
                held = pods.setdefault(key, {})
                held[container] = held.get(container, frozenset()) | devices
    return Allotments(pods, frozenset(unknown))


def _pod(message: memoryview, unknown: set[str]) -> tuple[tuple[str, str], Mapping[str, frozenset[str]]]:
    name = namespace = ""
    containers: dict[str, set[str]] = defaultdict(set)
    for number, content in fields(message):
        if number == _POD_NAME:
            name = text(content)
        elif number == _POD_NAMESPACE:
            namespace = text(content)
        elif number == _POD_CONTAINERS:
            container, devices = _container(content, unknown)
            if devices:
                containers[container] |= devices
    return (namespace, name), {container: frozenset(devices) for container, devices in containers.items()}


def _container(message: memoryview, unknown: set[str]) -> tuple[str, set[str]]:
    name = ""
    devices: set[str] = set()
    for number, content in fields(message):
        if number == _CONTAINER_NAME:
            name = text(content)
        elif number == _CONTAINER_DEVICES:
            devices |= _plugin_devices(content, unknown)
        elif number == _CONTAINER_DYNAMIC:
            for inner, claim in fields(content):
                if inner == _DYNAMIC_CLAIM_RESOURCES:
                    devices |= _claimed_device(claim, unknown)
    return name, devices


def _plugin_devices(message: memoryview, unknown: set[str]) -> set[str]:
    resource = ""
    identifiers: list[str] = []
    for number, content in fields(message):
        if number == _DEVICES_RESOURCE:
            resource = text(content)
        elif number == _DEVICES_ID:
            identifiers.append(text(content))
    if not is_gpu_resource(resource):
        return set()  # a PCI address may as well be a network card's
    told = {identifier: claim_device(identifier) for identifier in identifiers}
    unknown |= {f"{resource} {identifier}" for identifier, device in told.items() if not device}
    return {device for device in told.values() if device}


def _claimed_device(message: memoryview, unknown: set[str]) -> set[str]:
    driver = device_name = ""
    cdi_names: list[str] = []
    for number, content in fields(message):
        if number == _CLAIM_DRIVER:
            driver = text(content)
        elif number == _CLAIM_DEVICE:
            device_name = text(content)
        elif number == _CLAIM_CDI:
            cdi_names += [text(name) for inner, name in fields(content) if inner == _CDI_NAME]
    device = claim_dynamic_device(driver, device_name, tuple(cdi_names))
    if device == "":
        unknown.add(f"{driver} {device_name}")
    return {device} if device else set()
