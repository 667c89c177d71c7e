from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.reports.prometheus_api import Access, PrometheusApi, PrometheusError
from exporter.reports.report_counters import NodeKey, RangeQueries, Span, escaped, node_of
from tests.reports.report_server import FakeServer, serving

FAMILY = "wattribute_run_energy_joules_total"
DAY_S = 86_400
STEP_S = 1800


@pytest.fixture(scope="module")
def server() -> Iterator[FakeServer]:
    with serving(FakeServer()) as fake:
        yield fake


@pytest.fixture(autouse=True)
def empty(server: FakeServer) -> None:
    server.__dict__.update(FakeServer().__dict__ | {"url": server.url})


def totals(server: FakeServer, span: Span) -> Mapping[tuple[NodeKey, tuple[str, ...]], float]:
    queries = RangeQueries(PrometheusApi(Access(url=server.url)))
    return queries.counters(f'{FAMILY}{{run=~"r"}}', span, lambda labels: (labels.get("component", ""),))


def brute_force(samples: Sequence[tuple[float, float]]) -> float:
    total, last = 0.0, 0.0
    for _, value in samples:
        total += value - last if value >= last else value
        last = value
    return total


@st.composite
def series(draw: st.DrawFn) -> list[tuple[float, float]]:
    """Draw a counter over up to six days that restarts, and is not scraped for hours or days at times."""
    at_s, value = draw(st.integers(0, DAY_S)), 0.0
    samples = []
    for _ in range(draw(st.integers(1, 60))):
        samples.append((float(at_s), value))
        at_s += draw(st.sampled_from((STEP_S, STEP_S, STEP_S, 7 * STEP_S, 60 * STEP_S)))
        value = draw(st.sampled_from((0.0, 3.0))) if draw(st.integers(0, 9)) == 0 else value + draw(st.integers(0, 50))
        if at_s > 6 * DAY_S:
            break
    return samples


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    drawn=st.lists(series(), min_size=1, max_size=3),
    most_samples=st.sampled_from((10**9, 150, 60)),
    is_left_open=st.booleans(),
)
def test_totals_equal_a_sum_over_every_sample(
    server: FakeServer, drawn: list[list[tuple[float, float]]], most_samples: int, *, is_left_open: bool
) -> None:
    """Over resets, gaps, chunks and limits, with ranges that hold their start (before Prometheus 3) or do not."""
    server.series.clear()
    server.most_samples, server.is_left_open = most_samples, is_left_open
    for number, samples in enumerate(drawn):
        server.put(FAMILY, {"run": "r", "component": "cpu", "instance": f"n{number}:9"}, samples)

    expected = {(NodeKey("", f"n{n}:9"), ("cpu",)): brute_force(samples) for n, samples in enumerate(drawn)}
    assert totals(server, Span(-1.0, 7 * DAY_S)) == expected


def test_without_resets_three_queries_do(server: FakeServer) -> None:
    for node in range(50):
        server.put(FAMILY, {"run": "r", "instance": f"n{node}:9"}, [(at_s, at_s) for at_s in range(0, DAY_S, STEP_S)])

    assert len(totals(server, Span(-1.0, 30 * DAY_S))) == 50
    assert len(server.asked) == 3


def test_raw_samples_are_read_of_the_node_that_was_reset_and_around_the_reset_only(server: FakeServer) -> None:
    steady = [(float(at_s), at_s * 1.0) for at_s in range(0, 32 * DAY_S, STEP_S)]
    for node in range(5):
        server.put(FAMILY, {"run": "r", "instance": f"n{node}:9"}, steady)
    reset = [(at_s, value if at_s < 9.3 * DAY_S else value - 9.3 * DAY_S) for at_s, value in steady]
    server.put(FAMILY, {"run": "r", "instance": "odd+one:9"}, reset)

    found = totals(server, Span(-1.0, 32 * DAY_S))

    raw = [query for *_, query in server.asked if "(" not in query]
    assert found[NodeKey("", "odd+one:9"), ("",)] == brute_force(reset)
    assert len(raw) == 1
    assert r"odd\\+one:9" in raw[0]


def test_the_time_is_halved_where_the_server_refuses_and_no_sample_counts_twice(server: FakeServer) -> None:
    server.most_samples = 100
    samples = [(float(at_s), at_s * 2.0) for at_s in range(0, 10 * DAY_S, STEP_S)]
    server.put(FAMILY, {"run": "r", "instance": "n:9"}, samples)

    assert totals(server, Span(-1.0, 10 * DAY_S)) == {(NodeKey("", "n:9"), ("",)): samples[-1][1]}


def test_a_limit_that_no_chunk_meets_is_an_error_after_few_queries(server: FakeServer) -> None:
    server.most_samples = 0
    server.put(FAMILY, {"run": "r", "instance": "n:9"}, [(float(at_s), 0.0) for at_s in range(0, DAY_S, 60)])

    with pytest.raises(PrometheusError, match="too many samples"):
        totals(server, Span(-1.0, 40 * DAY_S))
    assert len(server.asked) < 30


def test_values_that_are_no_numbers_are_no_samples(server: FakeServer) -> None:
    nan = float("nan")
    server.put(FAMILY, {"run": "r", "instance": "n:9"}, [(1.0, 0.0), (2.0, 5.0), (3.0, nan), (4.0, 2.0), (5.0, nan)])

    assert totals(server, Span(0.0, 10.0)) == {(NodeKey("", "n:9"), ("",)): 7.0}


def test_an_infinite_counter_is_an_error(server: FakeServer) -> None:
    server.put(FAMILY, {"run": "r", "instance": "n:9"}, [(1.0, 0.0), (2.0, float("inf"))])

    with pytest.raises(PrometheusError, match="infinite"):
        totals(server, Span(0.0, 10.0))


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"instance": "10.0.0.1:9", "job": "x"}, NodeKey("", "10.0.0.1:9")),
        ({"instance": "10.0.0.1:9", "node": "gpu-1"}, NodeKey("", "gpu-1", "node")),
        ({"instance": "10.0.0.1:9", "cluster": "west"}, NodeKey("west", "10.0.0.1:9")),
        ({}, NodeKey("", "")),
    ],
)
def test_a_node_is_known_by_its_labels(labels: Mapping[str, str], expected: NodeKey) -> None:
    assert node_of(labels) == expected


@given(st.text(max_size=20), st.text(max_size=20))
def test_an_escaped_text_matches_itself_only(text: str, other: str) -> None:
    import re

    assert re.fullmatch(escaped(text), text)
    assert (re.fullmatch(escaped(text), other) is not None) == (text == other)
