"""A fake ENTSO-E Transparency Platform: generation by type, with its gaps, resolutions and acknowledgements."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from xml.sax.saxutils import escape

from exporter.testing.grid_api_server import Curve, Fault, GridApi, GridRequest, Reply, html_reply

__all__ = ["EntsoeApi", "Mix"]

Mix = Callable[[str, float], Mapping[str, float]]
"""Megawatts by production type (``B05`` …) of an area (EIC code) from a wall-clock time on."""

_COAL_G_PER_KWH = 820.0
_WIND_G_PER_KWH = 11.0
_TOTAL_MW = 10_000.0
_MINUTE_S = 60
_GENERATION = "urn:iec62325.351:tc57wg16:451-6:generationloaddocument:3:0"
_ACKNOWLEDGEMENT = "urn:iec62325.351:tc57wg16:451-1:acknowledgementdocument:7:0"
_BOMB = (
    '<?xml version="1.0"?><!DOCTYPE d [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">'
    '<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]><GL_MarketDocument><mRID>&c;</mRID></GL_MarketDocument>'
)
_FAULTY_VALUES: Mapping[str, str] = {"nan": "NaN", "text_value": "many", "bool_value": "true", "null_value": ""}


class EntsoeApi(GridApi):
    """Actual generation per type (A75, A16). From the curve a mix of hard coal and onshore wind is made that has that
    intensity by lifecycle factors of 820 and 11 g/kWh; so the curve has to stay between them, unless ``mix`` is set.

    Attributes:
        key: the token that is accepted.
        mix: what is generated, instead of what the curve makes.
        lag_s: seconds from the end of an interval to its publication.
        late_s: further seconds by production type.
        resolution_minutes: by production type, where it is not 60.
        splits_s: wall-clock time before which everything is hourly and in a period and series of its own, or None.
        curve_type: A01 (every point) or A03 (a point only where the value changes).
        storage_mw: consumption of pumped storage, published besides its generation; 0: none.
        no_data_status: of the acknowledgement that there are no data.
    """

    base_path = "/api"

    def __init__(self, curve: Curve, *, now_s: Callable[[], float], mix: Mix | None = None) -> None:
        self.key = "entsoe-token-0042"
        self.mix = mix or self._coal_and_wind
        self.lag_s = 3600.0
        self.late_s: dict[str, float] = {}
        self.resolution_minutes: dict[str, int] = {}
        self.splits_s: float | None = None
        self.curve_type = "A01"
        self.storage_mw = 0.0
        self.no_data_status = 200
        super().__init__(curve, now_s=now_s)

    def _coal_and_wind(self, area: str, at_s: float) -> Mapping[str, float]:
        share = (self.value(area, at_s) - _WIND_G_PER_KWH) / (_COAL_G_PER_KWH - _WIND_G_PER_KWH)
        return {"B05": share * _TOTAL_MW, "B19": (1 - share) * _TOTAL_MW}

    def answer(self, request: GridRequest, headers: Mapping[str, str], fault: Fault | None) -> Reply:  # noqa: ARG002
        """Answer one request."""
        query = request.query
        if query.get("securityToken") != self.key:
            return html_reply(401)
        if fault == "doctype":
            return Reply(200, "text/xml", _BOMB.encode())
        wanted = (query.get("documentType"), query.get("processType"))
        if fault == "acknowledgement_error" or wanted != ("A75", "A16"):
            return _acknowledge("4711", "The amount of requested data exceeds allowed limit", 200)
        from_s, until_s = (_parse(query[name]) for name in ("periodStart", "periodEnd"))
        area = query.get("in_Domain", "")
        ahead_s = self.time_s(fault) - self.time_s(None)
        series = "" if fault == "empty_list" else "".join(self._all_series(area, from_s, until_s, ahead_s, fault))
        if fault == "acknowledgement" or (not series and fault != "empty_list"):
            return _acknowledge("999", f"No matching data found for Data item GENERATION [{area}]", self.no_data_status)
        head = "<mRID>x</mRID><type>A75</type><process.processType>A16</process.processType>"
        return _document("GL_MarketDocument", _GENERATION, head + series, 200)

    def _all_series(
        self, area: str, from_s: float, until_s: float, ahead_s: float, fault: Fault | None
    ) -> Iterator[str]:
        named = "10YXX-ELSEWHERE-" if fault == "wrong_zone" else area
        for psr in sorted({*self.mix(area, from_s), *self.mix(area, until_s - 1)}):
            end_s = min(until_s, self.time_s(None) - self.lag_s - self.late_s.get(psr, 0.0))
            step_s = self.resolution_minutes.get(psr, 60) * _MINUTE_S
            cut_s = from_s if self.splits_s is None else min(max(self.splits_s, from_s), end_s)
            for start_s, stop_s, part_step_s in ((from_s, cut_s, 3600), (cut_s, end_s, step_s)):
                stop_s = start_s + max(stop_s - start_s, 0) // part_step_s * part_step_s
                if stop_s > start_s:
                    points = self._points(area, psr, (start_s, stop_s, part_step_s), fault)
                    moved = (start_s + ahead_s, stop_s + ahead_s)
                    yield _series(psr, f"in{_DOMAIN}", named, _period(moved, part_step_s, points), self.curve_type)
                if self.storage_mw and stop_s > start_s and psr == "B10":
                    points = f"<Point><position>1</position><quantity>{self.storage_mw:g}</quantity></Point>"
                    yield _series(psr, f"out{_DOMAIN}", named, _period((start_s, stop_s), part_step_s, points), "A03")

    def _points(self, area: str, psr: str, span: tuple[float, float, int], fault: Fault | None) -> str:
        start_s, stop_s, step_s = span
        points, previous = [], None
        for position in range(round((stop_s - start_s) / step_s)):
            quantity = f"{self.mix(area, start_s + position * step_s).get(psr, 0.0):.6f}"
            if fault == "negative":
                quantity = "-5"
            quantity = _FAULTY_VALUES.get(fault or "", quantity)
            if self.curve_type == "A01" or quantity != previous:
                points.append(f"<Point><position>{position + 1}</position><quantity>{quantity}</quantity></Point>")
            previous = quantity
        return "".join(points)


_DOMAIN = "BiddingZone_Domain.mRID"


def _series(psr: str, domain: str, area: str, period: str, curve_type: str) -> str:
    return (
        "<TimeSeries><mRID>1</mRID><businessType>A01</businessType><objectAggregation>A08</objectAggregation>"
        f'<{domain} codingScheme="A01">{escape(area)}</{domain}>'
        f"<quantity_Measure_Unit.name>MAW</quantity_Measure_Unit.name><curveType>{curve_type}</curveType>"
        f"<MktPSRType><psrType>{psr}</psrType></MktPSRType>{period}</TimeSeries>"
    )


def _period(span_s: tuple[float, float], step_s: int, points: str) -> str:
    start, end = (_utc(at_s).strftime("%Y-%m-%dT%H:%MZ") for at_s in span_s)
    return (
        f"<Period><timeInterval><start>{start}</start><end>{end}</end></timeInterval>"
        f"<resolution>PT{step_s // _MINUTE_S}M</resolution>{points}</Period>"
    )


def _acknowledge(code: str, text: str, status: int) -> Reply:
    body = f"<mRID>y</mRID><Reason><code>{code}</code><text>{escape(text)}</text></Reason>"
    return _document("Acknowledgement_MarketDocument", _ACKNOWLEDGEMENT, body, status)


def _document(root: str, namespace: str, content: str, status: int) -> Reply:
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<{root} xmlns="{namespace}">{content}</{root}>'
    return Reply(status, "text/xml", text.encode())


def _parse(text: str) -> float:
    return datetime.strptime(text, "%Y%m%d%H%M").replace(tzinfo=UTC).timestamp()


def _utc(at_s: float) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=at_s)
