from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from exporter.exposition.app import WebApp
from exporter.exposition.board import SnapshotBoard
from exporter.exposition.http_messages import Request, Response
from exporter.exposition.negotiate import accepts_gzip, choose_format
from exporter.exposition.pages import CONTENT_TYPES, PageFormat
from exporter.exposition.web_settings import FIXED_ROUTES, WebSettings
from exporter.ledger.snapshot import WorkloadTotals
from exporter.workloads.records import WorkloadId
from tests.exposition.snapshots import ENERGY_J, snapshot


class FakeClock:
    now_s = 100.0

    def monotonic_s(self) -> float:
        return self.now_s

    def wall_s(self) -> float:
        return self.now_s


class Site:
    def __init__(self, *, is_started: bool = True, process_metrics: bool = False) -> None:
        self.clock = FakeClock()
        self.board = SnapshotBoard(self.clock)
        self.app = WebApp(self.board, WebSettings(process_metrics=process_metrics), procfs=Path("/proc"))
        if is_started:
            self.board.publish(snapshot())

    def get(self, path: str, query: str = "", **headers: str) -> Response:
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        return self.app(Request(method="GET", path=path, query=query, headers=named))


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", "text"),
        ("*/*", "text"),
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3", "openmetrics"),
        ("application/openmetrics-text;q=0.3,text/plain;q=0.4", "text"),
        ("application/openmetrics-text;version=2.0.0", "text"),
        ("application/openmetrics-text;q=0", "text"),
        ("application/openmetrics-text; q=nan", "text"),
        ("application/openmetrics-text;q=0.1," * 2000, "openmetrics"),
    ],
)
def test_the_format_is_one_that_was_asked_for(accept: str, expected: PageFormat) -> None:
    """S-06."""
    assert expected == choose_format(accept)
    assert CONTENT_TYPES[expected] == Site().get("/metrics", accept=accept).content_type


@pytest.mark.parametrize(
    ("header", "expected"),
    [("", False), ("gzip", True), ("gzip;q=0", False), ("*", True), ("*, gzip;q=0", False), ("br", False)],
)
def test_gzip_is_used_only_where_it_is_accepted(header: str, expected: bool) -> None:
    """S-06."""
    assert expected == accepts_gzip(header)


def test_the_compressed_page_is_the_page() -> None:
    site = Site()

    assert site.get("/metrics").body == gzip.decompress(site.get("/metrics", accept_encoding="gzip").body)


def test_scrapes_between_two_ticks_see_the_same_bytes() -> None:
    """S-08: a page is made once per snapshot."""
    site = Site(process_metrics=True)

    assert site.get("/metrics").body is site.get("/metrics").body


def test_pages_that_are_asked_for_are_made_before_the_next_scrape() -> None:
    site = Site()
    site.get("/metrics")
    site.board.publish(snapshot(with_carbon=False))
    site.app.prepare()
    prepared = site.get("/metrics").body
    site.app.prepare()

    assert b"_emissions_" not in prepared
    assert prepared is site.get("/metrics").body


@pytest.mark.parametrize("accept", ["text/plain", "application/openmetrics-text"])
def test_the_agents_own_process_is_on_the_page_where_switched_on(accept: str) -> None:
    body = Site(process_metrics=True).get("/metrics", accept=accept).body

    assert b"\nprocess_cpu_seconds_total " in body
    assert body.count(b"# EOF") == (accept != "text/plain")


def test_health_follows_the_ticks() -> None:
    site = Site()
    before = site.get("/-/healthy").status
    site.clock.now_s += 21.0

    assert (before, site.get("/-/healthy").status) == (200, 503)


def test_ready_waits_for_the_first_interval() -> None:
    """The snapshot that a start begins with has totals, but covers no interval."""
    site = Site(is_started=False)
    site.board.publish(snapshot(), is_sample=False)
    started = site.get("/-/ready").status, site.get("/metrics").status
    site.board.publish(snapshot())

    assert (started, site.get("/-/ready").status) == ((503, 200), 200)


@pytest.mark.parametrize("path", ["/-/ready", "/metrics", "/", "/api/v1/runs"])
def test_nothing_is_shown_before_the_first_sample(path: str) -> None:
    assert (Site(is_started=False).get(path).status, Site().get(path).status) == (503, 200)


def test_every_fixed_route_is_served_beside_the_telemetry_path() -> None:
    """The configuration refuses these as telemetry path, so the two lists must be one."""
    site = Site()

    assert set(site.app._routes) == FIXED_ROUTES | {"/metrics"}
    assert {site.get(path).status for path in FIXED_ROUTES} == {200}


def test_unknown_query_keys_are_refused() -> None:
    """S-06."""
    assert Site().get("/metrics", query="name[]=x").status == 400


def test_the_runs_document_holds_energy_by_component_and_mode() -> None:
    document = json.loads(Site().get("/api/v1/runs").body)

    assert document["version"] == 1
    assert document["runs"][0]["energy_j"]["cpu"] == {"active": 7200.0, "idle": 1800.0}


def test_the_snapshot_document_names_the_sources_and_their_remedies() -> None:
    document = json.loads(Site().get("/api/v1/snapshot").body)

    assert {s["source"]: s["remedy"] for s in document["sources"]}["cgroup"] == "Run as root."


def test_names_cannot_put_markup_into_the_page() -> None:
    """S-11."""
    site = Site()
    name = "<script>alert(1)</script>"
    site.board.publish(snapshot(workloads=[WorkloadTotals(WorkloadId("pod", "n", name), ENERGY_J, (0.0, 0.0), 1.0)]))
    page = site.get("/")

    assert b"<script" not in page.body
    assert b"&lt;script&gt;" in page.body
    assert "default-src 'none'" in dict(page.headers)["Content-Security-Policy"]


def test_the_page_says_how_to_set_a_zone_where_none_is_set() -> None:
    site = Site()
    site.board.publish(snapshot(with_carbon=False))

    assert b"<pre>carbon:\n  grid_zone: DE</pre>" in site.get("/").body
