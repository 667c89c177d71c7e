"""Asking the configured providers once, side by side, for a command that waits for them. No retry, no cache."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from exporter.carbon.live.checks import checked
from exporter.carbon.place import place_of, zone_id
from exporter.carbon.providers import make_client, provider_problems
from exporter.carbon.records import IntensitySeries, Signal, ZoneQuery
from exporter.carbon.settings import CarbonSettings, ProviderSettings
from exporter.errors import ProviderError
from exporter.reports.advise import Live

__all__ = ["ask_providers"]


class _Lane(NamedTuple):
    rank: int
    provider: ProviderSettings
    zones: Sequence[str]


class _Answer(NamedTuple):
    zone: str
    signal: Signal
    rank: int
    series: IntensitySeries | None
    problem: str


def ask_providers(
    carbon: CarbonSettings, zones: Sequence[str], *, now_s: float, timeout_s: float
) -> Mapping[str, Live]:
    """Return what the providers say of each zone, within ``timeout_s`` for all; none is silent about a failure.

    Each provider has one thread and is asked for one zone after the other. Of several with the same signal the first
    configured that answers counts. Empty where no provider of the average signal is configured.
    """
    home_zone = zone_id(place_of(carbon).grid_zone)
    lanes = [
        _Lane(rank, provider, [zone for zone in zones if zone == home_zone or _lends(provider, zone)])
        for rank, provider in enumerate(carbon.providers)
        if provider.signal in ("average", "marginal")
    ]
    if not any(lane.provider.signal == "average" for lane in lanes):
        return {}
    answers: queue.SimpleQueue[_Answer] = queue.SimpleQueue()
    for lane in lanes:
        arguments = (lane, carbon, now_s, answers)
        threading.Thread(target=_ask, args=arguments, daemon=True, name=f"ask-{lane.provider.kind}").start()
    found = _collected(answers, sum(len(lane.zones) for lane in lanes), timeout_s)
    return _live(zones, found, lanes)


def _lends(provider: ProviderSettings, zone: str) -> bool:
    """Return whether ``provider`` can speak of a zone that is not the node's."""
    if provider.kind == "fixed" or (provider.kind == "prometheus" and "$zone" not in provider.query):
        return False
    return not provider_problems(replace(provider, zone=""), zone)


def _ask(lane: _Lane, carbon: CarbonSettings, now_s: float, answers: queue.SimpleQueue[_Answer]) -> None:
    rank, provider, zones = lane
    client = make_client(provider, carbon)
    bounds = (carbon.lowest_plausible_g_per_kwh, carbon.highest_plausible_g_per_kwh)
    for zone in zones:
        query = ZoneQuery(zone, provider.signal, with_forecast=provider.signal == "average")
        try:
            series = checked(
                client.fetch(query, now_s=now_s),
                query,
                source=provider.kind,
                now_s=now_s,
                bounds=bounds,
                estimates=provider.estimates,
            )
        except ProviderError as exc:
            is_lack = provider.kind == "file" and exc.reason == "not_found"
            problem = f"{provider.kind} has no value for it" if is_lack else f"{provider.kind} failed ({exc.reason})"
            answers.put(_Answer(zone, provider.signal, rank, None, problem))
        except Exception as exc:  # noqa: BLE001 - the source-isolation line: one provider does not end the others
            # The error's text is left out: it may quote an address or a header that carries a key.
            problem = f"{provider.kind} failed ({type(exc).__name__})"
            answers.put(_Answer(zone, provider.signal, rank, None, problem))
        else:
            answers.put(_Answer(zone, provider.signal, rank, series, ""))


def _collected(answers: queue.SimpleQueue[_Answer], expected: int, timeout_s: float) -> list[_Answer]:
    found: list[_Answer] = []
    ends_s = time.monotonic() + timeout_s
    while len(found) < expected:
        try:
            found.append(answers.get(timeout=max(ends_s - time.monotonic(), 0.0)))
        except queue.Empty:
            break
    return found


def _live(zones: Sequence[str], answers: Sequence[_Answer], lanes: Sequence[_Lane]) -> Mapping[str, Live]:
    return {
        zone: Live(_first(answers, zone, "average"), _problem(answers, zone, lanes), _first(answers, zone, "marginal"))
        for zone in zones
    }


def _first(answers: Sequence[_Answer], zone: str, signal: Signal) -> IntensitySeries | None:
    usable = [one for one in answers if (one.zone, one.signal) == (zone, signal) and one.series is not None]
    return min(usable, key=lambda one: one.rank).series if usable else None


def _problem(answers: Sequence[_Answer], zone: str, lanes: Sequence[_Lane]) -> str:
    """Return what became of the average of ``zone`` at every provider that gave none before the one that did."""
    by_rank = {one.rank: one for one in answers if one.zone == zone and one.signal == "average"}
    problems = []
    for rank, provider, asked in lanes:
        if provider.signal != "average":
            continue
        answer = by_rank.get(rank)
        if answer is not None and answer.series is not None:
            break
        if answer is not None:
            problems.append(answer.problem)
        else:
            problems.append(f"{provider.kind} {'did not answer in time' if zone in asked else 'does not cover it'}")
    return "; ".join(problems)
