"""The cache on disk and its JSON: what is written is read again, and nothing that is found can break the start."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.carbon.live import CacheEntry, decode_series, encode_series, load, save
from exporter.errors import ProviderError
from tests.carbon.clients import HOUR_S, NOON_S, series_of

SERIES = replace(
    series_of(
        [(NOON_S - HOUR_S, NOON_S, 280.5), (NOON_S, math.inf, 300.0)],
        forecast=[(NOON_S + HOUR_S, NOON_S + 2 * HOUR_S, 100.0)],
    ),
    fresh_until_s=math.inf,
    note="CC BY 4.0",
)

json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=12,
)
encoded = st.sampled_from(sorted(encode_series(SERIES)))


def test_a_series_survives_the_way_through_json() -> None:
    document = json.loads(json.dumps(encode_series(SERIES), allow_nan=False))

    assert decode_series(document, source="gateway") == SERIES


@given(document=json_values)
def test_anything_else_is_a_format_error(document: object) -> None:
    with pytest.raises(ProviderError) as caught:
        decode_series(document, source="gateway")

    assert (caught.value.reason, caught.value.source) == ("format", "gateway")


@given(key=encoded, value=json_values)
def test_any_value_under_any_key_is_a_series_or_a_format_error(key: str, value: object) -> None:
    try:
        series = decode_series(encode_series(SERIES) | {key: value}, source="gateway")
    except ProviderError:
        return

    assert series.points
    assert all(math.isfinite(p.from_s) and p.until_s > p.from_s for p in (*series.points, *series.forecast))


@pytest.mark.parametrize(
    "points",
    [
        [[NOON_S, NOON_S + 60, -1.0, False]],
        [[NOON_S, NOON_S, 1.0, False]],
        [[NOON_S, NOON_S + 60, True, False]],
        [[NOON_S, NOON_S + 60, 1.0, 0]],
        [[NOON_S, NOON_S + 60, 1.0]],
        [[NOON_S, NOON_S + 60, 1.0, False], [NOON_S + 30, NOON_S + 90, 1.0, False]],
        [[NOON_S, None, 1.0, False], [NOON_S + 30, NOON_S + 90, 1.0, False]],
        [[NOON_S, NOON_S + 60, 1.0, False]] * 5001,
        [],
    ],
)
def test_points_are_checked(points: list[object]) -> None:
    with pytest.raises(ProviderError, match="points"):
        decode_series(encode_series(SERIES) | {"points": points}, source="gateway")


def test_a_newer_gateway_may_add_keys() -> None:
    assert decode_series(encode_series(SERIES) | {"more": 1}, source="gateway") == SERIES


def test_what_is_saved_is_loaded_and_replaces_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "new" / "carbon.json"
    assert save(path, [CacheEntry("old", SERIES)]) == ""
    assert save(path, [CacheEntry("key", SERIES)]) == ""

    assert list(load(path).entries) == [CacheEntry("key", SERIES)]
    assert load(path).note == ""
    assert [file.name for file in path.parent.iterdir()] == ["carbon.json"]


def test_a_file_that_is_not_there_is_no_mistake(tmp_path: Path) -> None:
    assert load(tmp_path / "carbon.json") == ((), "")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b'{"version":2,"entries":[]}',
        b'{"version":1,"entries":[{"key":1}]}',
        b"[" * 10**5,
    ],
)
def test_a_damaged_file_is_moved_aside_and_said(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "carbon.json"
    path.write_bytes(content)

    loaded = load(path)

    assert loaded.entries == ()
    assert "carbon.json.damaged" in loaded.note
    assert not path.exists()
    assert (tmp_path / "carbon.json.damaged").read_bytes() == content


@given(content=st.binary(max_size=60))
def test_no_bytes_break_the_start(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("cache") / "carbon.json"
    path.write_bytes(content)

    assert load(path).entries == ()


def test_a_cut_off_file_is_never_seen_under_the_name(tmp_path: Path) -> None:
    """The old content stands until the new one is whole: a folder where the file should go leaves it untouched."""
    path = tmp_path / "carbon.json"
    save(path, [CacheEntry("key", SERIES)])
    (tmp_path / f".carbon.json.{os.getpid()}").mkdir()

    note = save(path, [CacheEntry("other", SERIES)])

    assert "cannot be written" in note
    assert load(path).entries[0].key == "key"


def test_the_file_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "carbon.json"
    points = [(NOON_S + 300 * n, NOON_S + 300 * (n + 1), 300.0) for n in range(1000)]
    long = series_of(points, forecast=points)
    save(path, [CacheEntry(str(n), long) for n in range(20)])

    series = load(path).entries[0].series
    assert (len(series.points), len(series.forecast)) == (100, 300)
    assert series.points[-1] == long.points[-1]
    assert series.forecast[0] == long.forecast[0]
    assert path.stat().st_size < 20 * 20_000
