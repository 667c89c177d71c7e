"""A simulated node whose pods a fake kubelet knows, followed by the agent's accounts from files to the page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from exporter.clock import Clock
from exporter.config import Settings
from exporter.health import Finding
from exporter.host import Roots
from exporter.ledger import Snapshot
from exporter.node import Node
from exporter.testing import RaplPackage, SimulatedNode, SimulatedProcess
from exporter.testing.fake_kubelet import CertificateAuthority, FakeKubelet
from exporter.testing.pod_documents import FakePod
from exporter.workloads import UsageSample, WorkloadCollector
from exporter.workloads.kubernetes.build import make_pod_names
from exporter.workloads.kubernetes.pod_names import PodNames
from exporter.workloads.kubernetes.settings import KubernetesSettings, SourceName
from tests.system.accounts import Counters, assert_conserved, counters_of, page_of, settings_for

__all__ = ["Cluster", "kubernetes_settings", "uid"]

_ENERGY = "wattribute_workload_energy_joules_total"


def uid(number: int) -> str:
    """Return a pod's UID."""
    return f"0a1b2c3d-1111-4222-8333-{number:012d}"


def kubernetes_settings(
    kubelet: FakeKubelet,
    authority: CertificateAuthority,
    token_file: Path,
    *,
    sources: tuple[SourceName, ...] = ("kubelet",),
    log_directory: str = "/nonexistent",
) -> KubernetesSettings:
    """Return settings that ask ``kubelet`` with ``token_file``."""
    return KubernetesSettings(
        enabled="true",
        sources=sources,
        node_name="node-1",
        kubelet_url=kubelet.url,
        kubelet_ca_file=str(authority.ca_file),
        api_server_url=kubelet.url,
        api_server_ca_file=str(authority.ca_file),
        token_file=str(token_file),
        log_directory=log_directory,
        timeout_s=5.0,
    )


class Cluster:
    """One node of a cluster. ``tick`` lets time pass and samples, then the pods are listed if that is due.

    Attributes:
        machine: the simulated node.
        usage: the last sample.
        snapshot: the last snapshot; conservation was checked on each, and that no counter ever fell.
        pods: what names pods.
    """

    def __init__(self, directory: Path, settings: KubernetesSettings, *, state: Path | None = None) -> None:
        self.machine = SimulatedNode(directory / "node", packages=[RaplPackage(idle_w=50.0)], cpu_count=16)
        self.state = state
        self._settings = settings
        self.usage: UsageSample | None = None
        self._counters: Counters = {}

    def start(self, *, is_asked: bool = True, retention_s: float = 900.0) -> None:
        """Start the agent; ``is_asked``: the first list comes before the first sample, as it does where all is well."""
        self._is_asked = is_asked
        settings = settings_for(state=self.state, retention_s=retention_s, cpu_idle_w=50.0)
        settings = replace(settings, kubernetes=self._settings)
        roots, clock = self.machine.roots, self.machine.clock
        self.node = Node(settings, roots=roots, clock=clock, make_workloads=self._workloads)
        self.snapshot = self._checked(self.node.start())

    def _workloads(self, settings: Settings, roots: Roots, clock: Clock) -> _Following:
        pods = make_pod_names(settings.kubernetes, clock, environ={}, with_thread=False)
        assert pods is not None
        self.pods: PodNames = pods
        if self._is_asked:
            pods.refresh_if_due()
        return _Following(self, WorkloadCollector(roots, clock, settings.workloads, settings.runs, pods=pods))

    def tick(self, seconds: float = 5.0, *, count: int = 1, is_asked: bool = True) -> Snapshot:
        """Let time pass ``count`` times, sampling after each; a list that is due is read after the sample."""
        for _ in range(count):
            self.machine.advance(seconds)
            self.snapshot = self._checked(self.node.tick())
            if is_asked:
                self.pods.refresh_if_due()
        return self.snapshot

    def _checked(self, snapshot: Snapshot) -> Snapshot:
        assert_conserved(snapshot)
        before, self._counters = self._counters, counters_of(page_of(snapshot))
        fallen = {key for key, value in self._counters.items() if value < before.get(key, 0.0)}
        assert not fallen
        newborn = [
            key for key, value in self._counters.items() if key[0] == _ENERGY and key not in before and before and value
        ]
        assert not newborn, "a series begins at zero"
        return snapshot

    def run(
        self, pod: FakePod, *, container: str = "main", cpus: float = 1.0, environment: Mapping[str, str] | None = None
    ) -> SimulatedProcess:
        """Start a process in a container of ``pod``, beside the sandbox."""
        if not self.machine.cgroups.exists(pod.cgroup("POD")):
            self.machine.spawn("pause", cgroup=pod.cgroup("POD"))
        return self.machine.spawn(
            "python3",
            cgroup=pod.cgroup(container),
            demand_cpus=cpus,
            environment=environment,
            arguments=("python3", "train.py"),
            run=pod.uid,
        )

    def stop(self, pod: FakePod) -> None:
        """End every process of the pod and remove its groups."""
        for process in [p for p in self.machine.processes.values() if p.cgroup.startswith(pod.cgroup())]:
            self.machine.exit(process)
        self.machine.remove_cgroup(pod.cgroup())

    def joules(self) -> Mapping[tuple[str, str, str], float]:
        """Return active joules on the page by namespace, name and container of every pod."""
        found: dict[tuple[str, str, str], float] = defaultdict(float)
        for (name, labels), value in self._counters.items():
            text = dict(labels)
            if name == _ENERGY and text["kind"] == "pod" and text["mode"] == "active" and text["component"] == "cpu":
                found[text["namespace"], text["name"], text["container"]] += value
        return found

    def by_name(self) -> Mapping[str, float]:
        """Return active joules on the page by name of pod."""
        found: dict[str, float] = defaultdict(float)
        for (_namespace, name, _container), joules in self.joules().items():
            found[name] += joules
        return found

    def finding(self) -> Finding:
        """Return how pods are named at present."""
        return next(finding for finding in self.snapshot.findings if finding.source == "kubernetes")


class _Following:
    """The collector, with its last sample kept."""

    def __init__(self, cluster: Cluster, inner: WorkloadCollector) -> None:
        self._cluster, self._inner, self.close = cluster, inner, inner.close

    def sample(self, *, with_memory: bool, gpu_pids: Collection[int] = ()) -> UsageSample:
        self._cluster.usage = self._inner.sample(with_memory=with_memory, gpu_pids=gpu_pids)
        return self._cluster.usage
