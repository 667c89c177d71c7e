from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Metric, exposition, openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.registry import Collector

from exporter.exposition.catalogue import family_named
from exporter.exposition.families import Block, BlockRows, FamilyRows, Row, family_rows
from exporter.exposition.labels import MAX_LABEL_CHARACTERS, clean_label
from exporter.exposition.model import SnapshotCollector, metric_families
from exporter.exposition.writer import LineWriter, openmetrics_text, prometheus_text
from tests.exposition.snapshots import snapshot

INFO = "wattribute_energy_source_info"
LARGE = "wattribute_workload_energy_joules_total"
COUNTER = "wattribute_domain_energy_joules_total"

_valid_text = st.text(st.characters(exclude_categories=["Cs"]))
_numbers = st.floats() | st.integers(-(2**200), 2**200)


def _rows(labels: int) -> st.SearchStrategy[list[Row]]:
    return st.lists(st.tuples(st.tuples(*[_valid_text] * labels), _numbers), max_size=4)


class _Page(Collector):
    def __init__(self, page: list[FamilyRows]) -> None:
        self.page = page

    def collect(self) -> Iterator[Metric]:
        return metric_families(self.page)


@given(_rows(3), _rows(5))
def test_both_formats_are_byte_for_byte_those_of_the_reference_writer(counters: list[Row], facts: list[Row]) -> None:
    page = [FamilyRows(family_named(COUNTER), counters), FamilyRows(family_named(INFO), facts)]

    rendered = LineWriter().render(page)

    assert exposition.generate_latest(_Page(page)) == prometheus_text(rendered)
    reference = openmetrics.exposition.generate_latest(_Page(page))  # type: ignore[no-untyped-call]  # upstream
    assert reference == openmetrics_text(rendered)


_blocks = st.lists(
    st.builds(
        Block,
        st.tuples(
            *[st.text(st.sampled_from(["a", "b", "\x01", "\x02", '"', "\\", "\n", "é", "\ud800"]), max_size=2)] * 4
        ),
        st.tuples(*[st.floats(0, 1e20) | st.integers(0, 2**70) | st.floats()] * 3),
    ),
    max_size=5,
)
_columns = st.lists(st.integers(0, 2), unique=True, max_size=3)


@given(st.lists(st.tuples(_columns, _blocks), min_size=1, max_size=4))
def test_every_page_of_a_large_family_is_that_of_the_reference_writer(
    pages: list[tuple[list[int], list[Block]]],
) -> None:
    """Things come, go, change, stay as they are or become equal in cleaning; columns change."""
    family, writer = family_named(LARGE), LineWriter()
    for columns, blocks in pages:
        rows = BlockRows(family, [(i, (f"c{i}", "active")) for i in columns], blocks)
        page = [FamilyRows(family, rows)]

        rendered = writer.render(page)

        assert exposition.generate_latest(_Page(page)) == prometheus_text(rendered)
        reference = openmetrics.exposition.generate_latest(_Page(page))  # type: ignore[no-untyped-call]  # upstream
        assert reference == openmetrics_text(rendered)


def test_series_that_left_the_page_are_forgotten() -> None:
    writer, family = LineWriter(), family_named(LARGE)
    for turn in range(50):
        blocks = [Block(("unit", "", str(turn), ""), (1.0,))]
        writer.render([FamilyRows(family, BlockRows(family, [(0, ("cpu", "active"))], blocks))])

    assert writer.remembered_series == 1


@given(st.text(st.characters()))
def test_a_clean_label_is_valid_utf8_without_controls_and_bounded(text: str) -> None:
    cleaned = clean_label(text)

    assert cleaned.encode().decode() == cleaned
    assert len(cleaned) <= MAX_LABEL_CHARACTERS
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in cleaned)
    assert clean_label(cleaned) == cleaned


def test_the_page_parses_with_the_clients_own_parsers() -> None:
    """S-11: what a page says is read back by the official parsers, family by family."""
    rendered = LineWriter().render(family_rows(snapshot()))
    expected = {family.base_name for family, _ in rendered}

    parsed = parse_openmetrics(openmetrics_text(rendered).decode())  # type: ignore[no-untyped-call]  # upstream
    assert expected == {f.name for f in parsed}
    assert len(expected) == len(list(parse_text(prometheus_text(rendered).decode())))


def test_a_program_that_embeds_the_agent_gets_the_same_page_from_its_own_registry() -> None:
    registry = CollectorRegistry()
    registry.register(SnapshotCollector(snapshot))

    assert exposition.generate_latest(registry) == prometheus_text(LineWriter().render(family_rows(snapshot())))
