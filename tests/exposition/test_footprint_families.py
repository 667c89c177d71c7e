"""What the page and the JSON say of the grid, of budgets, and of water, cost and embodied emissions."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from exporter.carbon.records import GreenWindow
from exporter.exposition.api import snapshot_document
from exporter.exposition.families import family_rows
from exporter.exposition.footprint_families import duration_label
from exporter.exposition.writer import LineWriter, prometheus_text
from exporter.ledger.snapshot import Snapshot
from tests.exposition.snapshots import NOW_S, RUN, snapshot

POD = ("pod", "ml", "trainer-0", "main")


def _page(of: Snapshot) -> dict[str, dict[tuple[str, ...], float]]:
    return {family.name: dict(rows) for family, rows in family_rows(of)}


def test_market_grams_water_and_cost_have_series_of_node_workload_and_run() -> None:
    page = _page(snapshot())

    assert page["wattribute_node_market_emissions_grams_total"] == {(): 321.0}
    assert page["wattribute_node_electricity_cost_total"] == {("EUR",): 1.75}
    assert page["wattribute_workload_water_liters_total"][POD] == 1.5
    assert page["wattribute_workload_electricity_cost_total"][*POD, "EUR"] == 0.02
    assert page["wattribute_run_market_emissions_grams_total"] == {(RUN,): 0.25}


@pytest.mark.parametrize("column", ["market_g", "water_l", "cost"])
def test_what_is_not_counted_has_no_series(column: str) -> None:
    known = snapshot()
    page = _page(replace(known, footprint={name: 1.0 for name in known.footprint if name != column}))
    words = {"market_g": "market_emissions", "water_l": "water", "cost": "cost"}

    assert [name for name in page if words[column] in name] == []


def test_another_currency_is_another_series() -> None:
    writer = LineWriter()
    prometheus_text(writer.render(family_rows(snapshot())))
    text = prometheus_text(writer.render(family_rows(replace(snapshot(), currency="SEK")))).decode()

    assert 'wattribute_run_electricity_cost_total{currency="SEK",run="ab12cd34"} 0.02' in text
    assert 'total{currency="EUR"' not in text


def test_a_budget_has_its_grams_limit_and_period_and_a_budget_per_run_its_runs() -> None:
    page = _page(snapshot())

    assert page["wattribute_budget_emissions_grams_total"] == {("team-a",): 1000.0, ("each-run",): 0.9}
    assert page["wattribute_budget_limit_grams"] == {("team-a",): 50_000.0, ("each-run",): 1000.0}
    assert page["wattribute_budget_period_seconds"] == {("team-a",): 2_592_000.0}
    assert page["wattribute_budget_selected_workloads"] == {("team-a",): 2.0, ("each-run",): 1.0}
    assert page["wattribute_budget_run_info"] == {
        ("each-run", RUN, "operational"): 1.0,
        ("each-run", RUN, "embodied"): 1.0,
    }


def test_the_market_signal_is_shown_beside_the_average_with_its_freshness() -> None:
    page = _page(snapshot())

    assert page["wattribute_grid_carbon_intensity_grams_per_kilowatt_hour"] == {
        ("DE", "average"): 344.0,
        ("DE", "market"): 12.0,
        ("FR", "average"): 25.0,
    }
    fresh = page["wattribute_grid_carbon_intensity_fresh_until_timestamp_seconds"]
    assert fresh == {("DE", "average"): NOW_S + 1800, ("FR", "average"): NOW_S + 1800}


@pytest.mark.parametrize(("is_fallback", "rows"), [(True, {(): 1.0}), (False, {(): 0.0}), (None, None)])
def test_whether_the_intensity_is_a_substitute_is_told_where_providers_are(
    rows: dict[tuple[str, ...], float] | None, *, is_fallback: bool | None
) -> None:
    known = snapshot()
    page = _page(replace(known, carbon=replace(known.carbon, is_fallback=is_fallback)))

    assert page.get("wattribute_grid_carbon_fallback") == rows


def test_the_best_start_is_shown_once_per_zone_and_duration() -> None:
    known = snapshot()
    [window] = known.carbon.green_windows
    twice = [window, GreenWindow("DE", 14_400.0, 1.0, 2.0, 3.0, "other")]
    page = _page(replace(known, carbon=replace(known.carbon, green_windows=twice)))

    assert page["wattribute_grid_greenest_start_timestamp_seconds"] == {("DE", "4h"): NOW_S + 7200}
    assert page["wattribute_grid_greenest_mean_grams_per_kilowatt_hour"] == {("DE", "4h"): 210.0}


@pytest.mark.parametrize(
    ("duration_s", "label"), [(14_400.0, "4h"), (5400.0, "90m"), (45.0, "45s"), (0.5, "0.5s"), (86_400.0, "24h")]
)
def test_durations_are_written_as_prometheus_writes_them(duration_s: float, label: str) -> None:
    assert duration_label(duration_s) == label


def test_hardware_is_shown_with_its_range_and_source() -> None:
    page = _page(snapshot())

    assert page["wattribute_embodied_hardware_grams"] == {
        ("GPU-1234", "value"): 164_000.0,
        ("GPU-1234", "low"): 164_000.0,
        ("GPU-1234", "high"): 575_000.0,
    }
    assert page["wattribute_embodied_hardware_info"] == {("GPU-1234", "H100", "NVIDIA"): 1.0}


def test_the_json_holds_the_same_facts() -> None:
    document = json.loads(snapshot_document(snapshot()))

    assert document["footprint"] == {"market_g": 321.0, "water_l": 12.5, "cost": 1.75}
    assert document["currency"] == "EUR"
    assert document["budgets"][1] == {
        "name": "each-run", "emissions_g": 0.9, "limit_g": 1000.0, "period_s": None, "matched": 1, "runs": [RUN],
    }  # fmt: skip
    assert document["hardware"][0]["high_g"] == 575_000.0
    carbon = document["carbon"]
    assert (carbon["is_fallback"], carbon["wue_l_per_kwh"], carbon["price_per_kwh"]) == (True, 0.3, 0.21)
    assert carbon["average"]["fresh_until_s"] == NOW_S + 1800
    assert carbon["market"]["intensity_g_per_kwh"] == 12.0
    assert carbon["green_windows"][0]["starts_s"] == NOW_S + 7200
    assert document["runs"][0]["footprint"] == {"market_g": 0.25, "water_l": 1.5, "cost": 0.02}
    assert document["runs"][0]["account"] == "physics"
    assert document["workloads"][0]["footprint"]["water_l"] == 1.5


def test_the_json_says_null_where_nothing_is_known() -> None:
    document = json.loads(snapshot_document(snapshot(with_carbon=False)))

    assert (document["footprint"], document["budgets"]) == ({}, [])
    assert (document["carbon"]["average"], document["carbon"]["market"]) == (None, None)
    assert document["carbon"]["is_fallback"] is None
