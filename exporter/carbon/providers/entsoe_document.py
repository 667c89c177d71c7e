"""Reads ENTSO-E's documents of generation per type (A75): XML of strangers into megawatts by quarter of an hour.

Owns the formats ``GL_MarketDocument`` and ``Acknowledgement_MarketDocument`` (ENTSO-E Transparency Platform,
"Generation and load process implementation guide"): series of one type may be several, of several periods and
resolutions; with curve type A03 a position that is missing repeats the one before. A document with a DOCTYPE is refused
unread: entities grow.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from xml.etree import ElementTree as ET

from exporter.carbon.providers.answers import MalformedError, clean, time_of

__all__ = ["SLOT_S", "Acknowledgement", "Generation", "parse_document"]

SLOT_S = 900
"""Seconds of the finest resolution there is."""
_RESOLUTIONS: Mapping[str, int] = {"PT15M": 1, "PT30M": 2, "PT60M": 4}
"""Slots by resolution."""
_LONGEST_PERIOD_S = 8 * 86_400
_UNIT = "MAW"


class Acknowledgement(NamedTuple):
    """Why there are no data: a code (999: nothing found), and the reason in the platform's words."""

    code: str
    text: str


class Generation(NamedTuple):
    """What was generated.

    Attributes:
        areas: EIC codes of the areas in the document.
        megawatts: by type, then by number of the slot since the epoch; not negative.
    """

    areas: frozenset[str]
    megawatts: Mapping[str, Mapping[int, float]]


def parse_document(body: bytes) -> Generation | Acknowledgement:
    """Return what a document says. Consumption of storage is left out.

    Raises:
        MalformedError: the body is not one of the two documents.
    """
    root = _parse_xml(body)
    name = _local(root)
    if name == "Acknowledgement_MarketDocument":
        reason = _child(root, "Reason")
        return Acknowledgement(_text(reason, "code"), clean(_text(reason, "text")))
    if name != "GL_MarketDocument":
        raise MalformedError(f"expected a document of generation, found {clean(name)!r}")
    areas: set[str] = set()
    megawatts: dict[str, dict[int, float]] = {}
    for series in _children(root, "TimeSeries"):
        area = series.find("{*}inBiddingZone_Domain.mRID")
        if area is None and series.find("{*}outBiddingZone_Domain.mRID") is not None:
            continue
        areas.add(_text(series, "inBiddingZone_Domain.mRID"))
        kind = _text(_child(series, "MktPSRType"), "psrType")
        if _text(series, "quantity_Measure_Unit.name") != _UNIT:
            raise MalformedError(f"expected quantities in {_UNIT}")
        slots = megawatts.setdefault(kind, {})
        for period in _children(series, "Period"):
            slots.update(_slots(period, _curve_type(series)))
    return Generation(frozenset(areas), megawatts)


class _Builder(ET.TreeBuilder):
    def doctype(self, name: str, public: str | None, system: str | None) -> None:  # noqa: ARG002 - expat's call
        raise MalformedError("found a DOCTYPE, which no answer of this platform has")


def _parse_xml(body: bytes) -> ET.Element:
    parser = ET.XMLParser(target=_Builder())  # noqa: S314 - sizes are bounded, and a DOCTYPE stops the parser
    try:
        parser.feed(body)
        root: object = parser.close()
    except MalformedError:
        raise
    except (ET.ParseError, ValueError, LookupError):
        root = None
    if not isinstance(root, ET.Element):
        raise MalformedError(f"expected XML, found {clean(body[:1024].decode(errors='replace'))!r}")
    return root


def _local(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def _children(element: ET.Element, name: str) -> Iterator[ET.Element]:
    return element.iterfind("{*}" + name)


def _child(element: ET.Element, name: str) -> ET.Element:
    child = element.find("{*}" + name)
    if child is None:
        raise MalformedError(f"expected {name} within {clean(_local(element))}")
    return child


def _text(element: ET.Element, name: str) -> str:
    return (_child(element, name).text or "").strip()


def _curve_type(series: ET.Element) -> str:
    found = series.find("{*}curveType")
    kind = "A01" if found is None else (found.text or "").strip()
    if kind not in ("A01", "A03"):
        raise MalformedError(f"expected curve type A01 or A03, found {clean(kind)!r}")
    return kind


def _slots(period: ET.Element, curve_type: str) -> Iterator[tuple[int, float]]:
    """Yield slot and megawatts for all that a period states."""
    interval = _child(period, "timeInterval")
    start_s, end_s = (time_of(_text(interval, name), name) for name in ("start", "end"))
    resolution = _text(period, "resolution")
    step = _RESOLUTIONS.get(resolution)
    if step is None:
        raise MalformedError(f"expected one of {', '.join(_RESOLUTIONS)} as resolution, found {clean(resolution)!r}")
    if start_s % SLOT_S or end_s % SLOT_S or not 0 < end_s - start_s <= _LONGEST_PERIOD_S:
        raise MalformedError(f"expected a period of quarters of an hour, found {(end_s - start_s):.0f} s")
    first, count = int(start_s) // SLOT_S, int(end_s - start_s) // SLOT_S // step
    stated = {_position(point, count): _megawatts(point) for point in _children(period, "Point")}
    megawatts: float | None = None
    for position in range(1, count + 1):
        megawatts = stated.get(position, megawatts if curve_type == "A03" else None)
        if megawatts is not None:
            for slot in range(step):
                yield first + (position - 1) * step + slot, megawatts


def _position(point: ET.Element, count: int) -> int:
    text = _text(point, "position")[:12]
    if text.isascii() and text.isdigit() and 1 <= int(text) <= count:
        return int(text)
    raise MalformedError(f"expected a position from 1 to {count}, found {clean(text)!r}")


def _megawatts(point: ET.Element) -> float:
    """Return a quantity; plants that draw more than they give count as giving nothing."""
    text = _text(point, "quantity")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise MalformedError(f"expected megawatts as quantity, found {clean(text)!r}")
    return max(value, 0.0)
