"""Which value is in force: order, freshness, signals, reference zones, restart, and that nobody waits."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.carbon import CarbonSettings, CarbonSource, CarbonState, CostSettings, validate
from exporter.carbon.live import decode_series, encode_series
from exporter.carbon.live.choice import choose
from exporter.carbon.records import Signal
from exporter.carbon.settings import ProviderSettings, TariffPeriod
from exporter.clock import SystemClock
from exporter.testing.fake_clock import FakeClock
from tests.carbon.clients import HOUR_S, NOON_S, series_of
from tests.carbon.servers import Question, Reply, Server, serving

LIVE = CarbonSettings(grid_zone="DE")


class NoJitter:
    def uniform(self, a: float, b: float, /) -> float:
        return a


def source_of(
    settings: CarbonSettings, clock: FakeClock, *, cache_path: str = "", costs: CostSettings | None = None
) -> CarbonSource:
    """Return a source without threads: the test asks."""
    source = CarbonSource(settings, costs or CostSettings(), clock, cache_path=cache_path, jitter=NoJitter())
    source.close()
    return source


def polled(source: CarbonSource) -> CarbonState:
    for poller in source._lineup or ():
        poller.poll()
    return source.state()


def file_of(tmp_path: Path, text: str, name: str = "grid.yaml") -> str:
    path = tmp_path / name
    path.write_text(text)
    os.utime(path, (NOON_S - 60, NOON_S - 60))
    return str(path)


def provider(path: str, signal: Signal = "average", *, fresh_for_s: float | None = None) -> ProviderSettings:
    return ProviderSettings(kind="file", path=path, signal=signal, fresh_for_s=fresh_for_s)


def finding_state(state: CarbonState, source: str, item: str = "") -> str:
    [found] = [finding.state for finding in state.findings if (finding.source, finding.item) == (source, item)]
    return found


# Order


@given(
    fresh_until=st.lists(st.none() | st.floats(-1e5, 1e5), max_size=6),
    keep_s=st.floats(0, 1e5),
)
def test_no_stale_value_is_taken_before_a_fresh_one_and_none_that_is_too_old(
    fresh_until: Sequence[float | None], keep_s: float
) -> None:
    candidates = [
        None if until_s is None else replace(series_of([(-10.0, 10.0, 300.0)]), fresh_until_s=until_s)
        for until_s in fresh_until
    ]

    choice = choose(candidates, now_s=0.0, keep_s=keep_s)

    fresh = [rank for rank, until_s in enumerate(fresh_until) if until_s is not None and until_s > 0]
    kept = [rank for rank, until_s in enumerate(fresh_until) if until_s is not None and -until_s <= keep_s]
    expected = next(iter([*fresh, *kept]), None)
    assert expected == (choice.rank if choice else None)
    assert choice is None or choice.is_fresh == bool(fresh)


def test_the_first_fresh_value_wins_and_the_second_is_a_visible_substitute(tmp_path: Path) -> None:
    first, second = file_of(tmp_path, "100", "a"), file_of(tmp_path, "200", "b")
    clock = FakeClock(wall_s=NOON_S)
    source = source_of(replace(LIVE, providers=[provider(first, fresh_for_s=600), provider(second)]), clock)
    before = polled(source)
    clock.advance(600)
    after = source.state()

    assert before.average is not None
    assert after.average is not None
    assert (before.average.intensity_g_per_kwh, before.is_fallback) == (100, False)
    assert (after.average.intensity_g_per_kwh, after.is_fallback) == (200, True)
    assert finding_state(before, "carbon", "average") == "up"
    assert finding_state(after, "carbon", "average") == "degraded"
    assert finding_state(after, "file#2") == "up"


def test_until_anybody_answers_the_table_stands_in_without_an_alarm(tmp_path: Path) -> None:
    source = source_of(replace(LIVE, providers=[provider(file_of(tmp_path, "100"))]), FakeClock(wall_s=NOON_S))
    state = source.state()

    assert state.average is not None
    assert (state.average.provider, state.is_fallback) == ("grid_table", True)
    assert finding_state(state, "carbon", "average") == "absent"


def test_without_the_table_emissions_stop_and_return(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    settings = replace(LIVE, providers=[provider(str(path))], yearly_fallback=False)
    source = source_of(settings, FakeClock(wall_s=NOON_S))
    down = polled(source)
    file_of(tmp_path, "100")
    up = polled(source)

    assert (down.average, down.is_fallback) == (None, True)
    assert finding_state(down, "carbon", "average") == "down"
    assert [finding.source for finding in down.findings if finding.source == "grid_table"] == []
    assert up.average is not None
    assert [event.reason for event in down.events] == ["io"]


def test_a_kept_value_is_used_until_it_is_too_old(tmp_path: Path) -> None:
    settings = replace(LIVE, providers=[provider(file_of(tmp_path, "100"), fresh_for_s=600)], keep_s=1000)
    clock = FakeClock(wall_s=NOON_S)
    source = source_of(settings, clock)
    polled(source)
    providers = []
    for seconds in (600, 900, 200):
        clock.advance(seconds)
        state = source.state()
        assert state.average is not None
        providers.append((state.average.provider, state.is_fallback))

    assert providers == [("file", True), ("file", True), ("grid_table", True)]


def test_a_fixed_value_stands_alone_and_says_who_is_not_asked(tmp_path: Path) -> None:
    settings = replace(LIVE, intensity_g_per_kwh=42.0, providers=[provider(file_of(tmp_path, "100"))])
    state = polled(source_of(settings, FakeClock(wall_s=NOON_S)))

    assert state.average is not None
    assert (state.average.intensity_g_per_kwh, state.is_fallback) == (42, None)
    assert any("1 of carbon.providers is not asked" in finding.detail for finding in state.findings)


# Signals and zones


def test_each_signal_has_its_own_place_and_marginal_enters_no_account(tmp_path: Path) -> None:
    settings = replace(
        LIVE,
        providers=[
            provider(file_of(tmp_path, "700", "marginal"), "marginal"),
            ProviderSettings(kind="fixed", signal="market", intensity_g_per_kwh=10.0),
            provider(file_of(tmp_path, "300", "average")),
        ],
    )
    clock = FakeClock(wall_s=NOON_S)
    source = source_of(settings, clock)
    polled(source)
    clock.advance(60)
    state = source.state()

    assert state.average is not None
    assert state.market is not None
    assert (state.average.intensity_g_per_kwh, state.interval_average_g_per_kwh) == (300, 300)
    assert (state.market.intensity_g_per_kwh, state.interval_market_g_per_kwh) == (10, 10)
    assert [(one.signal, one.intensity_g_per_kwh) for one in state.others] == [("marginal", 700), ("market", 10)]


def test_a_marginal_provider_alone_leaves_the_average_to_the_table(tmp_path: Path) -> None:
    settings = replace(LIVE, providers=[provider(file_of(tmp_path, "700"), "marginal")])
    state = polled(source_of(settings, FakeClock(wall_s=NOON_S)))

    assert state.average is not None
    assert (state.average.provider, state.is_fallback) == ("grid_table", None)


def test_reference_zones_come_from_the_provider_where_it_knows_them_else_from_the_table(tmp_path: Path) -> None:
    settings = replace(
        LIVE, providers=[provider(file_of(tmp_path, "{DE: 300, FR: 41}"))], reference_zones=["FR", "Norway", "de"]
    )
    state = polled(source_of(settings, FakeClock(wall_s=NOON_S)))

    assert {(one.grid_zone, one.provider) for one in state.others} == {("FR", "file"), ("NO", "grid_table")}
    assert len({(one.grid_zone, one.signal) for one in state.others}) == len(state.others)


def test_a_file_with_one_value_leaves_reference_zones_to_the_table_without_a_word(tmp_path: Path) -> None:
    settings = replace(LIVE, providers=[provider(file_of(tmp_path, "312"))], reference_zones=["FR", "SE"])
    state = polled(source_of(settings, FakeClock(wall_s=NOON_S)))

    assert state.average is not None
    assert (state.average.grid_zone, state.average.provider) == ("DE", "file")
    assert {(one.grid_zone, one.provider) for one in state.others} == {("FR", "grid_table"), ("SE", "grid_table")}
    assert [finding_state(state, "file", zone) for zone in ("", "FR", "SE")] == ["up", "absent", "absent"]
    assert state.events == []


def test_a_deleted_file_is_kept_for_a_time_and_then_substituted_also_after_a_restart(tmp_path: Path) -> None:
    path, cache = file_of(tmp_path, "100"), str(tmp_path / "carbon.json")
    settings = replace(LIVE, providers=[provider(path)], keep_s=HOUR_S)
    clock = FakeClock(wall_s=NOON_S)
    source = source_of(settings, clock, cache_path=cache)
    states = [polled(source)]
    source._save()
    Path(path).unlink()
    for seconds in (60, HOUR_S + 1):
        clock.advance(seconds)
        states.append(polled(source))
    states.append(polled(source_of(settings, clock, cache_path=cache)))

    assert [(state.average.provider, state.is_fallback) for state in states if state.average] == [
        ("file", False),
        ("file", True),
        ("grid_table", True),
        ("grid_table", True),
    ]


def test_green_windows_come_from_the_forecast_in_force() -> None:
    hours = [(NOON_S + HOUR_S * n, NOON_S + HOUR_S * (n + 1), value) for n, value in enumerate([300.0, 100.0, 400.0])]
    series = series_of(hours[:1], forecast=hours[1:])
    with serving(lambda _: Reply(json.dumps(encode_series(series)).encode())) as server:
        settings = replace(
            LIVE,
            providers=[ProviderSettings(kind="gateway", url=server.url)],
            green_window_s=(3600.0, 5400.0, 86_400.0),
        )
        state = polled(source_of(settings, FakeClock(wall_s=NOON_S)))

    assert [(w.duration_s, w.starts_s - NOON_S, w.now_g_per_kwh) for w in state.green_windows] == [
        (3600, 3600, 300),
        (5400, 1800, pytest.approx((300 * 3600 + 100 * 1800) / 5400)),
    ]
    assert state.green_windows[0].mean_g_per_kwh == 100
    assert state.green_windows[0].provider == "upstream"


# Price, water


def test_water_and_price_are_told(tmp_path: Path) -> None:
    costs = CostSettings(price_per_kwh=0.3, tariff=[TariffPeriod(start="12:00", end="13:00", price_per_kwh=0.1)])
    clock = FakeClock(wall_s=NOON_S)
    stated = source_of(replace(LIVE, wue_l_per_kwh=1.5), clock, costs=costs)
    published = source_of(CarbonSettings(cloud_region="aws:us-west-1"), clock)
    state = stated.state()
    clock.advance(HOUR_S)

    assert (state.wue_l_per_kwh, state.price_per_kwh, state.currency) == (1.5, 0.1, "EUR")
    assert stated.state().price_per_kwh == 0.3
    assert published.state().wue_l_per_kwh == 0.51
    assert (published.state().price_per_kwh, published.state().currency) == (None, "")
    assert any("0.51 L/kWh, published for aws:us-west-1 (2024)" in f.detail for f in published.state().findings)


# Restart


def test_a_restart_knows_the_last_values_before_anybody_answers(tmp_path: Path) -> None:
    cache = tmp_path / "carbon.json"
    clock = FakeClock(wall_s=NOON_S)
    series = series_of([(NOON_S, NOON_S + HOUR_S, 300.0)])
    with serving(lambda _: Reply(json.dumps(encode_series(series)).encode())) as server:
        settings = replace(LIVE, providers=[ProviderSettings(kind="gateway", url=server.url)])
        first = source_of(settings, clock, cache_path=str(cache))
        polled(first)
        first._save()
    clock.advance(120)

    state = source_of(settings, clock, cache_path=str(cache)).state()  # the server is gone
    elsewhere = replace(LIVE, providers=[ProviderSettings(kind="gateway", url="http://127.0.0.1:9")])
    other = source_of(elsewhere, clock, cache_path=str(cache)).state()

    assert state.average is not None
    assert (state.average.intensity_g_per_kwh, state.average.provider, state.is_fallback) == (300, "upstream", False)
    assert state.average.observed_s == NOON_S
    assert other.average is not None
    assert other.average.provider == "grid_table"  # another gateway's values are not this one's


def test_the_cache_holds_neither_addresses_nor_paths(tmp_path: Path) -> None:
    cache = tmp_path / "carbon.json"
    settings = replace(LIVE, providers=[provider(file_of(tmp_path, "300"))])
    source = source_of(settings, FakeClock(wall_s=NOON_S), cache_path=str(cache))
    polled(source)
    source._save()
    [entry] = json.loads(cache.read_text())["entries"]

    assert decode_series(entry["series"], source="cache").points
    assert str(tmp_path) not in cache.read_text()


def test_a_damaged_cache_is_a_finding_and_no_obstacle(tmp_path: Path) -> None:
    cache = tmp_path / "carbon.json"
    cache.write_text("{")
    settings = replace(LIVE, providers=[provider(file_of(tmp_path, "300"))])
    source = source_of(settings, FakeClock(wall_s=NOON_S), cache_path=str(cache))
    state = polled(source)

    assert state.average is not None
    assert finding_state(state, "carbon", "cache") == "degraded"


# Nobody waits


def test_the_state_is_told_while_the_server_holds_its_answer_back() -> None:
    is_asked, let_go = threading.Event(), threading.Event()

    def hold(question: Question) -> Reply:
        is_asked.set()
        let_go.wait(30)
        return Reply(status=500)

    with serving(hold) as server:
        source = live_source(server)
        source.state()
        assert is_asked.wait(10)
        state = source.state()  # returns: the answer is still held back
        assert not let_go.is_set()
        assert state.average is not None
        assert state.average.provider == "grid_table"
        source.close()  # returns, too
        let_go.set()


def test_threads_fetch_what_the_state_then_tells() -> None:
    def answer(question: Question) -> Reply:
        now_s = time.time()
        series = series_of([(now_s - 60, now_s + 3600, 300.0)], fetched_s=now_s)
        return Reply(json.dumps(encode_series(series)).encode())

    with serving(answer) as server:
        source = live_source(server)
        deadline_s = time.monotonic() + 10
        while source.state().is_fallback:
            assert time.monotonic() < deadline_s
            time.sleep(0.005)
        source.close()


def live_source(server: Server) -> CarbonSource:
    settings = replace(LIVE, providers=[ProviderSettings(kind="gateway", url=server.url)])
    return CarbonSource(settings, CostSettings(), SystemClock(), jitter=NoJitter())


def test_the_wall_clock_may_be_set_during_an_interval(tmp_path: Path) -> None:
    """The span has the length of the boot clock, whatever the administrator does meanwhile."""
    text = '[{from: "2026-11-23T11:00:00Z", g_per_kwh: 100}, {from: "2026-11-23T12:00:30Z", g_per_kwh: 200}]'
    clock = FakeClock(wall_s=NOON_S - HOUR_S / 2)
    source = source_of(replace(LIVE, providers=[provider(file_of(tmp_path, text))]), clock)
    polled(source)
    clock.step_wall(HOUR_S / 2)
    clock.advance(60)
    state = polled(source)

    assert state.interval_average_g_per_kwh == pytest.approx(150)


# Mistakes


@pytest.mark.parametrize(
    ("settings", "start", "words"),
    [
        (replace(LIVE, providers=[ProviderSettings(kind="fixed")]), "providers[0].intensity_g_per_kwh", "needs it"),
        (replace(LIVE, providers=[provider("/a"), provider("/a")]), "providers[1]", "the same as providers[0]"),
        (replace(LIVE, reference_zones=["FR", "Frnce"]), "reference_zones[1]", "did you mean FR"),
        (replace(LIVE, reference_zones=["FR"] * 51), "reference_zones", "at most 50 zones, found 51"),
        (replace(LIVE, lowest_plausible_g_per_kwh=1500.0, highest_plausible_g_per_kwh=1000.0), "lowest_plaus", "1500"),
        (replace(LIVE, wue_l_per_kwh=21.0), "wue_l_per_kwh", "0 to 20"),
        (replace(LIVE, green_window_s=[60.0] * 11), "green_window_s", "at most 10"),
    ],
)
def test_a_mistake_names_its_setting_and_what_to_do(settings: CarbonSettings, start: str, words: str) -> None:
    [problem] = validate(settings)

    assert problem.startswith(start)
    assert words in problem
