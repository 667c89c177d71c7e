"""Budgets over whole periods, up to a year, on a real Prometheus: what is older than the period has left it."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rules.rule_files import records, seconds
from tests.system.programs import PrometheusServer, needs, prometheus_running

pytestmark = [pytest.mark.system, needs("prometheus", "promtool")]

_PERIODS = ("1d", "7d", "30d", "90d", "365d")
_STEP_S = 300
_USED = "budget:wattribute_budget_emissions_grams:used"
_PROJECTED = "budget:wattribute_budget_emissions_grams:projected"
_RECORDED = "budget:wattribute_budget_emissions_grams:recorded_ratio"
_RATE = "budget:wattribute_budget_emissions_grams:rate"


class _History:
    """A rate of each budget in steps of 5 minutes, for a little longer than its period, up to now."""

    def __init__(self) -> None:
        chance = random.Random(4)  # noqa: S311 - rates
        self.end_s = int(time.time()) // _STEP_S * _STEP_S
        self.rates: dict[str, list[float]] = {
            period: [chance.uniform(0.0, 5.0) for _ in range(seconds(period) // _STEP_S + 300)] for period in _PERIODS
        }

    def write(self, path: Path) -> None:
        """Write it as OpenMetrics with times."""
        with path.open("w") as file:
            file.write(f"# TYPE {_RATE}5m gauge\n")
            for period, rates in self.rates.items():
                start_s = self.end_s - (len(rates) - 1) * _STEP_S
                file.writelines(
                    f'{_RATE}5m{{budget="{period}"}} {rate} {start_s + i * _STEP_S}\n' for i, rate in enumerate(rates)
                )
            file.write("# TYPE budget:wattribute_budget_period_seconds:last gauge\n")
            file.writelines(
                f'budget:wattribute_budget_period_seconds:last{{budget="{period}"}} {seconds(period)} {self.end_s}\n'
                for period in _PERIODS
            )
            file.write("# EOF\n")

    def grams(self, budget: str, *, last: str) -> float:
        """Return the grams of the steps that end within the last ``last``."""
        return sum(self.rates[budget][-(seconds(last) // _STEP_S) :]) * _STEP_S


@pytest.fixture(scope="module")
def history() -> _History:
    return _History()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, history: _History) -> Iterator[PrometheusServer]:
    directory = tmp_path_factory.mktemp("periods")
    history.write(directory / "history.txt")
    create = ["promtool", "tsdb", "create-blocks-from", "openmetrics", "--max-block-duration=9600h", "--quiet"]
    subprocess.run([*create, directory / "history.txt", directory / "tsdb"], check=True, capture_output=True)
    with prometheus_running(directory, retention="400d") as running:
        yield running


def _recorded(server: PrometheusServer, history: _History, name: str, budget: str) -> float:
    """Return what the rule of that name gives for the budget a moment after the last step."""
    found = [
        value
        for rule in records()
        if rule.record == name
        for labels, value in server.query(rule.expr, at_s=history.end_s + 1)
        if labels["budget"] == budget and rule.text.get("labels", {}).get("period", budget) == budget
    ]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("period", _PERIODS)
def test_used_is_the_sum_over_the_period(server: PrometheusServer, history: _History, period: str) -> None:
    used_g = _recorded(server, history, _USED, period)

    # The last step of a day's minutes has begun: one of its five minutes is in, four of the one a day ago are not out.
    tolerance = 5 * _STEP_S / history.grams(period, last=period) if period == "1d" else 1e-9
    assert history.grams(period, last=period) == pytest.approx(used_g, rel=tolerance)


@pytest.mark.parametrize("period", _PERIODS)
def test_a_period_with_all_its_values_is_recorded_in_full(
    server: PrometheusServer, history: _History, period: str
) -> None:
    assert _recorded(server, history, _RECORDED, period) == 1.0


@pytest.mark.parametrize("window", ["6h", "1d", "7d"])
def test_means_are_over_the_window(server: PrometheusServer, history: _History, window: str) -> None:
    mean = _recorded(server, history, f"{_RATE}{window}", "30d")

    assert history.grams("30d", last=window) / seconds(window) == pytest.approx(mean)


@pytest.mark.parametrize(
    ("period", "rest", "again"),
    [("7d", "6d", "1d"), ("30d", "23d", "7d"), ("90d", "83d", "7d"), ("365d", "358d", "7d")],
)
def test_projections_keep_the_rest_and_repeat_the_last(
    server: PrometheusServer, history: _History, period: str, rest: str, again: str
) -> None:
    """The projection reads a mean that is recorded: here it is put in by its own rule's expression."""
    means = {rule.record: rule.expr for rule in records() if rule.record.startswith(_RATE)}
    mean = f"{_RATE}{again}"
    (rule,) = (r for r in records() if r.record == _PROJECTED and r.text["labels"]["period"] == period)
    ((labels, projected_g),) = server.query(rule.expr.replace(mean, f"({means[mean]})"), at_s=history.end_s + 1)

    assert labels == {"budget": period}
    assert history.grams(period, last=rest) + history.grams(period, last=again) == pytest.approx(projected_g)
