"""Restarts of the agent on the same boot."""

from __future__ import annotations

from exporter.health import SourceEvent
from exporter.sensors import Component, CounterState, DomainKey
from tests.sensors.trees import AMD_RANGE_UJ, Tree

PACKAGE = DomainKey("rapl", "package", "0")


def test_what_the_hardware_counted_meanwhile_is_returned(tree: Tree) -> None:
    tree.zone("intel-rapl:0", "package-0", 5_000_000_000)
    states = {PACKAGE: CounterState(1_000_000_000, tree.clock.now_s - 40, 777.0)}

    sample = tree.sensors().resume(states)

    assert sample.components[Component.CPU].energy_j == 4000
    assert sample.components[Component.CPU].interval_s == 40
    assert sample.domains[0].total_j == 4777


def test_a_wrap_while_away_is_seen(tree: Tree) -> None:
    tree.zone("intel-rapl:0", "package-0", 100_000_000, range_uj=AMD_RANGE_UJ)
    states = {PACKAGE: CounterState(AMD_RANGE_UJ - 900_000_000, tree.clock.now_s - 20, 0.0)}

    assert tree.sensors().resume(states).components[Component.CPU].energy_j == 1000


def test_too_long_away_is_a_gap_and_the_total_stays(tree: Tree) -> None:
    """F08: longer than the register can tell."""
    tree.zone("intel-rapl:0", "package-0", 100_000_000, range_uj=AMD_RANGE_UJ)
    sensors = tree.sensors()

    sample = sensors.resume({PACKAGE: CounterState(0, tree.clock.now_s - 900, 777.0)})

    assert sample.components == {}
    assert sample.events == [SourceEvent("rapl", "gap_seconds", "too_long", 900)]
    assert sensors.states() == {PACKAGE: CounterState(100_000_000, tree.clock.now_s, 777.0)}


def test_states_survive_a_domain_that_is_away_at_the_restart(tree: Tree) -> None:
    """F15, F74: an unplugged package's series goes on after a restart too."""
    tree.zone("intel-rapl:0", "package-0", 0)
    other = DomainKey("rapl", "package", "1")
    state = CounterState(1_000_000, tree.clock.now_s - 10, 50.0)
    sensors = tree.sensors()
    sensors.resume({other: state})

    assert sensors.states()[other] == state
    tree.zone("intel-rapl:1", "package-1", 3_000_000)
    totals = {total.key: total.total_j for total in tree.tick(sensors, seconds=60).domains}
    assert totals[other] == 52


def test_states_of_other_sources_are_left_alone(tree: Tree) -> None:
    sensors = tree.sensors()
    sensors.resume({DomainKey("nvml", "board", "0"): CounterState(1, 2, 3)})

    assert sensors.states() == {}


def test_a_state_of_another_boot_gives_nothing(tree: Tree) -> None:
    tree.zone("intel-rapl:0", "package-0", 500_000_000)

    sample = tree.sensors().resume({PACKAGE: CounterState(1_000_000, tree.clock.now_s + 50, 9.0)})

    assert sample.components == {}
    assert sample.domains[0].total_j == 9


def test_a_power_meter_knows_nothing_of_the_time_away(tree: Tree) -> None:
    hwmon = tree.chip(0, "ACPI000D:00", "power_meter", power1_average=300_000_000)
    key = DomainKey("hwmon", "platform", "ACPI000D:00")
    state = CounterState(300_000_000, tree.clock.now_s - 500, 12.0)

    sample = tree.sensors().resume({key: state})

    assert (hwmon / "name").exists()
    assert sample.domains[0].total_j == 12
    assert sample.events == [SourceEvent("hwmon", "gap_seconds", "too_long", 500)]


def test_an_estimate_has_nothing_to_resume(tree: Tree) -> None:
    assert tree.sensors().resume({}).components == {}


def test_a_cpu_that_was_measured_on_this_boot_is_not_estimated_after_a_restart(tree: Tree) -> None:
    """Its counter goes on meanwhile: when it comes back, an estimate would have been counted twice."""
    sensors = tree.sensors()
    sensors.resume({PACKAGE: CounterState(0, tree.clock.now_s - 5, 0.0)})
    away = tree.tick(sensors)
    tree.zone("intel-rapl:0", "package-0", 6_000_000_000)

    assert away.components == {}
    assert tree.tick(sensors, seconds=60).components[Component.CPU].energy_j == 6000
