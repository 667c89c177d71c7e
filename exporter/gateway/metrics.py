"""The gateway's metrics page, made anew at every scrape: it is small, and what it shows changes between scrapes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from exporter import __version__
from exporter.carbon.live import point_at
from exporter.carbon.records import IntensityPoint, IntensitySeries
from exporter.errors import ProviderError
from exporter.exposition.families import FamilyRows, Row
from exporter.exposition.labels import clean_labels
from exporter.exposition.model import process_registry
from exporter.exposition.pages import PageFormat
from exporter.exposition.writer import LineWriter, openmetrics_text, prometheus_text
from exporter.gateway.catalogue import GATEWAY_CATALOGUE
from exporter.gateway.records import ProviderCounts, ZoneState

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["GatewayPage", "PageContent", "gateway_rows"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PageContent:
    """Everything on the page.

    Attributes:
        now_s: wall-clock time, which chooses the interval that is shown as the present one.
        zones: each zone and signal that is fetched.
        counts: questions to providers.
        requests: answers by HTTP status.
        max_zones: how many zones are fetched at most.
        state_saved: whether the last values could be written; None: they are not kept.
        config_is_good: whether the last load of the configuration succeeded.
        config_loaded_s: wall-clock time of the last good one.
    """

    now_s: float
    zones: Sequence[ZoneState] = ()
    counts: ProviderCounts = field(default_factory=ProviderCounts)
    requests: Mapping[int, int] = field(default_factory=dict)
    max_zones: int
    state_saved: bool | None = None
    config_is_good: bool = True
    config_loaded_s: float = 0.0


def gateway_rows(content: PageContent) -> Iterator[FamilyRows]:
    """Yield every family that has rows, in the catalogue's order."""
    rows = _rows(content)
    for family in GATEWAY_CATALOGUE:
        if rows[family.name]:
            yield FamilyRows(family, rows[family.name])


def _rows(content: PageContent) -> dict[str, list[Row]]:
    served = [(zone, zone.series, point_at(zone.series.points, content.now_s)) for zone in content.zones if zone.series]
    origins = {zone.demand.grid_zone: zone.is_learned for zone in content.zones}
    saved = [] if content.state_saved is None else [_one(content.state_saved)]
    errors = {(provider, reason): 0 for provider in content.counts.requests for reason in ProviderError.REASONS}
    errors |= content.counts.errors
    intensity = "wattribute_grid_carbon_intensity"
    return {
        f"{intensity}_grams_per_kilowatt_hour": [(_key(z), p.intensity_g_per_kwh) for z, _, p in served],
        f"{intensity}_timestamp_seconds": [(_key(z), p.from_s) for z, _, p in served],
        f"{intensity}_info": [(_key(z) + _provenance(s, p), 1.0) for z, s, p in served],
        "wattribute_gateway_fresh_until_timestamp_seconds": [
            (_key(z), s.fresh_until_s) for z, s, _ in served if math.isfinite(s.fresh_until_s)
        ],
        "wattribute_gateway_last_success_timestamp_seconds": [
            (_key(zone), zone.last_success_s) for zone in content.zones if zone.last_success_s is not None
        ],
        "wattribute_gateway_zones": [
            (("configured",), float(sum(not learned for learned in origins.values()))),
            (("learned",), float(sum(origins.values()))),
        ],
        "wattribute_gateway_zones_limit": [_one(content.max_zones)],
        "wattribute_gateway_requests_total": [((str(code),), float(n)) for code, n in content.requests.items()],
        "wattribute_gateway_provider_requests_total": [
            (clean_labels((provider,)), float(n)) for provider, n in content.counts.requests.items()
        ],
        "wattribute_gateway_provider_errors_total": [(clean_labels(key), float(n)) for key, n in errors.items()],
        "wattribute_gateway_state_saved": saved,
        "wattribute_config_last_reload_successful": [_one(content.config_is_good)],
        "wattribute_config_last_reload_success_timestamp_seconds": [_one(content.config_loaded_s)],
        "wattribute_build_info": [((__version__,), 1.0)],
    }


def _one(value: float) -> Row:
    return (), float(value)


def _key(zone: ZoneState) -> tuple[str, ...]:
    return clean_labels(zone.demand)


def _provenance(series: IntensitySeries, point: IntensityPoint) -> tuple[str, ...]:
    return clean_labels((series.provider, series.basis, "true" if point.is_estimated else "false"))


class GatewayPage:
    """Writes the page. Not thread-safe: for the server's thread.

    ``procfs`` adds the metrics of this process; None leaves them, and their library, out.
    """

    def __init__(self, procfs: Path | None) -> None:
        self._procfs = procfs
        self._registry: CollectorRegistry | None = None
        self._writer = LineWriter()

    def write(self, content: PageContent, page_format: PageFormat) -> bytes:
        """Return the page in ``page_format``."""
        rendered = self._writer.render(gateway_rows(content))
        if page_format == "text":
            return prometheus_text(rendered) + self._of_process("text")
        return openmetrics_text(rendered, end=self._procfs is None) + self._of_process("openmetrics")

    def _of_process(self, page_format: PageFormat) -> bytes:
        if self._procfs is None:
            return b""
        from prometheus_client import exposition, openmetrics

        if self._registry is None:
            self._registry = process_registry(self._procfs)
        if page_format == "text":
            return exposition.generate_latest(self._registry)
        page: bytes = openmetrics.exposition.generate_latest(self._registry)  # type: ignore[no-untyped-call]  # upstream
        return page
