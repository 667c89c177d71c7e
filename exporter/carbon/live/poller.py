"""One provider, one zone, one signal: when to ask next, whether to believe the answer, and what is known so far.

No thread and no input or output but through the client. Durations are of the boot clock, times of the wall clock.
"""

from __future__ import annotations

import logging
import math
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple, Protocol, runtime_checkable

from exporter.carbon.live.checks import checked, moment
from exporter.carbon.live.windows import point_at
from exporter.carbon.records import IntensityClient, IntensityPoint, IntensitySeries, ZoneQuery
from exporter.clock import Clock
from exporter.errors import ProviderError
from exporter.health import Finding, SourceEvent, State

__all__ = ["Credentials", "Jitter", "Poller", "Punctual", "merged"]

_log = logging.getLogger(__name__)
_FIRST_BACK_OFF_S = 30.0
_LONGEST_BACK_OFF_S = 3600.0
_LONGEST_RETRY_AFTER_S = 86_400.0
_SHORTEST_INTERVAL_S = 300.0
_USUAL_DELAY_S = 60.0
_MOST_JITTER_S = 60.0
_STATED = "as-configured"
"""The basis of what the operator states."""
_HISTORY_S = 6 * 3600.0
_MOST_PAST_POINTS = 600
_GONE = ("io", "not_found")
"""Reasons for which a file says nothing any more."""
_REMEDIES = {
    "auth": "check the key, account and plan of this provider; the key file is read again whenever it changes",
    "not_found": "check carbon.grid_zone and the provider's zone, or choose another provider for this zone",
    "rate_limited": "ask less often (poll_interval_s), or let one gateway ask for the whole cluster",
    "server": "nothing to do here: the provider fails and is asked again",
    "timeout": "check the network, proxy and url of this provider",
    "io": "check the network, proxy, certificates and url of this provider",
    "format": "check the url and the file or query of this provider; if they are right, report the answer as a defect",
    "sandbox": "use a production key: a sandbox answers invented numbers",
    "wrong_zone": "set the zone that this provider uses for carbon.grid_zone",
    "implausible": "check the unit (grams per kilowatt-hour), or carbon.lowest_ and highest_plausible_g_per_kwh",
    "stale": "nothing to do here if the provider is late; else set fresh_for_s to its usual delay",
    "future": "set the clock of this machine",
}


class Jitter(Protocol):
    """What is needed of ``random.Random``."""

    def uniform(self, a: float, b: float, /) -> float:
        """Return a number from ``a`` to ``b``."""
        ...


@runtime_checkable
class Credentials(Protocol):
    """A client that reads its key from a file can say that the file is another one now."""

    def credentials_changed(self) -> bool:
        """Return whether the files differ from those of the last question. Cheap: a call of stat."""
        ...


@runtime_checkable
class Punctual(Protocol):
    """A client that knows how long after an interval's end its provider has the next one."""

    usual_delay_s: float
    """Seconds."""


class _Known(NamedTuple):
    """All that the poller knows, replaced as a whole so that another thread always sees one moment."""

    series: IntensitySeries | None = None
    error: ProviderError | None = None
    last_success_s: float | None = None


class Poller:
    """Asks ``client`` for ``query``. One thread polls; any thread may read what is known.

    Args:
        client: whom to ask.
        query: what to ask for.
        clock: the time.
        interval_s: seconds between two questions at most.
        min_interval_s: at least; None: 5 minutes, or ``interval_s`` if that is shorter. In between, the question
            follows the end of the newest interval by the provider's usual delay.
        jitter: so that many agents do not ask at once.
        first_spread_s: the first question comes at random within so many seconds; 0: at once.
        longest_back_off_s: seconds after which a failing provider is asked again at the latest.
        bounds: lowest and highest plausible value, in g/kWh.
        estimates: whether values are taken that the provider calls estimated.
        source: name in findings and events; None: the client's ``provider``.
        item: what the findings are about within the source; empty: the source as a whole.
        may_lack_zone: whether it is no failure that the provider has nothing for this zone.
    """

    def __init__(
        self,
        client: IntensityClient,
        query: ZoneQuery,
        clock: Clock,
        *,
        interval_s: float,
        jitter: Jitter,
        min_interval_s: float | None = None,
        first_spread_s: float = 0.0,
        longest_back_off_s: float = _LONGEST_BACK_OFF_S,
        bounds: tuple[float, float] = (0.0, 2000.0),
        estimates: bool = True,
        source: str | None = None,
        item: str = "",
        may_lack_zone: bool = False,
    ) -> None:
        self.client = client
        self.query = query
        self.source = source or client.provider
        self._item = item
        self._may_lack_zone = may_lack_zone
        self._clock = clock
        self._interval_s = interval_s
        self._min_interval_s = min(_SHORTEST_INTERVAL_S if min_interval_s is None else min_interval_s, interval_s)
        self._longest_back_off_s = longest_back_off_s
        self._jitter = jitter
        self._bounds = bounds
        self._estimates = estimates
        self._known = _Known()
        self._failures = 0
        self._is_locked_out = False
        self._due_s = -math.inf
        if first_spread_s > 0:
            self._due_s = clock.monotonic_s() + jitter.uniform(0, first_spread_s)
        self._events: Counter[str] = Counter()
        self._events_lock = threading.Lock()

    @property
    def due_s(self) -> float:
        """Return the boot-clock time of the next question; minus infinity: now."""
        if self._is_locked_out and isinstance(self.client, Credentials) and self.client.credentials_changed():
            return -math.inf
        return self._due_s

    @property
    def series(self) -> IntensitySeries | None:
        """Return what is known, whether fresh or not; None before the first answer."""
        return self._known.series

    @property
    def was_asked(self) -> bool:
        """Return whether there was an answer or a failure yet."""
        return self._known.error is not None or self._known.last_success_s is not None

    def poll(self) -> None:
        """Ask once and keep what is believed. Never raises; blocks as long as the client does."""
        now_s = self._clock.wall_s()
        try:
            answer = checked(
                self.client.fetch(self.query, now_s=now_s),
                self.query,
                source=self.source,
                now_s=now_s,
                bounds=self._bounds,
                estimates=self._estimates,
            )
        except ProviderError as exc:
            self._fail(exc)
            return
        except MemoryError:
            raise
        except Exception as exc:  # noqa: BLE001 - the source-isolation line: whatever a client does, the others go on
            # The error's text is left out: it may quote an address or a header that carries a key.
            _log.error("provider failed", extra={"source": self.source, "error": type(exc).__name__})
            self._fail(ProviderError(self.source, "format", f"{type(exc).__name__} while the answer was read"))
            return
        self._take(answer, now_s)

    def ask_again(self) -> None:
        """Be due now, whatever the back-off: what kept the client from being answered has changed."""
        self._is_locked_out = False
        self._due_s = -math.inf

    def restore(self, series: IntensitySeries) -> None:
        """Take over what an earlier process knew of this zone; the next question waits as it would have."""
        now_s = self._clock.wall_s()
        try:
            series = checked(
                series, self.query, source=self.source, now_s=now_s, bounds=self._bounds, estimates=self._estimates
            )
        except ProviderError:
            return
        if math.isinf(series.fresh_until_s):
            # It held for as long as the provider went on saying so; nobody heard it since.
            series = replace(series, fresh_until_s=series.fetched_s + self._interval_s)
        self._known = _Known(series, None, series.fetched_s)
        since_s = now_s - series.fetched_s
        if 0 <= since_s < self._interval_s:
            planned_s = self._wait_s(series, series.fetched_s)
            self._due_s = max(self._due_s, self._clock.monotonic_s() + max(planned_s - since_s, 0.0))

    def take_events(self) -> list[SourceEvent]:
        """Return the failures since the previous call, added up by reason."""
        with self._events_lock:
            counts, self._events = self._events, Counter()
        return [SourceEvent(self.source, "error", reason, float(count)) for reason, count in counts.items()]

    def finding(self) -> Finding:
        """Return up (fresh, and the last question was answered), degraded (one of these), down (nothing usable)."""
        series, error, last_success_s = self._known
        is_fresh = series is not None and self._clock.wall_s() < series.fresh_until_s
        state: State = "absent"
        if error is not None:
            state = "absent" if self._is_lack(error) else "degraded" if is_fresh else "down"
        elif series is not None:
            state = "up" if is_fresh else "degraded"
        detail = self._words(series) if series else f"not asked yet for {self.query.grid_zone}"
        remedy = ""
        if error is not None and self._is_lack(error):
            detail = str(error)[:300]
        elif error is not None:
            detail = f"{error.reason}: {error}"[:300] + (f"; last {self._words(series)}" if series else "")
            remedy = _REMEDIES.get(error.reason, "")
        elif state == "degraded":
            remedy = _REMEDIES["stale"]
        return Finding(
            source=self.source,
            item=self._item,
            state=state,
            detail=detail,
            remedy=remedy,
            last_success_s=last_success_s,
        )

    def _is_lack(self, error: ProviderError) -> bool:
        return self._may_lack_zone and error.reason == "not_found"

    def _words(self, series: IntensitySeries) -> str:
        point = point_at(series.points, self._clock.wall_s())
        kind = "estimated, " if point.is_estimated else ""
        until = "for good" if series.fresh_until_s == math.inf else f"until {moment(series.fresh_until_s)}"
        return (
            f"{point.intensity_g_per_kwh:g} g/kWh for {series.grid_zone} from {moment(point.from_s)} "
            f"({kind}{series.signal}, {series.basis}), fresh {until}"
        )

    def _take(self, answer: IntensitySeries, now_s: float) -> None:
        known = self._known.series
        series = merged(known, answer, now_s=now_s) if known else answer
        if now_s >= series.fresh_until_s:
            newest = moment(answer.points[-1].from_s)
            self._known = self._known._replace(series=series)
            self._fail(ProviderError(self.source, "stale", f"the newest value is from {newest}, older than promised"))
            return
        self._failures = 0
        self._is_locked_out = False
        self._known = _Known(series, None, now_s)
        self._due_s = self._clock.monotonic_s() + self._wait_s(series, now_s)

    def _wait_s(self, series: IntensitySeries, now_s: float) -> float:
        """Return the seconds from ``now_s`` on after which there should be something new."""
        delay_s = self.client.usual_delay_s if isinstance(self.client, Punctual) else _USUAL_DELAY_S
        wait_s = series.points[-1].until_s - now_s + delay_s
        wait_s = max(wait_s, self._min_interval_s) + self._jitter.uniform(0, min(_MOST_JITTER_S, self._interval_s / 10))
        return min(wait_s, self._interval_s)

    def _fail(self, error: ProviderError) -> None:
        """Note the failure and back off: exponentially, at random, so that many agents come back one by one."""
        self._failures += 1
        self._is_locked_out = error.reason == "auth"
        if not self._is_lack(error):
            with self._events_lock:
                self._events[error.reason] += 1
        series = self._known.series
        if series is not None and self.client.provider == "file" and error.reason in _GONE:
            # What a file says holds for as long as the file says it, and it does no longer.
            series = replace(series, fresh_until_s=min(series.fresh_until_s, self._clock.wall_s()))
        self._known = self._known._replace(series=series, error=error)
        longest_s = self._longest_back_off_s
        if self._is_locked_out:
            wait_s = longest_s
        else:
            most_s = min(_FIRST_BACK_OFF_S * 2.0 ** min(self._failures, 20), longest_s)
            wait_s = max(self._jitter.uniform(0, most_s), min(_FIRST_BACK_OFF_S, longest_s))
        if error.retry_after_s is not None:
            wait_s = max(wait_s, min(error.retry_after_s, _LONGEST_RETRY_AFTER_S))
        self._due_s = self._clock.monotonic_s() + wait_s


def merged(known: IntensitySeries, answer: IntensitySeries, *, now_s: float) -> IntensitySeries:
    """Return ``answer`` with what was known before ``now_s`` as it was known: nobody's account is revised afterwards.

    Past intervals go back six hours. A value without end ends where its successor begins. ``answer`` says how long all
    is fresh, unless something newer than all of it was known, as where one of a provider's servers lags behind; an
    operator's own words are never late.
    """
    past = _past(known.points, answer.points, now_s=now_s)
    pieces = [piece for point in answer.points for piece in _uncovered(point, past)]
    points = _joined(sorted([*past, *pieces]), now_s=now_s)
    recent = [point for point in points if point.until_s > now_s - _HISTORY_S] or points[-1:]
    fresh_until_s = answer.fresh_until_s
    is_late = bool(past) and past[-1].from_s >= answer.points[-1].until_s
    if is_late and answer.basis != _STATED:
        fresh_until_s = max(fresh_until_s, known.fresh_until_s)
    return replace(answer, points=tuple(recent[-_MOST_PAST_POINTS:]), fresh_until_s=fresh_until_s)


def _past(known: Sequence[IntensityPoint], answer: Sequence[IntensityPoint], *, now_s: float) -> list[IntensityPoint]:
    """Return the known intervals up to ``now_s``."""
    past = []
    for point in known:
        end_s = min(point.until_s, now_s)
        if math.isinf(point.until_s):
            end_s = min([end_s, *(new.from_s for new in answer if new.from_s > point.from_s)])
        if point.from_s < end_s:
            past.append(point._replace(until_s=end_s))
    return past


def _uncovered(point: IntensityPoint, past: Sequence[IntensityPoint]) -> list[IntensityPoint]:
    """Return the parts of ``point`` that no interval of ``past`` covers."""
    pieces = []
    from_s = point.from_s
    for old in past:
        if old.until_s <= from_s or old.from_s >= point.until_s:
            continue
        if old.from_s > from_s:
            pieces.append(point._replace(from_s=from_s, until_s=old.from_s))
        from_s = old.until_s
    if from_s < point.until_s:
        pieces.append(point._replace(from_s=from_s))
    return pieces


def _joined(points: Sequence[IntensityPoint], *, now_s: float) -> list[IntensityPoint]:
    """Return ``points`` with an interval that was only cut at ``now_s`` as one again."""
    cut = {
        before: after
        for before, after in pairwise(points)
        if before.until_s == now_s == after.from_s and before[2:] == after[2:]
    }
    gone = set(cut.values())
    return [
        point._replace(until_s=cut[point].until_s) if point in cut else point for point in points if point not in gone
    ]
