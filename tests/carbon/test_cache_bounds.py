"""What the cache writes it can read back, and no content of it stops a program."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.carbon.live.cache import CacheEntry, load, save
from exporter.carbon.records import IntensityPoint, IntensitySeries


def series(zone: str, *, points: int, forecast: int) -> IntensitySeries:
    present = [
        IntensityPoint(1.7e9 + i * 300.123456, 1.7e9 + (i + 1) * 300.123456, 312.123456789) for i in range(points)
    ]
    last_s = present[-1].until_s
    coming = [IntensityPoint(last_s + i * 300.0, last_s + (i + 1) * 300.0, 200.123456789) for i in range(forecast)]
    return IntensitySeries(
        grid_zone=zone, signal="average", provider="watttime", basis="combustion", points=present, forecast=coming,
        fresh_until_s=last_s, fetched_s=1.7e9,
    )  # fmt: skip


def test_more_than_fits_is_shortened_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "gateway.json"
    entries = [CacheEntry(f"k{i}", series(f"Z{i}", points=100, forecast=300)) for i in range(500)]

    assert save(path, entries) == ""
    loaded = load(path)

    assert (len(loaded.entries), loaded.note) == (500, "")
    assert loaded.entries[0].series.points[-1] == entries[0].series.points[-1]


def test_a_number_beyond_all_bounds_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "carbon.json"
    save(path, [CacheEntry("k", series("DE", points=1, forecast=0))])
    path.write_text(path.read_text().replace("312.123456789", "9" * 400))

    loaded = load(path)

    assert loaded.entries == ()
    assert "damaged" in loaded.note
    assert not path.exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version":1}', "\x00"])
def test_any_other_content_is_damage(tmp_path: Path, text: str) -> None:
    path = tmp_path / "carbon.json"
    path.write_text(text)

    assert "damaged" in load(path).note
