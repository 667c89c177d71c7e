"""Which account of the batch system a run is booked on."""

from exporter.workloads.environment import ENVIRONMENT_NAMES
from tests.workloads.identities import build_process, build_table

STEP = "/system.slice/slurmstepd.scope/job_42/step_0/user/task_0"
POD = f"/kubepods/burstable/pod0c1e9a7e-61b4-4d0f-9a6b-2f5d7c8e9f10/{'ab' * 32}"
JOB = {"SLURM_JOB_ID": "42", "SLURM_PROCID": "0", "SLURM_CLUSTER_NAME": "alps"}


def test_the_account_of_a_job_is_that_of_its_first_process_that_says_so() -> None:
    table = build_table()
    table.add(build_process(100, cgroup=STEP, env=JOB))
    (before,) = table.facts().values()
    table.add(build_process(101, cgroup=STEP, env={**JOB, "SLURM_JOB_ACCOUNT": "physics"}))
    table.add(build_process(102, cgroup=STEP, env={**JOB, "SLURM_JOB_ACCOUNT": "other"}))
    (after,) = table.facts().values()

    assert (before.account, after.account) == ("", "physics")


def test_in_a_pod_a_host_job_s_account_does_not_count() -> None:
    table = build_table()
    variables = {"WATTRIBUTE_RUN": "gpt", "SLURM_JOB_ACCOUNT": "physics"}
    table.add(build_process(100, cgroup=POD, env=variables))
    (facts,) = table.facts().values()

    assert facts.account == ""


def test_the_variable_is_one_of_those_that_are_read() -> None:
    assert "SLURM_JOB_ACCOUNT" in ENVIRONMENT_NAMES
