"""A whole node with simulated GPUs: who is charged, what is waste, and that everything adds up over a restart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.attribution import BaselineSettings, Mode, Reason
from exporter.clock import Clock
from exporter.config import Settings
from exporter.errors import DeviceLostError
from exporter.host import Roots
from exporter.ledger import ENERGY_COLUMNS, RunTotals, Snapshot
from exporter.node import Node
from exporter.sensors import Component
from exporter.sensors.gpu.gpu_set import GpuSet
from exporter.sensors.gpu.interval import GpuSampler
from exporter.sensors.gpu.settings import GpuSettings
from exporter.testing import FakeClock, SimulatedGpu, SimulatedGpuDriver, SimulatedNode, SimulatedProcess
from exporter.testing.demo import Demo
from tests.system.accounts import assert_conserved, settings_for

JOB = "/system.slice/slurmstepd.scope/job_{}/step_0/user/task_0"
GPU_ACTIVE = ENERGY_COLUMNS.index((Component.GPU, Mode.ACTIVE))
GPU_IDLE = ENERGY_COLUMNS.index((Component.GPU, Mode.IDLE))


class Rig:
    """A simulated machine with GPUs, and an agent's node on it."""

    def __init__(self, directory: Path, *gpus: SimulatedGpu, state: Path | None = None) -> None:
        self.machine = SimulatedNode(directory, cpu_count=8)
        self.gpus = list(gpus) or [SimulatedGpu(index=0), SimulatedGpu(index=1)]
        self.driver = SimulatedGpuDriver(self.gpus, self.machine.clock)
        self._state = state
        self.node = self._new()

    def _new(self) -> Node:
        def make(settings: Settings, roots: Roots, clock: Clock) -> GpuSampler:
            return GpuSet([self.driver], clock, settings.gpus)

        return Node(settings_for(state=self._state), roots=self.machine.roots, clock=self.machine.clock, make_gpus=make)

    def train(self, job: int, *, name: str) -> SimulatedProcess:
        environment = {"SLURM_JOB_ID": str(job), "SLURM_PROCID": "0", "SLURM_JOB_NAME": name, "RANK": "0"}
        return self.machine.spawn("python3", cgroup=JOB.format(job), demand_cpus=0.5, environment=environment)

    def tick(self, count: int = 1, seconds: float = 5.0) -> Snapshot:
        for _ in range(count):
            self.pass_time(seconds)
            snapshot = self.node.tick()
            assert_conserved(snapshot)
        return snapshot

    def pass_time(self, seconds: float) -> None:
        for gpu in self.gpus:
            gpu.advance(seconds)
        self.machine.advance(seconds)

    def restart(self) -> None:
        self.node.close()
        self.node = self._new()
        self.node.start()


def run(snapshot: Snapshot, name: str) -> RunTotals:
    return next(run for run in snapshot.runs if run.facts.name == name)


def test_a_run_is_charged_the_gpu_it_trains_on(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "node")
    rig.gpus[0].open(rig.train(7, name="good").pid, activity_ratio=1.0)
    rig.node.start()
    rig.tick()

    snapshot = rig.tick(20)

    good = run(snapshot, "good")
    assert sum(good.energy_j[column] for column in (GPU_ACTIVE, GPU_IDLE)) == pytest.approx(700.0 * 105, rel=1e-6)
    assert (good.gpus, good.unused_gpus) == (1, 0)
    assert good.energy_j[GPU_ACTIVE] > 0.8 * 700.0 * 105


def test_a_run_that_holds_an_idle_gpu_pays_for_it_and_the_waste_is_told(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "node")
    hog = rig.train(8, name="hog")
    for gpu in rig.gpus:
        gpu.open(hog.pid)
    rig.node.start()
    rig.tick()

    snapshot = rig.tick(20)

    held = run(snapshot, "hog")
    assert (held.gpus, held.unused_gpus) == (2, 2)
    assert held.gpu == pytest.approx((210.0, 210.0, 115.0 * 210))
    assert held.energy_j[GPU_IDLE] == pytest.approx(115.0 * 210)
    assert held.energy_j[GPU_ACTIVE] == pytest.approx(0.0, abs=1e-6)
    assert [gpu.is_idle for gpu in snapshot.gpus] == [True, True]
    assert [gpu.holders[0].unused_share for gpu in snapshot.gpus] == [1.0, 1.0]


def test_the_holder_of_all_gpus_pays_for_the_idle_cpus(tmp_path: Path) -> None:
    """DESIGN.md §3: the run that occupies all GPUs of a node pays for the node."""
    rig = Rig(tmp_path / "node")
    hog = rig.train(8, name="hog")
    for gpu in rig.gpus:
        gpu.open(hog.pid)
    rig.node.start()
    rig.tick(2)

    before = rig.tick()
    after = rig.tick()

    key = (Component.CPU, Reason.IDLE)
    assert after.unattributed_j[key] == pytest.approx(before.unattributed_j[key], abs=1e-6)


def test_a_free_gpu_is_nobodys(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "node")
    rig.node.start()
    rig.tick()

    snapshot = rig.tick(4)

    assert snapshot.unattributed_j[Component.GPU, Reason.IDLE] == pytest.approx(2 * 70.0 * 25)
    assert all(gpu.split == "none" for gpu in snapshot.gpus)


def test_both_floors_are_learned_and_survive_a_restart(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "node", SimulatedGpu(), state=tmp_path / "state.db")
    process = rig.train(7, name="good")
    rig.node.start()
    rig.tick(30)
    rig.gpus[0].open(process.pid)
    rig.tick(30)
    rig.restart()
    rig.gpus[0].open(process.pid, activity_ratio=1.0)

    gpu = rig.tick().gpus[0]

    assert (gpu.bare_idle_w, gpu.context_idle_w) == pytest.approx((70.0, 115.0), rel=0.01)
    assert gpu.baseline_origin == "learned"


def test_what_is_drawn_while_no_agent_runs_is_nobodys_with_its_own_reason(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "node", SimulatedGpu(), state=tmp_path / "state.db")
    rig.node.start()
    rig.tick(2)
    rig.node.close()
    rig.pass_time(100.0)
    rig.node = rig._new()
    rig.node.start()

    snapshot = rig.tick()

    assert snapshot.unattributed_j[Component.GPU, Reason.AGENT_DOWN] == pytest.approx(7000.0)
    assert snapshot.gpus[0].energy_j == pytest.approx(70.0 * 115)


def test_a_lost_gpu_takes_neither_its_joules_nor_the_others_along(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "node")
    rig.gpus[0].open(rig.train(7, name="good").pid, activity_ratio=1.0)
    rig.node.start()
    before = rig.tick(3)
    rig.gpus[0].error = DeviceLostError("simulated", "GPU is lost")

    after = rig.tick(3)

    assert run(after, "good").energy_j[GPU_ACTIVE] == pytest.approx(run(before, "good").energy_j[GPU_ACTIVE])
    assert after.components[Component.GPU].is_partial
    assert after.gpus[0].state == "down"
    assert after.gpus[1].energy_j == pytest.approx(70.0 * 30)


def test_while_the_drivers_are_let_go_nobody_knows_who_holds_what(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "node")
    rig.gpus[0].open(rig.train(7, name="good").pid, activity_ratio=1.0)
    rig.node.start()
    rig.tick(2)
    rig.node.release_gpus(600.0)

    released = rig.tick()
    rig.node.reconfigure(replace(rig.node.settings, gpus=GpuSettings(rescan_interval_s=30.0)))
    reloaded = rig.tick()

    assert run(released, "good").gpus is None
    assert {gpu.state for gpu in released.gpus} == {"down"}
    assert rig.driver.is_open is False
    assert reloaded.gpus == ()


def test_processes_are_charged_what_they_used_of_the_gpu(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "node", SimulatedGpu())
    process = rig.train(7, name="good")
    rig.gpus[0].open(process.pid, activity_ratio=1.0)
    rig.node.start()
    rig.tick(2)
    before = rig.tick()

    after = rig.tick()

    [earlier], [later] = (
        [p.energy_j for p in snapshot.processes if p.pid == process.pid] for snapshot in (before, after)
    )
    gained_j = later[GPU_ACTIVE] + later[GPU_IDLE] - earlier[GPU_ACTIVE] - earlier[GPU_IDLE]
    assert gained_j == pytest.approx(3500.0)


def test_the_demo_shows_its_three_runs_as_they_are(tmp_path: Path) -> None:
    """Four GPUs at work, two held idle, one shared by samples, one free; and the agent's split is near the truth."""
    demo = Demo(tmp_path / "node", FakeClock())
    driver = SimulatedGpuDriver(demo.gpus, demo.node.clock)
    configured = replace(settings_for(), baseline=BaselineSettings(gpu_idle_power_w=115.0))
    node = Node(
        configured,
        roots=demo.node.roots,
        clock=demo.node.clock,
        make_gpus=lambda settings, _, clock: GpuSet([driver], clock, settings.gpus),
    )
    node.start()
    for _ in range(120):
        for _ in range(10):
            demo.advance(0.5)
        snapshot = node.tick()
        assert_conserved(snapshot)

    assert {r.facts.name: (r.gpus, r.unused_gpus) for r in snapshot.runs} == {
        "llama-pretrain": (4, 0),
        "forgotten-notebook": (2, 2),
        "bert-finetune": (1, 0),
    }
    assert [gpu.split for gpu in snapshot.gpus] == ["exclusive"] * 6 + ["time_sliced", "none"]
    shared = demo.gpus[6].truth.active_j
    tuner = next(p.pid for p in demo.node.processes.values() if p.environment.get("SLURM_JOB_NAME") == "bert-finetune")
    assert run(snapshot, "bert-finetune").energy_j[GPU_ACTIVE] == pytest.approx(shared[tuner], rel=0.05)


_EVENTS = st.tuples(
    st.sampled_from(["open", "close", "exit", "lose", "back", "reset", "restart", "reuse"]),
    st.integers(0, 1),
    st.integers(0, 2),
    st.floats(0, 1),
)


def act(rig: Rig, processes: list[SimulatedProcess], event: tuple[str, int, int, float]) -> None:
    """Let one thing happen to a node."""
    action, gpu_index, job, activity = event
    gpu, process = rig.gpus[gpu_index], processes[job]
    if action == "open" and process.is_alive:
        gpu.open(process.pid, activity_ratio=activity)
    elif action == "close":
        gpu.close(process.pid)
    elif action in {"exit", "reuse"} and process.is_alive:
        for one in rig.gpus:
            one.close(process.pid)
        rig.machine.exit(process)
        if action == "reuse":
            processes[job] = rig.machine.spawn("python3", pid=process.pid, cgroup=JOB.format(job + 10))
    elif action in {"lose", "back"}:
        gpu.error = DeviceLostError("simulated", "lost") if action == "lose" else None
    elif action == "reset":
        gpu.reset_counter()
    elif action == "restart":
        rig.restart()


@settings(max_examples=20, deadline=None)
@given(events=st.lists(_EVENTS, min_size=1, max_size=20))
def test_the_page_adds_up_over_any_churn(
    events: list[tuple[str, int, int, float]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Every tick of a random life is checked: node = workloads + ended + unattributed, and no total falls."""
    directory = tmp_path_factory.mktemp("churn")
    rig = Rig(directory / "node", state=directory / "state.db")
    processes = [rig.train(job, name=f"run-{job}") for job in range(3)]
    rig.node.start()
    last = rig.tick()
    for event in events:
        act(rig, processes, event)
        snapshot = rig.tick()
        assert snapshot.components[Component.GPU].energy_j >= last.components[Component.GPU].energy_j
        totals = {one.facts.uuid: one.energy_j for one in snapshot.gpus}
        assert all(totals[one.facts.uuid] >= one.energy_j for one in last.gpus)
        last = snapshot
    rig.node.close()
