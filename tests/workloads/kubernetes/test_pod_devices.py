"""Whose a GPU is: what the kubelet gave to pods, joined with their processes, and charged on a whole node."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from exporter.attribution import Mode
from exporter.clock import Clock
from exporter.config import Settings
from exporter.health import Finding
from exporter.host import Roots
from exporter.ledger import ENERGY_COLUMNS, Snapshot
from exporter.node import Node
from exporter.sensors import Component
from exporter.sensors.gpu.gpu_set import GpuSet
from exporter.sensors.gpu.interval import GpuSampler
from exporter.sensors.gpu.records import GpuInstance
from exporter.testing import SimulatedGpu, SimulatedGpuDriver, SimulatedNode, SimulatedProcess
from exporter.testing.fake_pod_resources import FakeAllotment, FakePodResources
from exporter.testing.pod_documents import FakePod
from exporter.workloads import WorkloadCollector
from exporter.workloads.kubernetes.pod_devices import PodDevices, make_pod_devices
from exporter.workloads.kubernetes.pod_names import PodNames
from exporter.workloads.kubernetes.pod_table import PodTable
from exporter.workloads.kubernetes.records import Pod
from exporter.workloads.kubernetes.settings import KubernetesSettings
from tests.system.accounts import assert_conserved, settings_for

IDLE = ENERGY_COLUMNS.index((Component.GPU, Mode.IDLE))
ACTIVE = ENERGY_COLUMNS.index((Component.GPU, Mode.ACTIVE))
A = FakePod(name="a", namespace="ml", uid="0a1b2c3d-1111-4222-8333-00000000000a", containers=("main", "side"))
B = FakePod(name="b", namespace="ml", uid="0a1b2c3d-1111-4222-8333-00000000000b")


class Rig:
    """A machine with GPUs and pods, a kubelet that tells who was given which, and an agent's node on it."""

    def __init__(self, directory: Path, *gpus: SimulatedGpu) -> None:
        self.machine = SimulatedNode(directory / "node", cpu_count=8)
        self.gpus = list(gpus) or [SimulatedGpu(index=0), SimulatedGpu(index=1)]
        self.kubelet = FakePodResources(directory / "kubelet.sock")
        self.kubelet.start()
        self.table = PodTable(keep_s=1800.0)
        self.devices = PodDevices(
            str(self.kubelet.path),
            self.machine.clock,
            self.table,
            timeout_s=5.0,
            jitter=random.Random(1),  # noqa: S311
        )
        self.list(A, B)

    def list(self, *pods: FakePod) -> None:
        """Let the pods' names and containers be known."""
        known = [
            Pod(
                uid=pod.uid,
                namespace=pod.namespace,
                name=pod.name,
                containers={pod.container_id(name): name for name in pod.containers},
                knows_containers=True,
            )
            for pod in pods
        ]
        self.table.update(known, now_s=self.machine.clock.monotonic_s())

    def give(self, *given: tuple[FakePod, str, str]) -> None:
        """Let the kubelet say which container of which pod was given which device."""
        self.kubelet.allotments = [
            FakeAllotment(namespace=pod.namespace, pod=pod.name, container=name, devices={"nvidia.com/gpu": [device]})
            for pod, name, device in given
        ]

    def run(self, pod: FakePod, container: str = "main") -> SimulatedProcess:
        return self.machine.spawn("python3", cgroup=pod.cgroup(container), demand_cpus=0.1)

    def start(self) -> None:
        def gpus(settings: Settings, _roots: Roots, clock: Clock) -> GpuSampler:
            return GpuSet([SimulatedGpuDriver(self.gpus, clock)], clock, settings.gpus)

        def workloads(settings: Settings, roots: Roots, clock: Clock) -> WorkloadCollector:
            names = PodNames(settings.kubernetes, clock, self.table)
            return WorkloadCollector(roots, clock, settings.workloads, pods=names, pod_devices=self.devices)

        self.node = Node(
            settings_for(), roots=self.machine.roots, clock=self.machine.clock, make_gpus=gpus, make_workloads=workloads
        )
        self.devices.refresh_if_due()
        self.snapshot = self.node.start()

    def tick(self, count: int = 1) -> Snapshot:
        for _ in range(count):
            for gpu in self.gpus:
                gpu.advance(5.0)
            self.machine.advance(5.0)
            self.snapshot = self.node.tick()
            assert_conserved(self.snapshot)
            self.devices.refresh_if_due()
        return self.snapshot

    def idle_j(self) -> dict[str, float]:
        """Return idle joules of GPUs by pod and container."""
        return {
            f"{one.workload.name}/{one.workload.container}": one.energy_j[IDLE]
            for one in self.snapshot.workloads
            if one.energy_j[IDLE] > 1e-6
        }

    def finding(self) -> Finding:
        return next(one for one in self.snapshot.findings if one.source == "pod_resources")


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_an_idle_gpu_is_charged_to_the_pod_that_was_given_it(rig: Rig) -> None:
    rig.run(A)
    rig.run(A, "side")
    rig.run(B)
    rig.give((A, "main", rig.gpus[0].facts.uuid))
    rig.start()
    rig.tick()

    snapshot = rig.tick(20)

    assert rig.idle_j() == pytest.approx({"a/main": 70.0 * 105})
    seconds = {f"{one.workload.name}/{one.workload.container}": one.gpu for one in snapshot.workloads if one.gpu}
    assert seconds == {"a/main": pytest.approx((105.0, 105.0, 70.0 * 105))}
    held = next(gpu for gpu in snapshot.gpus if gpu.facts.uuid == rig.gpus[0].facts.uuid)
    assert held.is_idle
    assert [holder.unused_share for holder in held.holders] == [1.0]
    assert rig.finding().state == "up"


def test_replicas_of_a_gpu_are_split_among_the_pods_that_hold_them(rig: Rig) -> None:
    rig.run(A)
    rig.run(B)
    uuid = rig.gpus[0].facts.uuid
    rig.give((A, "main", f"{uuid}::0"), (A, "main", f"{uuid}::1"), (B, "main", f"{uuid}::2"))
    rig.start()
    rig.tick(10)

    assert rig.idle_j() == pytest.approx({"a/main": 70.0 * 25, "b/main": 70.0 * 25})


def test_a_partition_is_charged_by_its_uuid_and_by_its_number(tmp_path: Path) -> None:
    mig = "MIG-11111111-2222-3333-4444-666666666666"
    instances = [GpuInstance("gi1/ci0", mig, "4g.40gb", 4 / 7, 0.0), GpuInstance("gi2/ci0", "", "3g.40gb", 3 / 7, 0.0)]
    rig = Rig(tmp_path, SimulatedGpu(index=0, instances=instances))
    rig.run(A)
    rig.run(B)
    rig.give((A, "main", f"{mig}::0"), (B, "main", "nvidia0/gi2"))
    rig.start()
    rig.tick(7)

    assert rig.idle_j() == pytest.approx({"a/main": 70.0 * 35 * 4 / 7, "b/main": 70.0 * 35 * 3 / 7})


def test_an_amd_address_is_the_gpus(rig: Rig) -> None:
    rig.run(B)
    rig.kubelet.allotments = [FakeAllotment(namespace="ml", pod="b", devices={"amd.com/gpu": ["0000:02:00.0"]})]
    rig.start()
    rig.tick(2)

    assert rig.idle_j() == pytest.approx({"b/main": 70.0 * 10})


def test_a_pod_that_has_ended_holds_nothing_though_the_kubelet_lists_it(rig: Rig) -> None:
    """Kubelets before 1.34 list it, so one GPU appears under two pods."""
    uuid = rig.gpus[0].facts.uuid
    ended = rig.run(A)
    rig.run(B)
    rig.give((A, "main", uuid))
    rig.start()
    rig.tick(2)
    rig.machine.exit(ended)
    rig.machine.remove_cgroup(A.cgroup())
    rig.tick(2)
    rig.give((A, "main", uuid), (B, "main", uuid))
    rig.tick(10)
    before = rig.idle_j()
    rig.tick(2)
    after = rig.idle_j()

    assert after["b/main"] - before["b/main"] == pytest.approx(70.0 * 10)
    assert after.get("a/main") == before.get("a/main")


def test_a_container_that_has_not_begun_leaves_its_gpu_with_the_pod(rig: Rig) -> None:
    """Devices are given before images are pulled: the sandbox is all there is."""
    rig.machine.spawn("pause", cgroup=A.cgroup("POD"))
    rig.give((A, "main", rig.gpus[0].facts.uuid))
    rig.start()
    rig.tick(4)
    alone = rig.idle_j()
    rig.run(A)
    rig.tick(2)
    before = rig.idle_j()
    rig.tick()
    after = rig.idle_j()

    assert alone == pytest.approx({"a/": 70.0 * 20})
    assert after["a/main"] - before["a/main"] == pytest.approx(70.0 * 5)
    assert after["a/"] == before["a/"]


def test_a_gpu_in_use_is_its_users_and_idle_ones_are_told_apart(rig: Rig) -> None:
    worker = rig.run(A)
    rig.give((A, "main", rig.gpus[0].facts.uuid), (A, "main", rig.gpus[1].facts.uuid))
    rig.gpus[0].open(worker.pid, activity_ratio=1.0)
    rig.start()
    snapshot = rig.tick(10)

    total = next(one for one in snapshot.workloads if (one.workload.name, one.workload.container) == ("a", "main"))
    assert total.energy_j[IDLE] + total.energy_j[ACTIVE] == pytest.approx((700.0 + 70.0) * 50)
    assert [gpu.is_idle for gpu in snapshot.gpus] == [False, True]


@pytest.mark.parametrize("leave_socket", [False, True])
def test_a_kubelet_that_restarts_changes_nothing_for_ten_minutes(rig: Rig, *, leave_socket: bool) -> None:
    """F60: the last list stays in force, then whose the GPU is counts as unknown, and the next answer mends it."""
    rig.run(A)
    rig.give((A, "main", rig.gpus[0].facts.uuid))
    rig.start()
    rig.tick(10)
    rig.kubelet.stop(leave_socket=leave_socket)
    rig.tick(60)
    during_j, during = rig.idle_j()["a/main"], rig.finding()
    rig.tick(70)
    down_j, down = rig.idle_j()["a/main"], rig.finding()
    rig.kubelet.start()
    rig.tick(40)

    assert during_j == pytest.approx(70.0 * 350)
    assert during.state == "degraded"
    assert down_j == pytest.approx(70.0 * (50 + 600), abs=70.0 * 40)
    assert (down.state, "not known any more" in down.detail) == ("down", True)
    assert rig.finding().state == "up"
    assert rig.idle_j()["a/main"] > down_j + 70.0 * 60


@pytest.mark.parametrize(("status", "reason"), [(8, "exhausted"), (14, "unavailable")])
def test_a_kubelet_that_refuses_is_asked_ever_more_rarely(rig: Rig, status: int, reason: str) -> None:
    rig.run(A)
    rig.give((A, "main", rig.gpus[0].facts.uuid))
    rig.start()
    rig.kubelet.status = status
    rig.tick(100)

    assert 3 <= rig.kubelet.calls <= 15
    assert rig.snapshot.event_counts["error", "pod_resources", reason] > 2
    assert rig.idle_j() == pytest.approx({"a/main": 70.0 * 500})


def test_a_new_pod_is_a_reason_to_ask_at_once(rig: Rig) -> None:
    rig.run(B)
    rig.start()
    rig.tick(2)
    calls = rig.kubelet.calls
    rig.give((A, "main", rig.gpus[0].facts.uuid))
    rig.run(A)
    rig.tick()

    assert rig.kubelet.calls == calls + 1
    rig.tick(2)
    assert rig.idle_j() == pytest.approx({"a/main": 70.0 * 5}, rel=1.01)


def test_somebody_new_on_a_gpu_is_a_reason_to_ask_at_once(rig: Rig) -> None:
    worker = rig.run(B)
    rig.start()
    rig.tick(2)
    calls = rig.kubelet.calls
    rig.gpus[0].open(worker.pid)
    rig.tick()

    assert rig.kubelet.calls == calls + 1


def test_a_device_that_cannot_be_told_counts_once_and_is_shown(rig: Rig) -> None:
    rig.run(A)
    rig.give((A, "main", "amdgpu_xcp_7"))
    rig.start()
    rig.tick(30)

    assert rig.kubelet.calls > 2
    assert rig.finding().state == "degraded"
    assert "nvidia.com/gpu amdgpu_xcp_7" in rig.finding().detail
    assert rig.devices.take_events() == []


def test_a_pod_without_a_uid_is_shown(rig: Rig) -> None:
    stranger = FakePod(name="stranger", namespace="ml", uid="0a1b2c3d-1111-4222-8333-0000000000ff")
    rig.give((stranger, "main", rig.gpus[0].facts.uuid))
    rig.start()
    rig.tick()

    assert (rig.finding().state, "1 of them have no UID yet" in rig.finding().detail) == ("degraded", True)


def test_the_thread_asks_by_itself_and_ends(tmp_path: Path) -> None:
    with FakePodResources(tmp_path / "kubelet.sock") as kubelet:
        settings = KubernetesSettings(enabled="true", pod_resources_socket=str(kubelet.path))
        machine = SimulatedNode(tmp_path / "node")
        devices = make_pod_devices(settings, machine.clock, PodTable(keep_s=60.0))
        assert devices is not None
        for _ in range(200):
            if devices.findings():
                break
            time.sleep(0.02)
        devices.close()

    assert [finding.state for finding in devices.findings()] == ["up"]


def test_an_explicit_socket_that_is_missing_is_down_with_its_cure(tmp_path: Path) -> None:
    machine = SimulatedNode(tmp_path / "node")
    devices = PodDevices(str(tmp_path / "none.sock"), machine.clock, PodTable(keep_s=60.0))
    before = devices.findings()
    devices.refresh_if_due()

    (found,) = devices.findings()
    assert before == []
    assert (found.state, "kubernetes.pod_resources_socket" in found.remedy) == ("down", True)
