"""The metric families of the gateway. Those that the agent has, too, are the agent's own: one name, one meaning."""

from __future__ import annotations

import sys

from exporter.exposition.catalogue import family_named
from exporter.exposition.family import Family, counter, gauge

__all__ = ["GATEWAY_CATALOGUE", "reference_table"]

_SERIES = ("grid_zone", "signal")

GATEWAY_CATALOGUE: tuple[Family, ...] = (
    family_named("wattribute_grid_carbon_intensity_grams_per_kilowatt_hour"),
    family_named("wattribute_grid_carbon_intensity_timestamp_seconds"),
    family_named("wattribute_grid_carbon_intensity_info"),
    gauge(
        "gateway_fresh_until_timestamp_seconds",
        "seconds",
        _SERIES,
        "Unix time up to which the value that the gateway serves may be taken for the present, from its provider; in "
        "the past while the provider is down, absent for a value that holds for good. Cached with the value.",
        "carbon",
    ),
    gauge(
        "gateway_last_success_timestamp_seconds",
        "seconds",
        _SERIES,
        "Unix time at which the gateway last got a good answer for a zone and signal from any provider. "
        "Read at every scrape.",
        "carbon",
    ),
    gauge(
        "gateway_zones",
        "",
        ("origin",),
        "Zones that the gateway fetches, from its configuration (configured) or because an agent asked (learned). "
        "Read at every scrape.",
        "gateway",
    ),
    gauge(
        "gateway_zones_limit",
        "",
        (),
        "Zones that the gateway fetches at most, from gateway.max_zones. Cached until a reload.",
        "gateway",
    ),
    counter(
        "gateway_requests_total",
        "",
        ("code",),
        "Requests that the gateway's pages answered since its start, by HTTP status; what the server refuses before "
        "(405, 431 and the like) is not counted. Read at every scrape.",
        "gateway",
    ),
    counter(
        "gateway_provider_requests_total",
        "",
        ("provider",),
        "Times the gateway asked a provider for a zone and signal since its start; with a forecast, one question "
        "may be two calls. Read at every scrape.",
        "gateway",
    ),
    counter(
        "gateway_provider_errors_total",
        "",
        ("provider", "reason"),
        "Questions to a provider that gave no usable answer since the gateway's start, by reason; those "
        "held back after the provider asked for patience count as rate_limited. Read at every scrape.",
        "gateway",
    ),
    gauge(
        "gateway_state_saved",
        "",
        (),
        "Whether the last values could be written to the gateway's state file the last time (1) or not (0); absent "
        "where none is configured. Read at every scrape.",
        "gateway",
    ),
    family_named("wattribute_config_last_reload_successful"),
    family_named("wattribute_config_last_reload_success_timestamp_seconds"),
    family_named("wattribute_build_info"),
)
"""All families of the gateway's page, in its order."""


def reference_table() -> str:
    """Return the table of families for docs/how-to/gateway.md."""
    rows = [
        f"| `{f.name}` | {f.type} | {', '.join(f'`{label}`' for label in f.labels) or 'none'} | {f.help} |"
        for f in GATEWAY_CATALOGUE
    ]
    return "\n".join(["| family | type | labels | meaning |", "| --- | --- | --- | --- |", *rows, ""])


if __name__ == "__main__":
    sys.stdout.write(reference_table())
