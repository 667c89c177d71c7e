"""The metrics page in its variants, each made at most once per snapshot, when first asked for."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from exporter.exposition.families import family_rows
from exporter.exposition.model import process_registry
from exporter.exposition.writer import LineWriter, RenderedFamily, openmetrics_text, prometheus_text
from exporter.ledger.snapshot import Snapshot

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["CONTENT_TYPES", "MetricsPages", "PageFormat"]

PageFormat = Literal["text", "openmetrics"]

CONTENT_TYPES: dict[PageFormat, str] = {
    "text": "text/plain; version=0.0.4; charset=utf-8",
    "openmetrics": "application/openmetrics-text; version=1.0.0; charset=utf-8",
}
"""What each format is called; exactly what is served."""

_KEEP_READY_SNAPSHOTS = 24  # two minutes of ticks: the longest usual scrape interval
_GZIP_LEVEL = 1
"""3,000 series: 0.6 ms and 15.6 kB at level 1, 2.5 ms and 14.0 kB at level 6."""


class _Variant(NamedTuple):
    format: PageFormat
    is_gzipped: bool


class _Demand(NamedTuple):
    """When a variant was last asked for, and how many snapshots had passed since the time before."""

    at: int
    every: int


class MetricsPages:
    """Renders snapshots for ``/metrics``. Thread-safe: a page is made once, whoever asks.

    ``procfs`` adds the process metrics of this agent; None leaves them, and their library, out.
    """

    def __init__(self, latest: Callable[[], Snapshot | None], *, procfs: Path | None) -> None:
        self._latest = latest
        self._procfs = procfs
        self._registry: CollectorRegistry | None = None
        self._lock = threading.Lock()
        self._writer = LineWriter()
        self._of: Snapshot | None = None
        self._rendered: list[RenderedFamily] = []
        self._pages: dict[_Variant, bytes] = {}
        self._demands: dict[_Variant, _Demand] = {}
        self._snapshots = 0

    def page(self, page_format: PageFormat, *, is_gzipped: bool) -> bytes | None:
        """Return the page of the last snapshot, or None before the first."""
        snapshot = self._latest()
        if snapshot is None:
            return None
        variant = _Variant(page_format, is_gzipped)
        with self._lock:
            self._note_demand(variant)
            return self._current(snapshot, variant)

    def _note_demand(self, variant: _Variant) -> None:
        before = self._demands.get(variant, _Demand(self._snapshots, 1))
        passed = self._snapshots - before.at
        self._demands[variant] = _Demand(self._snapshots, passed or before.every)

    def prepare(self) -> None:
        """Make the variants that are about to be asked for, so that the next scrape finds them done.

        Called by the loop after it has published. A scraper comes as regularly as it did last time; one that comes
        earlier gets its page made on demand, and nothing is made for one that stays away.
        """
        snapshot = self._latest()
        if snapshot is None:
            return
        with self._lock:
            self._snapshots += 1
            for variant, demand in tuple(self._demands.items()):
                passed = self._snapshots - demand.at
                if passed > _KEEP_READY_SNAPSHOTS:
                    del self._demands[variant]
                elif passed >= demand.every:
                    self._current(snapshot, variant)

    def _current(self, snapshot: Snapshot, variant: _Variant) -> bytes:
        if snapshot is not self._of:
            self._rendered = self._writer.render(family_rows(snapshot))
            self._pages = {}
            self._of = snapshot
        if variant not in self._pages:
            self._pages[variant] = self._make(variant)
        return self._pages[variant]

    def _make(self, variant: _Variant) -> bytes:
        if variant.is_gzipped:
            plain = _Variant(variant.format, is_gzipped=False)
            # No time stamp: equal snapshots give equal bytes.
            return gzip.compress(self._pages.get(plain) or self._make(plain), _GZIP_LEVEL, mtime=0)
        if variant.format == "text":
            return prometheus_text(self._rendered) + self._process_page("text")
        return openmetrics_text(self._rendered, end=self._procfs is None) + self._process_page("openmetrics")

    def _process_page(self, page_format: PageFormat) -> bytes:
        if self._procfs is None:
            return b""
        from prometheus_client import exposition, openmetrics

        if self._registry is None:
            self._registry = process_registry(self._procfs)
        if page_format == "text":
            return exposition.generate_latest(self._registry)
        page: bytes = openmetrics.exposition.generate_latest(self._registry)  # type: ignore[no-untyped-call]  # upstream
        return page
