"""The readable page of the gateway at ``/``: what is served, how old it is, and what a provider says."""

from __future__ import annotations

from exporter import __version__
from exporter.carbon.live import point_at
from exporter.exposition.page_parts import UNKNOWN, row, table, text
from exporter.exposition.page_style import STYLE
from exporter.exposition.quantities import duration_text
from exporter.gateway.metrics import PageContent
from exporter.gateway.records import ZoneState

__all__ = ["page_html"]

_REFRESH_S = 30
_HEADS = ("Zone", "Signal", "Intensity", "True since", "State", "Provider", "What it says")
_NUMERIC = (2, 3)
_LINKS = (
    ("/metrics", "Metrics"),
    ("/api/v1/zones", "Zones (JSON)"),
    ("/-/healthy", "Health"),
    ("/-/ready", "Readiness"),
)


def page_html(content: PageContent) -> str:
    """Return the whole page."""
    zones = len({zone.demand.grid_zone for zone in content.zones})
    rows = "".join(_row(zone, content.now_s) for zone in content.zones)
    listed = (
        table(_HEADS, rows, numeric=_NUMERIC) if rows else '<p class="empty">No agent has asked for a zone yet.</p>'
    )
    links = "".join(f'<li><a href="{path}">{name}</a></li>' for path, name in _LINKS)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="refresh" content="{_REFRESH_S}"><meta name="color-scheme" content="light dark">'
        f"<title>Wattribute gateway</title><style>{STYLE}</style></head><body>"
        "<header><h1>Wattribute gateway</h1>"
        f'<p class="dim">{zones} of at most {content.max_zones} zones are fetched</p></header>'
        f"<main><section><h2>Carbon intensity</h2>{listed}</section></main>"
        f'<footer><nav aria-label="Data"><ul>{links}</ul></nav><p class="dim">Version {text(__version__)}</p></footer>'
        "</body></html>\n"
    )


def _row(zone: ZoneState, now_s: float) -> str:
    series = zone.series
    intensity = since = UNKNOWN
    provider = ""
    badge = '<span class="badge bad">nothing yet</span>'
    if series is not None:
        point = point_at(series.points, now_s)
        intensity = f"{point.intensity_g_per_kwh:.0f} g/kWh"
        since = f"{duration_text(max(now_s - point.from_s, 0.0))} ago"
        provider = f"{text(series.provider)} ({text(series.basis)})"
        kind, word = ("good", "fresh") if now_s < series.fresh_until_s else ("warn", "past its freshness")
        badge = f'<span class="badge {kind}">{word}</span>'
        if point.is_estimated:
            badge += ' <span class="badge estimated">estimated</span>'
    says = "<br>".join(f"{text(f.source)}: {text(f.detail)}" for f in zone.findings if f.state != "up" and f.detail)
    name = text(zone.demand.grid_zone) + (' <span class="badge">learned</span>' if zone.is_learned else "")
    return row(name, zone.demand.signal, intensity, since, badge, provider, says, numeric=_NUMERIC)
