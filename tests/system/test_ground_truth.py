"""With equal energy per CPU second, each run is charged what it really drew: within 1 %."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.attribution.records import Mode
from exporter.ledger import Snapshot
from exporter.ledger.snapshot import ENERGY_COLUMNS
from exporter.sensors import Component
from exporter.testing import AMD_RANGE_UJ, CgroupLayout, RaplPackage, SimulatedNode, SimulatedProcess
from tests.system.accounts import assert_conserved, open_accounts, settings_for

_JOB = "/system.slice/slurmstepd.scope/job_{}/step_0/user/task_0"
_SHARED = "/user.slice/user-1000.slice/session-1.scope"
_IDLE_W = 100.0
_TICKS = 240
_INTERVAL_S = 5.0
_ACTIVE = ENERGY_COLUMNS.index((Component.CPU, Mode.ACTIVE))
_PACKAGE = RaplPackage(idle_w=_IDLE_W, joules_per_cpu_s=18.75, range_uj=AMD_RANGE_UJ)
"""With 16 busy CPUs a socket draws 400 W and its register wraps every 164 s: seven times in this test."""


def _ranks(node: SimulatedNode, run: str, cgroup: str, *, count: int, demand_cpus: float) -> list[SimulatedProcess]:
    environment = {"WORLD_SIZE": str(count), "TORCHELASTIC_RUN_ID": run, "MASTER_ADDR": "127.0.0.1"}
    launcher = node.spawn("pt_elastic", cgroup=cgroup, run=run, arguments=("python3", "torchrun", "train.py"))
    return [
        node.spawn(
            "python3",
            cgroup=cgroup,
            parent_pid=launcher.pid,
            run=run,
            demand_cpus=demand_cpus,
            environment={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_PORT": "29500"},
            arguments=("python3", "-u", "train.py"),
        )
        for rank in range(count)
    ]


def _charged_j(snapshot: Snapshot) -> list[float]:
    return sorted(run.energy_j[_ACTIVE] for run in snapshot.runs)


@pytest.mark.parametrize("layout", ["v1", "v2", "hybrid"])
def test_each_run_is_charged_what_it_drew_within_one_percent(tmp_path: Path, layout: CgroupLayout) -> None:
    """Two sockets at 400 W, AMD's register range, 50 ms processes, one cgroup shared by two runs, kernel work."""
    node = SimulatedNode(tmp_path, packages=[_PACKAGE, _PACKAGE], layout=layout, cpu_count=32)
    _ranks(node, "big", _JOB.format(41), count=8, demand_cpus=1.7)
    workers = _ranks(node, "forking", _JOB.format(42), count=2, demand_cpus=0.5)
    _ranks(node, "left", _SHARED, count=2, demand_cpus=1.5)
    _ranks(node, "right", _SHARED, count=2, demand_cpus=0.9)
    node.spawn("server", cgroup="/system.slice/server.service", demand_cpus=6.0)
    node.spawn("kworker/0:1", cgroup="/", parent_pid=2, demand_cpus=0.4, is_kernel_thread=True)
    accounts = open_accounts(node, settings_for(cpu_idle_w=2 * _IDLE_W))
    for tick in range(_TICKS):
        node.run_and_exit(cgroup=_JOB.format(42), cpu_s=0.05, count=100, run="forking", parent=workers[tick % 2])
        node.advance(_INTERVAL_S)
        snapshot = accounts.tick()
        assert_conserved(snapshot)
    accounts.close()

    assert _charged_j(snapshot) == pytest.approx(sorted(node.truth.run_active_j.values()), rel=0.01)
    assert snapshot.components[Component.CPU].energy_j == pytest.approx(node.hardware_j(), rel=1e-9)
    assert node.hardware_j() / (_TICKS * _INTERVAL_S) > 700.0
