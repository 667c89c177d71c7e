"""What a kilowatt-hour costs at a moment, by the time of use. Pure functions of settings and wall-clock time.

Times of day are local: on the days on which clocks change, a period that holds from 02:00 to 03:00 lasts no time or two
hours, as on the meter.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo

from exporter.carbon.settings import CostSettings, TariffPeriod

__all__ = ["price_per_kwh", "tariff_problems"]

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MINUTES_A_DAY = 24 * 60
_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])", re.ASCII)
_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)


def price_per_kwh(costs: CostSettings, wall_s: float) -> float | None:
    """Return the price of a kilowatt-hour at ``wall_s`` (Unix seconds), or None where none is stated.

    Settings with a mistake that ``tariff_problems`` names have no price.
    """
    if costs.price_per_kwh is None and not costs.tariff:
        return None
    zone = _zone(costs.time_zone)
    if zone is None:
        return None
    local = datetime.fromtimestamp(wall_s, UTC).astimezone(zone)
    minute, day = local.hour * 60 + local.minute, local.weekday()
    fitting = (period.price_per_kwh for period in costs.tariff if _holds(period, minute, day))
    return next(fitting, costs.price_per_kwh)


def tariff_problems(costs: CostSettings) -> list[str]:
    """Return every mistake in ``costs``, one sentence each that starts with the setting's name; empty if none."""
    return [*_price_problems(costs), *_zone_problems(costs), *_period_problems(costs)]


def _price_problems(costs: CostSettings) -> Iterator[str]:
    if costs.price_per_kwh is not None and not math.isfinite(costs.price_per_kwh):
        yield f"price_per_kwh: expected a finite number, found {costs.price_per_kwh}"
    if not _CURRENCY.fullmatch(costs.currency):
        yield f"currency: expected three capital letters such as EUR, found {costs.currency[:20]!r}"


def _zone_problems(costs: CostSettings) -> Iterator[str]:
    if _zone(costs.time_zone) is not None:
        return
    name = costs.time_zone[:60]
    if _zone("Europe/Berlin") is None:
        yield (
            f"time_zone: {name!r} cannot be looked up, because this system has no time zone data; "
            "install tzdata, or use UTC"
        )
        return
    near = _near_zones(name)
    hint = f"did you mean {', '.join(near)}?" if near else "use a name such as Europe/Berlin"
    yield f"time_zone: no time zone {name!r} is known; {hint}"


def _near_zones(name: str) -> list[str]:
    from difflib import get_close_matches
    from zoneinfo import available_timezones

    return get_close_matches(name, sorted(available_timezones()), n=3, cutoff=0.6)


def _period_problems(costs: CostSettings) -> Iterator[str]:
    for index, period in enumerate(costs.tariff):
        where = f"tariff[{index}]"
        for key, text in (("start", period.start), ("end", period.end)):
            if _minute(text) is None:
                yield f"{where}.{key}: expected a time from 00:00 to 24:00 as HH:MM, found {text[:20]!r}"
        if _minute(period.start) is not None and _minute(period.start) == _minute(period.end):
            yield f"{where}.end: expected another time than start, found {period.end}; a whole day is 00:00 to 24:00"
        if not math.isfinite(period.price_per_kwh):
            yield f"{where}.price_per_kwh: expected a finite number, found {period.price_per_kwh}"
        for day in period.days:
            if day not in _DAYS:
                yield f"{where}.days: expected some of {', '.join(_DAYS)}, found {day[:20]!r}"


def _zone(name: str) -> tzinfo | None:
    """Return the time zone, or None if there is none of this name here. UTC needs no data of the system."""
    from zoneinfo import ZoneInfo

    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return None


def _minute(text: str) -> int | None:
    """Return minutes since midnight for ``HH:MM`` up to ``24:00``, or None."""
    if text == "24:00":
        return _MINUTES_A_DAY
    found = _TIME.fullmatch(text)
    return int(found[1]) * 60 + int(found[2]) if found else None


def _holds(period: TariffPeriod, minute: int, day: int) -> bool:
    """Return whether ``period`` holds at this minute of this day (0: Monday); its days are those on which it starts."""
    start, end = _minute(period.start), _minute(period.end)
    if start is None or end is None:
        return False
    if start < end:
        return start <= minute < end and _is_on(period, day)
    return (minute >= start and _is_on(period, day)) or (minute < end and _is_on(period, (day - 1) % len(_DAYS)))


def _is_on(period: TariffPeriod, day: int) -> bool:
    return not period.days or _DAYS[day] in period.days
