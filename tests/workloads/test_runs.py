from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.workloads.facts import ProcessFacts
from exporter.workloads.rules import RunRule, RunSettings, allowed_variables, rule_problems
from exporter.workloads.runs import RunTable
from tests.workloads.identities import build_process, build_table

JOB_CGROUP = "/system.slice/slurmstepd.scope/job_42/step_0/user/task_0"
TORCHRUN = "python\0/venv/bin/torchrun\0train.py"
POD = f"/kubepods/burstable/pod0c1e9a7e-61b4-4d0f-9a6b-2f5d7c8e9f10/{'ab' * 32}"


def build_torch(rank: int, **more: str) -> dict[str, str]:
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank % 2),
        "WORLD_SIZE": "4",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "node1",
        "MASTER_PORT": "29500",
        "TORCHELASTIC_RUN_ID": "none",
    } | more


def add_all(table: RunTable, *processes: ProcessFacts) -> RunTable:
    for process in processes:
        table.add(process)
    return table


@pytest.mark.parametrize(
    ("variables", "identity", "framework", "rank", "world"),
    [
        (build_torch(1), "rendezvous", "torchrun", "1", 4),
        (build_torch(1, TORCHELASTIC_RUN_ID="exp7"), "torchelastic", "torchrun", "1", 4),
        (build_torch(1, ACCELERATE_MIXED_PRECISION="no"), "rendezvous", "accelerate", "1", 4),
        (
            {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "LOCAL_SIZE": "2", "CROSS_RANK": "0"}
            | {"CROSS_SIZE": "1", "MASTER_ADDR": "n1", "MASTER_PORT": "29500"},
            "rendezvous",
            "deepspeed",
            "0",
            2,
        ),
        (
            {"NODE_RANK": "0", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "n1", "MASTER_PORT": "4711"},
            "rendezvous",
            "lightning",
            "",
            2,
        ),
        (
            {"HOROVOD_RANK": "3", "HOROVOD_SIZE": "8", "HOROVOD_GLOO_RENDEZVOUS_ADDR": "10.0.0.1"}
            | {"HOROVOD_GLOO_RENDEZVOUS_PORT": "3333"},
            "horovod",
            "horovod",
            "3",
            8,
        ),
        (
            {"OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_SIZE": "4", "PMIX_NAMESPACE": "prterun-n1-77@1"},
            "pmix",
            "openmpi",
            "2",
            4,
        ),
        ({"JAX_COORDINATOR_ADDRESS": "n1:1234"}, "rendezvous", "jax", "", None),
        ({"MEGASCALE_COORDINATOR_ADDRESS": "n1:1234"}, "rendezvous", "jax", "", None),
        (
            {"TF_CONFIG.hosts": "d1", "TF_CONFIG.address": "n1:1", "TF_CONFIG.rank": "1", "TF_CONFIG.world_size": "2"},
            "rendezvous",
            "tensorflow",
            "1",
            2,
        ),
        (
            {"RAY_JOB_ID": "01000000", "RAY_CLUSTER_NAME": "c", "RAY_CLUSTER_NAMESPACE": "ns"},
            "ray",
            "ray",
            "",
            None,
        ),
        ({"RAY_JOB_ID": "01000000"}, "ray", "ray", "", None),
        ({"SKYPILOT_TASK_ID": "sky-2026-train-1"}, "skypilot", "skypilot", "", None),
        (
            {"SLURM_JOB_ID": "7", "SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2", "SLURM_JOB_NAME": "bert"},
            "slurm",
            "slurm",
            "1",
            2,
        ),
        ({"PBS_JOBID": "33339.server", "PBS_JOBNAME": "bert"}, "pbs", "pbs", "", None),
        (
            {"LSB_JOBID": "99", "LSB_JOBINDEX": "2", "JSM_NAMESPACE_RANK": "1", "JSM_NAMESPACE_SIZE": "6"},
            "lsf",
            "jsrun",
            "1",
            6,
        ),
        ({"WATTRIBUTE_RUN": "mine"} | build_torch(2), "explicit", "torchrun", "2", 4),
    ],
)
def test_every_launch_system_names_a_run(
    variables: dict[str, str], identity: str, framework: str, rank: str, world: int | None
) -> None:
    table = add_all(build_table(), build_process(100, env=variables))
    (facts,) = table.facts().values()

    assert (facts.identity, facts.framework, table.rank_of(100), facts.world_size) == (identity, framework, rank, world)


def test_two_nodes_find_the_same_key_for_one_run() -> None:
    first = add_all(build_table(hostname="node1", boot_id="b1"), build_process(100, env=build_torch(0)))
    second = add_all(build_table(hostname="node2", boot_id="b2"), build_process(900, env=build_torch(2)))

    assert first.run_of(100) == second.run_of(900) is not None


def test_unrelated_jobs_without_a_run_id_stay_two_runs() -> None:
    """F43: the literal id ``none`` joins nobody."""
    first = add_all(build_table(boot_id="b1"), build_process(100, env=build_torch(0, MASTER_ADDR="127.0.0.1")))
    second = add_all(build_table(boot_id="b2"), build_process(100, env=build_torch(0, MASTER_ADDR="127.0.0.1")))

    assert first.run_of(100) != second.run_of(100)


@pytest.mark.parametrize("address", ["10.1.1.1", "localhost"])
def test_the_next_run_at_the_same_address_is_another(address: str) -> None:
    """F44."""
    table = add_all(build_table(), build_process(100, env=build_torch(0, MASTER_ADDR=address)))
    before = table.run_of(100)
    table.remove(100, 1000)
    table.add(build_process(200, env=build_torch(0, MASTER_ADDR=address), started_s=1_000_060.0))

    assert before is not None
    assert table.run_of(200) not in {None, before}
    assert [facts.key for facts in table.ended()] == [before]


def test_the_launcher_belongs_to_its_ranks_run_and_is_no_rank() -> None:
    table = add_all(
        build_table(),
        build_process(90, args="bash\0go.sh", comm="bash"),
        build_process(100, 90, args=TORCHRUN, comm="torchrun"),
        build_process(101, 100, env=build_torch(0)),
        build_process(102, 100, env=build_torch(1)),
    )

    assert table.run_of(100) == table.run_of(101) == table.run_of(102) is not None
    assert [table.rank_of(pid) for pid in (100, 101, 102)] == ["", "0", "1"]
    assert table.run_of(90) is None


def test_a_shell_in_a_container_belongs_to_one_run_after_the_other() -> None:
    def ranks(pid: int, port: str) -> ProcessFacts:
        return build_process(pid, 90, env=build_torch(0, MASTER_PORT=port), cgroup=POD)

    table = add_all(build_table(), build_process(90, args="bash\0all.sh", comm="bash", cgroup=POD), ranks(100, "1"))
    first = table.run_of(90)
    changed = table.remove(100, 1000)
    table.add(ranks(200, "2"))

    assert first is not None
    assert changed == {90}
    assert table.run_of(90) == table.run_of(200) != first


def test_a_data_loader_inherits_the_run_and_leaves_the_rank_to_the_older() -> None:
    table = add_all(
        build_table(),
        build_process(101, env=build_torch(3)),
        build_process(110, 101, env=build_torch(3)),
        build_process(111, 101),
    )

    assert table.run_of(101) == table.run_of(110) == table.run_of(111)
    assert [table.rank_of(pid) for pid in (101, 110, 111)] == ["3", "", ""]
    table.remove(101, 1010)
    assert table.rank_of(110) == "3"


@pytest.mark.parametrize("parent_first", [True, False])
def test_lightnings_rank_0_is_joined_through_its_children(parent_first: bool) -> None:
    """F45."""
    variables = {"NODE_RANK": "0", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    parent = build_process(100)
    child = build_process(101, 100, env=variables | {"MASTER_PORT": "4711"})
    table = add_all(build_table(), *((parent, child) if parent_first else (child, parent)))

    assert table.run_of(100) == table.run_of(101) is not None
    assert table.rank_of(100) == "0"


def test_spawned_ranks_belong_to_the_run_without_a_rank() -> None:
    """F45: torch.multiprocessing.spawn sets RANK where nobody can see it."""
    table = add_all(build_table(), build_process(100, cgroup=JOB_CGROUP, env={"SLURM_JOB_ID": "42"}))
    table.add(build_process(101, 100, cgroup=JOB_CGROUP))

    assert table.run_of(101) == table.run_of(100) is not None
    assert table.rank_of(101) == ""


@pytest.mark.parametrize("rank", ["abc", "-1", "1" + "0" * 30, "4", "", "٣"])
def test_an_impossible_rank_is_dropped_and_the_run_kept(rank: str) -> None:
    """F42."""
    table = add_all(build_table(), build_process(100, env=build_torch(0, RANK=rank)))

    assert table.rank_of(100) == ""
    assert table.run_of(100) is not None
    assert table.conflicts() == {"rank": 1}
    assert table.conflicts() == {}


def test_the_cgroup_wins_over_a_forged_job_id() -> None:
    """S-13."""
    forged = {"SLURM_JOB_ID": "41", "SLURM_PROCID": "0", "SLURM_CLUSTER_NAME": "evil"}
    victim = JOB_CGROUP.replace("42", "41")
    table = add_all(
        build_table(),
        build_process(100, cgroup=JOB_CGROUP, env=forged),
        build_process(101, cgroup=victim, env={"SLURM_JOB_ID": "41"}, uid=1001),
        build_process(102, env=forged),
        build_process(103, cgroup=POD, env=forged),
    )

    assert len({table.run_of(pid) for pid in (100, 101, 102)}) == 3
    assert table.run_of(103) is None
    assert table.conflicts() == {"job": 2}
    assert {facts.owner for facts in table.facts().values() if facts.user == "ada" and not facts.namespace} == {"42"}


def test_a_users_own_name_does_not_join_a_strangers_run() -> None:
    """S-13."""
    variables = {"WATTRIBUTE_RUN": "gpt"}
    table = add_all(build_table(), build_process(1, env=variables), build_process(2, env=variables, uid=1001))

    assert table.run_of(1) != table.run_of(2)


def test_a_job_waits_for_its_first_task() -> None:
    """The step daemon knows neither the cluster nor the restart count; with the task it joins."""
    daemon = build_process(100, args="slurmstepd: [42.0]", comm="slurmstepd", cgroup=JOB_CGROUP, uid=0, readable=False)
    variables = {"SLURM_JOB_ID": "42", "SLURM_CLUSTER_NAME": "alps", "SLURM_JOB_NAME": "bert"}
    table = add_all(build_table(), daemon)
    before = table.run_of(100)
    changed = table.add(build_process(101, 100, cgroup=JOB_CGROUP, env=variables))
    (facts,) = table.facts().values()

    assert before is None
    assert changed == {100, 101}
    assert table.run_of(100) == table.run_of(101) == facts.key
    assert (facts.name, facts.namespace, facts.owner, facts.user) == ("bert", "alps", "42", "ada")


def test_an_unreadable_environment_leaves_the_job_its_run() -> None:
    """F40."""
    settings = RunSettings(slurm_cluster_name="alps")
    table = add_all(build_table(settings, readable=False), build_process(100, cgroup=JOB_CGROUP, readable=False))
    readable = {"SLURM_JOB_ID": "42", "SLURM_CLUSTER_NAME": "alps"}
    other = add_all(build_table(), build_process(7, cgroup=JOB_CGROUP, env=readable))

    assert table.run_of(100) == other.run_of(7) is not None


def test_a_step_daemons_title_names_the_job_where_there_is_no_job_cgroup() -> None:
    unit = "/system.slice/slurmd.service"
    daemon = build_process(100, args="slurmstepd: [42.0]", comm="slurmstepd", cgroup=unit, uid=0, readable=False)
    task = build_process(101, 100, cgroup=unit, env={"SLURM_JOB_ID": "42", "SLURM_PROCID": "0"})
    table = add_all(build_table(), daemon, task)

    assert table.run_of(100) == table.run_of(101) is not None


def test_a_sluid_gets_its_job_id_from_roots_step_daemon_only() -> None:
    """F55, S-13."""
    path = "/system.slice/slurmstepd.scope/sEKNKTV3WPV500/step_0/slurm"
    forged = build_process(99, args="slurmstepd: [41.0]", comm="slurmstepd", cgroup=path, uid=1000)
    daemon = build_process(100, args="slurmstepd: [42.0]", comm="slurmstepd", cgroup=path, uid=0)
    table = add_all(build_table(), forged)
    before = dict(table.job_ids())
    table.add(daemon)

    assert (before, table.job_ids()) == ({}, {"sEKNKTV3WPV500": "42"})


def test_a_launcher_whose_children_say_nothing_is_a_run_of_its_own_at_the_second_look() -> None:
    """F41: environments overwritten by titles."""
    launcher = build_process(100, args=TORCHRUN, comm="torchrun", readable=False)
    child = build_process(101, 100, readable=False)
    table = add_all(build_table(), launcher, child, launcher)
    before = table.run_of(100)
    changed = table.add(child)

    assert before is None
    assert changed == {100, 101}
    assert [facts.identity for facts in table.facts().values()] == ["process_tree"]


def test_a_launchers_key_stays_when_a_rank_says_more_later() -> None:
    launcher = build_process(100, args=TORCHRUN, comm="torchrun", readable=False)
    child = build_process(101, 100, readable=False)
    table = add_all(build_table(), launcher, child, child)
    before = table.run_of(100)
    table.add(build_process(102, 100, env=build_torch(1)))

    assert table.run_of(102) == before is not None
    assert (table.rank_of(102), len(table.facts())) == ("1", 1)


def test_a_run_that_changed_its_address_leaves_nothing_behind() -> None:
    table = build_table()
    for port in ("1", "2"):
        table.add(build_process(101, env=build_torch(0, MASTER_ADDR="", MASTER_PORT=port)))
    table.remove(101, 1010)

    assert not table._by_signature


def test_an_exec_reclassifies_the_process() -> None:
    table = add_all(build_table(), build_process(100))
    changed = table.add(build_process(100, env=build_torch(0)))

    assert changed == {100}
    assert table.rank_of(100) == "0"


def test_a_reused_pid_starts_anew() -> None:
    """F37."""
    table = add_all(build_table(), build_process(100, env=build_torch(0)))
    table.add(build_process(100, start=5000))

    assert table.run_of(100) is None
    assert len(table.ended()) == 1


def test_orphans_keep_their_run() -> None:
    table = add_all(build_table(), build_process(101, env=build_torch(0)), build_process(102, 101))
    key = table.run_of(102)
    table.remove(101, 1010)
    table.add(build_process(102, 1))

    assert table.run_of(102) == key is not None


def test_a_rule_comes_before_all_else_and_may_take_the_name_from_a_variable() -> None:
    rule = RunRule(name_from="EXPERIMENT", user="ada", command="py*", cgroup="session/*", framework="mine")
    settings = RunSettings(rules=(rule,))
    variables = {"EXPERIMENT": "sweep\n1", "WATTRIBUTE_RUN": "x"}
    table = add_all(build_table(settings), build_process(1, env=variables), build_process(2, env=variables, uid=1001))

    assert "EXPERIMENT" in allowed_variables(settings)
    assert {facts.identity for facts in table.facts().values()} == {"rule", "explicit"}
    assert {(facts.name, facts.framework) for facts in table.facts().values()} == {
        ("sweep\ufffd1", "mine"),
        ("x", ""),
    }


def test_all_mistakes_of_the_rules_are_reported_at_once() -> None:
    problems = rule_problems((RunRule(name="a\nb"), RunRule(name_from="WANDB_API_KEY", name="x", variables={"1": "*"})))

    assert len(problems) == 5
    assert all(problem.startswith("runs.rules[") for problem in problems)


def test_users_can_be_left_out() -> None:
    table = add_all(build_table(RunSettings(user_names=False)), build_process(1, env=build_torch(0)))

    assert [facts.user for facts in table.facts().values()] == [""]


VARIABLES = st.sampled_from(
    [
        None,
        {},
        build_torch(0),
        build_torch(1),
        build_torch(0, MASTER_ADDR="localhost"),
        {"NODE_RANK": "0", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "", "MASTER_PORT": "1"},
        {"SLURM_JOB_ID": "42", "SLURM_PROCID": "0"},
        {"WATTRIBUTE_RUN": "mine"},
        {"RAY_JOB_ID": "01"},
    ]
)
PROCESSES = st.builds(
    lambda pid, parent, args, env, cgroup, uid, start: build_process(
        pid,
        parent,
        args=args,
        comm="slurmstepd" if args.startswith("slurm") else "python",
        env=env,
        readable=env is not None,
        cgroup=cgroup,
        uid=uid,
        start=start,
    ),
    st.integers(1, 9),
    st.integers(0, 9),
    st.sampled_from(["python\0t.py", TORCHRUN, "bash\0x.sh", "slurmstepd: [42.0]"]),
    VARIABLES,
    st.sampled_from([JOB_CGROUP, POD, "/user.slice/user-1000.slice/session-3.scope", "/system.slice/slurmd.service"]),
    st.sampled_from([0, 1000]),
    st.integers(1, 2),
)


@given(steps=st.lists(st.tuples(st.booleans(), PROCESSES), max_size=40), readable=st.booleans())
def test_any_facts_in_any_order_keep_the_table_whole(steps: list[tuple[bool, ProcessFacts]], readable: bool) -> None:
    """What changed was reported, every run has members and facts, and nothing is left when all are gone."""
    table = build_table(readable=readable)
    alive: dict[int, ProcessFacts] = {}
    seen: dict[int, str | None] = {}
    for is_removal, process in steps:
        if is_removal:
            changed = table.remove(process.pid, process.start_ticks)
            if process.pid in alive and alive[process.pid].start_ticks == process.start_ticks:
                del alive[process.pid]
        else:
            changed = table.add(process)
            alive[process.pid] = process
        now = {pid: table.run_of(pid) for pid in alive}
        assert {pid for pid in alive if pid in seen and now[pid] != seen[pid]} <= changed | {process.pid}
        assert {key for key in now.values() if key} == set(table.facts())
        seen = dict(now)
    for process in alive.values():
        table.remove(process.pid, process.start_ticks)
    assert not table.facts()
    assert not any((table._nodes, table._children, table._runs, table._by_signature, table._jobs._sizes))
    assert not table.job_ids()


@given(order=st.permutations(range(5)))
def test_the_order_of_siblings_does_not_matter(order: list[int]) -> None:
    processes = [build_process(100, args=TORCHRUN, comm="torchrun")]
    processes += [build_process(101 + rank, 100, env=build_torch(rank, MASTER_ADDR="localhost")) for rank in range(4)]
    expected = add_all(build_table(), *processes)
    table = add_all(build_table(), *(processes[index] for index in order))
    keys = {table.run_of(pid) for pid in range(100, 105)}

    assert len(keys) == 1
    assert order[0] != 0 or keys == {expected.run_of(100)}
    assert [table.rank_of(pid) for pid in range(100, 105)] == ["", "0", "1", "2", "3"]
