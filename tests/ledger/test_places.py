"""What is remembered of a run's place when the node changes around it."""

from __future__ import annotations

from exporter.ledger.places import NO_PLACE, RunPlace, moved, place_from_json, place_to_json


def test_another_pue_is_remembered_and_the_first_is_none() -> None:
    first = moved(NO_PLACE, RunPlace(pue_ratio=1.0))
    second = moved(first, RunPlace(pue_ratio=2.0))

    assert (first.is_pue_constant, second.is_pue_constant) == (True, False)
    assert not moved(second, RunPlace(pue_ratio=2.0)).is_pue_constant


def test_what_was_counted_once_stays_counted() -> None:
    before = RunPlace(is_market_counted=True, is_water_counted=True, is_cost_whole=False)

    after = moved(before, RunPlace(grid_zone="DE"))

    assert (after.is_market_counted, after.is_water_counted, after.is_cost_whole) == (True, True, False)


def test_a_place_survives_the_state_file() -> None:
    place = RunPlace("cpu", "DE", 1.2, "EUR", False, False, True, True)

    assert place_from_json(place_to_json(place, {"H100": 4})) == (place, {"H100": 4})
    assert place_from_json("")[0] == NO_PLACE
