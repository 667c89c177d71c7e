"""The agent as it is started in a cluster: names by a thread of its own, over TLS, on a node full of pods."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporter.testing import SimulatedNode
from exporter.testing.fake_kubelet import CertificateAuthority, FakeKubelet, NoOpensslError
from exporter.testing.pod_documents import FakePod
from tests.system.programs import Agent, agent_running, wait_for

_PODS = 250
_PSS_LIMIT_MIB = 45.0
_KIBIBYTES_PER_MEBIBYTE = 1024


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    try:
        return CertificateAuthority(tmp_path_factory.mktemp("authority"))
    except NoOpensslError as exc:
        pytest.skip(f"not installed: {exc}")


@pytest.fixture
def kubelet(authority: CertificateAuthority) -> Iterator[FakeKubelet]:
    with FakeKubelet(authority) as server:
        yield server


def pods_on(node: SimulatedNode, count: int) -> list[FakePod]:
    """Start pods of training jobs, eight to a job, with a sandbox, a trainer and a sidecar each."""
    pods = []
    for number in range(count):
        job = f"bert-{number // 8}"
        pod = FakePod(
            name=f"{job}-node-0-{number}",
            uid=f"0a1b2c3d-1111-4222-8333-{number:012d}",
            namespace=f"team-{number // 8 % 7}",
            containers=("node", "sidecar"),
            accelerators=1,
            labels={
                "app.kubernetes.io/name": "bert",
                "team": f"team-{number // 8 % 7}",
                "jobset.sigs.k8s.io/jobset-name": job,
                "jobset.sigs.k8s.io/jobset-uid": f"5e7d0000-0000-4000-8000-{number // 8:012d}",
                "batch.kubernetes.io/job-name": f"{job}-node-0",
                "trainer.kubeflow.org/trainjob-ancestor-step": "trainer",
            },
            owner=("Job", f"{job}-node-0", f"5e7d0000-0000-4000-8000-{number:012d}", "batch/v1"),
        )
        for container in ("POD", *pod.containers):
            node.spawn("python3", cgroup=pod.cgroup(container), demand_cpus=0.05 if container == "node" else 0.0)
        pods.append(pod)
    return pods


@contextmanager
def agent_on(
    directory: Path, node: SimulatedNode, kubelet: FakeKubelet, authority: CertificateAuthority
) -> Iterator[Agent]:
    """Run an agent that believes to be in a pod, and asks ``kubelet``."""
    token = directory / "token"
    token.write_text("token-1", encoding="ascii")
    config = f"""
kubernetes:
  sources: [kubelet]
  token_file: {token}
  kubelet_url: {kubelet.url}
  kubelet_ca_file: {authority.ca_file}
sensors:
  disabled_sources: [nvml]
"""
    with agent_running(directory, node.roots, config=config, environ={"KUBERNETES_SERVICE_HOST": "10.0.0.1"}) as agent:
        yield agent


def names_on(page: str) -> set[tuple[str, str, str]]:
    """Return namespace, name and container of the pods on a page."""
    return {
        (sample.labels["namespace"], sample.labels["name"], sample.labels["container"])
        for family in text_string_to_metric_families(page)
        if family.name == "wattribute_workload_energy_joules"
        for sample in family.samples
        if sample.labels["kind"] == "pod"
    }


def pss_mib(pid: int) -> float:
    """Return the memory of a process, with its share of what others use too."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii")
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) / _KIBIBYTES_PER_MEBIBYTE


def test_a_node_of_250_pods_is_named_at_once_in_little_memory(
    tmp_path: Path, kubelet: FakeKubelet, authority: CertificateAuthority
) -> None:
    """In a cluster nothing but the service account is needed: ``kubernetes.enabled`` is ``auto``."""
    node = SimulatedNode(tmp_path / "node")
    kubelet.pods = pods_on(node, _PODS)
    with agent_on(tmp_path, node, kubelet, authority) as agent:
        node.advance(2.0)
        wait_for("names", lambda: names_on(agent.get()) or None)
        page = agent.get()
        memory_mib = pss_mib(agent.pid)

    assert names_on(page) == {
        (pod.namespace, pod.name, container) for pod in kubelet.pods for container in ("", *pod.containers)
    }
    assert page.count("wattribute_run_info{") == len(
        {(pod.namespace, pod.labels["jobset.sigs.k8s.io/jobset-uid"]) for pod in kubelet.pods}
    )
    assert memory_mib < _PSS_LIMIT_MIB


def test_a_pod_that_comes_later_is_named_between_two_ticks(
    tmp_path: Path, kubelet: FakeKubelet, authority: CertificateAuthority
) -> None:
    node = SimulatedNode(tmp_path / "node")
    with agent_on(tmp_path, node, kubelet, authority) as agent:
        kubelet.pods = pods_on(node, 1)
        expected = ("team-0", kubelet.pods[0].name, "node")
        wait_for("the name", lambda: expected in names_on(agent.get()) or None, timeout_s=20.0)
        page = agent.get()

    assert f'name="{kubelet.pods[0].uid}"' not in page
    assert f'uid="{kubelet.pods[0].uid}"' in page, "only the pod's info tells it"


def test_a_kubelet_that_hangs_delays_no_sample_and_no_end(
    tmp_path: Path, kubelet: FakeKubelet, authority: CertificateAuthority
) -> None:
    node = SimulatedNode(tmp_path / "node")
    pods_on(node, 3)
    kubelet.delay_s = 20.0
    with agent_on(tmp_path, node, kubelet, authority) as agent:
        wait_for("five ticks", lambda: "wattribute_ticks_total 5" in agent.get() or None, timeout_s=20.0)
        page = agent.get()
        agent.signal(signal.SIGTERM)
        code = agent.wait(timeout_s=8.0)

    assert "wattribute_ticks_late_total 0" in page
    assert code == 0
