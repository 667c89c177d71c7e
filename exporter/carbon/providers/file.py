"""Intensities in a file: YAML or JSON, written by whoever knows them, read again whenever the file changes.

Three forms, in grams of CO2e per kilowatt-hour:

* a number: ``312``;
* a number for each grid zone: ``{DE: 312, FR: 41}``;
* a list of intervals::

    - {from: "2026-11-23T12:00:00Z", until: "2026-11-23T13:00:00Z", g_per_kwh: 312}
    - {from: "2026-11-23T14:00:00+01:00", g_per_kwh: 290, estimated: true, zone: DE}

Times are ISO 8601 and must carry an offset. An interval without ``until`` ends where the next of its zone begins, the
last one never. ``estimated`` (false) and ``zone`` may be left out: what names no zone is of the node's own. Intervals
to come are the forecast. A value without an end is fresh as long as the file stands, unless ``fresh_for_s`` is set:
then for so long after the file was last written. YAML's aliases (``*name``) are refused: a few stand for any amount.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from exporter.carbon.providers import answers
from exporter.carbon.records import IntensityPoint, IntensitySeries, ZoneQuery
from exporter.carbon.settings import ProviderSettings
from exporter.errors import ProviderError

__all__ = ["FileClient", "parse_intensities"]

_MAX_BYTES = 1 << 20
_MOST_ENTRIES = 20_000
_SHOWN_PROBLEMS = 3
_SHOWN = 40
_LOOK_AHEAD_S = 240.0
"""Intervals that begin so soon count as present: a change of value is known before it happens."""
_PAST_S = 6 * 3600.0
_KEYS = ("from", "until", "g_per_kwh", "estimated", "zone")
_EXAMPLE = 'write a number, {DE: 312}, or [{from: "2026-11-23T12:00:00Z", g_per_kwh: 312}]'

Intensities = Mapping[str, Sequence[IntensityPoint]]
"""Intervals in order by zone in capitals; the empty zone stands for the home zone."""


class _Reading(NamedTuple):
    """What a file held when its state was ``mark``: inode, size and time of the last change in nanoseconds."""

    mark: tuple[int, int, int]
    intensities: Intensities
    problems: Sequence[str]


class FileClient:
    """Reads one file; a ConfigMap's symbolic link may be swapped under it.

    Args:
        settings: where the file is, and how long its values are fresh.
        home_zone: the only zone that entries without zone are for.
    """

    provider = "file"

    def __init__(self, settings: ProviderSettings, *, home_zone: str) -> None:
        self._home_zone = home_zone.upper()
        self._path = Path(settings.path)
        self._fresh_for_s = settings.fresh_for_s
        self._last: _Reading | None = None

    def fetch(self, query: ZoneQuery, *, now_s: float) -> IntensitySeries:
        """Return what the file says of the zone. Raises ``ProviderError``."""
        reading = self._read()
        # The file may be of another machine, whose clock is a little ahead.
        written_s = min(reading.mark[2] / 1e9, now_s)
        zone = query.grid_zone.upper()
        points = reading.intensities.get(zone)
        if not points and zone == self._home_zone:
            points = reading.intensities.get("")
        if not points:
            raise self._error("not_found", [f"no entry for the zone {query.grid_zone}; add one with that zone"])
        points = [point._replace(from_s=written_s) if math.isinf(point.from_s) else point for point in points]
        begun = [point for point in points if point.from_s <= now_s]
        if not begun:
            raise self._error("not_found", ["no interval has begun yet; add one that holds now"])
        is_covered = now_s < begun[-1].until_s
        edge_s = now_s + _LOOK_AHEAD_S if is_covered else now_s
        present = [point for point in points if point.from_s <= edge_s]
        recent = [point for point in present if point.until_s > now_s - _PAST_S] or present[-1:]
        fresh_until_s = _covered_until_s(points, begun[-1])
        if self._fresh_for_s is not None:
            fresh_until_s = min(fresh_until_s, written_s + self._fresh_for_s)
        return IntensitySeries(
            grid_zone=query.grid_zone,
            signal=query.signal,
            provider=self.provider,
            basis="as-configured",
            points=tuple(recent),
            forecast=tuple(point for point in points if point.from_s > edge_s) if query.with_forecast else (),
            fresh_until_s=fresh_until_s,
            fetched_s=now_s,
            note=f"from {self._path.name}",
        )

    def _read(self) -> _Reading:
        try:
            with self._path.open("rb") as file:
                import os

                stat = os.fstat(file.fileno())
                mark = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
                is_known = self._last is not None and self._last.mark == mark
                content = b"" if is_known else file.read(_MAX_BYTES + 1)
        except OSError as exc:
            raise self._error("io", [f"cannot be read ({exc.strerror}); put the file there, or set path"]) from None
        if self._last is None or not is_known:
            self._last = _Reading(mark, *_parsed(content))
        if self._last.problems:
            raise self._error("format", self._last.problems)
        return self._last

    def _error(self, reason: str, problems: Sequence[str]) -> ProviderError:
        shown = "; ".join(problems[:_SHOWN_PROBLEMS])
        more = f"; and {len(problems) - _SHOWN_PROBLEMS} more" if len(problems) > _SHOWN_PROBLEMS else ""
        return ProviderError(self.provider, reason, f"{self._path}: {shown}{more}")


def _parsed(content: bytes) -> tuple[Intensities, list[str]]:
    if len(content) > _MAX_BYTES:
        return {}, [f"expected at most {_MAX_BYTES} bytes, found more; drop what has passed"]
    return parse_intensities(content)


def parse_intensities(content: bytes) -> tuple[Intensities, list[str]]:
    """Return the intervals by zone, and every mistake as a sentence that names entry, key and value.

    The start of a bare number is minus infinity: it holds since the file was written.
    """
    try:
        document = _loaded(content)
    except ValueError as exc:
        return {}, [f"{answers.clean(str(exc))}; {_EXAMPLE}"]
    if isinstance(document, Mapping):
        return _of_zones(document)
    if isinstance(document, list):
        return _of_intervals(document)
    grams = _number(document)
    if grams is None:
        return {}, [f"expected intensities, found {_shown(document)}; {_EXAMPLE}"]
    return {"": [IntensityPoint(-math.inf, math.inf, grams)]}, []


def _loaded(content: bytes) -> object:
    """Return the document with numbers and words as text: in YAML, the zone ``NO`` would be a truth value."""
    text = content.decode("utf-8-sig")
    try:
        document: object = json.loads(text, parse_float=str, parse_int=str, parse_constant=str)
    except RecursionError:
        raise ValueError("expected fewer levels") from None
    except ValueError:
        import yaml

        loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
        try:
            if "*" in text and any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=loader)):
                raise ValueError("expected every value written out, found an alias (*name)")
            document = yaml.load(text, Loader=loader)  # noqa: S506 - builds text, lists and mappings only
        except (yaml.YAMLError, RecursionError) as exc:
            raise ValueError(f"expected YAML or JSON: {exc}") from None
    return document


def _number(value: object) -> float | None:
    try:
        number = float(value) if isinstance(value, str) else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _of_zones(document: Mapping[object, object]) -> tuple[Intensities, list[str]]:
    found: dict[str, Sequence[IntensityPoint]] = {}
    problems = []
    for zone, value in document.items():
        grams = _number(value)
        if grams is None:
            problems.append(f"{str(zone)[:_SHOWN]}: expected a number of at least 0, found {_shown(value)}")
        else:
            found[str(zone).strip().upper()] = [IntensityPoint(-math.inf, math.inf, grams)]
    return found, problems if found or problems else [f"expected intensities, found none; {_EXAMPLE}"]


def _of_intervals(document: Sequence[object]) -> tuple[Intensities, list[str]]:
    if not 0 < len(document) <= _MOST_ENTRIES:
        return {}, [f"expected 1 to {_MOST_ENTRIES} intervals, found {len(document)}; {_EXAMPLE}"]
    found: dict[str, list[IntensityPoint]] = {}
    problems: list[str] = []
    for number, entry in enumerate(document, 1):
        mistakes = list(_entry_problems(entry))
        problems += [f"entry {number}: {mistake}" for mistake in mistakes]
        if not mistakes and isinstance(entry, Mapping):
            found.setdefault(str(entry.get("zone", "")).strip().upper(), []).append(_interval(entry))
    if problems:
        return {}, problems
    return {zone: _in_order(points, zone, problems) for zone, points in found.items()}, problems


def _entry_problems(entry: object) -> Iterator[str]:
    if not isinstance(entry, Mapping):
        yield f"expected from and g_per_kwh, found {_shown(entry)}"
        return
    for key in entry:
        if key not in _KEYS:
            yield f"{str(key)[:_SHOWN]}: no such key; use {', '.join(_KEYS)}"
    if _number(entry.get("g_per_kwh")) is None:
        yield f"g_per_kwh: expected a number of at least 0, found {_shown(entry.get('g_per_kwh'))}"
    if _truth(entry.get("estimated", "false")) is None:
        yield f"estimated: expected true or false, found {_shown(entry.get('estimated'))}"
    if not isinstance(entry.get("zone", ""), str):
        yield f"zone: expected a grid zone, found {_shown(entry.get('zone'))}"
    yield from _time_problems(entry)


def _time_problems(entry: Mapping[object, object]) -> Iterator[str]:
    times = []
    for key in ("from", "until"):
        if key == "from" or key in entry:
            try:
                times.append(answers.time_of(entry.get(key), key))
            except answers.MalformedError as exc:
                yield f"{key}: {exc}; write it like 2026-11-23T12:00:00+01:00"
    if len(times) > 1 and times[1] <= times[0]:
        yield f"until: expected a time after from, found {_shown(entry['until'])}"


def _truth(value: object) -> bool | None:
    return {"true": True, "false": False}.get(str(value).lower()) if isinstance(value, str | bool) else None


def _shown(value: object) -> str:
    """Return the start of a word, or of what kind and how long a list or mapping is."""
    if isinstance(value, list | Mapping):
        return f"a {'list' if isinstance(value, list) else 'mapping'} of {len(value)}"
    return repr(str(value)[:_SHOWN])


def _interval(entry: Mapping[str, object]) -> IntensityPoint:
    until_s = answers.time_of(entry["until"], "until") if "until" in entry else math.inf
    grams = _number(entry["g_per_kwh"])
    return IntensityPoint(
        answers.time_of(entry["from"], "from"), until_s, grams or 0.0, bool(_truth(entry.get("estimated", "false")))
    )


def _in_order(points: list[IntensityPoint], zone: str, problems: list[str]) -> Sequence[IntensityPoint]:
    """Return ``points`` sorted, open ends closed by the next interval; add to ``problems`` where two overlap."""
    points.sort()
    ordered = []
    for point, following in pairwise(points):
        if math.isinf(point.until_s) and following.from_s > point.from_s:
            point = point._replace(until_s=following.from_s)
        if point.until_s > following.from_s:
            at = answers.utc_text(following.from_s, "%Y-%m-%dT%H:%MZ")
            problems.append(
                f"two intervals {f'of {zone}' if zone else 'without zone'} overlap at {at}; shorten or remove one"
            )
        ordered.append(point)
    return [*ordered, points[-1]]


def _covered_until_s(points: Sequence[IntensityPoint], present: IntensityPoint) -> float:
    """Return until when values follow each other without a gap from ``present`` on."""
    until_s = present.until_s
    for point in points:
        if point.from_s == until_s:
            until_s = point.until_s
    return until_s
