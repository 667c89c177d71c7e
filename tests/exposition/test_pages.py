"""When pages are made: once per snapshot and variant, ahead of a regular scraper."""

from dataclasses import replace

from exporter.exposition.pages import MetricsPages
from exporter.ledger.snapshot import Snapshot
from tests.exposition.snapshots import snapshot


class Source:
    """Hands out a snapshot and counts who looks at its workloads: only rendering does."""

    def __init__(self) -> None:
        self.renderings = 0
        self.current: Snapshot | None = None
        self.pages = MetricsPages(lambda: self.current, procfs=None)

    def publish(self) -> int:
        """Publish one more snapshot, prepare, and return how many renderings that caused."""
        source = self

        class Workloads(tuple):  # type: ignore[type-arg]  # a sequence that tells when it is read
            __slots__ = ()

            def __iter__(self) -> object:  # type: ignore[override]
                source.renderings += 1
                return super().__iter__()

        self.current = replace(snapshot(), workloads=Workloads(snapshot().workloads))
        before = self.renderings
        self.pages.prepare()
        return self.renderings - before

    def scrape(self) -> int:
        """Scrape once and return how many renderings that caused."""
        before = self.renderings
        assert self.pages.page("openmetrics", is_gzipped=True)
        return self.renderings - before


def test_a_page_is_made_once_however_many_ask() -> None:
    """S-07: forty parallel scrapes cost one rendering."""
    source = Source()
    source.publish()

    assert source.scrape() > 0
    assert [source.scrape() for _ in range(39)] == [0] * 39


def test_nothing_is_made_for_nobody() -> None:
    source = Source()

    assert [source.publish() for _ in range(5)] == [0] * 5


def test_the_page_is_ready_for_a_scraper_that_comes_every_third_tick_and_is_not_made_in_between() -> None:
    source = Source()
    for _ in range(2):
        for _ in range(3):
            source.publish()
        source.scrape()

    made = [source.publish() > 0 for _ in range(3)]

    assert made == [False, False, True]
    assert source.scrape() == 0


def test_a_scraper_that_stays_away_is_forgotten() -> None:
    source = Source()
    source.publish()
    source.scrape()
    for _ in range(30):
        source.publish()

    assert source.publish() == 0
