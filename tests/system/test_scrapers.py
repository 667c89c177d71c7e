"""Scrapes are free: many scrapers, none or slow ones see the same joules, and hold nobody up."""

from __future__ import annotations

import gzip
import http.client
import socket
import statistics
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from exporter.clock import SystemClock
from exporter.exposition.app import WebApp
from exporter.exposition.board import SnapshotBoard
from exporter.exposition.http_server import Server
from exporter.exposition.web_settings import WebSettings
from exporter.ledger import Snapshot
from exporter.testing import SimulatedNode
from exporter.units import MILLISECONDS_PER_SECOND
from tests.system.accounts import open_accounts, page_of, settings_for

_HALF_OPEN = 1000
_SERIES = 3000
_AS_PROMETHEUS = {"Accept": "application/openmetrics-text;version=1.0.0", "Accept-Encoding": "gzip"}


def _node_with(directory: Path, *, units: int) -> tuple[SimulatedNode, Snapshot]:
    node = SimulatedNode(directory, cpu_count=64)
    for number in range(units):
        node.spawn("server", cgroup=f"/system.slice/unit{number}.service", demand_cpus=0.02)
    accounts = open_accounts(node, settings_for())
    node.advance(5.0)
    snapshot = accounts.tick()
    accounts.close()
    return node, snapshot


class _Served:
    """A server on loopback with one published snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        settings = WebSettings(listen_addresses=("127.0.0.1:0",))
        self.board = SnapshotBoard(SystemClock())
        self.board.publish(snapshot)
        self._server = Server(settings.listen_addresses, WebApp(self.board, settings), settings)
        self._server.start()
        self.address = self._server.addresses[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    def scrape(self, headers: Mapping[str, str] | None = None) -> bytes:
        connection = http.client.HTTPConnection(self.address[0], self.address[1], timeout=10)
        try:
            connection.request("GET", "/metrics", headers=headers or {})
            return connection.getresponse().read()
        finally:
            connection.close()

    def scrape_ms(self) -> float:
        """Return how long a scrape as Prometheus makes it takes."""
        started_s = time.perf_counter()
        self.scrape(_AS_PROMETHEUS)
        return (time.perf_counter() - started_s) * MILLISECONDS_PER_SECOND


def test_forty_scrapers_and_none_see_the_same_joules(tmp_path: Path) -> None:
    """What a tick booked does not depend on who looks: two equal nodes, one scraped hard, end on the same page."""
    _, watched = _node_with(tmp_path / "watched", units=20)
    _, alone = _node_with(tmp_path / "alone", units=20)
    with _Served(watched) as served, ThreadPoolExecutor(40) as pool:
        pages = set(pool.map(lambda _: _joules(served.scrape()), range(200)))

    assert pages == {_joules(page_of(alone))}


def test_half_open_connections_do_not_delay_a_scrape(tmp_path: Path) -> None:
    """1,000 clients that begin a request and never end it; the 99th percentile is printed and bounded loosely.

    Scraped as Prometheus does: OpenMetrics, compressed.
    """
    _, snapshot = _node_with(tmp_path, units=_SERIES // 3)
    with _Served(snapshot) as served, ExitStack() as clients:
        page = gzip.decompress(served.scrape(_AS_PROMETHEUS))
        lines = page.count(b"\nwattribute_")
        free_ms = [served.scrape_ms() for _ in range(200)]
        for _ in range(_HALF_OPEN):
            client = clients.enter_context(socket.create_connection(served.address, timeout=5))
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost:")
        held_ms = [served.scrape_ms() for _ in range(200)]
    p99_ms = [statistics.quantiles(values, n=100)[98] for values in (free_ms, held_ms)]
    print(f"{lines} lines: p99 {p99_ms[0]:.2f} ms, with {_HALF_OPEN} half-open connections {p99_ms[1]:.2f} ms")  # noqa: T201 - the number is the point

    assert lines >= _SERIES
    assert page.endswith(b"# EOF\n")
    assert max(p99_ms) < 100.0


def test_a_client_that_never_reads_holds_nobody_up(tmp_path: Path) -> None:
    _, snapshot = _node_with(tmp_path, units=_SERIES // 3)
    with _Served(snapshot) as served, ExitStack() as clients:
        for _ in range(20):
            slow = clients.enter_context(socket.socket())
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect(served.address)
            slow.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        took_ms = [served.scrape_ms() for _ in range(50)]

    assert max(took_ms) < 1000.0


def _joules(page: bytes) -> bytes:
    return b"\n".join(line for line in page.split(b"\n") if line.startswith(b"wattribute_") and b"_joules" in line)
