"""The last values of all providers in a file, so that a restarted agent knows them before anybody answers.

One JSON object: ``version`` and ``entries``, a list of ``{"key": …, "series": …}`` with a series as in
``series_json``. It holds intensities only, no key and no address. Written beside itself and renamed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from exporter.carbon.live.series_json import decode_series, encode_series
from exporter.carbon.records import IntensitySeries
from exporter.errors import SourceError

__all__ = ["CacheEntry", "LoadedCache", "load", "save"]

_VERSION = 1
_MOST_BYTES = 8 << 20
_MOST_ENTRIES = 2000
_MOST_POINTS = 100
_MOST_FORECAST_POINTS = 300
_SHARES = (1.0, 0.5, 0.2, 0.05, 0.01)


class CacheEntry(NamedTuple):
    """What one provider said of one zone; ``key`` names the provider and how it is configured."""

    key: str
    series: IntensitySeries


class LoadedCache(NamedTuple):
    """What a file held; ``note`` says what was wrong with it, and is empty if nothing was."""

    entries: Sequence[CacheEntry] = ()
    note: str = ""


def load(path: Path) -> LoadedCache:
    """Return what ``path`` holds; a damaged file is moved aside as ``NAME.damaged``, a missing one is no mistake."""
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        return LoadedCache()
    except OSError as exc:
        return LoadedCache(note=f"{path}: cannot be read: {exc.strerror}")
    try:
        return LoadedCache(_entries(content))
    except (ValueError, OverflowError, RecursionError, SourceError) as exc:
        aside = path.with_name(path.name + ".damaged")
        with suppress(OSError):
            path.replace(aside)
        return LoadedCache(note=f"{path}: damaged ({str(exc)[:120]}), moved to {aside.name}")


def save(path: Path, entries: Iterable[CacheEntry]) -> str:
    """Write ``entries`` to ``path`` in one step; return why that failed, or nothing.

    Of each series the newest 100 intervals and the next 300 of the forecast are kept, and fewer where the file would
    become too large to be read back.
    """
    kept = list(entries)[:_MOST_ENTRIES]
    text = next((text for text in map(partial(_text, kept), _SHARES) if len(text) <= _MOST_BYTES), "")
    if not text:
        return f"{path}: not written, {len(kept)} values do not fit into {_MOST_BYTES} bytes"
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_text(text, encoding="utf-8")
        aside.replace(path)
    except OSError as exc:
        with suppress(OSError):
            aside.unlink()
        return f"{path}: cannot be written: {exc.strerror}"
    return ""


def _text(entries: Sequence[CacheEntry], share: float) -> str:
    """Return the file's text with ``share`` of the intervals that are kept at most."""
    kept = [{"key": key, "series": encode_series(_shortened(series, share))} for key, series in entries]
    return json.dumps({"version": _VERSION, "entries": kept}, separators=(",", ":"), allow_nan=False)


def _shortened(series: IntensitySeries, share: float) -> IntensitySeries:
    points, forecast = max(int(_MOST_POINTS * share), 1), int(_MOST_FORECAST_POINTS * share)
    return replace(series, points=series.points[-points:], forecast=series.forecast[:forecast])


def _entries(content: bytes) -> list[CacheEntry]:
    if len(content) > _MOST_BYTES:
        raise ValueError(f"more than {_MOST_BYTES} bytes")
    document = json.loads(content)
    match document:
        case {"version": 1, "entries": list(items)} if len(items) <= _MOST_ENTRIES:
            return [_entry(item) for item in items]
    raise ValueError(f"expected version {_VERSION} and at most {_MOST_ENTRIES} entries")


def _entry(item: object) -> CacheEntry:
    match item:
        case {"key": str(key), "series": series}:
            return CacheEntry(key, decode_series(series, source="cache"))
    raise ValueError(f"expected key and series, found {str(item)[:60]!r}")
