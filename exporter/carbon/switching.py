"""Which provider of the average is in force and why not the preferred one: a finding, and a line on every switch.

A finding that changes its state becomes a log line by itself (``exporter/logs.py``); a switch between two substitutes
changes no state, so it gets its line here.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from exporter.carbon.records import Intensity
from exporter.health import Finding

if TYPE_CHECKING:
    from exporter.carbon.live.poller import Poller

__all__ = ["NO_PROVIDERS", "InForce", "Switching"]

_log = logging.getLogger(__name__)
NO_PROVIDERS = -1
"""The rank of a value that no provider competes with."""
_MINUTE_S = 60
_HOUR_S = 3600
_LONG_S = 2 * 86_400


class InForce(NamedTuple):
    """The average that enters the emissions.

    Attributes:
        intensity: the value, or None where emissions stop.
        rank: place of its provider in the order of preference; the number of providers: the yearly table.
        is_fresh: whether it may be taken for the present.
    """

    intensity: Intensity | None
    rank: int
    is_fresh: bool = True

    @property
    def is_fallback(self) -> bool | None:
        """Return whether it is another's value than the preferred provider's, or past its freshness."""
        return None if self.rank == NO_PROVIDERS else self.rank > 0 or not self.is_fresh


class Switching:
    """Remembers who was in force."""

    def __init__(self) -> None:
        self._before: InForce | None = None

    def finding(self, now: InForce, pollers: Sequence[Poller], wall_s: float) -> Finding:
        """Return who is in force, of what age, and what to do about a substitute. Logs a switch between substitutes.

        Args:
            now: what is in force.
            pollers: of the average providers, the preferred first; at least one.
            wall_s: the time.
        """
        preferred = pollers[0].finding()
        is_pending = now.rank > 0 and not all(poller.was_asked for poller in pollers[: now.rank])
        words = _words(now, pollers, wall_s)
        if not is_pending:
            self._note(now, words)
        if not now.is_fallback:
            return Finding(source="carbon", item="average", state="up", detail=words)
        if is_pending:
            return Finding(
                source="carbon", item="average", state="absent", detail=f"{words}, until {pollers[0].source} answers"
            )
        return Finding(
            source="carbon",
            item="average",
            state="degraded" if now.intensity else "down",
            detail=f"{words}, because {preferred.source} has no fresh value: {preferred.detail}",
            remedy=preferred.remedy,
        )

    def _note(self, now: InForce, words: str) -> None:
        before, self._before = self._before, now
        if before is None or before.rank == now.rank or not (before.is_fallback and now.is_fallback):
            return
        if (before.intensity is None) == (now.intensity is None):
            _log.warning("carbon intensity of another provider", extra={"source": "carbon", "detail": words})


def _words(now: InForce, pollers: Sequence[Poller], wall_s: float) -> str:
    intensity = now.intensity
    if intensity is None:
        return "no provider has a usable value and no yearly mean stands in: emissions are absent"
    name = pollers[now.rank].source if now.rank < len(pollers) else intensity.provider
    via = "" if name.startswith(intensity.provider) else f" (from {intensity.provider})"
    kind = "estimated, " if intensity.is_estimated else ""
    age = _age(wall_s - intensity.observed_s)
    return f"{name}{via}: {intensity.intensity_g_per_kwh:g} g/kWh for {intensity.grid_zone}, {kind}{age} old"


def _age(seconds: float) -> str:
    if seconds >= _LONG_S:
        return f"{seconds / 86_400:.0f} days"
    return f"{seconds / _HOUR_S:.1f} h" if seconds >= _HOUR_S else f"{max(seconds, 0) / _MINUTE_S:.0f} min"
