"""A day with a provider that fails for hours: what is booked, what bounds it, and who says so.

A real server speaks the gateway's format; the clock and the moments of asking are the test's.
"""

from __future__ import annotations

import json
import logging
import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from exporter.carbon import CarbonSettings, CarbonSource, CostSettings
from exporter.carbon.live import encode_series
from exporter.carbon.records import CarbonState
from exporter.carbon.settings import ProviderSettings
from exporter.logs import HealthLog
from exporter.testing.fake_clock import FakeClock
from exporter.units import emissions_g
from tests.carbon.clients import HOUR_S, series_of
from tests.carbon.servers import Question, Reply, serving

MIDNIGHT_S = 1_795_392_000.0  # 2026-11-23T00:00:00Z
STEP_S = 1800.0
TICK_S = 47.0  # no divisor of the half hour: values change in the middle of ticks
DOWN_FROM_S, DOWN_UNTIL_S = MIDNIGHT_S + 10 * HOUR_S, MIDNIGHT_S + 16 * HOUR_S
FRESH_FOR_S, KEEP_S = HOUR_S, 2 * HOUR_S


def curve_g_per_kwh(at_s: float) -> float:
    """Return the truth: half-hourly steps of a day with a deep noon."""
    step = at_s // STEP_S
    return 350 + 150 * math.cos(2 * math.pi * step * STEP_S / 86_400) + (step * 37 % 11)


def power_w(at_s: float) -> float:
    return 500 + 400 * math.sin(at_s / 5000)


def exact_g(from_s: float, until_s: float) -> float:
    """Return the grams of one tick by the truth: power is constant within it, the intensity is not."""
    grams, at_s = 0.0, from_s
    while at_s < until_s:
        end_s = min((at_s // STEP_S + 1) * STEP_S, until_s)
        joules = power_w(from_s) * (end_s - at_s)
        grams += emissions_g(joules, pue_ratio=1, intensity_g_per_kwh=curve_g_per_kwh(at_s))
        at_s = end_s
    return grams


def answer_at(now_s: float) -> Reply:
    """Return this half hour, and the next four minutes before it begins, as a gateway would."""
    steps = [s * STEP_S for s in {now_s // STEP_S, (now_s + 240) // STEP_S}]
    points = [(s, s + STEP_S, curve_g_per_kwh(s)) for s in sorted(steps)]
    series = series_of(points, provider="electricity_maps", fresh_for_s=FRESH_FOR_S, fetched_s=now_s)
    return Reply(json.dumps(encode_series(series)).encode())


@contextmanager
def lines() -> Iterator[list[logging.LogRecord]]:
    """Collect what this package logs, whatever other tests made of its logger."""
    records: list[logging.LogRecord] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    logger, collector = logging.getLogger("exporter"), Collector()
    level = logger.level
    logger.addHandler(collector)
    logger.setLevel(logging.INFO)
    try:
        yield records
    finally:
        logger.removeHandler(collector)
        logger.setLevel(level)


class Tick(NamedTuple):
    """One interval, what was booked for it and what is true."""

    from_s: float
    until_s: float
    booked_g: float
    exact_g: float
    state: CarbonState


def booked_g(state: CarbonState, joules: float) -> float:
    """Book a tick as the ledger does."""
    assert state.average is not None
    mean = state.interval_average_g_per_kwh
    mean = state.average.intensity_g_per_kwh if mean is None else mean
    return emissions_g(joules, pue_ratio=state.pue_ratio, intensity_g_per_kwh=mean)


def polled(source: CarbonSource, clock: FakeClock) -> None:
    """Ask who is due, in place of the threads."""
    for poller in source._lineup or ():
        if poller.due_s <= clock.monotonic_s():
            poller.poll()


@pytest.fixture(scope="module")
def day() -> tuple[list[Tick], list[logging.LogRecord]]:
    """Run the day once; the log lines are those about the average in force."""
    clock = FakeClock(wall_s=MIDNIGHT_S)

    def answer(question: Question) -> Reply:
        now_s = clock.wall_s()
        return Reply(b"down", 503) if DOWN_FROM_S <= now_s < DOWN_UNTIL_S else answer_at(now_s)

    ticks: list[Tick] = []
    health = HealthLog()
    with serving(answer) as server, lines() as records:
        provider = ProviderSettings(kind="gateway", url=server.url, poll_interval_s=100)
        settings = CarbonSettings(grid_zone="DE", providers=[provider], keep_s=KEEP_S, green_window_s=())
        jitter = random.Random(3)  # noqa: S311 - spreads questions, hides nothing
        source = CarbonSource(settings, CostSettings(), clock, jitter=jitter)
        source.close()  # no threads: this test asks
        clock.advance(10)
        polled(source, clock)
        source.state()
        while clock.wall_s() < MIDNIGHT_S + 86_400:
            from_s = clock.wall_s()
            clock.advance(TICK_S)
            state = source.state()
            health.note(state.findings)
            joules = power_w(from_s) * TICK_S
            ticks.append(Tick(from_s, clock.wall_s(), booked_g(state, joules), exact_g(from_s, clock.wall_s()), state))
            polled(source, clock)
    return ticks, [record for record in records if _is_about_average(record)]


def _is_about_average(record: logging.LogRecord) -> bool:
    return vars(record).get("item") == "average" or record.name == "exporter.carbon.switching"


def recovered_s(ticks: list[Tick]) -> float:
    """Return from when on the provider's fresh value is in force again."""
    return next(tick.until_s for tick in ticks if tick.until_s > DOWN_UNTIL_S and not tick.state.is_fallback)


def test_outside_of_the_outage_every_tick_is_exact(day: tuple[list[Tick], list[logging.LogRecord]]) -> None:
    ticks, _ = day
    back_s = recovered_s(ticks)
    whole = [tick for tick in ticks if tick.until_s <= DOWN_FROM_S or tick.from_s >= back_s]

    assert back_s <= DOWN_UNTIL_S + HOUR_S + TICK_S  # the longest back-off
    assert len(whole) > 1200
    for tick in whole:
        assert tick.booked_g == pytest.approx(tick.exact_g, rel=1e-12)


def test_during_the_outage_the_error_is_bounded_by_how_far_the_kept_value_is_from_the_truth(
    day: tuple[list[Tick], list[logging.LogRecord]],
) -> None:
    """Each tick is booked at a value in force, so it lies between the lowest and highest of truth and substitute."""
    ticks, _ = day
    back_s = recovered_s(ticks)
    during = [tick for tick in ticks if tick.until_s > DOWN_FROM_S and tick.from_s < back_s]
    kept = curve_g_per_kwh(DOWN_FROM_S)
    [table] = {t.state.average.intensity_g_per_kwh for t in during if t.state.average and _is_table(t.state)}
    truth = [curve_g_per_kwh(t.from_s) for t in during]
    lowest, highest = min(*truth, kept, table), max(*truth, kept, table)
    joules = sum(power_w(tick.from_s) * TICK_S for tick in during)

    booked = sum(tick.booked_g for tick in during)
    bound_g = sum(
        emissions_g(power_w(t.from_s) * TICK_S, pue_ratio=1, intensity_g_per_kwh=_farthest(t, kept, table))
        for t in during
    )

    assert booked <= emissions_g(joules, pue_ratio=1, intensity_g_per_kwh=highest)
    assert booked >= emissions_g(joules, pue_ratio=1, intensity_g_per_kwh=lowest)
    assert 0 < abs(booked - sum(tick.exact_g for tick in during)) <= bound_g


def _farthest(tick: Tick, kept: float, table: float) -> float:
    """Return how far the farther substitute is from the truth in a tick, in g/kWh."""
    truths = [curve_g_per_kwh(tick.from_s), curve_g_per_kwh(tick.until_s)]
    return max(abs(truth - substitute) for truth in truths for substitute in (kept, table))


def _is_table(state: CarbonState) -> bool:
    return state.average is not None and state.average.provider == "grid_table"


def test_the_day_as_a_whole_stays_within_the_envelope_of_the_truth(
    day: tuple[list[Tick], list[logging.LogRecord]],
) -> None:
    ticks, _ = day
    values = [curve_g_per_kwh(MIDNIGHT_S + STEP_S * n) for n in range(48)]
    joules = sum(power_w(tick.from_s) * TICK_S for tick in ticks)
    booked = sum(tick.booked_g for tick in ticks)

    low, high = (emissions_g(joules, pue_ratio=1, intensity_g_per_kwh=pick(values)) for pick in (min, max))
    assert low < booked < high
    assert all(tick.booked_g > 0 for tick in ticks)


def test_the_substitutes_follow_each_other_and_each_is_called_so(
    day: tuple[list[Tick], list[logging.LogRecord]],
) -> None:
    ticks, _ = day
    stages: list[tuple[str, bool | None]] = []
    for tick in ticks:
        assert tick.state.average is not None
        stage = (tick.state.average.provider, tick.state.is_fallback)
        if not stages or stages[-1] != stage:
            stages.append(stage)

    assert stages == [
        ("electricity_maps", False),
        ("electricity_maps", True),  # past its freshness, kept
        ("grid_table", True),
        ("electricity_maps", False),
    ]


def test_findings_say_who_is_in_force_since_why_and_what_to_do(
    day: tuple[list[Tick], list[logging.LogRecord]],
) -> None:
    ticks, _ = day
    state = next(tick.state for tick in ticks if _is_table(tick.state))
    [average] = [f for f in state.findings if (f.source, f.item) == ("carbon", "average")]
    [gateway] = [f for f in state.findings if f.source == "gateway"]

    assert (average.state, gateway.state) == ("degraded", "down")
    assert average.detail.startswith("grid_table: ")
    assert "because gateway has no fresh value: server: gateway answered 503: down" in average.detail
    assert average.remedy
    assert any(event.source == "gateway" for tick in ticks for event in tick.state.events)


def test_every_switch_is_one_line(day: tuple[list[Tick], list[logging.LogRecord]]) -> None:
    _, records = day

    levels = [record.levelname for record in records]
    assert levels == [
        "INFO",  # up from the start
        "WARNING",  # the kept value
        "WARNING",  # the table
        "INFO",  # back
    ]


def test_a_value_that_changes_within_ticks_is_integrated_exactly_where_the_latest_factor_is_wrong(
    tmp_path: Path,
) -> None:
    """A file with a value for every 40 seconds, ticks of 60, and power that differs from tick to tick."""
    start_s = MIDNIGHT_S
    values = [100.0 + 90 * (n % 5) for n in range(60)]
    entries = [
        {"from": _iso(start_s + 40 * n), "until": _iso(start_s + 40 * (n + 1)), "g_per_kwh": value}
        for n, value in enumerate(values)
    ]
    path = tmp_path / "grid.json"
    path.write_text(json.dumps(entries))
    clock = FakeClock(wall_s=start_s)
    settings = CarbonSettings(grid_zone="DE", providers=[ProviderSettings(kind="file", path=str(path))])
    source = CarbonSource(settings, CostSettings(), clock)
    source.close()  # no threads: this test asks
    polled(source, clock)
    source.state()
    booked, exact, energy_j = 0.0, 0.0, 0.0
    latest = 0.0
    for tick in range(30):
        clock.advance(60)
        polled(source, clock)
        state = source.state()
        assert state.average is not None
        latest = state.average.intensity_g_per_kwh
        joules_per_s = 100.0 * (1 + tick % 7)
        energy_j += joules_per_s * 60
        booked += booked_g(state, joules_per_s * 60)
        seconds = range(60 * tick, 60 * tick + 60)
        exact += sum(
            emissions_g(joules_per_s, pue_ratio=1, intensity_g_per_kwh=values[second // 40]) for second in seconds
        )

    assert booked == pytest.approx(exact, rel=1e-12)
    wrong = emissions_g(energy_j, pue_ratio=1, intensity_g_per_kwh=latest)
    assert abs(wrong - exact) > 0.2 * exact


def _iso(at_s: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at_s, UTC).isoformat()
