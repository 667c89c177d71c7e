"""The kubelet, the API server and the log directories, as they answer and as they fail."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.testing import FakeClock
from exporter.testing.fake_api_server import FakeApiServer
from exporter.testing.fake_kubelet import CertificateAuthority, FakeKubelet
from exporter.testing.pod_documents import FakePod
from exporter.workloads.kubernetes.api_server import ApiServerSource
from exporter.workloads.kubernetes.build import make_pod_names
from exporter.workloads.kubernetes.kubelet import KubeletSource
from exporter.workloads.kubernetes.log_directories import LogDirectorySource
from exporter.workloads.kubernetes.records import PodSourceError
from exporter.workloads.kubernetes.service_account import api_server_url, is_enabled, kubelet_url
from exporter.workloads.kubernetes.settings import KubernetesSettings
from tests.workloads.kubernetes.cluster import kubernetes_settings, uid


@pytest.fixture
def kubelet(authority: CertificateAuthority) -> Iterator[FakeKubelet]:
    with FakeKubelet(authority) as server:
        server.pods = [FakePod(name="a", uid=uid(1))]
        yield server


@pytest.fixture
def api_server(authority: CertificateAuthority) -> Iterator[FakeApiServer]:
    with FakeApiServer(authority) as server:
        server.pods = [FakePod(name=f"pod-{number}", uid=uid(number)) for number in range(7)]
        yield server


def ask_kubelet(settings: KubernetesSettings) -> list[str]:
    source = KubeletSource(settings, node_name="node-1", environ={}, annotations=())
    return [pod.name for pod in source.fetch().pods]


def ask_api_server(settings: KubernetesSettings) -> list[str]:
    source = ApiServerSource(settings, node_name="node-1", environ={}, annotations=())
    return [pod.name for pod in source.fetch().pods]


def test_the_kubelet_is_trusted_by_its_authority_only(
    kubelet: FakeKubelet, authority: CertificateAuthority, token_file: Path
) -> None:
    """F57: unknown CA; never a silent skip."""
    settings = kubernetes_settings(kubelet, authority, token_file)
    names = ask_kubelet(settings)
    with pytest.raises(PodSourceError, match="certificate") as caught:
        ask_kubelet(replace(settings, kubelet_ca_file=""))

    assert names == ["a"]
    assert "kubelet_ca_file" in caught.value.remedy
    assert kubelet.calls["/pods"] == 1


def test_a_skipped_check_is_said(kubelet: FakeKubelet, authority: CertificateAuthority, token_file: Path) -> None:
    settings = kubernetes_settings(kubelet, authority, token_file)
    settings = replace(settings, kubelet_ca_file="", kubelet_insecure_skip_verify=True)
    names = make_pod_names(settings, FakeClock(), environ={}, with_thread=False)
    assert names is not None
    names.refresh_if_due()
    (finding,) = names.findings()

    assert names.table.find(uid(1)) is not None
    assert (finding.state, "kubelet_insecure_skip_verify" in finding.detail) == ("degraded", True)


def test_the_certificates_of_the_service_account_are_the_default(
    kubelet: FakeKubelet, authority: CertificateAuthority, token_file: Path
) -> None:
    (token_file.parent / "ca.crt").write_bytes(authority.ca_file.read_bytes())
    settings = replace(kubernetes_settings(kubelet, authority, token_file), kubelet_ca_file="")

    assert ask_kubelet(settings) == ["a"]


def test_a_slow_kubelet_is_a_timeout(kubelet: FakeKubelet, authority: CertificateAuthority, token_file: Path) -> None:
    kubelet.delay_s = 0.5
    settings = replace(kubernetes_settings(kubelet, authority, token_file), timeout_s=0.1)
    with pytest.raises(PodSourceError) as caught:
        ask_kubelet(settings)

    assert caught.value.reason == "timeout"


def test_an_answer_beyond_the_limit_is_an_error(
    kubelet: FakeKubelet, authority: CertificateAuthority, token_file: Path
) -> None:
    kubelet.body = b"x" * 100_000
    settings = replace(kubernetes_settings(kubelet, authority, token_file), max_answer_bytes=65_536)
    with pytest.raises(PodSourceError) as caught:
        ask_kubelet(settings)

    assert (caught.value.reason, caught.value.remedy) == ("too_large", "raise kubernetes.max_answer_bytes")


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "missing"), ("", "format"), ("two words", "format"), ("line\nfeed", "format")]
)
def test_a_token_that_is_none_is_never_sent_nor_told(
    kubelet: FakeKubelet, authority: CertificateAuthority, tmp_path: Path, content: str | None, reason: str
) -> None:
    path = tmp_path / "bad-token"
    if content is not None:
        path.write_text(content, encoding="ascii")
    with pytest.raises(PodSourceError) as caught:
        ask_kubelet(kubernetes_settings(kubelet, authority, path))

    assert caught.value.reason == reason
    assert "kubernetes.token_file" in caught.value.remedy
    assert not content or content not in str(caught.value)
    assert not kubelet.calls


@pytest.mark.parametrize("url", ["ftp://node", "https://", "nonsense"])
def test_a_wrong_address_is_told_and_not_fatal(token_file: Path, url: str) -> None:
    settings = KubernetesSettings(enabled="true", kubelet_url=url, token_file=str(token_file))
    with pytest.raises(PodSourceError) as caught:
        ask_kubelet(settings)

    assert "kubelet_url" in caught.value.remedy


def test_the_api_server_is_asked_for_this_node_from_its_cache(
    api_server: FakeApiServer, authority: CertificateAuthority, token_file: Path
) -> None:
    names = ask_api_server(kubernetes_settings(api_server, authority, token_file))

    assert len(names) == 7
    assert list(api_server.queries) == [
        {"fieldSelector": "spec.nodeName=node-1", "limit": "250", "resourceVersion": "0"}
    ]


def test_pages_are_joined(api_server: FakeApiServer, authority: CertificateAuthority, token_file: Path) -> None:
    api_server.page_size = 3
    names = ask_api_server(kubernetes_settings(api_server, authority, token_file))

    assert sorted(names) == [f"pod-{number}" for number in range(7)]
    assert api_server.calls["/api/v1/pods"] == 3


def test_a_list_that_expires_between_pages_is_begun_again_once(
    api_server: FakeApiServer, authority: CertificateAuthority, token_file: Path
) -> None:
    """410 Gone."""
    api_server.page_size, api_server.expires = 3, 1
    names = ask_api_server(kubernetes_settings(api_server, authority, token_file))
    api_server.expires = 99
    with pytest.raises(PodSourceError) as caught:
        ask_api_server(kubernetes_settings(api_server, authority, token_file))

    assert len(names) == 7
    assert caught.value.reason == "expired"


def test_pages_without_end_are_an_error(
    api_server: FakeApiServer, authority: CertificateAuthority, token_file: Path
) -> None:
    api_server.pods = [FakePod(name=f"pod-{number}", uid=uid(number)) for number in range(30)]
    api_server.page_size = 1
    with pytest.raises(PodSourceError) as caught:
        ask_api_server(kubernetes_settings(api_server, authority, token_file))

    assert caught.value.reason == "too_large"
    assert api_server.calls["/api/v1/pods"] == 20


def test_what_the_api_server_refuses_names_the_right_that_is_missing(
    api_server: FakeApiServer, authority: CertificateAuthority, token_file: Path
) -> None:
    api_server.status = 403
    with pytest.raises(PodSourceError) as caught:
        ask_api_server(kubernetes_settings(api_server, authority, token_file))

    assert caught.value.reason == "forbidden"
    assert 'resources ["pods"]' in caught.value.remedy


def test_log_directories_name_pods_and_their_containers(tmp_path: Path) -> None:
    logs, links = tmp_path / "pods", tmp_path / "containers"
    static = "0123456789abcdef0123456789abcdef"
    for name in (f"ml_trainer-0_{uid(1)}", f"kube-system_etcd-node-1_{static}", "lost+found", "a_b"):
        (logs / name / "main").mkdir(parents=True)
    links.mkdir()
    (links / f"trainer-0_ml_main-{'c' * 64}.log").symlink_to("nowhere")
    (links / f"trainer-0_ml_cut-{'c' * 60}.log").symlink_to("nowhere")
    page = LogDirectorySource(str(logs)).fetch()
    pods = {pod.uid: pod for pod in page.pods}

    assert {(pod.namespace, pod.name) for pod in pods.values()} == {("ml", "trainer-0"), ("kube-system", "etcd-node-1")}
    assert pods[uid(1)].containers == {"c" * 64: "main"}
    assert (pods[uid(1)].knows_containers, pods[static].knows_containers) == (True, False)
    assert page.skipped == 2


def test_a_missing_log_directory_says_what_to_mount(tmp_path: Path) -> None:
    with pytest.raises(PodSourceError) as caught:
        LogDirectorySource(str(tmp_path / "missing")).fetch()

    assert caught.value.reason == "missing"
    assert "mount" in caught.value.remedy


@given(st.text(alphabet="ab-_.0123456789cdef", max_size=60))
def test_any_directory_name_is_a_pod_or_nothing(name: str) -> None:
    """S-21."""
    from exporter.workloads.kubernetes.log_directories import _POD

    match = _POD.fullmatch(name)
    assert match is None or match[0] == f"{match[1]}_{match[2]}_{match[3]}"


def test_pods_are_named_where_the_agent_runs_in_one(token_file: Path) -> None:
    settings = KubernetesSettings(token_file=str(token_file))
    inside = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}

    assert is_enabled(settings, inside)
    assert not is_enabled(settings, {})
    assert not is_enabled(KubernetesSettings(), inside)
    assert is_enabled(replace(settings, enabled="true"), {})
    assert not is_enabled(replace(settings, enabled="false"), inside)
    assert make_pod_names(settings, FakeClock(), environ={}) is None


def test_addresses_come_from_the_environment_of_the_pod() -> None:
    settings = KubernetesSettings()
    environ = {"HOST_IP": "fd00::7", "KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}

    assert kubelet_url(settings, environ, "node-1") == "https://[fd00::7]:10250"
    assert kubelet_url(settings, {}, "node-1") == "https://node-1:10250"
    assert api_server_url(settings, environ) == "https://[fd00::1]:6443"
    assert api_server_url(settings, {}) == ""
