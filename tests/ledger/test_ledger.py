"""Invariants of the accounts over random traces, and the rules of births, deaths and caps."""

import math
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.attribution import Baseline, Mode, Reason, attribute
from exporter.carbon.records import NO_CARBON, CarbonState, Intensity
from exporter.health import SourceEvent
from exporter.ledger import ENERGY_COLUMNS, Ledger, LedgerSettings, Snapshot
from exporter.ledger.accounts import OVERFLOW_RUN, OVERFLOW_WORKLOAD
from exporter.ledger.store import Store
from exporter.sensors.records import Component, EnergySample
from exporter.units import emissions_g
from exporter.workloads.records import LeafUsage, ProcessUsage, RunKey, UsageSample, WorkloadId
from tests.attribution.samples import component_energy, energy_sample, joules, leaves, unit, usage_sample

BASELINE = Baseline(10.0, "configured")
CPU_ACTIVE = ENERGY_COLUMNS.index((Component.CPU, Mode.ACTIVE))


def carbon(g_per_kwh: float, pue_ratio: float = 1.0) -> CarbonState:
    intensity = Intensity(
        grid_zone="DE",
        signal="average",
        intensity_g_per_kwh=g_per_kwh,
        provider="fixed",
        basis="test",
        is_estimated=False,
        observed_s=0.0,
    )
    return CarbonState(average=intensity, pue_ratio=pue_ratio)


class Node:
    """A ledger driven by hand: one call is one tick."""

    def __init__(self, settings: LedgerSettings | None = None, *, path: Path | None = None) -> None:
        self.now_s = 100.0
        self.measured_j: dict[Component, float] = {}
        self._settings = settings or LedgerSettings()
        self._path = path
        self._start()

    def begin(self, state: CarbonState = NO_CARBON) -> None:
        """Let the node's own series appear, so that a test sees the workloads' births only."""
        self.tick(usage_sample([]), energy_sample(component_energy(0.0)), state=state)

    def _start(self) -> None:
        self.ledger = Ledger(self._settings)
        self.store = Store(self._path, boot_id="boot") if self._path else None
        if self.store:
            self.ledger.restore(self.store.load(now_s=self.now_s))

    def restart(self, *, killed: bool, down_j: float, down_s: float) -> Snapshot:
        assert self.store
        if not killed:
            self.save(full=True)
        self.store.close()
        self.now_s += down_s
        self._start()
        energy = energy_sample(component_energy(down_j, interval_s=down_s))
        self._count(energy)
        self.ledger.book_down_time(energy, NO_CARBON, now_s=self.now_s, wall_s=self.now_s)
        return self.ledger.snapshot()

    def tick(
        self,
        usage: UsageSample,
        energy: EnergySample | None = None,
        *,
        after_s: float = 5.0,
        state: CarbonState = NO_CARBON,
    ) -> Snapshot:
        energy = energy if energy is not None else energy_sample(component_energy(100.0))
        self.now_s += after_s
        self._count(energy)
        shares = [attribute(component, usage, BASELINE) for component in energy.components.values()]
        self.ledger.book(energy, shares, usage, state, now_s=self.now_s, wall_s=self.now_s)
        if self.store:
            self.save(full=False)
        return self.ledger.snapshot()

    def save(self, *, full: bool) -> None:
        assert self.store
        changes = self.ledger.take_changes(full=full)
        totals = self.ledger.run_totals() if self.store.runs_are_due(changes) else {}
        self.store.save(changes, run_totals=totals, domains={}, learned={}, meta={})

    def _count(self, energy: EnergySample) -> None:
        for component in energy.components.values():
            before_j = self.measured_j.get(component.component, 0.0)
            self.measured_j[component.component] = before_j + component.energy_j


def counters(snapshot: Snapshot) -> Iterator[tuple[object, float]]:
    """Every total that is exposed as a counter, with a key that names its series."""
    yield from snapshot.unattributed_j.items()
    yield from snapshot.emissions_g.items()
    for component, totals in snapshot.components.items():
        yield component, totals.energy_j
    for workload in snapshot.workloads:
        yield from (((workload.workload, i), j) for i, j in enumerate(workload.energy_j + workload.emissions_g))
    for run in snapshot.runs:
        yield from (((run.facts.key, i), j) for i, j in enumerate(run.energy_j + run.emissions_g))
    for process in snapshot.processes:
        yield from (((*process[:3], i), j) for i, j in enumerate(process.energy_j))


def assert_conserved(
    snapshot: Snapshot, measured_j: dict[Component, float], *, known: Collection[Component] = ()
) -> None:
    """``known`` are the components of the page before; the first page of a component shows zeros."""
    for component, totals in snapshot.components.items():
        columns = [i for i, column in enumerate(ENERGY_COLUMNS) if column[0] is component]
        parts = [workload.energy_j[i] for workload in snapshot.workloads for i in columns]
        parts += [joules for key, joules in snapshot.unattributed_j.items() if key[0] is component]
        parts.append(snapshot.ended_j[component])
        assert math.fsum(parts) == pytest.approx(totals.energy_j, rel=1e-9, abs=1e-12)
        expected_j = measured_j[component] if component in known else 0.0
        assert totals.energy_j == pytest.approx(expected_j, rel=1e-9, abs=1e-12)


Tick = tuple[list[LeafUsage], float, dict[Component, float], float, float | None, str]
ticks = st.tuples(
    leaves(names=6, runs=4),
    st.floats(0, 100),
    st.dictionaries(st.sampled_from([Component.CPU, Component.DRAM, Component.OTHER]), joules),
    st.sampled_from([0.5, 5.0, 40.0, 2000.0]),
    st.sampled_from([None, 0.0, 380.0]),
    st.sampled_from(["", "", "", "stop", "kill"]),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(trace=st.lists(ticks, max_size=12), max_workloads=st.integers(1, 6), max_runs=st.integers(1, 4))
def test_energy_is_conserved_and_no_counter_falls_whatever_happens(
    tmp_path_factory: pytest.TempPathFactory, trace: list[Tick], max_workloads: int, max_runs: int
) -> None:
    """Exits, expiry, caps, sensors that come and go, zero power, stops and kills: DESIGN.md §1, 1 and 2."""
    path = tmp_path_factory.mktemp("state") / "state.db"
    node = Node(LedgerSettings(max_workloads=max_workloads, max_runs=max_runs, max_processes=3), path=path)
    seen: dict[object, float] = {}
    known: set[Component] = set()
    for present, system_s, energies, after_s, g_per_kwh, end in trace:
        usage = usage_sample(present, system_cpu_s=system_s, memory_total_bytes=1e12)
        energy = energy_sample(*(component_energy(j, component=c) for c, j in energies.items()))
        state = NO_CARBON if g_per_kwh is None else carbon(g_per_kwh)
        pages = [(node.tick(usage, energy, after_s=after_s, state=state), dict(node.measured_j))]
        if end:
            pages.append((node.restart(killed=end == "kill", down_j=7.0, down_s=3.0), dict(node.measured_j)))
        for snapshot, measured_j in pages:
            assert_conserved(snapshot, measured_j, known=known)
            known = set(snapshot.components)
            shown = dict(counters(snapshot))
            assert len(shown) == len(list(counters(snapshot))), "a series appears twice"
            for key, value in shown.items():
                assert value >= seen.get(key, 0.0), key
            seen = shown


def test_a_workload_appears_at_zero_and_its_first_joules_are_on_the_next_page() -> None:
    node = Node()
    node.begin()
    usage = usage_sample([LeafUsage(unit("a"), None, 5.0)])

    first, second = node.tick(usage), node.tick(usage)

    assert sum(first.workloads[0].energy_j) == 0.0
    assert first.ended_j[Component.CPU] > 0
    assert sum(second.workloads[0].energy_j) == pytest.approx(2 * first.ended_j[Component.CPU])
    assert second.ended_j[Component.CPU] == 0.0


def test_an_ended_workload_stays_for_the_retention_then_moves_to_the_ended_gauge() -> None:
    node = Node(LedgerSettings(retention_s=900.0))
    node.tick(usage_sample([LeafUsage(unit("a"), None, 5.0)]))
    nothing = usage_sample([])

    kept = node.tick(nothing, after_s=899.0)
    expired = node.tick(nothing, after_s=20.0)

    assert [workload.workload for workload in kept.workloads] == [unit("a")]
    assert expired.workloads == []
    assert expired.ended_j[Component.CPU] == pytest.approx(sum(kept.workloads[0].energy_j))


def test_a_run_that_outlives_its_containers_keeps_its_joules() -> None:
    """An elastic restart makes a new container; the old one's series expire, the run's counter must not fall."""
    node, run = Node(LedgerSettings(retention_s=60.0)), RunKey("r")
    node.tick(usage_sample([LeafUsage(WorkloadId("pod", "", "a", "old"), run, 5.0)]))
    before = node.tick(usage_sample([LeafUsage(WorkloadId("pod", "", "a", "new"), run, 5.0)]))
    for _ in range(5):
        after = node.tick(usage_sample([LeafUsage(WorkloadId("pod", "", "a", "new"), run, 0.0)]), after_s=30.0)

    assert len(after.workloads) == 1
    assert sum(after.runs[0].energy_j) == pytest.approx(sum(before.runs[0].energy_j))


def test_a_session_that_outlives_its_runs_keeps_their_joules() -> None:
    node = Node(LedgerSettings(retention_s=60.0))
    session = WorkloadId("session", "ann", "3")
    node.begin()
    before = node.tick(usage_sample([LeafUsage(session, RunKey("r"), 5.0), LeafUsage(session, None, 1.0)]))
    for _ in range(5):
        after = node.tick(usage_sample([LeafUsage(session, None, 0.0)]), after_s=30.0)

    assert after.runs == []
    assert sum(after.workloads[0].energy_j) == pytest.approx(before.ended_j[Component.CPU])


def test_newcomers_beyond_the_cap_are_booked_into_overflow_from_their_first_joule() -> None:
    """F75, S-12: the others are not touched, and the joules are kept."""
    node = Node(LedgerSettings(max_workloads=2, max_runs=1))
    usage = usage_sample([LeafUsage(unit(f"w{i}"), RunKey(f"r{i}"), 1.0) for i in range(5)])

    node.tick(usage)
    snapshot = node.tick(usage)

    assert {totals.workload for totals in snapshot.workloads} == {unit("w0"), unit("w1"), OVERFLOW_WORKLOAD}
    assert {totals.facts.key for totals in snapshot.runs} == {"r0", OVERFLOW_RUN}
    per_run = {totals.facts.key: totals.energy_j[CPU_ACTIVE] for totals in snapshot.runs}
    assert per_run[OVERFLOW_RUN] == pytest.approx(4 * per_run[RunKey("r0")])


def test_an_overflowing_workload_does_not_move_when_room_is_made() -> None:
    node = Node(LedgerSettings(max_workloads=1, retention_s=60.0))
    both = [LeafUsage(unit("a"), None, 1.0), LeafUsage(unit("b"), None, 1.0)]
    node.tick(usage_sample(both))
    for _ in range(5):
        snapshot = node.tick(usage_sample(both[1:]), after_s=30.0)

    assert [totals.workload for totals in snapshot.workloads] == [OVERFLOW_WORKLOAD]


def test_emissions_are_the_integral_over_a_changing_grid() -> None:
    node, usage = Node(), usage_sample([LeafUsage(unit("a"), RunKey("r"), 20.0)], cpu_count=4)
    energy = energy_sample(component_energy(3600.0))
    node.begin(carbon(100.0, 1.5))
    node.tick(usage, energy, state=carbon(100.0, 1.5))
    snapshot = node.tick(usage, energy, state=carbon(500.0, 1.5))

    expected_g = sum(emissions_g(3600.0, pue_ratio=1.5, intensity_g_per_kwh=g) for g in (100.0, 500.0))
    naive_g = emissions_g(7200.0, pue_ratio=1.5, intensity_g_per_kwh=500.0)
    assert snapshot.emissions_g["operational"] == pytest.approx(expected_g)
    assert sum(snapshot.runs[0].emissions_g) == pytest.approx(expected_g)
    assert naive_g != pytest.approx(expected_g)


def test_a_component_and_the_grams_appear_at_zero() -> None:
    node, usage = Node(), usage_sample([LeafUsage(unit("a"), RunKey("r"), 1.0)])
    node.tick(usage, EnergySample(components={}))

    first = node.tick(usage, state=carbon(100.0))
    second = node.tick(usage, state=carbon(100.0))

    assert all(value == 0.0 for _, value in counters(first))
    assert first.components[Component.CPU].power_w == 20.0
    assert second.components[Component.CPU].energy_j == 200.0
    assert second.emissions_g["operational"] == pytest.approx(
        emissions_g(200.0, pue_ratio=1.0, intensity_g_per_kwh=100.0)
    )


def test_without_an_intensity_there_are_joules_and_no_grams() -> None:
    node = Node()
    node.begin()
    snapshot = node.tick(usage_sample([LeafUsage(unit("a"), None, 1.0)]))

    assert snapshot.emissions_g == {}
    assert snapshot.components[Component.CPU].energy_j == 100.0


def test_a_component_that_was_not_read_shows_its_total_and_no_power() -> None:
    """F05: never 0 W."""
    node = Node()
    node.tick(usage_sample([]))
    snapshot = node.tick(usage_sample([]), EnergySample(components={}))

    assert snapshot.components[Component.CPU].energy_j == 100.0
    assert snapshot.components[Component.CPU].power_w is None


@pytest.mark.parametrize(
    ("used_s", "parts"),
    [((3.0, 0.5), [0.75, 0.125]), ((6.0, 2.0), [0.75, 0.25]), ((0.0, 5.0), [0.0, 1.0])],
)
def test_training_processes_get_their_parts_of_their_leaf_and_never_more(
    used_s: tuple[float, float], parts: list[float]
) -> None:
    """The leaf used 4 s; processes that claim more than that together were read at another instant, and share it."""
    node, run = Node(), RunKey("r")
    usage = usage_sample([LeafUsage(unit("a"), run, 4.0)])
    processes = [ProcessUsage(0, run, "0", 10, used_s[0]), ProcessUsage(0, run, "", 11, used_s[1])]
    usage = UsageSample(
        interval_s=5.0, cpu_count=4, busy_cpu_s=4.0, system_cpu_s=0.0, leaves=usage.leaves,
        runs=usage.runs, processes=processes,
    )  # fmt: skip
    node.tick(usage)
    snapshot = node.tick(usage)

    leaf_j = snapshot.runs[0].energy_j[CPU_ACTIVE]
    assert [process.energy_j[CPU_ACTIVE] / leaf_j for process in snapshot.processes] == pytest.approx(parts)


def test_down_time_is_booked_to_nobody_with_its_own_reason(tmp_path: Path) -> None:
    node = Node(path=tmp_path / "state.db")
    node.begin()
    before = node.tick(usage_sample([LeafUsage(unit("a"), None, 1.0)]))
    after = node.restart(killed=True, down_j=321.0, down_s=60.0)

    assert after.unattributed_j[Component.CPU, Reason.AGENT_DOWN] == 321.0
    assert after.components[Component.CPU].energy_j == before.components[Component.CPU].energy_j + 321.0
    assert [totals.workload for totals in after.workloads] == [unit("a")]


def test_events_are_counted_over_a_restart(tmp_path: Path) -> None:
    node = Node(path=tmp_path / "state.db")
    event = SourceEvent("rapl", "reset", "decrease")
    node.tick(usage_sample([]), EnergySample(components={}, events=[event, event]))
    snapshot = node.restart(killed=False, down_j=0.0, down_s=1.0)

    assert snapshot.event_counts["reset", "rapl", "decrease"] == 2.0
