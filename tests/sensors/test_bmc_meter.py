from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from exporter.health import SourceEvent
from exporter.sensors import Component, ComponentEnergy
from exporter.sensors.bmc_meter import BmcGroup
from exporter.sensors.bmc_poll import IPMI_DCMI, BmcAnswer, BmcError, BmcPoller, MeanPower
from exporter.sensors.meter import Reading
from exporter.sensors.platform_rest import PlatformRest
from exporter.sensors.records import CounterState, DomainKey
from exporter.testing.fake_clock import FakeClock

KEY = DomainKey(IPMI_DCMI, "platform", "0")


class _HandPoller(BmcPoller):
    """Asks when the test says so, without a thread."""

    def start(self) -> None:
        """Leave the asking to the test."""


class Bmc:
    """A BMC that answers what it is told, and the group that asks it; the test says when."""

    def __init__(self, source: str = IPMI_DCMI, *, interval_s: float = 10.0) -> None:
        self.clock = FakeClock()
        self.answer: BmcAnswer | Exception = BmcAnswer("power", power_w=300.0)
        self.poller = _HandPoller(source, self._ask, self.clock, interval_s=interval_s)
        self.group = BmcGroup(self.poller, where="/dev/ipmi0", is_configured=False)
        self.readings: list[Reading] = []
        self.gaps_s: list[float] = []
        self.errors: list[str] = []

    def _ask(self) -> BmcAnswer:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def tick(self, seconds: float = 5.0) -> float | None:
        """Let time pass, look where due, read; return the joules of this tick."""
        self.clock.advance(seconds)
        events: list[SourceEvent] = []
        readings: list[Reading] = []
        if self.group.is_look_due:
            self.group.look(events)
            for meter in self.group.meters:
                meter.feeds = True
        self.group.read(self.clock.monotonic_s(), self.clock.wall_s(), is_busy=True, readings=readings, events=events)
        self.readings += readings
        self.gaps_s += [event.amount for event in events if event.kind == "gap_seconds"]
        self.errors += [event.reason for event in events if event.kind == "error"]
        return readings[0].energy_j if readings else None

    def refuse(self, reason: str = "timeout", *, is_lasting: bool = False) -> None:
        self.answer = BmcError(IPMI_DCMI, reason, "no answer", remedy="do this", is_lasting=is_lasting)


def test_power_becomes_joules_tick_by_tick() -> None:
    bmc = Bmc()
    bmc.poller.poll()

    joules = [bmc.tick() for _ in range(4)]

    assert joules == [None, 1500.0, 1500.0, 1500.0]
    assert bmc.group.states()[KEY].total_j == 4500.0
    assert bmc.gaps_s == []


def test_a_reading_older_than_three_polls_is_a_gap_and_not_guessed_joules() -> None:
    bmc = Bmc()
    bmc.poller.poll()
    bmc.tick(0.0)

    joules = [bmc.tick() for _ in range(10)]

    assert joules == [1500.0] * 6 + [None] * 4
    assert bmc.gaps_s == [5.0] * 4


def test_after_a_gap_the_first_joules_are_those_after_the_answer() -> None:
    bmc = Bmc()
    bmc.poller.poll()
    for _ in range(10):
        bmc.tick()
    bmc.answer = BmcAnswer("power", power_w=500.0)
    bmc.poller.poll()

    assert [bmc.tick(), bmc.tick()] == [None, 2500.0]


def test_a_stalled_tick_is_a_gap_even_with_a_fresh_reading() -> None:
    bmc = Bmc()
    bmc.poller.poll()
    bmc.tick()
    bmc.clock.advance(595)
    bmc.poller.poll()

    assert (bmc.tick(), bmc.gaps_s) == (None, [600.0])


def test_before_the_first_answer_there_is_no_meter_and_no_gap() -> None:
    bmc = Bmc()
    bmc.refuse()
    bmc.poller.poll()

    assert [bmc.tick() for _ in range(3)] == [None] * 3
    assert (bmc.group.meters, bmc.gaps_s, bmc.errors) == ((), [], ["timeout"])


def test_the_total_goes_on_after_a_restart_and_the_time_away_is_a_gap() -> None:
    bmc = Bmc()
    bmc.group.restore({KEY: CounterState(300_000_000, bmc.clock.monotonic_s() - 60, 7000.0)})
    assert bmc.group.states()[KEY].total_j == 7000.0
    bmc.poller.poll()

    joules = [bmc.tick() for _ in range(2)]

    assert (joules, bmc.gaps_s) == ([None, 1500.0], [65.0])
    assert bmc.group.states()[KEY].total_j == 8500.0


def test_a_failing_bmc_is_asked_less_and_less_often_and_one_that_refuses_hardly_ever() -> None:
    bmc = Bmc()
    bmc.refuse()
    waits_s = [bmc.poller.poll() for _ in range(7)]
    bmc.refuse("auth", is_lasting=True)

    assert waits_s == [10, 20, 40, 80, 160, 300, 300]
    assert bmc.poller.poll() == 300
    bmc.answer = BmcAnswer("power", power_w=300.0)
    assert bmc.poller.poll() == 10
    bmc.refuse()
    assert bmc.poller.poll() == 10


def test_a_fault_in_our_own_code_does_not_end_the_asking() -> None:
    bmc = Bmc()
    bmc.answer = KeyError("secret")
    bmc.poller.poll()

    assert bmc.poller.error is not None
    assert str(bmc.poller.error) == "KeyError in this agent's own code"


def test_errors_that_nobody_takes_do_not_pile_up() -> None:
    bmc = Bmc()
    bmc.refuse()
    for _ in range(1000):
        bmc.poller.poll()

    assert len(bmc.poller.take_reasons()) == 100
    assert bmc.poller.take_reasons() == []


def test_the_finding_says_what_happened_and_what_to_do() -> None:
    bmc = Bmc()
    bmc.tick()
    assert _state(bmc) == ("absent", "/dev/ipmi0: no answer yet", "")
    bmc.refuse()
    bmc.poller.poll()
    assert _state(bmc) == ("absent", "/dev/ipmi0: no answer", "do this")
    bmc.answer = BmcAnswer("DCMI power reading", power_w=300.0)
    bmc.poller.poll()
    bmc.tick()
    assert _state(bmc) == ("up", "/dev/ipmi0: DCMI power reading; feeds other", "")
    bmc.answer = BmcAnswer("DCMI power reading", power_w=300.0, doubt="deactivated")
    bmc.poller.poll()
    bmc.tick()
    assert _state(bmc) == ("degraded", "/dev/ipmi0: DCMI power reading; deactivated; feeds other", "")
    bmc.refuse()
    bmc.poller.poll()
    bmc.tick(100)
    assert _state(bmc) == ("down", "/dev/ipmi0: no answer", "do this")


def _state(bmc: Bmc) -> tuple[str, str, str]:
    [finding] = bmc.group.findings(absent_state="absent", remark=lambda _: "feeds other")
    return finding.state, finding.detail, finding.remedy


def test_energy_becomes_the_mean_power_from_step_to_step() -> None:
    mean = MeanPower()
    steps = [(0.0, 0.0), (0.0, 10.0), (6000.0, 20.0), (9000.0, 30.0), (100.0, 40.0), (1100.0, 50.0), (2100.0, 60.0)]
    steps += [(9e9, 70.0)]

    assert [mean.update(*step) for step in steps] == [None, None, None, 300.0, None, None, 100.0, None]


@given(quantum_j=st.sampled_from([3.6e3, 3.6e4, 1.8e5, 3.6e5]), phase=st.floats(0, 1))
def test_a_coarse_counter_never_gives_more_than_was_drawn(quantum_j: float, phase: float) -> None:
    """A true 400 W, asked every 10 s: every mean is over whole steps, so that it is off by one poll at most."""
    mean = MeanPower()
    watts = [
        mean.update((400.0 * at_s // quantum_j + phase) * quantum_j, at_s) for at_s in map(float, range(0, 3600, 10))
    ]

    assert all(power_w is None or power_w * 400.0 <= 400.0 * (400.0 + quantum_j / 10.0) for power_w in watts)
    settled = [power_w for power_w in watts if power_w is not None]
    if quantum_j >= 3.6e4:
        assert all(300.0 < power_w < 500.0 for power_w in settled)


def test_a_mean_over_a_long_pause_is_not_the_power_of_now() -> None:
    mean = MeanPower()
    mean.update(0.0, 0.0)

    later = [(3_600_000.0, 9000.0), (3_603_000.0, 9010.0), (3_606_000.0, 9020.0)]
    assert [mean.update(*step) for step in later] == [None, None, 300.0]


@given(powers_w=st.lists(st.floats(1, 5000) | st.none(), min_size=1, max_size=40), seconds=st.floats(1, 60))
def test_the_total_is_the_sum_of_the_ticks_and_every_second_is_joules_or_gap(
    powers_w: list[float | None], seconds: float
) -> None:
    """Conservation of a meter: total = Σ readings; time with joules + gaps = time since the first answer."""
    bmc = Bmc()
    bmc.poller.poll()
    bmc.tick(0.0)
    begun_s = bmc.clock.monotonic_s()
    for power_w in powers_w:
        bmc.answer = BmcError(IPMI_DCMI, "timeout", "") if power_w is None else BmcAnswer("power", power_w=power_w)
        bmc.poller.poll()
        before_j = bmc.group.states()[KEY].total_j
        bmc.tick(seconds)
        assert bmc.group.states()[KEY].total_j >= before_j

    covered_s = math.fsum(reading.interval_s for reading in bmc.readings)
    assert math.isclose(
        bmc.group.states()[KEY].total_j, math.fsum(reading.energy_j for reading in bmc.readings), rel_tol=1e-9
    )
    assert math.isclose(covered_s + math.fsum(bmc.gaps_s), bmc.clock.monotonic_s() - begun_s, rel_tol=1e-9)


_TICK = st.tuples(st.floats(1, 3000) | st.none(), st.floats(0, 4000), st.booleans())


@given(ticks=st.lists(_TICK, min_size=1, max_size=60))
def test_other_is_the_platform_less_the_rest_over_time_and_never_negative(
    ticks: list[tuple[float | None, float, bool]],
) -> None:
    """Σ other − what is still owed = Σ platform − Σ rest over the ticks that the meter covers, through gaps.

    A platform below its parts (a lagging or wrong BMC) gives 0 and a debt that later ticks pay.
    """
    bmc, rest = Bmc(interval_s=5.0), PlatformRest()
    bmc.poller.poll()
    bmc.tick(0.0)
    other_j = platform_j = parts_j = 0.0
    owed_limit_j = 0.0
    for power_w, part_w, is_partial in ticks:
        bmc.answer = BmcError(IPMI_DCMI, "timeout", "") if power_w is None else BmcAnswer("power", power_w=power_w)
        bmc.poller.poll()
        before = len(bmc.readings)
        bmc.tick(5.0)
        if len(bmc.readings) == before:
            continue
        reading = bmc.readings[-1]
        energy = rest.energy(reading, [_part(part_w * 5.0)], uncertainty_ratio=0.1, is_rest_whole=not is_partial)
        platform_j += reading.energy_j
        parts_j += part_w * 5.0
        if energy is not None:
            assert energy.energy_j >= 0
            assert math.isfinite(energy.uncertainty_ratio)
            other_j += energy.energy_j
        owed_limit_j = max(owed_limit_j, reading.energy_j / 5.0 * 600)

    assert other_j >= platform_j - parts_j - owed_limit_j - 1e-6  # nothing is lost but what still waits
    assert other_j <= platform_j + 1e-6  # nothing is invented


@given(powers_w=st.lists(st.floats(500, 1000), min_size=2, max_size=40), part_w=st.floats(0, 2000))
def test_what_the_parts_were_ahead_is_taken_back_exactly(powers_w: list[float], part_w: float) -> None:
    bmc, rest = Bmc(interval_s=5.0), PlatformRest()
    bmc.poller.poll()
    bmc.tick(0.0)
    balance_j, other_j = 0.0, 0.0
    for index, power_w in enumerate([*powers_w, *[1000.0] * 3]):
        part_j = part_w * 5.0 if index < 2 else 0.0  # ahead in the first two ticks, by 15 kJ at the most
        bmc.answer = BmcAnswer("power", power_w=power_w)
        bmc.poller.poll()
        bmc.tick(5.0)
        energy = rest.energy(bmc.readings[-1], [_part(part_j)], uncertainty_ratio=0.1, is_rest_whole=True)
        assert energy is not None
        balance_j += bmc.readings[-1].energy_j - part_j
        other_j += energy.energy_j

    assert math.isclose(other_j, balance_j, rel_tol=1e-9, abs_tol=1e-6)


def _part(energy_j: float) -> ComponentEnergy:
    return ComponentEnergy(
        component=Component.CPU,
        energy_j=energy_j,
        interval_s=5.0,
        source="rapl",
        quality="measured",
        uncertainty_ratio=0.05,
    )
