"""What the gateway's pages show: each zone and signal with its values, and how often its providers were asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from exporter.carbon.records import IntensitySeries, Signal
from exporter.health import Finding

__all__ = ["Demand", "ProviderCounts", "ZoneState"]


class Demand(NamedTuple):
    """One zone and signal that is to be fetched."""

    grid_zone: str
    signal: Signal


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneState:
    """One zone and signal.

    Attributes:
        demand: which.
        is_learned: whether an agent asked for it, rather than the configuration.
        series: what is served now, or None where there is nothing yet or nothing that is young enough.
        last_success_s: wall-clock time of the last good answer of any of its providers, or None.
        findings: how each of its providers fares, the preferred one first.
    """

    demand: Demand
    is_learned: bool
    series: IntensitySeries | None
    last_success_s: float | None
    findings: Sequence[Finding]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderCounts:
    """Questions to providers since the start, by provider; errors by provider and reason."""

    requests: Mapping[str, int] = field(default_factory=dict)
    errors: Mapping[tuple[str, str], int] = field(default_factory=dict)
