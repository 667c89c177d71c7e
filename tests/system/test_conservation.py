"""End to end over random traces: what the hardware counted is what the page shows, and nothing ever falls."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from exporter.ledger import Snapshot
from exporter.node import Node
from exporter.sensors import Component
from exporter.testing import AMD_RANGE_UJ, CgroupLayout, RaplPackage, SimulatedNode, SimulatedProcess
from tests.system.accounts import Counters, assert_conserved, counters_of, open_accounts, page_of, settings_for

_CGROUPS = (
    "/system.slice/a.service",
    "/system.slice/b.service",
    "/kubepods.slice/kubepods-pod0a1b2c3d_1111_2222_3333_444455556666.slice/cri-containerd-" + "5c" * 32 + ".scope",
    "/system.slice/slurmstepd.scope/job_7/step_0/user/task_0",
    "/user.slice/user-1000.slice/session-1.scope",
)
_TICKS = 60
_LONGEST_LOSS_S = 40.0
"""Longer, and a register that wraps after 109 s at the highest plausible power leaves a gap, rightly."""
_CLEAR_UJ = 5_000_000_000
"""A reset this far from both ends of the range can be told from a wrap and from a pause."""


class _Trace:
    """One node's random life, the accounts that follow it, and the truths that are checked at each tick."""

    def __init__(self, directory: Path, *, seed: int, layout: CgroupLayout) -> None:
        package = RaplPackage(
            idle_w=30.0,
            joules_per_cpu_s=9.0,
            dram_idle_w=3.0,
            dram_joules_per_cpu_s=0.7,
            range_uj=AMD_RANGE_UJ,
            start_uj=AMD_RANGE_UJ - 2_000_000_000,
        )
        self.chance = random.Random(seed)  # noqa: S311 - a trace, not a secret
        self.node = SimulatedNode(directory / "node", packages=[package, package], layout=layout, cpu_count=64)
        self._directory = directory
        self._killed: list[Node] = []
        self._state = directory / "state.db"
        self.settings = settings_for(state=self._state, retention_s=20.0)
        self.hidden: dict[str, float] = {}
        self.accounts: Node = open_accounts(self.node, self.settings)
        self.counters: Counters = {}
        self.start_j = {Component.CPU: self.node.hardware_j(), Component.DRAM: self.node.hardware_j("dram")}

    def step(self) -> Snapshot:
        """Let something happen, let time pass, tick, and check."""
        for _ in range(self.chance.randrange(4)):
            self.chance.choice(
                [self._spawn, self._spawn, self._exit, self._reuse, self._short, self._recreate, self._change]
            )()
        faults = [
            *(self._restart, self._kill, self._sleep, self._step_wall),
            *(self._reset, self._lose, self._recover),
        ]
        self.chance.choice([self._nothing] * 6 + faults)()
        if any(self.node.clock.monotonic_s() - since_s > _LONGEST_LOSS_S for since_s in self.hidden.values()):
            self._recover()
        self.node.advance(self.chance.choice([1.0, 2.5, 5.0]))
        return self.tick()

    def tick(self) -> Snapshot:
        snapshot = self.accounts.tick()
        assert_conserved(snapshot)
        self._assert_monotonic(snapshot)
        return snapshot

    def settle(self) -> Snapshot:
        """End all faults and tick until every register has been found again."""
        self._recover()
        snapshot = self.tick()
        for _ in range(4):
            self.node.advance(20.0)
            snapshot = self.tick()
        return snapshot

    def close(self) -> None:
        """Close the accounts, and those that were killed: they can write only where nobody looks any more."""
        for accounts in (self.accounts, *self._killed):
            accounts.close()

    def hardware_j(self, component: Component) -> float:
        """Return what the registers counted since the accounts were first opened."""
        domain = "dram" if component is Component.DRAM else "package"
        return self.node.hardware_j(domain) - self.start_j[component]

    def _assert_monotonic(self, snapshot: Snapshot) -> None:
        """Compare with the last page: a series may leave and start again at zero; while it stays it never falls."""
        now = counters_of(page_of(snapshot))
        fallen = {key: (self.counters[key], value) for key, value in now.items() if value < self.counters.get(key, 0.0)}

        assert fallen == {}
        self.counters = now

    def _living(self) -> list[SimulatedProcess]:
        return [process for process in self.node.processes.values() if process.pid > 2]

    def _spawn(self) -> None:
        if len(self._living()) < 30:
            rank = {"RANK": "0", "WORLD_SIZE": "1", "TORCHELASTIC_RUN_ID": f"run{self.chance.randrange(3)}"}
            self.node.spawn(
                self.chance.choice(["python3", "server", "a) b"]),
                cgroup=self.chance.choice(_CGROUPS),
                demand_cpus=self.chance.choice([0.0, 0.01, 0.5, 1.0]),
                resident_bytes=self.chance.randrange(1 << 30),
                environment=rank if self.chance.random() < 0.5 else {},
            )

    def _exit(self) -> None:
        if self._living():
            self.node.exit(self.chance.choice(self._living()))

    def _reuse(self) -> None:
        """F37: another process under the same pid between two ticks."""
        if self._living():
            old = self.chance.choice(self._living())
            self.node.exit(old)
            self.node.spawn("other", pid=old.pid, cgroup=self.chance.choice(_CGROUPS), demand_cpus=0.3)

    def _short(self) -> None:
        parent = self.chance.choice([None, *self._living()])
        cgroup = parent.cgroup if parent else self.chance.choice(_CGROUPS)
        self.node.run_and_exit(cgroup=cgroup, cpu_s=0.05, count=self.chance.randrange(1, 9), parent=parent)

    def _recreate(self) -> None:
        """F52: the same name, another group."""
        cgroup = self.chance.choice(_CGROUPS)
        if self.node.cgroups.exists(cgroup):
            self.node.remove_cgroup(cgroup)
            if self.chance.random() < 0.5:
                self.node.spawn("again", cgroup=cgroup, demand_cpus=0.2)

    def _change(self) -> None:
        if self._living():
            self.chance.choice(self._living()).demand_cpus = self.chance.choice([0.0, 0.2, 1.0])

    def _nothing(self) -> None:
        pass

    def _restart(self) -> None:
        """Stop the agent, and start it again at once or after a while."""
        self.accounts.close()
        self._start_again()

    def _kill(self) -> None:
        """F67: go on from the files as they lie there, as after SIGKILL; nothing is saved or closed first."""
        self._killed.append(self.accounts)
        home = self._directory / f"after-{len(self._killed)}-kills"
        home.mkdir()
        for file in self._state.parent.glob("state.db*"):
            shutil.copyfile(file, home / file.name)
        self._state = home / "state.db"
        self.settings = settings_for(state=self._state, retention_s=20.0)
        self._start_again()

    def _start_again(self) -> None:
        self.node.advance(self.chance.choice([0.0, 1.0, 8.0]))
        self.accounts = Node(self.settings, roots=self.node.roots, clock=self.node.clock)
        snapshot = self.accounts.start()
        assert_conserved(snapshot)
        self._assert_monotonic(snapshot)

    def _step_wall(self) -> None:
        """F64: an hour back or a day ahead."""
        self.node.clock.step_wall(self.chance.choice([-3600.0, 86_400.0]))

    def _sleep(self) -> None:
        """F65: a tick that comes ten intervals late, as after a suspend."""
        if not self.hidden:
            self.node.advance(50.0)

    def _reset(self) -> None:
        name = self.chance.choice(sorted(self.node.zones))
        zone = self.node.zones[name]
        if not self.hidden and _CLEAR_UJ < zone.register_uj < AMD_RANGE_UJ - _CLEAR_UJ:
            zone.reset()

    def _lose(self) -> None:
        name = self.chance.choice(sorted(self.node.zones))
        if any(name[: len("intel-rapl:0")] == other[: len("intel-rapl:0")] for other in self.hidden):
            return  # one fault per package at a time
        self.hidden[name] = self.node.clock.monotonic_s()
        if self.chance.random() < 0.5:
            self.node.zones[name].vanish()
        else:
            self.node.zones[name].garble(b"none\n")

    def _recover(self) -> None:
        for name in self.hidden:
            self.node.zones[name].recover()
        self.hidden.clear()


@pytest.mark.parametrize("layout", ["v1", "v2", "hybrid"])
@pytest.mark.parametrize("seed", range(4))
def test_every_joule_of_the_hardware_is_on_the_page_and_no_counter_falls(
    tmp_path: Path, seed: int, layout: CgroupLayout
) -> None:
    """Exits, forks, reused PIDs, groups made again, wraps, resets, lost sensors, restarts, kills, clocks that jump.

    F37, F51, F52, F64, F65, F67.
    """
    trace = _Trace(tmp_path, seed=seed, layout=layout)
    for _ in range(_TICKS):
        trace.step()
    last = trace.settle()
    trace.close()

    for component in (Component.CPU, Component.DRAM):
        assert last.components[component].energy_j == pytest.approx(trace.hardware_j(component), rel=1e-9)


def test_zero_power_keeps_every_counter_where_it_is(tmp_path: Path) -> None:
    node = SimulatedNode(tmp_path, packages=[RaplPackage(idle_w=0.0, joules_per_cpu_s=0.0)])
    node.spawn("python3", cgroup=_CGROUPS[0], demand_cpus=1.0)
    accounts = open_accounts(node, settings_for())
    for _ in range(5):
        node.advance(5.0)
        snapshot = accounts.tick()
        assert_conserved(snapshot)
    accounts.close()

    assert snapshot.components[Component.CPU].energy_j == 0.0
