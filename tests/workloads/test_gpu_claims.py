"""Which GPUs a batch scheduler allotted to whom: the devices controller, the job's variables, and forgeries."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.testing import CgroupLayout, SimulatedNode
from exporter.testing.kernel_files import overwrite
from exporter.workloads import UsageSample
from exporter.workloads.gpu_claims import parse_allowed_gpus, parse_gpu_list
from tests.workloads.following import Follower, rank

_JOB = "/slurm/uid_1000/job_42"
_STEP = f"{_JOB}/step_0"
_SERVICE = "/system.slice/batch.service"
_CONTROL = "c 195:255 rwm"
_TASK = {"SLURM_JOB_ID": "42", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}


def _claims(sample: UsageSample) -> list[tuple[str, bool, str]]:
    """Return name of the workload, whether a run, and device of each claim."""
    leaves = [(sample.leaves[claim.leaf], claim.device) for claim in sample.gpu_claims]
    return sorted((leaf.workload.name, leaf.run is not None, device) for leaf, device in leaves)


def _held(sample: UsageSample) -> list[str]:
    return sorted(claim.device for claim in sample.gpu_claims)


def test_the_gpus_that_a_jobs_group_may_open_are_its_claims(tmp_path: Path) -> None:
    node = SimulatedNode(tmp_path, layout="v1")
    node.spawn("a.out", cgroup=_STEP)
    node.cgroups.allow_devices(_STEP, "c 1:3 rwm", "c 195:2 rwm", "c 195:5 rw", _CONTROL)
    with Follower(node) as follower:
        sample = follower.tick()

    assert _claims(sample) == [("42", True, "minor:2"), ("42", True, "minor:5")]


def test_several_processes_of_a_leaf_make_one_claim_per_gpu(tmp_path: Path) -> None:
    node = SimulatedNode(tmp_path, layout="v1")
    for number in range(3):
        node.spawn("python3", cgroup=_STEP, environment=rank(number))
    node.cgroups.allow_devices(_STEP, "c 195:0 rwm", "c 195:1 rwm")
    with Follower(node) as follower:
        sample = follower.tick()

    assert _claims(sample) == [("42", True, "minor:0"), ("42", True, "minor:1")]


def test_the_nearest_restricted_group_of_the_job_counts(tmp_path: Path) -> None:
    node = SimulatedNode(tmp_path, layout="v1")
    node.spawn("a.out", cgroup=f"{_STEP}/task_0")
    node.cgroups.allow_devices(_JOB, "c 195:0 rwm", "c 195:1 rwm")
    with Follower(node) as follower:
        of_job = follower.tick()
        node.cgroups.allow_devices(_STEP, "c 195:1 rwm")
        of_step = follower.tick(70.0)

    assert (_held(of_job), _held(of_step)) == (["minor:0", "minor:1"], ["minor:1"])


def test_what_stands_above_the_job_says_nothing_of_it(tmp_path: Path) -> None:
    """All of Slurm may run in a container that sees some GPUs."""
    node = SimulatedNode(tmp_path, layout="v1")
    node.spawn("a.out", cgroup=_STEP)
    node.cgroups.allow_devices("/slurm", "c 195:0 rwm")
    with Follower(node) as follower:
        sample = follower.tick()

    assert sample.gpu_claims == []


@pytest.mark.parametrize("entry", ["a *:* rwm", "c 195:* rwm", "c *:* rw"])
def test_a_group_that_is_not_restricted_claims_nothing(tmp_path: Path, entry: str) -> None:
    node = SimulatedNode(tmp_path, layout="v1")
    node.spawn("a.out", cgroup=_STEP)
    node.cgroups.allow_devices(_STEP, "c 195:0 rwm", entry)
    with Follower(node) as follower:
        sample = follower.tick()

    assert sample.gpu_claims == []


def test_a_missing_list_claims_nothing(tmp_path: Path) -> None:
    node = SimulatedNode(tmp_path, layout="v1")
    node.spawn("a.out", cgroup=_STEP)
    for group in (_STEP, _JOB):
        (node.roots.cgroupfs / f"devices{group}/devices.list").unlink()
    with Follower(node) as follower:
        sample = follower.tick()

    assert (sample.gpu_claims, sample.events) == ([], [])


def test_a_job_that_only_the_devices_hierarchy_shows_has_claims(tmp_path: Path) -> None:
    """Slurm without jobacct_gather/cgroup leaves the accounting hierarchy alone."""
    node = SimulatedNode(tmp_path, layout="v1")
    process = node.spawn("a.out", cgroup="/system.slice/slurmd.service")
    node.cgroups.ensure(_STEP)
    node.cgroups.allow_devices(_STEP, "c 195:3 rwm")
    lines = f"5:devices:{_STEP}\n2:cpu,cpuacct:/system.slice/slurmd.service\n"
    overwrite(node.roots.procfs / str(process.pid) / "cgroup", lines.encode())
    with Follower(node) as follower:
        sample = follower.tick()
        node.spawn("b.out", cgroup=_SERVICE)
        later = follower.tick()

    assert [("42", True, "minor:3")] == _claims(sample) == _claims(later)


def test_a_service_that_may_open_single_gpus_is_no_batch_job(tmp_path: Path) -> None:
    node = SimulatedNode(tmp_path, layout="v1")
    node.spawn("server", cgroup=_SERVICE, environment={"SLURM_JOB_GPUS": "0"})
    node.cgroups.allow_devices(_SERVICE, "c 195:0 rwm")
    with Follower(node) as follower:
        sample = follower.tick()

    assert sample.gpu_claims == []


@pytest.mark.parametrize("layout", ["v1", "v2", "hybrid"])
def test_without_a_restricted_group_the_jobs_variables_tell(tmp_path: Path, layout: CgroupLayout) -> None:
    """The step's before the job's; what is visible to CUDA is relative to the job and never read."""
    node = SimulatedNode(tmp_path, layout=layout)
    variables = {"SLURM_JOB_GPUS": "0-3", "CUDA_VISIBLE_DEVICES": "7"}
    node.spawn("a.out", cgroup=_STEP, environment=variables)
    node.spawn("b.out", cgroup="/slurm/uid_1/job_43/step_0", environment=variables | {"SLURM_STEP_GPUS": "2"})
    with Follower(node) as follower:
        sample = follower.tick()

    assert [*(("42", True, f"index:{number}") for number in range(4)), ("43", True, "index:2")] == _claims(sample)


@pytest.mark.parametrize("entries", [["c 195:1 rwm", _CONTROL], [_CONTROL], []])
def test_forged_variables_lose_against_a_restricted_group(tmp_path: Path, entries: Collection[str]) -> None:
    """A group that may open no GPU holds none, whatever its processes say."""
    node = SimulatedNode(tmp_path, layout="v1")
    node.spawn("a.out", cgroup=_STEP, environment={"SLURM_STEP_GPUS": "0-7", "SLURM_JOB_GPUS": "0-7"})
    node.cgroups.allow_devices(_STEP, *entries)
    with Follower(node) as follower:
        sample = follower.tick()

    assert _held(sample) == (["minor:1"] if len(entries) > 1 else [])


def test_a_slurm_that_does_without_groups_is_known_by_its_runs(tmp_path: Path) -> None:
    node = SimulatedNode(tmp_path)
    node.spawn("a.out", cgroup=_SERVICE, environment=_TASK | {"SLURM_STEP_GPUS": "4,5"})
    with Follower(node) as follower:
        sample = follower.tick()

    assert _claims(sample) == [("batch.service", True, "index:4"), ("batch.service", True, "index:5")]


def test_a_pod_that_says_it_is_a_slurm_job_holds_nothing(tmp_path: Path) -> None:
    node = SimulatedNode(tmp_path)
    pod = "/kubepods/pod0a1b2c3d-1111-2222-3333-444455556666"
    node.spawn("a.out", cgroup=pod, environment=_TASK | {"SLURM_STEP_GPUS": "4,5"})
    with Follower(node) as follower:
        sample = follower.tick()

    assert sample.gpu_claims == []


def test_a_run_that_is_no_slurm_job_holds_nothing(tmp_path: Path) -> None:
    node = SimulatedNode(tmp_path)
    node.spawn("python3", cgroup=_SERVICE, environment={**rank(0), "SLURM_STEP_GPUS": "4,5"})
    with Follower(node) as follower:
        sample = follower.tick()

    assert sample.gpu_claims == []


def test_claims_go_with_the_leaf_and_a_new_job_brings_its_own(tmp_path: Path) -> None:
    node = SimulatedNode(tmp_path, layout="v1")
    process = node.spawn("python3", cgroup=_STEP, environment=rank(0))
    node.cgroups.allow_devices(_STEP, "c 195:0 rwm")
    with Follower(node) as follower:
        held = follower.tick()
        node.exit(process)
        follower.tick()
        after = follower.tick()
        node.spawn("python3", cgroup="/slurm/uid_1/job_43/step_0", environment=rank(0, run="beta"))
        node.cgroups.allow_devices("/slurm/uid_1/job_43", "c 195:0 rwm")
        again = follower.tick()

    assert (_claims(held), after.gpu_claims) == ([("42", True, "minor:0")], [])
    assert _claims(again) == [("43", True, "minor:0")]


def test_a_step_made_again_is_read_again(tmp_path: Path) -> None:
    """A requeued job has the same number and path, and other GPUs."""
    node = SimulatedNode(tmp_path, layout="v1")
    node.spawn("a.out", cgroup=_STEP)
    node.cgroups.allow_devices(_STEP, "c 195:0 rwm")
    with Follower(node) as follower:
        follower.tick()
        node.remove_cgroup(_JOB)
        follower.tick()
        node.spawn("a.out", cgroup=_STEP)
        node.cgroups.allow_devices(_STEP, "c 195:6 rwm")
        sample = follower.tick()

    assert _held(sample) == ["minor:6"]


def test_a_list_is_read_again_after_a_minute_and_not_before(tmp_path: Path) -> None:
    node = SimulatedNode(tmp_path, layout="v1")
    node.spawn("a.out", cgroup=_STEP)
    node.cgroups.allow_devices(_STEP, "c 195:0 rwm")
    with Follower(node) as follower:
        follower.tick()
        node.cgroups.allow_devices(_STEP, "c 195:1 rwm")
        node.spawn("sleep", cgroup=_SERVICE)
        soon = follower.tick()
        late = follower.tick(60.0)

    assert (_held(soon), _held(late)) == (["minor:0"], ["minor:1"])


def test_the_part_of_a_job_without_a_run_gives_way_to_a_run(tmp_path: Path) -> None:
    """The ``sleep`` of Slurm's external step may open the job's GPUs too; their idle energy is the training's."""
    node = SimulatedNode(tmp_path, layout="v1")
    node.spawn("sleep", cgroup=f"{_JOB}/step_extern")
    node.cgroups.allow_devices(_JOB, "c 195:0 rwm", "c 195:1 rwm")
    with Follower(node) as follower:
        waiting = follower.tick()
        node.spawn("python3", cgroup=_STEP, environment={"WATTRIBUTE_RUN": "mine"})
        node.cgroups.allow_devices(_STEP, "c 195:0 rwm")
        training = follower.tick()

    assert _claims(waiting) == [("42", False, "minor:0"), ("42", False, "minor:1")]
    assert _claims(training) == [("42", False, "minor:1"), ("42", True, "minor:0")]


def test_of_two_runs_in_a_job_the_one_on_a_gpu_holds_what_both_may_use(tmp_path: Path) -> None:
    """The script belongs to the job's run, the training to the run that the script named."""
    node = SimulatedNode(tmp_path, layout="v1")
    node.spawn("bash", cgroup=f"{_JOB}/step_batch", environment=_TASK)
    trainer = node.spawn("python3", cgroup=_STEP, environment={"WATTRIBUTE_RUN": "mine"})
    node.cgroups.allow_devices(_JOB, "c 195:0 rwm")
    with Follower(node) as follower:
        loading = follower.tick()
        training = follower.tick(gpu_pids=[trainer.pid])

    assert len(loading.gpu_claims) == 2
    assert [claim.leaf for claim in training.gpu_claims] == [training.gpu_users[trainer.pid].leaf]


@pytest.mark.parametrize(
    ("raw", "gpus"),
    [
        (b"c 195:0 rwm\nc 195:7 r\nc 195:254 rw\nc 195:255 rwm\n", {0, 7}),
        (b"", set()),
        (b"c *:* m\nb *:* m\nc 1:3 rwm\nc 195:3 m\n", set()),
        (b"b 195:3 rwm\n", set()),
        (b"a *:* rwm\n", None),
        (b"c 195:0 rwm\nc 195:* rw\n", None),
    ],
)
def test_a_list_of_devices_is_read_for_its_gpus(raw: bytes, gpus: set[int] | None) -> None:
    """254 and 255 are the driver's own nodes; ``m`` allows to make a node and not to open it."""
    assert gpus == parse_allowed_gpus(raw)


@pytest.mark.parametrize(
    ("text", "gpus"),
    [("0", {0}), ("0,3", {0, 3}), ("0-2, 5", {0, 1, 2, 5}), ("3-1", set()), ("GPU-1a,2", {2}), ("0-999999999", None)],
)
def test_a_list_of_gpus_may_hold_ranges(text: str, gpus: set[int] | None) -> None:
    assert (set(range(254)) if gpus is None else gpus) == parse_gpu_list(text)


_LINES = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c", "x"]),
        st.sampled_from(["*", "195", "1", "²"]),
        st.one_of(st.just("*"), st.integers(-1, 10**12).map(str), st.text(max_size=4)),
        st.sampled_from(["rwm", "m", "", "rw"]),
    ).map(lambda entry: f"{entry[0]} {entry[1]}:{entry[2]} {entry[3]}")
).map(lambda lines: "\n".join(lines).encode())


@given(st.one_of(st.binary(), _LINES))
def test_any_list_of_devices_is_a_set_of_gpus_or_all(raw: bytes) -> None:
    gpus = parse_allowed_gpus(raw)

    assert gpus is None or gpus <= set(range(254))


@given(st.one_of(st.text(), st.text(alphabet="0123456789-, ²٣")))
def test_any_text_is_a_set_of_gpus(text: str) -> None:
    assert parse_gpu_list(text) <= set(range(254))
