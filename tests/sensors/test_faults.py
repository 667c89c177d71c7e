"""The rules of reliability, each on a machine's files."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.health import SourceEvent
from exporter.host import Roots
from exporter.sensors import Component, SensorSet, SensorSettings
from exporter.sensors.sysfs import list_names
from tests.sensors.samples import energies, finding_of, state_of, totals_of, two_packages
from tests.sensors.trees import AMD_RANGE_UJ, DENIED, FAILING, ManualClock, Tree

CPU, DRAM, OTHER = Component.CPU, Component.DRAM, Component.OTHER


def test_domains_that_may_not_be_read_say_what_would_help(tree: Tree) -> None:
    """F02: mode 0400 for all: source down, remedy names uid and capability, the estimate stands in."""
    tree.zone("intel-rapl:0", "package-0", DENIED)
    tree.zone("intel-rapl:1", "package-1", DENIED)

    sensors = tree.sensors()
    first = sensors.resume({})
    sample = tree.tick(sensors)

    assert first.events == [SourceEvent("rapl", "error", "permission")] * 2
    assert state_of(sample, "rapl") == "down"
    assert "uid 0" in finding_of(sample, "rapl").remedy
    assert "CAP_DAC_READ_SEARCH" in finding_of(sample, "rapl", "package 1").remedy
    assert sample.components[CPU].source == "cpu_estimate"


def test_one_forbidden_domain_of_four_leaves_three_and_a_partial_total(tree: Tree) -> None:
    """F03: no silently smaller total."""
    two_packages(tree)
    (tree.zone_path("intel-rapl:1") / "energy_uj").unlink()
    tree.zone("intel-rapl:1", "package-1", DENIED)
    sensors = tree.started()
    for zone in ("0", "0:0", "1:0"):
        tree.set_uj(f"intel-rapl:{zone}", 60_000_000)

    sample = tree.tick(sensors)

    assert energies(sample) == {"cpu": 50, "dram": 110}
    assert (sample.components[CPU].is_partial, sample.components[DRAM].is_partial) == (True, False)
    assert state_of(sample, "rapl") == "degraded"


def test_permission_given_later_is_used_at_the_next_look(tree: Tree) -> None:
    tree.zone("intel-rapl:0", "package-0", DENIED)
    sensors = tree.started()
    (tree.zone_path("intel-rapl:0") / "energy_uj").unlink()
    tree.zone("intel-rapl:0", "package-0", 1_000_000)

    first = tree.tick(sensors, seconds=60)
    tree.set_uj("intel-rapl:0", 51_000_000)
    sample = tree.tick(sensors)

    assert first.components[CPU].source == "cpu_estimate"
    assert energies(sample) == {"cpu": 50}
    assert sample.components[CPU].source == "rapl"
    assert all(finding.source != "cpu_estimate" for finding in sample.findings)


def test_a_read_that_fails_once_loses_no_energy(tree: Tree) -> None:
    """F04, F10: the sample is skipped, counted, and the next delta spans the gap."""
    tree.zone("intel-rapl:0", "package-0", 0)
    sensors = tree.started()
    tree.set_uj("intel-rapl:0", b"garbage\n")
    failed = tree.tick(sensors)
    tree.set_uj("intel-rapl:0", 800_000_000)

    sample = tree.tick(sensors)

    assert failed.components == {}
    assert failed.events == [SourceEvent("rapl", "error", "format")]
    assert state_of(failed, "rapl") == "up"
    assert (sample.components[CPU].energy_j, sample.components[CPU].interval_s) == (800, 10)


def test_a_domain_that_fails_for_good_goes_down_and_keeps_its_total(tree: Tree) -> None:
    """F05: EIO for ever: down after three samples, total frozen, never 0 W, and no estimate slips in."""
    tree.zone("intel-rapl:0", "package-0", 0)
    sensors = tree.started()
    tree.set_uj("intel-rapl:0", 500_000_000)
    tree.tick(sensors)
    tree.set_uj("intel-rapl:0", b"")
    tree.tick(sensors)
    (tree.zone_path("intel-rapl:0") / "energy_uj").unlink()
    tree.zone("intel-rapl:0", "package-0", FAILING)

    samples = [tree.tick(sensors) for _ in range(4)]

    assert [sample.components for sample in samples] == [{}] * 4
    assert {totals_of(sample)["package 0"] for sample in samples} == {500.0}
    assert [state_of(sample, "rapl") for sample in samples] == ["up", "down", "down", "down"]
    assert SourceEvent("rapl", "error", "io") in samples[-1].events
    assert "kernel's log" in finding_of(samples[-1], "rapl", "package 0").remedy


def test_one_dead_package_of_two_leaves_the_other_and_a_partial_total(tree: Tree) -> None:
    two_packages(tree)
    sensors = tree.started()
    tree.set_uj("intel-rapl:1", b"\0\0")
    for step in range(1, 4):
        tree.set_uj("intel-rapl:0", 10_000_000 + step * 200_000_000)
        sample = tree.tick(sensors)

    assert (sample.components[CPU].energy_j, sample.components[CPU].is_partial) == (200, True)
    assert state_of(sample, "rapl", "package 1") == "down"


def test_a_wrap_between_samples_loses_nothing(tree: Tree) -> None:
    """F06: correct within one unit."""
    tree.zone("intel-rapl:0", "package-0", AMD_RANGE_UJ - 300_000_000, range_uj=AMD_RANGE_UJ)
    sensors = tree.started()
    tree.set_uj("intel-rapl:0", 200_000_000)

    assert energies(tree.tick(sensors)) == {"cpu": pytest.approx(500)}


def test_a_reset_is_counted_and_credited_with_the_new_reading(tree: Tree) -> None:
    """F07: the driver was loaded anew."""
    tree.zone("intel-rapl:0", "package-0", 90_000_000_000)
    sensors = tree.started()
    tree.set_uj("intel-rapl:0", 70_000_000)

    sample = tree.tick(sensors)

    assert energies(sample) == {"cpu": 70}
    assert sample.events == [SourceEvent("rapl", "reset", "counter")]


def test_a_stall_that_may_hide_wraps_is_a_gap_once_for_all_domains(tree: Tree) -> None:
    """F08: 20 minutes of SIGSTOP: gap seconds, no joules, and all is well at the next sample."""
    for package in (0, 1):
        tree.zone(f"intel-rapl:{package}", f"package-{package}", 1_000_000, range_uj=AMD_RANGE_UJ)
    sensors = tree.started()
    for package in (0, 1):
        tree.set_uj(f"intel-rapl:{package}", 30_000_000_000)

    stalled = tree.tick(sensors, seconds=1200)
    for package in (0, 1):
        tree.set_uj(f"intel-rapl:{package}", 30_100_000_000)
    sample = tree.tick(sensors)

    assert stalled.components == {}
    assert stalled.events == [SourceEvent("rapl", "gap_seconds", "too_long", 1200)]
    assert energies(sample) == {"cpu": 200}


def test_a_domain_without_range_works_and_is_marked(tree: Tree) -> None:
    """F09: no crash, no correction, said once."""
    tree.zone("intel-rapl:0", "package-0", 0, range_uj=0)
    sensors = tree.started()
    tree.set_uj("intel-rapl:0", 100_000_000)

    sample = tree.tick(sensors)

    assert energies(sample) == {"cpu": 100}
    assert "wraps count as resets" in finding_of(sample, "rapl", "package 0").detail


def test_an_unplugged_package_comes_back_as_the_same_series(tree: Tree) -> None:
    """F15: CPU hot-plug, and back at another place: no fall, the same key, its total goes on."""
    two_packages(tree)
    sensors = tree.started()
    for package in (0, 1):
        tree.set_uj(f"intel-rapl:{package}", 110_000_000)
    tree.tick(sensors)
    tree.remove("intel-rapl:1")
    gone = [tree.tick(sensors) for _ in range(4)][-1]
    tree.zone("intel-rapl:5", "package-1", 30_000_000)
    tree.tick(sensors, seconds=60)
    tree.set_uj("intel-rapl:5", 90_000_000)

    sample = tree.tick(sensors)

    assert totals_of(gone)["package 1"] == 100
    assert gone.components.keys() == set()
    assert state_of(gone, "rapl", "package 1") == "down"
    assert totals_of(sample)["package 1"] == 100 + 30 + 60
    assert state_of(sample, "rapl", "package 1") == "up"


def test_hostile_and_repeated_names_stay_clean_and_unique(tree: Tree) -> None:
    """F16: newline, quotes, garbage, repetition."""
    for number, name in enumerate(
        [b'pa"ck\nage\xff\x00', b'pa"ck\nage\xff\x00', b"package-0", b"package-0", b"x" * 300]
    ):
        tree.zone(f"intel-rapl:{number}", name, 5)
    keys = [total.key for total in tree.sensors().resume({}).domains]

    assert len(set(keys)) == len(keys) == 5
    assert all(part.isprintable() and len(part) <= 64 for key in keys for part in key)


def test_a_twin_keeps_its_key_while_the_first_is_away(tree: Tree) -> None:
    """F16, F15: series do not swap when domains of the same name come and go."""
    tree.zone("intel-rapl:0", "package-0", 5_000_000)
    tree.zone("intel-rapl:1", "package-0", 7_000_000)
    sensors = tree.started()
    tree.remove("intel-rapl:0")
    tree.set_uj("intel-rapl:1", 107_000_000)
    tree.tick(sensors)
    sample = tree.tick(sensors, seconds=60)

    assert totals_of(sample) == {"package 0": 0, "package 0~2": 100}


def test_a_counter_that_stands_still_while_the_cpu_works_is_frozen_not_zero(tree: Tree) -> None:
    """F17: nothing is reported, after three samples it is degraded, and what it owes comes with its next step."""
    tree.zone("intel-rapl:0", "package-0", 1_000_000)
    sensors = tree.started()

    frozen = [tree.tick(sensors) for _ in range(4)]
    tree.set_uj("intel-rapl:0", 901_000_000)
    sample = tree.tick(sensors)

    assert [one.components for one in frozen] == [{}] * 4
    assert [state_of(one, "rapl") for one in frozen] == ["up", "up", "degraded", "degraded"]
    assert [one.events for one in frozen] == [[], [], [SourceEvent("rapl", "error", "frozen")], []]
    assert (sample.components[CPU].energy_j, sample.components[CPU].interval_s) == (900, 25)
    assert state_of(sample, "rapl") == "up"


def test_a_counter_that_stands_still_on_an_idle_machine_is_zero(tree: Tree) -> None:
    tree.zone("intel-rapl:0", "package-0", 1_000_000)

    assert energies(tree.tick(tree.started(), busy_ratio=0.0)) == {"cpu": 0}


def test_an_implausible_jump_is_rejected_counted_and_the_baseline_moved(tree: Tree) -> None:
    """F18: +10 kJ in one second."""
    tree.zone("intel-rapl:0", "package-0", 0)
    sensors = tree.started()
    tree.set_uj("intel-rapl:0", 10_000_000_000)
    jumped = tree.tick(sensors, seconds=1)
    tree.set_uj("intel-rapl:0", 10_100_000_000)

    sample = tree.tick(sensors, seconds=1)

    assert jumped.components == {}
    assert jumped.events == [SourceEvent("rapl", "error", "implausible")]
    assert energies(sample) == {"cpu": 100}


def test_an_estimate_over_a_long_stall_is_a_gap(tree: Tree) -> None:
    """F65: the machine may have slept."""
    sample = tree.tick(tree.started(), seconds=3600)

    assert sample.components == {}
    assert sample.events == [SourceEvent("cpu_estimate", "gap_seconds", "too_long", 3600)]


def test_findings_change_only_when_something_changed(tree: Tree) -> None:
    """log1: what is logged on change must not change by itself."""
    two_packages(tree)
    sensors = tree.started()
    first, second = (tree.tick(sensors, busy_ratio=0.0) for _ in range(2))

    assert list(first.findings)[1:] == list(second.findings)[1:]


def test_close_releases_every_descriptor(tree: Tree) -> None:
    two_packages(tree)
    before = len(list_names("/proc/self/fd"))
    sensors = tree.started()
    during = len(list_names("/proc/self/fd"))
    sensors.close()

    assert (during - before, len(list_names("/proc/self/fd"))) == (4, before)


def test_a_fault_in_the_code_of_one_source_hurts_no_other(tree: Tree) -> None:
    """A path no system call accepts makes two sources raise what they do not expect; the estimate goes on."""
    clock = ManualClock()
    sensors = SensorSet(Roots(procfs=tree.roots.procfs, sysfs=Path("/no\0where")), clock, SensorSettings())
    sensors.resume({})
    clock.now_s += 60

    sample = sensors.sample(busy_ratio=0.0)

    assert sample.components.keys() == {CPU}
    assert SourceEvent("rapl", "error", "internal") in sample.events
    assert finding_of(sample, "rapl").state == "down"
    assert "ValueError" in finding_of(sample, "hwmon").detail


def test_a_package_that_never_answers_is_estimated_once_it_is_down(tree: Tree) -> None:
    """F05: from the start; not before three samples, so that one bad read does not look like a machine without."""
    tree.zone("intel-rapl:0", "package-0", FAILING)
    sensors = tree.started()
    sources = [{energy.source for energy in tree.tick(sensors).components.values()} for _ in range(4)]

    assert sources == [set(), set(), {"cpu_estimate"}, {"cpu_estimate"}]


@pytest.mark.parametrize(
    ("settings", "spent_j", "is_counted"),
    [
        (SensorSettings(), 2400, True),  # 150 W rated: 500 W believed
        (SensorSettings(), 2600, False),
        (SensorSettings(tdp_watts=400), 3900, True),
        (SensorSettings(max_package_watts=100), 600, False),
    ],
)
def test_what_is_plausible_follows_from_rating_and_settings(
    tree: Tree, settings: SensorSettings, spent_j: int, is_counted: bool
) -> None:
    """F18: the bound is twice the rating, at least 500 W."""
    tree.zone("intel-rapl:0", "package-0", 0)
    sensors = tree.started(settings)
    tree.set_uj("intel-rapl:0", spent_j * 1_000_000)

    assert (CPU in tree.tick(sensors).components) is is_counted


def test_the_busy_dies_of_one_counter_survive_the_loss_of_the_first(tree: Tree) -> None:
    """F14, F15: the die that repeats takes over when the one it repeats goes away."""
    for die in (0, 1):
        tree.zone(f"intel-rapl:{die}", f"package-0-die-{die}", 1_000_000_000)
    sensors = tree.started()
    tree.remove("intel-rapl:0")
    tree.tick(sensors)
    tree.tick(sensors)
    tree.set_uj("intel-rapl:1", 1_400_000_000)

    sample = tree.tick(sensors)

    assert sample.components[CPU].energy_j == 400
    assert sample.components[CPU].is_partial


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(
        st.binary(max_size=24) | st.integers(0, 10**19).map(lambda raw: b"%d" % raw), min_size=6, max_size=12
    )
)
def test_whatever_a_register_reads_totals_never_fall_and_nothing_raises(tree: Tree, texts: list[bytes]) -> None:
    """S-21: any bytes in a register, tick after tick, beside a register that works."""
    if not tree.zone_path("intel-rapl:0").exists():
        two_packages(tree)
    sensors = tree.started()
    totals = totals_of(tree.tick(sensors))
    for text in texts:
        tree.set_uj("intel-rapl:0", text)
        before, totals = totals, totals_of(tree.tick(sensors))
        assert all(totals[domain] >= total_j for domain, total_j in before.items())
    sensors.close()


def test_a_look_without_free_descriptors_loses_no_open_register(tree: Tree) -> None:
    """F71: EMFILE."""
    two_packages(tree)
    sensors = tree.started()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        tree.clock.now_s += 60
        sample = sensors.sample(busy_ratio=0.0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert energies(sample) == {"cpu": 0, "dram": 0}
    assert state_of(sample, "rapl") == "up"
