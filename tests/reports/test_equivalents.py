from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from exporter.reports.equivalents import equivalents, equivalents_text

grams = st.floats(min_value=0, max_value=1e15)


def test_the_published_factors_give_one_of_each() -> None:
    """Green Algorithms: 917 g per tree-month, 175 and 251 g per km, 50 and 570 kg per passenger."""
    one_of_each = {
        "tree_months": 917,
        "eu_car_km": 175,
        "us_car_km": 251,
        "flights_paris_london": 50_000,
        "flights_new_york_san_francisco": 570_000,
    }

    for key, emissions_g in one_of_each.items():
        assert {one.key: one.amount for one in equivalents(emissions_g)}[key] == 1


@given(emissions_g=grams, factor=st.integers(1, 1000))
def test_equivalents_grow_in_proportion(emissions_g: float, factor: int) -> None:
    single = [one.amount * factor for one in equivalents(emissions_g)]

    assert all(
        math.isclose(expected, actual.amount, abs_tol=1e-12)
        for expected, actual in zip(single, equivalents(emissions_g * factor), strict=True)
    )


def test_words_name_amounts_that_can_be_pictured() -> None:
    assert equivalents_text(35_000) == "38 months of a tree's growth, or 200 km by an average European car"
    assert "flights" in equivalents_text(552e6, limit=1)


def test_words_round_to_two_figures() -> None:
    assert equivalents_text(175 * 1234, limit=2).endswith("or 1,200 km by an average European car")


@given(emissions_g=grams)
def test_words_exist_for_all_that_is_not_tiny(emissions_g: float) -> None:
    assert bool(equivalents_text(emissions_g)) == (emissions_g >= 0.1 * 175)


def test_nothing_equals_nothing() -> None:
    assert equivalents_text(0) == ""
