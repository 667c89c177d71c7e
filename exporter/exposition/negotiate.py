"""What a client accepts: format by ``Accept``, compression by ``Accept-Encoding``. Source: RFC 9110 §12."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from exporter.exposition.pages import PageFormat

__all__ = ["accepts_gzip", "choose_format"]

_MAX_ITEMS = 64


class _Item(NamedTuple):
    name: str
    parameters: dict[str, str]
    quality: float


def choose_format(accept: str) -> PageFormat:
    """Return the format with the highest quality; text where both are equally welcome or neither is named.

    OpenMetrics is chosen only where 1.0.0 is asked for or no version is, so that nobody gets what they cannot read.
    """
    best: PageFormat = "text"
    quality = 0.0
    for item in _items(accept):
        found: PageFormat = "openmetrics" if item.name == "application/openmetrics-text" else "text"
        known = item.name in ("application/openmetrics-text", "text/plain")
        version = "1.0.0" if found == "openmetrics" else "0.0.4"
        if known and item.parameters.get("version", version) == version and item.quality > quality:
            best, quality = found, item.quality
    return best


def accepts_gzip(accept_encoding: str) -> bool:
    """Return whether gzip, or anything, is accepted with a quality above zero."""
    qualities = {item.name: item.quality for item in _items(accept_encoding)}
    return qualities.get("gzip", qualities.get("x-gzip", qualities.get("*", 0.0))) > 0


def _items(header: str) -> Iterator[_Item]:
    for text in header.split(",", _MAX_ITEMS)[:_MAX_ITEMS]:
        name, *rest = text.split(";", 8)
        pairs = [part.partition("=") for part in rest]
        parameters = {key.strip().lower(): value.strip().strip('"') for key, _, value in pairs}
        yield _Item(name.strip().lower(), parameters, _quality(parameters.pop("q", "1")))


def _quality(text: str) -> float:
    is_number = text.replace(".", "", 1).isdigit() and text.isascii() and len(text) <= len("0.123")
    return min(float(text), 1.0) if is_number else 0.0
