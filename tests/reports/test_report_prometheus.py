from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from exporter.exposition.catalogue import family_named
from exporter.reports.prometheus_api import Access, PrometheusApi
from exporter.reports.report_counters import Span
from exporter.reports.report_prometheus import RUN_COUNTERS, PrometheusRuns
from tests.reports.report_server import FakeServer, serving

NOW_S = float(int(time.time()))
TIMES = [NOW_S - 600 + 60 * minute for minute in range(11)]


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """Serve a run on two nodes, with every counter of the catalogue."""
    fake = FakeServer()
    for number, instance in enumerate(("a:9", "b:9"), start=1):
        place = {"run": "r1", "instance": instance}
        facts = {"name": "llama [v1]", "account": "proj", "world_size": "8"}
        fake.put("wattribute_run_info", {**place, **facts}, [(at_s, 1.0) for at_s in TIMES])
        for family, names in RUN_COUNTERS.items():
            parts = {"component": "gpu", "mode": "active", "scope": "embodied", "currency": "EUR"}
            labels = {**place, **{name: parts[name] for name in names}}
            fake.put(family, labels, [(at_s, float(number * at)) for at, at_s in enumerate(TIMES)])
        fake.put("wattribute_run_ranks", place, [(TIMES[-1], 2.0)])
        fake.put("wattribute_run_gpus", place, [(TIMES[-1], 2.0)])
        for gpu, model in enumerate(("H100", "H100" if number == 1 else "A100")):
            board = {"instance": instance, "gpu_uuid": f"GPU-{number}{gpu}", "model": model}
            fake.put("wattribute_gpu_info", board, [(TIMES[-1], 1.0)])
        fake.put("wattribute_pue_ratio", {"instance": instance}, [(at_s, 1.0 + number / 10) for at_s in TIMES])
        source = {"instance": instance, "component": "gpu", "quality": ("measured", "estimated")[number - 1]}
        fake.put("wattribute_energy_source_info", source, [(TIMES[-1], 1.0)])
        ratio = {"instance": instance, "component": "gpu"}
        fake.put("wattribute_energy_uncertainty_ratio", ratio, [(TIMES[-1], 0.05 * number)])
    with serving(fake) as served:
        yield served


def runs(server: FakeServer) -> PrometheusRuns:
    return PrometheusRuns(PrometheusApi(Access(url=server.url)), Span(NOW_S - 86_400, NOW_S))


def test_every_counter_is_in_the_catalogue_with_its_labels() -> None:
    assert {name: family_named(name).labels for name in RUN_COUNTERS} == {
        name: ("run", *labels) for name, labels in RUN_COUNTERS.items()
    }


def test_each_account_is_summed_over_nodes_and_kept_apart(server: FakeServer) -> None:
    found = runs(server)
    (report,) = found.reports(found.find("r1"))

    assert report.total_j == report.embodied_g == report.market_g == report.water_l == report.cost == 30.0
    assert report.gpu_held_s == report.gpu_unused_s == report.gpu_unused_j == 30.0
    assert (report.operational_g, report.cost_currency, report.account) == (None, "EUR", "proj")


def test_what_nodes_say_of_themselves_is_weighted_by_their_energy(server: FakeServer) -> None:
    found = runs(server)
    (report,) = found.reports(found.find("r1"))

    assert report.facility_j == pytest.approx(10 * 1.1 + 20 * 1.2)
    assert report.pue_ratios == pytest.approx([1.1, 1.2])
    assert report.uncertainty_ratio == pytest.approx((10 * 0.05 + 20 * 0.1) / 30)
    assert report.quality == "partly estimated"
    assert sorted(report.hardware) == [(2, "A100 or H100"), (2, "H100")]


def test_missing_ranks_are_said(server: FakeServer) -> None:
    found = runs(server)
    (report,) = found.reports(found.find("r1"))

    assert any(note.startswith("Only 4 of 8 ranks were seen") for note in report.notes)


def test_costs_in_two_currencies_are_not_added(server: FakeServer) -> None:
    cost = "wattribute_run_electricity_cost_total"
    server.put(cost, {"run": "r1", "instance": "b:9", "currency": "USD"}, [(TIMES[-1], 7.0)])
    found = runs(server)
    (report,) = found.reports(found.find("r1"))

    assert (report.cost, report.cost_currency) == (None, "")
    assert any("EUR, USD" in note for note in report.notes)


@pytest.mark.parametrize("wanted", ["r1", "llama [v1]", "llama*", "lla?a *", "[l]lama*", "*", ""])
def test_a_run_is_found_by_key_name_and_pattern(server: FakeServer, wanted: str) -> None:
    assert [head.key for head in runs(server).find(wanted)] == ["r1"]


@pytest.mark.parametrize("wanted", ["r", "llama", "llama.*", "Llama*", '"} or x'])
def test_nothing_else_finds_it(server: FakeServer, wanted: str) -> None:
    assert not runs(server).find(wanted)
