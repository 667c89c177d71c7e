"""Published footprints through ``wattribute estimate --input``, with the residuals that their fixtures state."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.reports.published import (
    PAGE,
    Result,
    estimate,
    estimate_patterson,
    estimate_published,
    number,
    page,
    patterson,
    published_runs,
)

LARGEST_RESIDUAL = 0.016
ROUNDING_PCT = 0.0051
"""The fixtures state residuals in per cent with two decimals."""
INCOMPLETE = [
    "BLOOM 176B: embodied",
    "BLOOM 176B: total",
    "BLOOM inference API (18 days)",
    "OLMo 7B (A100 run)",
    "OLMo 2 7B",
    "OLMo 2 13B",
    "OLMo family total (20M-13B)",
]
MODELLED = ["Llama 2 (all sizes)", "DeepSeek-V3 pre-training"]
"""Hours and a model are published, no power: the TDP stands in, and a range says so."""


@pytest.fixture(scope="module")
def table4() -> Mapping[str, Result]:
    return {str(result["name"]): result for result in estimate_patterson()}


@pytest.fixture(scope="module")
def others() -> Mapping[str, Result]:
    return {str(result["name"]): result for result in estimate_published()}


@pytest.mark.parametrize("model", [row["model"] for row in patterson()])
@pytest.mark.parametrize("figure", ["energy", "emissions", "market"])
def test_energy_and_tonnes_of_patterson_2021_come_out(table4: Mapping[str, Result], model: str, figure: str) -> None:
    """MWh, gross and net tonnes of tables 4 and 1 agree within 1.6 %, which is their rounding."""
    residual = number(table4[model], f"{figure}_residual_ratio")

    assert residual is not None
    assert abs(residual) <= LARGEST_RESIDUAL


def test_all_eleven_rows_are_there(table4: Mapping[str, Result]) -> None:
    assert [row["model"] for row in patterson()] == list(table4)
    assert len(table4) == 11


@pytest.mark.parametrize("row", patterson(), ids=lambda row: row["model"])
def test_residuals_are_those_that_were_computed_independently(
    table4: Mapping[str, Result], row: Mapping[str, str]
) -> None:
    result = table4[row["model"]]
    stated = {"energy": "mwh_residual_pct", "emissions": "gross_residual_pct", "market": "net_residual_pct"}

    for figure, column in stated.items():
        ours = number(result, f"{figure}_residual_ratio")

        assert ours is not None
        assert abs(ours * 100 - float(row[column])) <= ROUNDING_PCT


@pytest.mark.parametrize("row", published_runs(), ids=lambda row: row["run"])
def test_other_runs_come_out_with_their_stated_residuals(others: Mapping[str, Result], row: Mapping[str, str]) -> None:
    """Energy, tonnes, their residuals and the implied intensity, wherever the fixture has them."""
    result = others[row["run"]]
    checked = {
        ("calc_mwh", 1e3, "energy_kwh", 0.0051),
        ("calc_tco2e", 1e6, "emissions_g", 0.0051),
        ("mwh_residual_pct", 0.01, "energy_residual_ratio", ROUNDING_PCT),
        ("tco2e_residual_pct", 0.01, "emissions_residual_ratio", ROUNDING_PCT),
        ("implied_kg_per_kwh", 1e3, "implied_g_per_kwh", 0.000051),
    }

    for column, scale, name, tolerance in checked:
        ours = number(result, name)
        if row[column]:
            assert ours is not None, (row["run"], name)
            assert abs(ours / scale - float(row[column])) <= tolerance, (row["run"], name)


def test_runs_without_enough_inputs_are_named_with_what_they_lack(others: Mapping[str, Result]) -> None:
    incomplete = [name for name, result in others.items() if result["status"] == "incomplete"]

    assert incomplete == INCOMPLETE
    assert all(others[name]["missing"] and others[name]["energy_kwh"] is None for name in incomplete)


def test_every_row_of_the_fixture_is_reported(others: Mapping[str, Result]) -> None:
    assert [row["run"] for row in published_runs()] == list(others)


def test_only_rows_without_a_power_are_modelled_from_the_tdp(others: Mapping[str, Result]) -> None:
    assert [name for name, result in others.items() if result["power_kind"] == "modelled"] == MODELLED


def test_the_llama_2_total_implies_less_than_its_parts_as_one_was_capped(others: Mapping[str, Result]) -> None:
    """The card's total mixes 350 W and 400 W; taking the TDP for all of it makes the implied intensity lower."""
    whole, part = (number(others[name], "implied_g_per_kwh") for name in ("Llama 2 (all sizes)", "Llama 2 7B"))

    assert whole is not None
    assert part is not None
    assert whole < part


def test_only_the_total_of_llama_3_3_is_implausible(others: Mapping[str, Result]) -> None:
    """12.9 t for the hours that Llama 3.1 70B reports as 2,040 t: 2.6 g/kWh, less than any source of electricity."""
    assert [name for name, result in others.items() if result["implausible"]] == ["Llama 3.3 70B"]


def test_nothing_of_patterson_is_implausible(table4: Mapping[str, Result]) -> None:
    assert not any(result["implausible"] for result in table4.values())


def test_published_values_lie_in_the_range_of_a_measured_power(table4: Mapping[str, Result]) -> None:
    for result in table4.values():
        low, high, published = (
            number(result, name) for name in ("energy_kwh_low", "energy_kwh_high", "published_energy_kwh")
        )

        assert low is not None
        assert high is not None
        assert published is not None
        assert low <= published <= high


def test_the_tdp_range_holds_every_measured_run_of_patterson() -> None:
    """The model's range contains the energy that was measured, for all whose TDP is known."""
    plans = [
        {
            "name": row["model"],
            "accelerator": row["processor"],
            "count": row["n_processors"],
            "duration": f"{row['days']}d",
            "pue": row["pue"],
            "published-mwh": row["published_mwh"],
        }
        for row in patterson()
    ]

    for result in estimate(plans):
        low, high, published = (
            number(result, name) for name in ("energy_kwh_low", "energy_kwh_high", "published_energy_kwh")
        )

        assert low is not None
        assert high is not None
        assert published is not None
        assert low * 0.99 <= published <= high  # the published value is rounded


def test_the_page_of_published_runs_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "write it again: python -m tests.reports.published > " + str(
        PAGE
    )
