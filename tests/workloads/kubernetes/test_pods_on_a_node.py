"""Pods from the kernel's files and the kubelet's list to the metrics page: names, runs, and joules that stay put.

Numbers such as F57 and S-13 are those of the list of faults.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.testing.fake_kubelet import CertificateAuthority, FakeKubelet
from exporter.testing.pod_documents import FakePod, pod_list
from exporter.workloads.records import PodFacts, WorkloadId
from tests.system.accounts import page_of
from tests.workloads.kubernetes.cluster import Cluster, kubernetes_settings, uid

WATTS = 5.0
"""What one CPU of the simulated package draws above idle."""
TRAIN_JOB = {
    "jobset.sigs.k8s.io/jobset-name": "bert",
    "jobset.sigs.k8s.io/jobset-uid": "6f6e7c1c-0000-4000-8000-000000000001",
    "jobset.sigs.k8s.io/job-global-index": "0",
    "trainer.kubeflow.org/trainjob-ancestor-step": "trainer",
    "batch.kubernetes.io/job-name": "bert-node-0",
    "kueue.x-k8s.io/queue-name": "research",
    "team": "vision",
}


@pytest.fixture
def kubelet(authority: CertificateAuthority) -> Iterator[FakeKubelet]:
    with FakeKubelet(authority) as server:
        yield server


@pytest.fixture
def cluster(tmp_path: Path, kubelet: FakeKubelet, authority: CertificateAuthority, token_file: Path) -> Cluster:
    return Cluster(tmp_path, kubernetes_settings(kubelet, authority, token_file), state=tmp_path / "state.sqlite")


def pod(number: int, name: str = "", **facts: object) -> FakePod:
    return FakePod(name=name or f"pod-{number}", uid=uid(number), namespace="ml", **facts)  # type: ignore[arg-type]


def test_pods_and_containers_have_their_names_from_the_first_joule(cluster: Cluster, kubelet: FakeKubelet) -> None:
    trainer = pod(1, "trainer-0", containers=("main", "sidecar"))
    kubelet.pods = [trainer]
    cluster.run(trainer, cpus=2.0)
    cluster.run(trainer, container="sidecar", cpus=1.0)
    cluster.start()
    cluster.tick(count=3)

    assert cluster.joules() == pytest.approx(
        {
            ("ml", "trainer-0", "main"): 2 * 15 * WATTS,
            ("ml", "trainer-0", "sidecar"): 15 * WATTS,
            ("ml", "trainer-0", ""): 0.0,
        }
    )


def test_what_a_new_pod_uses_before_it_has_a_name_is_on_one_common_workload(
    cluster: Cluster, kubelet: FakeKubelet
) -> None:
    cluster.start()
    cluster.tick()
    late = pod(1, "late")
    kubelet.pods = [late]
    cluster.run(late)
    cluster.tick(count=3)

    assert cluster.by_name() == pytest.approx({"starting": 5 * WATTS, "late": 10 * WATTS})


def test_a_pod_that_never_gets_a_name_goes_by_its_uid_after_a_while(cluster: Cluster, kubelet: FakeKubelet) -> None:
    cluster.start()
    unknown = pod(1)
    cluster.run(unknown)
    cluster.tick(count=12)

    assert cluster.by_name() == pytest.approx({"starting": 15 * WATTS, unknown.uid: 45 * WATTS})


def test_a_name_that_comes_after_the_uid_takes_no_joules_with_it(cluster: Cluster, kubelet: FakeKubelet) -> None:
    """Each joule is on one series for good: counters neither fall nor start above zero."""
    kubelet.status = 500
    cluster.start()
    trainer = pod(1, "trainer-0")
    kubelet.pods = [trainer]
    cluster.run(trainer)
    cluster.tick(count=4)
    before = dict(cluster.by_name())
    kubelet.status = 0
    cluster.tick(count=130)

    assert before == pytest.approx({trainer.uid: 20 * WATTS})
    assert cluster.by_name()[trainer.uid] >= before[trainer.uid]
    assert sum(cluster.by_name().values()) == pytest.approx(134 * 5 * WATTS)
    assert cluster.by_name()["trainer-0"] > 600


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((401, None), ("unauthorized", "token")),
        ((403, None), ("forbidden", "nodes/pods")),
        ((500, None), ("server", "")),
        ((0, b'{"kind":"PodList","items":[{"metadata":{"na'), ("format", "")),
        ((0, b""), ("format", "")),
        ((0, b"[]"), ("format", "")),
        ((0, b'{"kind":"Status","code":403}'), ("format", "")),
    ],
)
def test_a_kubelet_that_fails_leaves_the_names_it_gave(
    cluster: Cluster, kubelet: FakeKubelet, answer: tuple[int, bytes | None], told: tuple[str, str]
) -> None:
    """F57."""
    (status, body), (reason, remedy) = answer, told
    known = pod(1, "known")
    kubelet.pods = [known]
    cluster.run(known)
    cluster.start()
    cluster.tick()
    kubelet.status, kubelet.body = status, body
    new = pod(2, "new")
    kubelet.pods.append(new)
    cluster.run(new)
    cluster.tick(count=40)

    assert cluster.by_name()["known"] == pytest.approx(41 * 5 * WATTS)
    assert cluster.by_name()[new.uid] >= 38 * 5 * WATTS
    assert cluster.finding().state == "down"
    assert remedy in cluster.finding().remedy
    assert cluster.snapshot.event_counts["error", "kubernetes", reason] >= 1
    assert "1 names are kept" in cluster.finding().detail


def test_a_kubelet_that_is_down_for_an_hour_is_asked_rarely_and_found_again(
    cluster: Cluster, kubelet: FakeKubelet
) -> None:
    """F57, F63: at start, and the whole hour; energy goes on by UID."""
    trainer = pod(1, "trainer-0")
    kubelet.pods, kubelet.status = [trainer], 500
    cluster.run(trainer)
    cluster.start()
    cluster.tick(count=720)
    calls = kubelet.calls["/pods"]
    kubelet.status = 0
    cluster.tick(count=62)

    assert calls <= 22
    assert cluster.by_name()[trainer.uid] >= 3600 * WATTS
    assert cluster.by_name()["trainer-0"] > 0
    assert cluster.finding().state == "up"


def test_a_list_of_thirty_megabytes_is_read_and_one_beyond_the_limit_is_not(
    cluster: Cluster, kubelet: FakeKubelet
) -> None:
    """F57."""
    trainer = pod(1, "trainer-0")
    document = {**pod_list([trainer]), "padding": ["x" * 1000] * 30_000}
    kubelet.body = json.dumps(document).encode()
    cluster.run(trainer)
    cluster.start()

    assert len(kubelet.body) > 30_000_000
    assert cluster.pods.table.find_by_name("ml", "trainer-0") is not None


def test_a_static_pod_is_named_through_its_hash(cluster: Cluster, kubelet: FakeKubelet) -> None:
    """F58."""
    static = FakePod(
        name="etcd-node-1", uid="0123456789abcdef0123456789abcdef", namespace="kube-system", is_static=True
    )
    kubelet.pods = [static]
    cluster.run(static)
    cluster.start()
    cluster.tick(count=2)

    assert cluster.joules()["kube-system", "etcd-node-1", "main"] == pytest.approx(10 * WATTS)


def test_two_pods_of_one_name_one_after_the_other_are_one_series_and_two_uids(
    cluster: Cluster, kubelet: FakeKubelet
) -> None:
    """F59: a StatefulSet starts its pod anew; the counter goes on."""
    first, second = pod(1, "db-0"), pod(2, "db-0")
    kubelet.pods = [first]
    cluster.run(first)
    cluster.start()
    cluster.tick(count=2)
    told = {facts.uid for facts in cluster.pods.facts}
    cluster.stop(first)
    kubelet.pods = [second]
    cluster.run(second)
    cluster.tick(count=4)

    assert told == {first.uid}
    assert {facts.uid for facts in cluster.pods.facts} == {second.uid}
    assert cluster.by_name() == pytest.approx({"db-0": 25 * WATTS, "starting": 5 * WATTS})
    assert cluster.pods.table.find_by_name("ml", "db-0") == cluster.pods.table.find(second.uid)


def test_a_restarted_container_goes_on_in_its_series(cluster: Cluster, kubelet: FakeKubelet) -> None:
    trainer = pod(1, "trainer-0", labels=dict(TRAIN_JOB))
    kubelet.pods = [trainer]
    process = cluster.run(trainer)
    cluster.start()
    cluster.tick(count=2)
    cluster.machine.exit(process)
    trainer.restarts = 1
    cluster.run(trainer)
    cluster.tick(count=4)

    assert cluster.joules()["ml", "trainer-0", "main"] >= 25 * WATTS
    assert cluster.by_name() == pytest.approx({"trainer-0": 30 * WATTS})
    assert [run.facts.name for run in cluster.snapshot.runs] == ["bert"]


def test_labels_that_change_change_what_is_told_and_not_the_key(cluster: Cluster, kubelet: FakeKubelet) -> None:
    """F61: long ones, escaped ones, an empty one, and the one that the key is made of, gone while the pod runs."""
    labels = {**TRAIN_JOB, "long": "x" * 63, "empty": "", "odd": "line\nfeed\u202e", "team": "vision"}
    trainer = pod(1, "trainer-0", labels=labels)
    kubelet.pods = [trainer]
    cluster.run(trainer)
    cluster.start()
    cluster.tick()
    before = cluster.snapshot.runs[0].facts
    usage = cluster.usage
    assert usage is not None
    kept = usage.labels[WorkloadId("pod", "ml", "trainer-0", "main")]
    trainer.labels.clear()
    trainer.labels["team"] = "speech"
    cluster.tick(count=70)
    after = cluster.snapshot.runs[0].facts

    assert (kept["long"], kept["empty"], kept["odd"]) == ("x" * 63, "", "line\ufffdfeed\ufffd")
    assert [run.facts.key for run in cluster.snapshot.runs] == [before.key]
    assert (before.team, after.team) == ("vision", "speech")
    assert (before.queue, after.queue) == ("research", "")


def test_a_rotated_token_is_read_anew(cluster: Cluster, kubelet: FakeKubelet, token_file: Path) -> None:
    """F62: an expired one is the 401 path."""
    cluster.start()
    kubelet.token = "token-2"  # noqa: S105 - of no real server
    cluster.tick(count=68)
    expired = cluster.finding()
    token_file.write_text("token-2\n", encoding="ascii")
    cluster.tick(count=62)

    assert (expired.state, cluster.finding().state) == ("down", "up")
    assert "token-2" not in expired.detail + expired.remedy


def test_the_page_names_pods_and_runs_and_tells_no_secret(cluster: Cluster, kubelet: FakeKubelet) -> None:
    trainer = pod(1, "trainer-0", labels=dict(TRAIN_JOB), accelerators=8)
    kubelet.pods = [trainer]
    cluster.run(trainer, environment={"RANK": "3", "LOCAL_RANK": "3", "WORLD_SIZE": "8"})
    cluster.start()
    cluster.tick(count=2)
    page = page_of(cluster.snapshot).decode()
    facts = cluster.snapshot.runs[0].facts

    assert cluster.joules()["ml", "trainer-0", "main"] > 0
    assert any("run_info{" in line and f'"{facts.key}"' in line and '"bert"' in line for line in page.splitlines())
    assert (facts.owner, facts.namespace, facts.identity) == ("TrainJob/bert", "ml", "kubernetes")
    assert (facts.queue, facts.team, facts.world_size, facts.ranks) == ("research", "vision", 8, 1)
    assert "canary-secret" not in page
    assert cluster.pods.facts == (
        PodFacts(
            namespace="ml",
            name="trainer-0",
            uid=trainer.uid,
            node="node-1",
            owner_kind="TrainJob",
            owner_name="bert",
            queue="research",
            team="vision",
            labels={"team": "vision", "kueue.x-k8s.io/queue-name": "research"},
        ),
    )


def test_a_run_of_kubernetes_has_all_of_its_pods_and_its_joules_once(cluster: Cluster, kubelet: FakeKubelet) -> None:
    pods = [pod(i, f"bert-node-0-{i}", labels=dict(TRAIN_JOB)) for i in range(3)]
    kubelet.pods = list(pods)
    for one in pods:
        cluster.run(one)
    cluster.start()
    cluster.tick(count=3)
    cluster.stop(pods[0])
    cluster.tick(count=2)
    (run,) = cluster.snapshot.runs

    assert sum(run.energy_j) == pytest.approx(sum(cluster.by_name().values()) + idle_j(cluster))


def idle_j(cluster: Cluster) -> float:
    """Return the idle joules that pods are charged."""
    return sum(sum(totals.energy_j) for totals in cluster.snapshot.workloads if totals.workload.kind == "pod") - sum(
        cluster.by_name().values()
    )


def test_a_forged_environment_loses_against_the_pod(cluster: Cluster, kubelet: FakeKubelet) -> None:
    """S-13: variables of another's run do not bring the joules there, nor do labels of another namespace."""
    victim = pod(1, "victim", labels=dict(TRAIN_JOB))
    forger = FakePod(name="forger", uid=uid(2), namespace="evil", labels=dict(TRAIN_JOB), accelerators=1)
    kubelet.pods = [victim, forger]
    forged = {"TORCHELASTIC_RUN_ID": "bert", "WATTRIBUTE_RUN": "", "SLURM_JOB_ID": "7", "SLURM_PROCID": "0"}
    cluster.run(victim, environment={"TORCHELASTIC_RUN_ID": "bert", "RANK": "0", "WORLD_SIZE": "1"})
    cluster.run(forger, environment=forged)
    cluster.start()
    cluster.tick(count=2)
    runs = {run.facts.namespace: run for run in cluster.snapshot.runs}

    assert set(runs) == {"ml", "evil"}
    assert runs["ml"].facts.key != runs["evil"].facts.key
    assert cluster.snapshot.event_counts["error", "identity", "job_conflict"] == 1


def test_one_name_in_the_environment_of_two_namespaces_is_two_runs(cluster: Cluster, kubelet: FakeKubelet) -> None:
    """S-13: most pods run as root, so the uid alone keeps nobody apart."""
    ours, theirs = pod(1), FakePod(name="other", uid=uid(2), namespace="evil")
    kubelet.pods = [ours, theirs]
    for one in (ours, theirs):
        cluster.run(one, environment={"WATTRIBUTE_RUN": "ablation"})
    cluster.start()
    cluster.tick()

    assert sorted(run.facts.namespace for run in cluster.snapshot.runs) == ["evil", "ml"]


def test_late_names_bring_the_run_together_without_counting_twice(cluster: Cluster, kubelet: FakeKubelet) -> None:
    """While a new pod waits for its name, no run is made of what its environment says."""
    cluster.start()
    cluster.tick()
    trainer = pod(1, "trainer-0", labels=dict(TRAIN_JOB))
    kubelet.pods = [trainer]
    cluster.run(trainer, environment={"RANK": "0", "WORLD_SIZE": "2", "MASTER_PORT": "29500"})
    cluster.tick(count=4)

    assert [run.facts.identity for run in cluster.snapshot.runs] == ["kubernetes"]
    assert sum(cluster.by_name().values()) == pytest.approx(20 * WATTS)


def test_a_restart_of_the_agent_keeps_counting_under_the_same_names(cluster: Cluster, kubelet: FakeKubelet) -> None:
    trainer = pod(1, "trainer-0")
    kubelet.pods = [trainer]
    cluster.run(trainer)
    cluster.start()
    cluster.tick(count=2)
    cluster.node.close()
    cluster.start()
    cluster.tick(count=2)

    assert cluster.by_name()["trainer-0"] == pytest.approx(20 * WATTS)


def test_pods_that_come_and_go_all_day_cost_a_bounded_number_of_calls(cluster: Cluster, kubelet: FakeKubelet) -> None:
    """Also with sandboxes, and with the group of a pod that no list has."""
    cluster.start()
    cluster.run(pod(999, "not in any list"))
    kubelet.pods = []
    alive: list[FakePod] = []
    for number in range(80):
        new = pod(number)
        kubelet.pods.append(new)
        alive.append(new)
        cluster.run(new, cpus=0.1)
        cluster.tick(7.5, count=2)
        if len(alive) > 5:
            cluster.stop(gone := alive.pop(0))
            kubelet.pods.remove(gone)

    assert kubelet.calls["/pods"] <= 1200 / 15 + 10 + 5
    assert cluster.by_name()["starting"] < 0.35 * sum(cluster.by_name().values())


def test_a_quiet_node_asks_twelve_times_an_hour(cluster: Cluster, kubelet: FakeKubelet) -> None:
    quiet = pod(1)
    kubelet.pods = [quiet]
    cluster.run(quiet)
    cluster.start()
    cluster.tick(count=60)
    settled = kubelet.calls["/pods"]
    cluster.tick(15.0, count=240)

    assert settled <= 7
    assert 10 <= kubelet.calls["/pods"] - settled <= 14
