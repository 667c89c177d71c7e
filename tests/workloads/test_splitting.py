"""Splitting a group's CPU time among those who claim it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.workloads.splitting import split_usage

_SECONDS = st.floats(min_value=0.0, max_value=1e6)
_CLAIMS = st.dictionaries(st.sampled_from("abcdef"), _SECONDS)


@given(used_s=_SECONDS, claims_s=_CLAIMS)
def test_parts_and_rest_are_what_was_used_and_none_is_negative(used_s: float, claims_s: dict[str, float]) -> None:
    split = split_usage(used_s, claims_s)

    assert sum(split.parts_s.values()) + split.rest_s == pytest.approx(used_s, rel=1e-9, abs=1e-9)
    assert min([split.rest_s, *split.parts_s.values()]) >= 0


@given(used_s=_SECONDS, claims_s=_CLAIMS)
def test_nobody_gets_more_than_claimed_and_what_is_left_is_claimed_again(
    used_s: float, claims_s: dict[str, float]
) -> None:
    split = split_usage(used_s, claims_s)

    for part, claim_s in claims_s.items():
        assert split.parts_s[part] + split.excess_s.get(part, 0.0) == pytest.approx(claim_s, rel=1e-9, abs=1e-9)


@given(used_s=st.lists(st.integers(min_value=0, max_value=500), min_size=1, max_size=20))
def test_claims_in_clock_ticks_catch_up_with_use_in_nanoseconds(used_s: list[int]) -> None:
    """A run that is alone with an idle neighbour gets all but the last clock tick, at every tick in sum."""
    used_ms = claimed_ticks = 0
    given_s, excess_s = 0.0, 0.0
    for step_ms in used_s:
        used_ms += step_ms
        fresh_ticks = used_ms // 10 - claimed_ticks
        claimed_ticks += fresh_ticks
        split = split_usage(step_ms / 1000, {"run": fresh_ticks / 100 + excess_s})
        given_s += split.parts_s["run"]
        excess_s = split.excess_s.get("run", 0.0)

        assert given_s + excess_s == pytest.approx(claimed_ticks / 100)
        assert given_s <= used_ms / 1000 + 1e-9
