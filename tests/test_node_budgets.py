"""The whole node with budgets, prices and embodied emissions: over ticks, reloads and restarts."""

from dataclasses import replace
from pathlib import Path

import pytest

from exporter.carbon.settings import CarbonSettings, CostSettings, EmbodiedSettings
from exporter.config import Settings
from exporter.ledger import Snapshot
from exporter.ledger.budget_settings import BudgetSelector, BudgetSettings
from exporter.ledger.history import History
from exporter.node import Node
from exporter.testing import RaplPackage, SimulatedNode
from tests.system.accounts import assert_conserved, settings_for

JOB = "/system.slice/slurmstepd.scope/job_7/step_0/user/task_0"
ALL = BudgetSettings(name="all", limit_kg=1, select=BudgetSelector(everything=True))
MINE = BudgetSettings(name="job", limit_kg=1, select=BudgetSelector(kind="slurm_job", workload="7"))
SERVER_G_PER_S = 1000 * 1000 / (4 * 365.25 * 86_400)


@pytest.fixture
def machine(tmp_path: Path) -> SimulatedNode:
    machine = SimulatedNode(tmp_path / "node", packages=[RaplPackage(idle_w=50.0)], cpu_count=8)
    machine.spawn("python3", cgroup=JOB, demand_cpus=2.0)
    return machine


def settings(state: Path | None = None) -> Settings:
    return replace(
        settings_for(state=state),
        carbon=CarbonSettings(grid_zone="DE", intensity_g_per_kwh=360.0, pue_ratio=1.25, wue_l_per_kwh=1.8),
        costs=CostSettings(price_per_kwh=0.4, currency="EUR"),
        embodied=EmbodiedSettings(enabled=True, server_kg=1000.0),
        budgets=(ALL, MINE),
    )


def ticked(node: Node, machine: SimulatedNode, count: int = 1) -> Snapshot:
    for _ in range(count):
        machine.advance(5.0)
        snapshot = node.tick()
        assert_conserved(snapshot)
    return snapshot


def budgets(snapshot: Snapshot) -> dict[str, float]:
    return {budget.name: budget.emissions_g for budget in snapshot.budgets}


def test_a_node_keeps_all_accounts_and_its_budgets(machine: SimulatedNode) -> None:
    node = Node(settings(), roots=machine.roots, clock=machine.clock)
    node.start()
    page = ticked(node, machine, 4)

    kwh = machine.hardware_j("package") / 3.6e6
    assert page.emissions_g["operational"] == pytest.approx(kwh * 1.25 * 360.0)
    assert page.footprint == pytest.approx({"water_l": kwh * 1.8, "cost": kwh * 1.25 * 0.4})
    assert page.emissions_g["embodied"] == pytest.approx(20.0 * SERVER_G_PER_S)
    assert budgets(page)["all"] == pytest.approx(page.emissions_g["operational"])
    job = next(totals for totals in page.workloads if totals.workload.kind == "slurm_job")
    assert job.emissions_g[0] > 0
    assert budgets(page)["job"] == pytest.approx(job.emissions_g[0])
    assert job.emissions_g[1] == pytest.approx(20.0 * SERVER_G_PER_S * 2 / 8, rel=0.02), "two of eight CPUs"


def test_a_restart_and_a_reload_lose_nothing_of_a_budget(machine: SimulatedNode, tmp_path: Path) -> None:
    state = tmp_path / "state.db"
    node = Node(settings(state), roots=machine.roots, clock=machine.clock)
    node.start()
    before = ticked(node, machine, 3)
    node.close()
    machine.advance(30.0)
    again = Node(settings(state), roots=machine.roots, clock=machine.clock)
    restarted = again.start()
    again.reconfigure(replace(settings(state), budgets=(MINE,)))
    without = ticked(again, machine)
    again.reconfigure(settings(state))
    after = ticked(again, machine)
    again.close()

    assert budgets(restarted)["job"] == budgets(before)["job"]
    assert budgets(restarted)["all"] == pytest.approx(restarted.emissions_g["operational"])
    assert restarted.emissions_g["embodied"] == pytest.approx(45.0 * SERVER_G_PER_S)
    assert list(budgets(without)) == ["job"]
    assert budgets(after)["job"] > budgets(without)["job"] > budgets(before)["job"]
    missed_g = without.emissions_g["operational"] - restarted.emissions_g["operational"]
    assert budgets(after)["all"] == pytest.approx(after.emissions_g["operational"] - missed_g)


def test_a_past_run_says_where_it_ran_and_what_it_cost(machine: SimulatedNode, tmp_path: Path) -> None:
    state = tmp_path / "state.db"
    node = Node(settings(state), roots=machine.roots, clock=machine.clock)
    node.start()
    page = ticked(node, machine, 3)
    node.close()

    [run] = History(state).runs()
    assert run.footprint == page.runs[0].footprint
    assert run.footprint[2] > 0
    assert (run.place.grid_zone, run.place.pue_ratio, run.place.currency) == ("DE", 1.25, "EUR")
    assert run.place.cpu_model
