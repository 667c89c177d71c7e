"""Splitting the CPU time of a group that several runs share. Pure; the sum is the group's, whatever is claimed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, NamedTuple, TypeVar

__all__ = ["Split", "split_usage"]

_Part = TypeVar("_Part")


class Split(NamedTuple, Generic[_Part]):
    """Who used a group's CPU time.

    Attributes:
        parts_s: CPU seconds by part.
        rest_s: CPU seconds that no part claims.
        excess_s: what was claimed beyond the group's time; claim it again next time.
    """

    parts_s: dict[_Part, float]
    rest_s: float
    excess_s: dict[_Part, float]


def split_usage(used_s: float, claims_s: Mapping[_Part, float]) -> Split[_Part]:
    """Return the split of ``used_s`` by ``claims_s``; Σ parts + rest = used, none negative.

    Processes are counted in clock ticks and read at other instants than their group, so they may claim more than the
    group has used so far: then all claims are scaled down, and what is left of them is returned as excess.
    """
    claimed_s = sum(claims_s.values())
    if claimed_s <= used_s:
        return Split(dict(claims_s), used_s - claimed_s, {})
    factor = used_s / claimed_s
    parts_s = {part: claim_s * factor for part, claim_s in claims_s.items()}
    return Split(parts_s, 0.0, {part: claim_s - parts_s[part] for part, claim_s in claims_s.items()})
