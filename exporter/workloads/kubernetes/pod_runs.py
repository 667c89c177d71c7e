"""Which training run a pod belongs to, by what its controller wrote on it.

A key is made of the namespace and of what the controller alone decides, so that it is the same on every node and that
labels which somebody copies reach no run of another namespace. Sources: the label references of Kubeflow Trainer
and Training Operator, mpi-operator, JobSet, LeaderWorkerSet, KubeRay, Volcano and Kueue; Kubernetes' own well-known
labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from exporter.workloads.facts import PodLaunch
from exporter.workloads.kubernetes.records import Pod
from exporter.workloads.kubernetes.settings import KubernetesSettings

__all__ = ["RUN_ANNOTATION", "kept_annotations", "launch_of", "owner_of"]

RUN_ANNOTATION = "wattribute/run"
"""An annotation or label of a pod that names its run, whatever controls it."""

_TRAINING = "training.kubeflow.org/"
_JOBSET = "jobset.sigs.k8s.io/"
_BATCH = "batch.kubernetes.io/"
_LWS = "leaderworkerset.sigs.k8s.io/"
_TRAINING_KINDS = {
    "PyTorchJob": "pytorchjob",
    "TFJob": "tfjob",
    "XGBoostJob": "xgboostjob",
    "PaddleJob": "paddlejob",
    "JAXJob": "jaxjob",
    "MXJob": "mxjob",
}
_OPERATOR_KINDS = {
    "mpi-operator": "MPIJob",
    "mpijob-controller": "MPIJob",
    "pytorchjob-controller": "PyTorchJob",
    "tfjob-controller": "TFJob",
    "xgboostjob-controller": "XGBoostJob",
    "paddlejob-controller": "PaddleJob",
    "jaxjob-controller": "JAXJob",
}
_RANK_LABELS = (
    "jobset.sigs.k8s.io/job-global-index",
    "training.kubeflow.org/replica-index",
    "batch.kubernetes.io/job-completion-index",
    "volcano.sh/task-index",
    "leaderworkerset.sigs.k8s.io/worker-index",
)
_COMPLETION_INDEX = "batch.kubernetes.io/job-completion-index"
_RAY_CLUSTER = "ray.io/cluster"
_RAY_ORIGIN = "ray.io/originated-from-cr-name"
_RAY_ORIGIN_KIND = "ray.io/originated-from-crd"


class _Workload(NamedTuple):
    """What a pod's controller makes of it.

    Attributes:
        kind, name: the object that people know.
        key: what is unique of it, or nothing: no run.
        framework: how it launches.
        is_certain: whether it always is a run.
        variable: the variable that tells its runs apart, or empty.
    """

    kind: str
    name: str
    key: tuple[str, ...] = ()
    framework: str = ""
    is_certain: bool = True
    variable: str = ""


def kept_annotations(settings: KubernetesSettings) -> frozenset[str]:
    """Return the annotations that are looked at; all others are dropped while they are read."""
    return frozenset({RUN_ANNOTATION, _COMPLETION_INDEX, *settings.queue_labels, *settings.team_labels})


def launch_of(pod: Pod, settings: KubernetesSettings) -> PodLaunch:
    """Return what the pod says of its run."""
    workload = next(_workloads(pod))
    values: Mapping[str, str] = {**pod.annotations, **pod.labels}
    explicit = pod.annotations.get(RUN_ANNOTATION) or pod.labels.get(RUN_ANNOTATION, "")
    has_one_rank = pod.accelerators <= 1 and workload.kind != "RayCluster"
    return PodLaunch(
        namespace=pod.namespace,
        owner=f"{workload.kind}/{workload.name}" if workload.kind else "",
        queue=_first(values, settings.queue_labels),
        team=_first(values, settings.team_labels),
        explicit=explicit,
        key=workload.key,
        name=workload.name,
        framework=workload.framework,
        is_certain=workload.is_certain,
        variable=workload.variable,
        rank=_rank(values) if workload.key and has_one_rank else "",
    )


def owner_of(pod: Pod) -> tuple[str, str]:
    """Return kind and name of the workload that people know a pod by: a TrainJob, a Deployment, else its controller."""
    workload = next(_workloads(pod))
    return workload.kind, workload.name


def _first(values: Mapping[str, str], names: Sequence[str]) -> str:
    return next((values[name] for name in names if values.get(name)), "")


def _rank(values: Mapping[str, str]) -> str:
    index = _first(values, _RANK_LABELS)
    return str(int(index)) if index.isascii() and index.isdigit() and len(index) < 7 else ""  # noqa: PLR2004


def _workloads(pod: Pod) -> Iterator[_Workload]:
    """Yield what the pod may be a part of, the outermost controller first; at least one."""
    for reader in (_jobset, _leader_worker_set, _kubeflow, _ray, _volcano, _pod_group, _batch_job):
        found = reader(pod)
        if found is not None:
            yield found
    yield _plain(pod)


def _jobset(pod: Pod) -> _Workload | None:
    labels = pod.labels
    name, uid = labels.get(f"{_JOBSET}jobset-name", ""), labels.get(f"{_JOBSET}jobset-uid", "")
    if not name:
        return None
    is_trainer = "trainer.kubeflow.org/trainjob-ancestor-step" in labels
    kind, framework = ("TrainJob", "kubeflow") if is_trainer else ("JobSet", "jobset")
    return _Workload(kind, name, ("jobset", uid or name), framework)


def _leader_worker_set(pod: Pod) -> _Workload | None:
    name, group = pod.labels.get(f"{_LWS}name", ""), pod.labels.get(f"{_LWS}group-key", "")
    return _Workload("LeaderWorkerSet", name, ("lws", group), "leaderworkerset") if name and group else None


def _kubeflow(pod: Pod) -> _Workload | None:
    labels, owner = pod.labels, pod.owner
    name = labels.get(f"{_TRAINING}job-name", "")
    if not name:
        return None
    operator = labels.get(f"{_TRAINING}operator-name", "")
    kind = _OPERATOR_KINDS.get(operator, owner.kind if owner is not None else "Job")
    if owner is not None and owner.kind in _TRAINING_KINDS and owner.api.startswith("kubeflow.org/"):
        return _Workload(owner.kind, owner.name, ("training", owner.uid), _TRAINING_KINDS[owner.kind])
    # The launcher of an MPIJob is the pod of a Job, its workers are the MPIJob's own: only the name is common.
    return _Workload(kind, name, ("training", kind, name), kind.lower())


def _ray(pod: Pod) -> _Workload | None:
    labels, owner = pod.labels, pod.owner
    cluster = labels.get(_RAY_CLUSTER, "")
    if not cluster:
        return None
    uid = owner.uid if owner is not None and owner.kind == "RayCluster" else cluster
    if labels.get(_RAY_ORIGIN_KIND) == "RayJob" and labels.get(_RAY_ORIGIN):
        return _Workload("RayJob", labels[_RAY_ORIGIN], ("ray", uid), "ray")
    return _Workload("RayCluster", cluster, ("ray", uid), "ray", variable="RAY_JOB_ID")


def _volcano(pod: Pod) -> _Workload | None:
    labels, owner = pod.labels, pod.owner
    name = labels.get("volcano.sh/job-name", "") or pod.annotations.get("volcano.sh/job-name", "")
    if not name:
        return None
    if owner is not None and owner.kind == "Job" and owner.api.startswith("batch.volcano.sh/"):
        return _Workload("Job.volcano.sh", name, ("volcano", owner.uid), "volcano")
    return _Workload("Job.volcano.sh", name, ("volcano", name, labels.get("volcano.sh/job-version", "")), "volcano")


def _pod_group(pod: Pod) -> _Workload | None:
    name = pod.labels.get("kueue.x-k8s.io/pod-group-name", "")
    return _Workload("PodGroup", name, ("pod-group", name), "kueue") if name else None


def _batch_job(pod: Pod) -> _Workload | None:
    """Return a Job: certainly a run if it asks for accelerators or queues at Kueue, else if what is in it shows it."""
    labels, owner = pod.labels, pod.owner
    uid = labels.get(f"{_BATCH}controller-uid", "") or labels.get("controller-uid", "")
    name = labels.get(f"{_BATCH}job-name", "") or labels.get("job-name", "")
    if owner is not None and owner.kind == "Job" and owner.api.startswith("batch/"):
        uid, name = owner.uid, owner.name
    elif owner is not None or not uid:
        return None
    is_certain = pod.accelerators > 0 or bool(labels.get("kueue.x-k8s.io/queue-name"))
    return _Workload("Job", name, ("job", uid), "job", is_certain=is_certain)


def _plain(pod: Pod) -> _Workload:
    owner = pod.owner
    if owner is None:
        return _Workload("", "")
    template = pod.labels.get("pod-template-hash", "")
    if owner.kind == "ReplicaSet" and template and owner.name.endswith(f"-{template}"):
        return _Workload("Deployment", owner.name.removesuffix(f"-{template}"))
    return _Workload(owner.kind, owner.name)
