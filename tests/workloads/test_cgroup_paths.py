from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.workloads.cgroup_paths import classify_cgroup
from exporter.workloads.records import WorkloadId

A = "ab" * 32
B = "cd" * 32
UID = "0c1e9a7e-61b4-4d0f-9a6b-2f5d7c8e9f10"
SLICE_UID = UID.replace("-", "_")
POD_SLICE = f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{SLICE_UID}.slice"
POD = WorkloadId("pod", "", UID, B[:12])
JOB = WorkloadId("slurm_job", "", "123")
SLUID = "sEKNKTV3WPV500"


@pytest.mark.parametrize(
    "path",
    [
        f"{POD_SLICE}/cri-containerd-{B}.scope",
        f"/kubepods.slice/kubepods-pod{SLICE_UID}.slice/cri-containerd-{B}.scope",
        f"{POD_SLICE}/crio-{B}.scope/container",
        f"/kubepods/burstable/pod{UID}/{B}",
        f"/kubepods/besteffort/pod{UID}/{B}",
        f"/system.slice/containerd.service/kubepods-burstable-pod{SLICE_UID}.slice:cri-containerd:{B}",
        (
            f"/system.slice/docker-{A}.scope/kubelet.slice/kubelet-kubepods.slice/"
            f"kubelet-kubepods-burstable-pod{SLICE_UID}.slice/cri-containerd-{B}.scope"
        ),
        f"/../../kubepods-burstable-pod{SLICE_UID}.slice/cri-containerd-{B}.scope",
        f"{POD_SLICE}/cri-containerd-{B}.scope/docker/{A}",
        f"{POD_SLICE}/cri-containerd-{B}.scope/system.slice/foo.service",
    ],
)
def test_every_form_of_a_pod_path_gives_pod_and_container(path: str) -> None:
    """F50, F56: the drivers, nested kind, containers within the pod's container, cgroup namespaces."""
    found = classify_cgroup(path)

    assert (found.workload, found.pod_uid, found.container_id) == (POD, UID, B)


@pytest.mark.parametrize("tail", ["", f"/crio-conmon-{B}.scope"])
def test_conmon_and_the_pod_itself_are_no_container(tail: str) -> None:
    """F56."""
    assert classify_cgroup(POD_SLICE + tail).workload == WorkloadId("pod", "", UID)


def test_a_static_pods_uid_has_no_dashes() -> None:
    """F58."""
    static = "0123456789abcdef0123456789abcdef"

    assert classify_cgroup(f"/kubepods/burstable/pod{static}/{B}").pod_uid == static


@pytest.mark.parametrize(
    "path",
    [
        "/system.slice/slurmstepd.scope/job_123",
        "/system.slice/slurmstepd.scope/job_123/step_0/user/task_0",
        "/system.slice/slurmstepd.scope/job_123/step_batch/slurm",
        "/system.slice/slurmstepd.scope/job_123/step_extern/user/task_special",
        "/system.slice/node7_slurmstepd.scope/job_123/step_interactive/user/task_0",
        "/slurm/uid_1000/job_123/step_batch/task_0",
        "/slurm_node7/uid_1000/job_123",
        "/../job_123/step_1/user",
        f"/system.slice/slurmstepd.scope/job_123/step_0/user/libpod-{A}.scope",
    ],
)
def test_every_step_of_a_job_is_charged_to_the_job(path: str) -> None:
    """F55."""
    found = classify_cgroup(path)

    assert (found.workload, found.job_system, found.job_id) == (JOB, "slurm", "123")


def test_a_sluid_stands_where_the_job_id_was() -> None:
    """F55."""
    found = classify_cgroup(f"/system.slice/slurmstepd.scope/{SLUID}/step_extern/user/task_special")

    assert (found.job_system, found.job_id, found.step) == ("slurm", SLUID, "extern")


@pytest.mark.parametrize(
    ("path", "workload"),
    [
        (f"/system.slice/docker-{A}.scope", WorkloadId("container", "", A[:12])),
        (f"/docker/{A}", WorkloadId("container", "", A[:12])),
        (f"/machine.slice/libpod-{A}.scope/container", WorkloadId("container", "", A[:12])),
        (f"/machine.slice/libpod-payload-{A}", WorkloadId("container", "", A[:12])),
        (
            f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{A}.scope",
            WorkloadId("container", "", A[:12]),
        ),
        (f"/system.slice/nerdctl-{A}.scope", WorkloadId("container", "", A[:12])),
        (f"/default/{A}", WorkloadId("container", "", A[:12])),
        (f"/ecs/0123456789abcdef0123456789abcdef/{A}", WorkloadId("container", "", A[:12])),
        (
            "/ecs/0123456789abcdef0123456789abcdef/0123456789abcdef0123456789abcdef-1234567890",
            WorkloadId("container", "", "0123456789abcdef0123456789abcdef-1234567890"),
        ),
        ("/lxc.payload.web/system.slice/nginx.service", WorkloadId("container", "", "web")),
        ("/lxc/web/init.scope", WorkloadId("container", "", "web")),
        ("/pbs_jobs.service/jobid/33339.server", WorkloadId("pbs_job", "", "33339.server")),
        ("/pbspro/123[4].head-1", WorkloadId("pbs_job", "", "123[4].head-1")),
        ("/lsf/cluster1/job.1234[5].678.1600000000", WorkloadId("lsf_job", "", "1234[5]")),
        (
            r"/machine.slice/machine-qemu\x2d1\x2dinstance\x2d00000002.scope/libvirt/vcpu0",
            WorkloadId("vm", "", "instance-00000002"),
        ),
        ("/machine/qemu-1-web.libvirt-qemu/emulator", WorkloadId("vm", "", "web")),
        ("/qemu.slice/100.scope", WorkloadId("vm", "", "100")),
        (r"/machine.slice/machine-box.scope", WorkloadId("container", "", "box")),
        ("/machine.slice/systemd-nspawn@box.service/payload", WorkloadId("container", "", "box")),
        ("/system.slice/nginx.service/worker", WorkloadId("unit", "", "nginx.service")),
        ("/init.scope", WorkloadId("unit", "", "init.scope")),
        ("/user.slice/user-1000.slice/session-3.scope", WorkloadId("session", "ada", "session-3")),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/train.service",
            WorkloadId("user_unit", "ada", "train.service"),
        ),
        (
            "/user.slice/user-1001.slice/user@1001.service",
            WorkloadId("user_unit", "1001", "user@1001.service"),
        ),
        ("/system.slice", WorkloadId("slice", "", "system.slice")),
        ("/something/else", WorkloadId("cgroup", "", "/something/else")),
    ],
)
def test_path_names_its_workload(path: str, workload: WorkloadId) -> None:
    found = classify_cgroup(path, user_name=lambda uid: "ada" if uid == 1000 else "")

    assert found.workload == workload


@pytest.mark.parametrize("path", ["", "/", "/..", "/../.."])
def test_the_root_is_the_system(path: str) -> None:
    found = classify_cgroup(path)

    assert found.is_root
    assert found.workload.kind == "system"


@pytest.mark.parametrize("path", ["/job_12", f"/x/{SLUID}", "/job.12", "/12.server", "/podium", f"/x/{A[:63]}"])
def test_a_look_alike_stays_an_unknown_cgroup(path: str) -> None:
    assert classify_cgroup(path).workload == WorkloadId("cgroup", "", path)


def test_long_paths_stay_bounded_and_distinct() -> None:
    """F54: depth 40, names of 255 bytes with backslashes."""
    deep = "/" + "/".join("\\" * 255 for _ in range(40))
    names = {classify_cgroup(deep + end).workload.name for end in ("/a", "/b")}

    assert len(names) == 2
    assert all(len(name) <= 128 for name in names)


SEGMENT = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["..", f"kubepods-pod{SLICE_UID}.slice", f"crio-{A}.scope", "slurmstepd.scope", "job_1", "pbs"]),
)


@given(parts=st.lists(SEGMENT, max_size=45))
def test_any_path_is_charged_to_somebody_with_a_clean_name(parts: list[str]) -> None:
    workload = classify_cgroup("/" + "/".join(parts)).workload

    assert workload.kind
    assert all(len(text) <= 128 and text.isprintable() for text in workload)
