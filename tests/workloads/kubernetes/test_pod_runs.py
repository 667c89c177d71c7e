"""Which run a pod belongs to, for every system that controls pods; the key is the same on every node."""

from __future__ import annotations

from dataclasses import replace

import pytest

from exporter.workloads.facts import CgroupIdentity, ProcessFacts
from exporter.workloads.kubernetes.pod_runs import launch_of, owner_of
from exporter.workloads.kubernetes.records import Owner, Pod
from exporter.workloads.kubernetes.settings import KubernetesSettings
from exporter.workloads.records import RunFacts, WorkloadId
from tests.workloads.identities import build_process, build_table
from tests.workloads.kubernetes.cluster import uid

SETTINGS = KubernetesSettings()
JOB = {"batch.kubernetes.io/controller-uid": "j1", "batch.kubernetes.io/job-name": "bert-node-0"}
TRAIN = {"jobset.sigs.k8s.io/jobset-name": "bert", "jobset.sigs.k8s.io/jobset-uid": "s1", **JOB}


def pod(number: int = 1, *, owner: Owner | None = None, accelerators: int = 0, **labels: str) -> Pod:
    return Pod(
        uid=uid(number), namespace="ml", name=f"pod-{number}", labels=labels, owner=owner, accelerators=accelerators
    )


def labelled(labels: dict[str, str], *, owner: Owner | None = None, accelerators: int = 0, number: int = 1) -> Pod:
    return replace(pod(number, owner=owner, accelerators=accelerators), labels=labels)


def process(one: Pod, pid: int = 100, *, container: str = "main", **facts: object) -> ProcessFacts:
    identity = CgroupIdentity(
        WorkloadId("pod", one.namespace, one.name, container),
        pod_uid=one.uid,
        container_id="c" * 64,
        pod=launch_of(one, SETTINGS),
    )
    return replace(build_process(pid, **facts), cgroup=identity)  # type: ignore[arg-type]


def run_of(*pods: Pod, env: dict[str, str] | None = None, readable: bool = True) -> list[RunFacts]:
    """Return the runs of a node on which each pod has one process."""
    table = build_table(readable=readable)
    for number, one in enumerate(pods):
        table.add(process(one, 100 + number, env=env, readable=readable))
    return list(table.facts().values())


def kubeflow(kind: str, role: str = "worker") -> tuple[dict[str, str], Owner]:
    labels = {
        "training.kubeflow.org/job-name": "bert",
        "training.kubeflow.org/operator-name": f"{kind.lower()}-controller",
        "training.kubeflow.org/replica-type": role,
        "training.kubeflow.org/replica-index": "1",
    }
    return labels, Owner(kind, "bert", "k1", "kubeflow.org/v1")


CASES = [
    (
        "trainjob",
        labelled({**TRAIN, "trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}),
        ("TrainJob/bert", "kubeflow"),
    ),
    ("jobset", labelled(TRAIN, owner=Owner("Job", "bert-node-0", "j1", "batch/v1")), ("JobSet/bert", "jobset")),
    *[
        (kind, labelled(kubeflow(kind)[0], owner=kubeflow(kind)[1]), (f"{kind}/bert", kind.lower()))
        for kind in ("PyTorchJob", "TFJob", "XGBoostJob", "PaddleJob", "JAXJob")
    ],
    (
        "lws",
        labelled({"leaderworkerset.sigs.k8s.io/name": "llama", "leaderworkerset.sigs.k8s.io/group-key": "g1"}),
        ("LeaderWorkerSet/llama", "leaderworkerset"),
    ),
    (
        "volcano",
        labelled({"volcano.sh/job-name": "bert"}, owner=Owner("Job", "bert", "v1", "batch.volcano.sh/v1alpha1")),
        ("Job.volcano.sh/bert", "volcano"),
    ),
    ("pod group", labelled({"kueue.x-k8s.io/pod-group-name": "sweep"}), ("PodGroup/sweep", "kueue")),
    (
        "job with gpus",
        labelled(JOB, owner=Owner("Job", "bert", "j1", "batch/v1"), accelerators=8),
        ("Job/bert", "job"),
    ),
    ("job in a queue", labelled({**JOB, "kueue.x-k8s.io/queue-name": "q"}), ("Job/bert-node-0", "job")),
    ("old job", labelled({"controller-uid": "j1", "job-name": "bert"}, accelerators=1), ("Job/bert", "job")),
    (
        "rayjob",
        labelled(
            {
                "ray.io/cluster": "bert-x7k2p",
                "ray.io/originated-from-crd": "RayJob",
                "ray.io/originated-from-cr-name": "bert",
            },
            owner=Owner("RayCluster", "bert-x7k2p", "r1", "ray.io/v1"),
        ),
        ("RayJob/bert", "ray"),
    ),
]


@pytest.mark.parametrize(("one", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_pod_of_a_training_system_is_of_its_run_whatever_can_be_read(one: Pod, expected: tuple[str, str]) -> None:
    """Also without any right to read environments."""
    (readable,), (blind,) = run_of(one), run_of(one, readable=False)

    assert readable.key == blind.key
    assert (readable.owner, readable.framework) == expected
    assert (readable.identity, readable.namespace) == ("kubernetes", "ml")
    assert readable.name == readable.owner.rpartition("/")[2]


@pytest.mark.parametrize("one", [case[1] for case in CASES], ids=[case[0] for case in CASES])
def test_the_pods_of_one_object_are_one_run_and_those_of_another_namespace_another(one: Pod) -> None:
    elsewhere = replace(one, uid=uid(2), name="pod-2")
    foreign = replace(one, uid=uid(3), namespace="evil")

    assert len(run_of(one, elsewhere)) == 1
    assert len(run_of(one, foreign)) == 2


def test_the_launcher_and_the_workers_of_an_mpi_job_are_one_run() -> None:
    """The launcher is the pod of a Job, the workers are the MPIJob's own."""
    labels = {"training.kubeflow.org/job-name": "pi", "training.kubeflow.org/operator-name": "mpi-operator"}
    launcher = labelled({**labels, **JOB}, owner=Owner("Job", "pi-launcher", "j1", "batch/v1"))
    worker = labelled(labels, owner=Owner("MPIJob", "pi", "m1", "kubeflow.org/v2beta1"), number=2)
    (run,) = run_of(launcher, worker)

    assert (run.owner, run.framework) == ("MPIJob/pi", "mpijob")


def test_two_objects_of_one_name_one_after_the_other_are_two_runs() -> None:
    labels, owner = kubeflow("PyTorchJob")
    again = labelled(labels, owner=owner._replace(uid="k2"), number=2)

    assert len(run_of(labelled(labels, owner=owner), again)) == 2


def test_an_ordinary_job_is_a_run_only_if_something_in_it_launches_training() -> None:
    ordinary = labelled(JOB, owner=Owner("Job", "backup", "j1", "batch/v1"))
    launched = run_of(ordinary, env={"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500", "WORLD_SIZE": "2", "RANK": "0"})

    assert run_of(ordinary) == []
    assert [(run.identity, run.owner) for run in launched] == [("kubernetes", "Job/backup")]


@pytest.mark.parametrize(
    ("owner", "labels", "expected"),
    [
        (Owner("ReplicaSet", "web-5d8f", "1", "apps/v1"), {"pod-template-hash": "5d8f"}, ("Deployment", "web")),
        (Owner("StatefulSet", "db", "1", "apps/v1"), {}, ("StatefulSet", "db")),
        (Owner("DaemonSet", "agent", "1", "apps/v1"), {}, ("DaemonSet", "agent")),
        (None, {}, ("", "")),
    ],
)
def test_services_are_no_runs_and_have_an_owner(
    owner: Owner | None, labels: dict[str, str], expected: tuple[str, str]
) -> None:
    one = labelled(labels, owner=owner, accelerators=1)

    assert run_of(one) == []
    assert owner_of(one) == expected


def test_a_ray_cluster_has_a_run_for_each_of_its_jobs() -> None:
    """One raylet hosts many jobs, so the pod is too coarse; who has no job is of no run."""
    cluster = labelled({"ray.io/cluster": "shared"}, owner=Owner("RayCluster", "shared", "r1", "ray.io/v1"))
    table = build_table()
    for pid, job in ((100, "01000000"), (101, "02000000"), (102, "01000000"), (103, ""), (104, "ffffffff")):
        table.add(process(cluster, pid, env={"RAY_JOB_ID": job}))

    assert table.run_of(100) == table.run_of(102) != table.run_of(101)
    assert (table.run_of(103), table.run_of(104)) == (None, None)
    assert {run.name for run in table.facts().values()} == {"shared"}


def test_an_annotation_names_the_run_before_its_controller_does() -> None:
    named = replace(labelled(TRAIN), annotations={"wattribute/run": "ablation-7"})
    (run,) = run_of(named, env={"WATTRIBUTE_RUN": "other"})

    assert (run.name, run.identity, run.namespace) == ("ablation-7", "explicit", "ml")


def test_a_variable_names_the_run_before_its_controller_does() -> None:
    (run,) = run_of(labelled(TRAIN), env={"WATTRIBUTE_RUN": "mine"})

    assert (run.name, run.identity) == ("mine", "explicit")


@pytest.mark.parametrize(
    ("labels", "rank"),
    [
        ({**TRAIN, "jobset.sigs.k8s.io/job-global-index": "3"}, "3"),
        ({**JOB, "kueue.x-k8s.io/queue-name": "q", "batch.kubernetes.io/job-completion-index": "5"}, "5"),
        ({**kubeflow("PyTorchJob")[0]}, "1"),
        ({**TRAIN, "jobset.sigs.k8s.io/job-global-index": "x"}, ""),
    ],
)
def test_the_index_of_a_pod_with_one_device_is_its_rank(labels: dict[str, str], rank: str) -> None:
    table = build_table(readable=False)
    table.add(process(labelled(labels, accelerators=1), 100, readable=False))

    assert table.rank_of(100) == rank


def test_the_index_of_a_pod_with_many_devices_is_no_rank_and_the_environment_knows_better() -> None:
    labels = {**TRAIN, "jobset.sigs.k8s.io/job-global-index": "3"}
    table = build_table()
    table.add(process(labelled(labels, accelerators=8), 100))
    table.add(process(labelled(labels, accelerators=1, number=2), 101, env={"RANK": "9", "WORLD_SIZE": "16"}))

    assert (table.rank_of(100), table.rank_of(101)) == ("", "9")


def test_the_sandbox_has_no_rank() -> None:
    labels = {**TRAIN, "jobset.sigs.k8s.io/job-global-index": "3"}
    table = build_table(readable=False)
    table.add(process(labelled(labels, accelerators=1), 100, container="", comm="pause", args="/pause", readable=False))
    table.add(process(labelled(labels, accelerators=1), 101, readable=False))

    assert (table.rank_of(100), table.rank_of(101)) == ("", "3")


def test_queue_and_team_come_from_the_configured_labels() -> None:
    labels = {**TRAIN, "kueue.x-k8s.io/queue-name": "research", "app.kubernetes.io/part-of": "vision"}
    (run,) = run_of(labelled(labels))

    assert (run.queue, run.team) == ("research", "vision")
