"""Intensities from a file: every form, every mistake with its remedy, and files that change under the reader."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.carbon.live import Poller
from exporter.carbon.providers import make_client
from exporter.carbon.providers.file import FileClient, parse_intensities
from exporter.carbon.records import IntensitySeries, ZoneQuery
from exporter.carbon.settings import CarbonSettings, ProviderSettings
from exporter.errors import ProviderError
from exporter.testing.fake_clock import FakeClock
from tests.carbon.clients import HOUR_S, NOON_S

WRITTEN_S = NOON_S - 600
DAY = """
- {from: "2026-11-23T11:00:00Z", until: "2026-11-23T12:00:00Z", g_per_kwh: 250}
- {from: "2026-11-23T13:00:00+01:00", until: "2026-11-23T13:00:00Z", g_per_kwh: 300, estimated: true}
- {from: "2026-11-23T13:00:00Z", until: "2026-11-23T14:00:00Z", g_per_kwh: 350}
"""

OVERLAPPING = """
- {from: "2026-11-23T11:00:00Z", until: "2026-11-23T12:01:00Z", g_per_kwh: 1}
- {from: "2026-11-23T12:00:00Z", g_per_kwh: 1}
"""


def written(path: Path, text: str, *, at_s: float = WRITTEN_S) -> Path:
    path.write_text(text)
    os.utime(path, (at_s, at_s))
    return path


def series_from(
    path: Path, text: str, *, zone: str = "DE", now_s: float = NOON_S, fresh_for_s: float | None = None
) -> IntensitySeries:
    settings = ProviderSettings(kind="file", path=str(written(path / "grid.yaml", text)), fresh_for_s=fresh_for_s)
    return FileClient(settings, home_zone="DE").fetch(ZoneQuery(zone, with_forecast=True), now_s=now_s)


def error_from(path: Path, text: str, *, zone: str = "DE", now_s: float = NOON_S) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        series_from(path, text, zone=zone, now_s=now_s)
    return caught.value


@pytest.mark.parametrize("text", ["312", "312.0\n", "# from the supplier\n312\n"])
def test_a_number_holds_since_it_was_written_and_for_good(tmp_path: Path, text: str) -> None:
    series = series_from(tmp_path, text)

    assert series.points == ((WRITTEN_S, math.inf, 312.0, False),)
    assert (series.fresh_until_s, series.provider, series.grid_zone) == (math.inf, "file", "DE")


def test_a_number_is_fresh_for_a_time_after_it_was_written_where_one_is_set(tmp_path: Path) -> None:
    assert series_from(tmp_path, "312", fresh_for_s=900).fresh_until_s == WRITTEN_S + 900


@pytest.mark.parametrize("text", ["DE: 312\nNO: 30\n", '{"DE": 312, "NO": 30}', '{\n\t"DE":\t312, "no": 30.0}'])
def test_a_number_for_each_zone(tmp_path: Path, text: str) -> None:
    """Norway is a zone and no truth value."""
    assert series_from(tmp_path, text, zone="DE").points[0].intensity_g_per_kwh == 312
    assert series_from(tmp_path, text, zone="NO").points[0].intensity_g_per_kwh == 30
    assert error_from(tmp_path, text, zone="FR").reason == "not_found"


def test_intervals_are_past_present_and_forecast(tmp_path: Path) -> None:
    series = series_from(tmp_path, DAY)

    assert series.points == (
        (NOON_S - HOUR_S, NOON_S, 250.0, False),
        (NOON_S, NOON_S + HOUR_S, 300.0, True),
    )
    assert series.forecast == ((NOON_S + HOUR_S, NOON_S + 2 * HOUR_S, 350.0, False),)
    assert series.fresh_until_s == NOON_S + 2 * HOUR_S


def test_json_is_as_good_as_yaml(tmp_path: Path) -> None:
    text = json.dumps([{"from": "2026-11-23T11:00:00Z", "g_per_kwh": 1e2, "estimated": True, "zone": "de"}])

    assert series_from(tmp_path, text).points == ((NOON_S - HOUR_S, math.inf, 100.0, True),)


def test_a_change_is_known_before_it_happens(tmp_path: Path) -> None:
    series = series_from(tmp_path, DAY, now_s=NOON_S + HOUR_S - 5)

    assert series.points[-1].from_s == NOON_S + HOUR_S


def test_an_open_interval_ends_where_the_next_begins(tmp_path: Path) -> None:
    text = '[{"from": "2026-11-23T12:00:00Z", "g_per_kwh": 2}, {"from": "2026-11-23T11:00:00Z", "g_per_kwh": 1}]'

    assert series_from(tmp_path, text).points == (
        (NOON_S - HOUR_S, NOON_S, 1.0, False),
        (NOON_S, math.inf, 2.0, False),
    )


def test_an_entry_of_the_zone_outranks_those_of_all(tmp_path: Path) -> None:
    text = '[{from: "2026-11-23T11:00:00Z", g_per_kwh: 1}, {from: "2026-11-23T11:00:00Z", g_per_kwh: 2, zone: FR}]'

    assert series_from(tmp_path, text, zone="FR").points[0].intensity_g_per_kwh == 2
    assert series_from(tmp_path, text, zone="DE").points[0].intensity_g_per_kwh == 1


@pytest.mark.parametrize("text", ["312", DAY])
def test_what_names_no_zone_is_no_other_zones_value(tmp_path: Path, text: str) -> None:
    error = error_from(tmp_path, text, zone="FR")

    assert error.reason == "not_found"
    assert "no entry for the zone FR; add one with that zone" in str(error)


@pytest.mark.parametrize(("grid_zone", "asked"), [("Germany", "DE"), ("", "file")])
def test_the_home_zone_may_be_a_name_or_none(tmp_path: Path, grid_zone: str, asked: str) -> None:
    settings = ProviderSettings(kind="file", path=str(written(tmp_path / "grid.yaml", "312")))
    client = make_client(settings, CarbonSettings(grid_zone=grid_zone))

    assert client.fetch(ZoneQuery(asked), now_s=NOON_S).points[0].intensity_g_per_kwh == 312


def test_a_number_written_a_little_ahead_of_the_clock_holds_now(tmp_path: Path) -> None:
    series = series_from(tmp_path, "312", now_s=WRITTEN_S - 3, fresh_for_s=900)

    assert series.points == ((WRITTEN_S - 3, math.inf, 312.0, False),)
    assert series.fresh_until_s == WRITTEN_S - 3 + 900


def test_past_the_last_interval_the_value_is_no_longer_fresh(tmp_path: Path) -> None:
    series = series_from(tmp_path, DAY, now_s=NOON_S + 3 * HOUR_S)

    assert series.fresh_until_s == NOON_S + 2 * HOUR_S


def test_in_a_gap_the_value_before_it_is_no_longer_fresh(tmp_path: Path) -> None:
    text = """
- {from: "2026-11-23T11:00:00Z", until: "2026-11-23T11:30:00Z", g_per_kwh: 250}
- {from: "2026-11-23T12:01:00Z", g_per_kwh: 300}
"""
    series = series_from(tmp_path, text)

    assert [point.intensity_g_per_kwh for point in series.points] == [250]
    assert series.fresh_until_s == NOON_S - HOUR_S / 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "write a number"),
        ("a lot", "found 'a lot'"),
        ("-1", "found '-1'"),
        (".nan", "found '.nan'"),
        ("{}", "expected intensities, found none"),
        ("[]", "found 0"),
        ("DE: much", "DE: expected a number of at least 0, found 'much'"),
        ("DE: {x: 1}", "DE: expected a number"),
        ("[1, 2]", "entry 1: expected from and g_per_kwh, found '1'"),
        ("[{from: 2026-11-23T12:00:00, g_per_kwh: 1}]", "entry 1: from: expected a time with an offset"),
        ("[{from: 2026-11-23T12:00:00Z}]", "entry 1: g_per_kwh: expected a number of at least 0, found 'None'"),
        ("[{from: 2026-11-23T12:00:00Z, g_per_kwh: 1, unit: t}]", "entry 1: unit: no such key; use from, until"),
        ("[{from: 2026-11-23T12:00:00Z, g_per_kwh: 1, estimated: maybe}]", "found 'maybe'"),
        ("[{from: 2026-11-23T12:00:00Z, until: 2026-11-23T12:00:00Z, g_per_kwh: 1}]", "until: expected a time after"),
        (
            OVERLAPPING,
            "two intervals without zone overlap at 2026-11-23T12:00Z; shorten or remove one",
        ),
        ("[{from: 2026-11-23T12:00:00Z, g_per_kwh: 1, g: [}]", "expected YAML or JSON"),
        ("DE: [1, 2, 3]", "DE: expected a number of at least 0, found a list of 3"),
        ("[{from: {a: b}, g_per_kwh: [1], estimated: [x, y], zone: [z]}]", "found a list of 1; entry 1: estimated: "),
        ("a: &one 1\nb: *one", "expected every value written out, found an alias (*name)"),
        ("!!python/object/apply:os.getcwd []", "found 0"),
        ("[" * 5000, "expected"),
    ],
)
def test_a_mistake_names_file_key_and_value(tmp_path: Path, text: str, words: str) -> None:
    error = error_from(tmp_path, text)

    assert (error.reason, error.source) == ("format", "file")
    assert str(tmp_path / "grid.yaml") in str(error)
    assert words in str(error)


def test_few_bytes_of_aliases_never_become_much_text() -> None:
    """Expanded, these are 10**30 words: whoever printed only their start would never end."""
    lists = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]
    intensities, problems = parse_intensities("\n".join(["a0: &a0 [x, x, x, x, x, x, x, x, x, x]", *lists]).encode())

    assert (intensities, len(problems)) == ({}, 1)
    assert "found an alias" in problems[0]


def test_a_star_that_is_no_alias_is_welcome(tmp_path: Path) -> None:
    assert series_from(tmp_path, "# *** grams ***\nDE: 312").points[0].intensity_g_per_kwh == 312


def test_a_file_with_a_mistake_is_not_read_again_until_it_changes(tmp_path: Path) -> None:
    """Proof: other content under the same inode, size and time is not seen; under another time it is."""
    path = written(tmp_path / "grid.yaml", "DE: much")
    client = FileClient(ProviderSettings(kind="file", path=str(path)), home_zone="DE")
    errors = []
    for _ in range(2):
        with pytest.raises(ProviderError) as caught:
            client.fetch(ZoneQuery("DE"), now_s=NOON_S)
        errors.append(str(caught.value))
        written(path, "DE: 3000")
    written(path, "312", at_s=WRITTEN_S + 1)

    assert errors[0] == errors[1]
    assert client.fetch(ZoneQuery("DE"), now_s=NOON_S).points[0].intensity_g_per_kwh == 312


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = "[{from: x, g_per_kwh: y}, {until: z}, 5]"

    assert "and 3 more" in str(error_from(tmp_path, text))


def test_a_missing_file_is_io_and_a_huge_one_is_not_read(tmp_path: Path) -> None:
    client = FileClient(ProviderSettings(kind="file", path=str(tmp_path / "none")), home_zone="DE")
    with pytest.raises(ProviderError, match="No such file") as caught:
        client.fetch(ZoneQuery("DE"), now_s=NOON_S)

    assert caught.value.reason == "io"
    assert "at most 1048576 bytes" in str(error_from(tmp_path, "#" * (1 << 20) + "\n312"))


def test_before_the_first_interval_there_is_no_value(tmp_path: Path) -> None:
    assert error_from(tmp_path, DAY, now_s=NOON_S - 2 * HOUR_S).reason == "not_found"


@given(content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_intensities_or_mistakes(content: bytes) -> None:
    intensities, problems = parse_intensities(content)

    assert bool(intensities) != bool(problems)


def test_a_swapped_link_and_a_rewritten_file_are_noticed(tmp_path: Path) -> None:
    """As Kubernetes does it: a new folder, and ``..data`` points there in one step. Size and time may be the same."""
    for name, text in (("one", "100"), ("two", "200")):
        (tmp_path / name).mkdir()
        written(tmp_path / name / "grid.yaml", text)
    data, file = tmp_path / "..data", tmp_path / "grid.yaml"
    data.symlink_to("one")
    file.symlink_to("..data/grid.yaml")
    clock = FakeClock(wall_s=NOON_S)
    client = FileClient(ProviderSettings(kind="file", path=str(file)), home_zone="DE")

    class NoJitter:
        def uniform(self, a: float, b: float, /) -> float:
            return a

    poller = Poller(client, ZoneQuery("DE"), clock, interval_s=5, jitter=NoJitter())
    seen = []

    def poll() -> None:
        clock.advance(5)
        poller.poll()
        assert poller.series is not None
        seen.append(poller.series.points[-1].intensity_g_per_kwh)

    poll()
    (tmp_path / "new").symlink_to("two")
    (tmp_path / "new").replace(data)
    poll()
    written(tmp_path / "two" / "grid.yaml", "300", at_s=NOON_S + 10)
    poll()

    assert seen == [100, 200, 300]
    assert poller.due_s - clock.monotonic_s() == 5


def test_an_unchanged_file_is_not_read_again(tmp_path: Path) -> None:
    """Proof: other content under the same inode, size and time is not seen."""
    path = written(tmp_path / "grid.yaml", "100")
    client = FileClient(ProviderSettings(kind="file", path=str(path)), home_zone="DE")
    client.fetch(ZoneQuery("DE"), now_s=NOON_S)
    written(path, "200")

    assert client.fetch(ZoneQuery("DE"), now_s=NOON_S).points[0].intensity_g_per_kwh == 100
