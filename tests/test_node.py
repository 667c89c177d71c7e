"""The order of the flow and the isolation between its parts, on a simulated node."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.attribution import Reason
from exporter.clock import Clock
from exporter.config import Settings
from exporter.health import Finding
from exporter.host import Roots
from exporter.ledger import LedgerSettings, Snapshot
from exporter.node import Node, hardware_sensors, kernel_workloads
from exporter.sensors import Component, CounterState, DomainKey, EnergySample
from exporter.sensors.records import ComponentEnergy, EnergySensors
from exporter.testing import RaplPackage, SimulatedNode
from exporter.workloads import UsageSample
from exporter.workloads.records import WorkloadSampler
from tests.system.accounts import assert_conserved, settings_for

JOB = "/system.slice/slurmstepd.scope/job_7/step_0/user/task_0"


class Breakable:
    """A source that raises while ``is_broken``: what the isolation line is for."""

    def __init__(self) -> None:
        self.is_broken = False

    def sensors(self, settings: Settings, roots: Roots, clock: Clock) -> EnergySensors:
        return _BreakableSensors(self, hardware_sensors(settings, roots, clock))

    def workloads(self, settings: Settings, roots: Roots, clock: Clock) -> WorkloadSampler:
        return _BreakableWorkloads(self, kernel_workloads(settings, roots, clock))

    def check(self) -> None:
        if self.is_broken:
            raise ZeroDivisionError("a defect")


class _BreakableSensors:
    def __init__(self, switch: Breakable, inner: EnergySensors) -> None:
        self._switch, self._inner = switch, inner
        self.states, self.close, self.missing_required = inner.states, inner.close, inner.missing_required

    def resume(
        self,
        states: Mapping[DomainKey, CounterState],
        *,
        gpu: ComponentEnergy | None = None,
        is_gpu_whole: bool = True,
    ) -> EnergySample:
        return self._inner.resume(states, gpu=gpu, is_gpu_whole=is_gpu_whole)

    def sample(
        self, *, busy_ratio: float, gpu: ComponentEnergy | None = None, is_gpu_whole: bool = True
    ) -> EnergySample:
        self._switch.check()
        return self._inner.sample(busy_ratio=busy_ratio, gpu=gpu, is_gpu_whole=is_gpu_whole)


class _BreakableWorkloads:
    def __init__(self, switch: Breakable, inner: WorkloadSampler) -> None:
        self._switch, self._inner, self.close = switch, inner, inner.close

    def sample(self, *, with_memory: bool, gpu_pids: Collection[int] = ()) -> UsageSample:
        self._switch.check()
        return self._inner.sample(with_memory=with_memory, gpu_pids=gpu_pids)


@pytest.fixture
def machine(tmp_path: Path) -> SimulatedNode:
    machine = SimulatedNode(tmp_path / "node", packages=[RaplPackage(idle_w=50.0)], cpu_count=8)
    machine.spawn("python3", cgroup=JOB, demand_cpus=2.0)
    return machine


def ticked(node: Node, machine: SimulatedNode, count: int = 1) -> Snapshot:
    for _ in range(count):
        machine.advance(5.0)
        snapshot = node.tick()
        assert_conserved(snapshot)
    return snapshot


def finding(snapshot: Snapshot, source: str) -> Finding | None:
    return next((found for found in snapshot.findings if found.source == source and not found.item), None)


def test_broken_sensors_leave_usage_and_the_page_alone_and_lose_nothing(machine: SimulatedNode) -> None:
    """E0: the energy of the missed ticks comes with the next reading."""
    switch = Breakable()
    node = Node(settings_for(), roots=machine.roots, clock=machine.clock, make_sensors=switch.sensors)
    node.start()
    before = ticked(node, machine, 2)
    switch.is_broken = True
    broken = ticked(node, machine, 2)
    switch.is_broken = False
    after = ticked(node, machine)

    assert finding(broken, "sensors") == Finding(
        source="sensors",
        state="down",
        detail="ZeroDivisionError: a defect",
        remedy="this is a defect: please report it with the log",
    )
    assert broken.event_counts["error", "sensors", "internal"] == 2.0
    assert [run.facts.owner for run in broken.runs] == ["7"]
    assert finding(after, "sensors") is None
    gained_j = after.components[Component.CPU].energy_j - before.components[Component.CPU].energy_j
    assert gained_j == pytest.approx(machine.hardware_j("package") / 5 * 3, rel=1e-6)


def test_without_usage_the_energy_is_kept_and_its_users_are_unknown(machine: SimulatedNode) -> None:
    switch = Breakable()
    node = Node(
        settings_for(cpu_idle_w=50.0), roots=machine.roots, clock=machine.clock, make_workloads=switch.workloads
    )
    node.start()
    ticked(node, machine, 2)
    switch.is_broken = True
    broken = ticked(node, machine)

    found = finding(broken, "workloads")
    assert found is not None
    assert found.state == "down"
    assert broken.unattributed_j[Component.CPU, Reason.UNKNOWN] > 0
    assert broken.components[Component.CPU].power_w == pytest.approx(60.0, rel=0.01)


def test_new_settings_lose_no_joule(machine: SimulatedNode) -> None:
    node = Node(settings_for(), roots=machine.roots, clock=machine.clock)
    node.start()
    before = ticked(node, machine, 2)
    machine.advance(2.0)
    node.reconfigure(replace(settings_for(), ledger=LedgerSettings(state_path="", retention_s=60.0)))
    after = ticked(node, machine)

    gained_j = after.components[Component.CPU].energy_j - before.components[Component.CPU].energy_j
    assert gained_j == pytest.approx(7.0 * 60.0, rel=1e-6)
    assert {run.facts.key for run in after.runs} == {run.facts.key for run in before.runs}


def test_a_state_file_that_cannot_be_opened_is_said_once_and_the_agent_goes_on(
    machine: SimulatedNode, tmp_path: Path
) -> None:
    """F68."""
    (tmp_path / "file").write_text("")
    node = Node(settings_for(state=tmp_path / "file" / "state.db"), roots=machine.roots, clock=machine.clock)
    node.start()
    snapshot = ticked(node, machine, 2)

    found = finding(snapshot, "state_file")
    assert found is not None
    assert (found.state, found.remedy) == ("down", "give the agent a writable local directory with --state.file")
    assert snapshot.components[Component.CPU].energy_j > 0


def test_what_was_learned_is_in_force_at_once_after_a_restart(machine: SimulatedNode, tmp_path: Path) -> None:
    """Peers start at zero under load and call the whole board active."""
    settings = settings_for(state=tmp_path / "state.db")
    node = Node(settings, roots=machine.roots, clock=machine.clock)
    node.start()
    burst = machine.spawn("python3", cgroup=JOB, demand_cpus=0.0)
    for turn in range(150):
        burst.demand_cpus = 4.0 * (turn % 3) / 2
        learned = ticked(node, machine)
    node.close()
    again = Node(settings, roots=machine.roots, clock=machine.clock)
    again.start()
    first = ticked(again, machine)

    for snapshot in (learned, first):
        totals = snapshot.components[Component.CPU]
        assert totals.baseline_origin == "learned"
        assert totals.idle_power_w == pytest.approx(50.0, rel=0.02)


def test_a_restart_goes_on_and_books_the_time_between_to_nobody(machine: SimulatedNode, tmp_path: Path) -> None:
    settings = settings_for(state=tmp_path / "state.db")
    node = Node(settings, roots=machine.roots, clock=machine.clock)
    node.start()
    before = ticked(node, machine, 3)
    node.close()
    machine.advance(30.0)
    again = Node(settings, roots=machine.roots, clock=machine.clock)
    after = again.start()

    assert after.unattributed_j[Component.CPU, Reason.AGENT_DOWN] == pytest.approx(30 * 60.0, rel=1e-6)
    assert after.components[Component.CPU].energy_j == pytest.approx(
        before.components[Component.CPU].energy_j + 30 * 60.0, rel=1e-6
    )
    assert after.agent.ticks == before.agent.ticks
    assert {run.facts.key for run in after.runs} == {run.facts.key for run in before.runs}


def test_wall_clock_jumps_do_not_touch_the_energy(machine: SimulatedNode) -> None:
    """F64."""
    node = Node(settings_for(), roots=machine.roots, clock=machine.clock)
    node.start()
    ticked(node, machine, 2)
    before = ticked(node, machine).components[Component.CPU].energy_j
    machine.clock.step_wall(-3600.0)
    one = ticked(node, machine).components[Component.CPU].energy_j
    machine.clock.step_wall(86_400.0)
    two = ticked(node, machine).components[Component.CPU].energy_j

    assert one - before == pytest.approx(300.0)
    assert two - one == pytest.approx(300.0)


def test_a_tick_that_is_ten_times_late_uses_the_real_time(machine: SimulatedNode) -> None:
    """F65."""
    node = Node(settings_for(), roots=machine.roots, clock=machine.clock)
    node.start()
    ticked(node, machine, 2)
    machine.advance(50.0)
    late = node.tick(is_late=True)

    assert late.components[Component.CPU].power_w == pytest.approx(60.0)
    assert late.agent.late_ticks == 1
