"""What a source says about itself: findings for people, events for counters.

Sources never log and never count on their own: they return these records, and one place each turns them into
log lines (on a change of state), into metrics, and into the table of ``wattribute check``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

__all__ = ["EventKind", "Finding", "SourceEvent", "State"]

State = Literal["up", "degraded", "down", "absent"]
"""up: works; degraded: works in part; down: is there and fails; absent: this machine does not have it."""

EventKind = Literal["error", "reset", "gap_seconds"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The state of one source, or of one capability of a source, in words a person can act on.

    Attributes:
        source: fixed name of the source, as in the ``source`` label.
        item: what exactly (a device, a path, a capability); empty for the source as a whole.
        state: see ``State``. Only findings with an empty ``item`` become ``wattribute_source_up``.
        detail: what was found or what failed, with path and errno.
        remedy: what to do about it; empty if nothing needs doing.
        last_success_s: wall-clock time of the last good read, or None if there was none.
    """

    source: str
    state: State
    item: str = ""
    detail: str = ""
    remedy: str = ""
    last_success_s: float | None = None


class SourceEvent(NamedTuple):
    """Something countable that happened in a source since the last sample.

    Attributes:
        source: fixed name of the source.
        kind: which counter it belongs to.
        reason: a word from a small fixed set per source.
        amount: how much to add: 1 for errors and resets, seconds for gaps.
    """

    source: str
    kind: EventKind
    reason: str
    amount: float = 1.0
