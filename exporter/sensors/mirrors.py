"""Tells, from behaviour, the dies of one package that show one and the same counter from those that have their own.

Multi-die AMD packages show the socket's counter once per die; Intel's dies count for themselves. Nothing in the tree
says which, but two reads of one register a moment apart agree within what a package draws in that moment, and
independent counters do not. Source: reliability findings of multi-die EPYC hosts; DESIGN.md §3.
"""

from __future__ import annotations

from collections.abc import Iterable

from exporter.sensors.meter import Meter
from exporter.sensors.records import DomainKey
from exporter.units import MICROJOULES_PER_JOULE

__all__ = ["MirrorWatch", "is_die"]

_TOLERANCE_J = 2.0
"""Joules two reads of one register may differ: 4 ms at 500 W between them."""

_VERDICT_SAMPLES = 3
"""Samples in a row that must disagree with a verdict to turn it: one may be an interruption between two reads."""


def is_die(meter: Meter) -> bool:
    """Whether ``meter`` is one die of a package of several."""
    return meter.found.role.kind == "package" and "-die-" in meter.found.role.place


class MirrorWatch:
    """Watches the dies of each package.

    Attributes:
        mirrored: the domains that repeat the counter of another die of their package.
    """

    def __init__(self) -> None:
        self.mirrored: frozenset[DomainKey] = frozenset()
        self._dissent: dict[DomainKey, int] = {}
        self._judged: set[DomainKey] = set()

    def update(self, dies: Iterable[Meter], now_s: float) -> bool:
        """Compare what ``dies`` (see ``is_die``) read at ``now_s``; return whether ``mirrored`` changed."""
        firsts: dict[tuple[str, int], int] = {}
        mirrored = set(self.mirrored)
        for meter in dies:
            if meter.state is None or meter.state.read_at_s != now_s:
                continue
            package = meter.found.role.place.partition("-die-")[0]
            first_uj = firsts.get((package, meter.found.role.rank))
            if first_uj is None:
                firsts[package, meter.found.role.rank] = meter.state.raw
                continue
            agrees = abs(first_uj - meter.state.raw) <= _TOLERANCE_J * MICROJOULES_PER_JOULE
            self._judge(meter.key, agrees=agrees, mirrored=mirrored)
        changed = mirrored != self.mirrored
        self.mirrored = frozenset(mirrored)
        return changed

    def _judge(self, key: DomainKey, *, agrees: bool, mirrored: set[DomainKey]) -> None:
        if agrees == (key in mirrored):
            self._dissent.pop(key, None)
            self._judged.add(key)
            return
        self._dissent[key] = self._dissent.get(key, 0) + 1
        if key not in self._judged or self._dissent[key] >= _VERDICT_SAMPLES:
            mirrored ^= {key}
            self._dissent.pop(key, None)
        self._judged.add(key)
