"""ENTSO-E: megawatts by type into grams, whatever the gaps, resolutions and pieces; incomplete hours wait."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.carbon.providers.answers import MalformedError
from exporter.carbon.providers.entsoe import hourly_intensity
from exporter.carbon.providers.entsoe_document import Acknowledgement, Generation, parse_document
from exporter.carbon.providers.fuel_factors import OTHER, FuelFactor, factors, parse_factor
from exporter.carbon.settings import ProviderSettings
from exporter.errors import ProviderError, SourceFormatError
from exporter.testing.entsoe_api import EntsoeApi, Mix
from tests.carbon.provider_bench import NOON_S, Bench, bench

HOUR_S = 3600.0
_AREA = "10Y1001A1001A82H"


def api_of(setup: Bench) -> EntsoeApi:
    assert isinstance(setup.api, EntsoeApi)
    return setup.api


def steady(**megawatts: float) -> Mix:
    return lambda _, __: megawatts


def document(series: str) -> bytes:
    namespace = "urn:iec62325.351:tc57wg16:451-6:generationloaddocument:3:0"
    return f'<GL_MarketDocument xmlns="{namespace}"><mRID>x</mRID>{series}</GL_MarketDocument>'.encode()


def series(
    points: str,
    *,
    psr: str = "B14",
    span: tuple[str, str] = ("2026-11-23T10:00Z", "2026-11-23T12:00Z"),
    resolution: str = "PT60M",
    curve: str = "A03",
    domain: str = "inBiddingZone_Domain.mRID",
    unit: str = "MAW",
) -> str:
    """Return a series as in the platform's guide."""
    return (
        "<TimeSeries><mRID>1</mRID><businessType>A01</businessType><objectAggregation>A08</objectAggregation>"
        f'<{domain} codingScheme="A01">{_AREA}</{domain}>'
        f"<quantity_Measure_Unit.name>{unit}</quantity_Measure_Unit.name>"
        f"<curveType>{curve}</curveType><MktPSRType><psrType>{psr}</psrType></MktPSRType>"
        f"<Period><timeInterval><start>{span[0]}</start><end>{span[1]}</end></timeInterval>"
        f"<resolution>{resolution}</resolution>{points}</Period></TimeSeries>"
    )


def point(position: object, quantity: object) -> str:
    return f"<Point><position>{position}</position><quantity>{quantity}</quantity></Point>"


def megawatts(body: bytes) -> Mapping[str, list[float]]:
    found = parse_document(body)
    assert isinstance(found, Generation)
    return {kind: [slots[at] for at in sorted(slots)] for kind, slots in found.megawatts.items()}


# The document


def test_a_point_of_a_stepped_curve_stands_until_the_next() -> None:
    """The sample of the guide: one point for two hours."""
    assert megawatts(document(series(point(1, 6850)))) == {"B14": [6850.0] * 8}
    assert megawatts(document(series(point(1, 1) + point(3, 5), resolution="PT30M"))) == {"B14": [1.0] * 4 + [5.0] * 4}


def test_a_gap_of_a_plain_curve_is_a_gap() -> None:
    points = point(2, 7) + point(4, 9)

    assert megawatts(document(series(points, curve="A01", resolution="PT30M"))) == {"B14": [7.0, 7.0, 9.0, 9.0]}


def test_pieces_of_one_type_and_of_several_resolutions_are_put_together() -> None:
    late = series(point(1, 3) + point(2, 5), span=("2026-11-23T12:00Z", "2026-11-23T12:30Z"), resolution="PT15M")

    assert megawatts(document(series(point(1, 6850)) + late)) == {"B14": [6850.0] * 8 + [3.0, 5.0]}


def test_a_later_piece_replaces_an_earlier_one_for_the_same_time() -> None:
    assert megawatts(document(series(point(1, 1)) + series(point(1, 2)))) == {"B14": [2.0] * 8}


def test_what_storage_takes_is_left_out() -> None:
    taken = series(point(1, 900), psr="B10", domain="outBiddingZone_Domain.mRID")

    assert megawatts(document(taken + series(point(1, 1)))) == {"B14": [1.0] * 8}


def test_plants_that_draw_count_as_giving_nothing() -> None:
    assert megawatts(document(series(point(1, -3.5)))) == {"B14": [0.0] * 8}


def test_an_acknowledgement_gives_code_and_text() -> None:
    namespace = "urn:iec62325.351:tc57wg16:451-1:acknowledgementdocument:7:0"
    body = (
        f'<Acknowledgement_MarketDocument xmlns="{namespace}"><mRID>y</mRID><Reason><code>999</code>'
        "<text>No matching data found ...</text></Reason></Acknowledgement_MarketDocument>"
    )

    assert parse_document(body.encode()) == Acknowledgement("999", "No matching data found ...")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html/>",
        b"<GL_MarketDocument>",
        b'<?xml version="1.0" encoding="no-such"?><GL_MarketDocument/>',
        b'<!DOCTYPE x [<!ENTITY a "b">]><GL_MarketDocument/>',
        b"<!DOCTYPE GL_MarketDocument><GL_MarketDocument/>",
        '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE x><GL_MarketDocument/>'.encode("utf-16"),
        b"<a>" * 100_000,
        document(series(point(0, 1))),
        document(series(point(3, 1))),
        document(series(point("1.0", 1))),
        document(series(point(1, "NaN"))),
        document(series(point(1, "inf"))),
        document(series(point(1, ""))),
        document(series(point(1, 1), unit="KWT")),
        document(series(point(1, 1), curve="A02")),
        document(series(point(1, 1), resolution="P1Y")),
        document(series(point(1, 1), span=("2026-11-23T10:00Z", "2026-11-23T10:00Z"))),
        document(series(point(1, 1), span=("1970-01-01T00:00Z", "9999-01-01T00:00Z"), resolution="PT15M")),
        document(series(point(1, 1), span=("2026-11-23T10:07Z", "2026-11-23T12:00Z"))),
        document(series(point(1, 1), span=("2026-11-23T10:00", "2026-11-23T12:00"))),
        document(series(point(1, 1), domain="controlArea_Domain.mRID")),
    ],
    ids=lambda body: body[:40].decode(errors="replace") if len(body) < 200 else None,
)
def test_anything_else_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_document(body)


@given(body=st.binary(max_size=200))
def test_any_bytes_are_understood_or_malformed(body: bytes) -> None:
    try:
        assert isinstance(parse_document(body), Generation | Acknowledgement)
    except MalformedError:
        return


# The arithmetic


def generation(hours: Mapping[str, Mapping[int, float]]) -> Generation:
    """Return what types generated by hour, as slots."""
    return Generation(
        frozenset({_AREA}),
        {psr: {hour * 4 + slot: mw for hour, mw in by.items() for slot in range(4)} for psr, by in hours.items()},
    )


FACTORS = factors("lifecycle")


@given(mix=st.dictionaries(st.sampled_from(sorted(FACTORS)), st.floats(0, 1e5), min_size=1))
def test_the_intensity_lies_between_the_factors_of_what_runs(mix: Mapping[str, float]) -> None:
    found = list(hourly_intensity(generation({psr: {7: mw} for psr, mw in mix.items()}), FACTORS))
    running = [factor for psr, mw in mix.items() if mw > 0 and (factor := FACTORS[psr]) is not None]

    if running:
        assert min(running) - 1e-6 <= found[0].intensity_g_per_kwh <= max(running) + 1e-6
    else:
        assert not found


def test_a_type_that_falls_silent_is_not_read_as_zero() -> None:
    """Nuclear stops reporting at hour 4: hours 4 and 5 are not complete, however much coal reports."""
    nuclear = dict.fromkeys(range(4), 6000.0)
    coal = dict.fromkeys(range(6), 2000.0)
    found = list(hourly_intensity(generation({"B14": nuclear, "B05": coal}), FACTORS))

    assert [round(one.from_s / HOUR_S) for one in found] == [1, 2, 3]
    assert {(6000 * 12 + 2000 * 820) / 8000} == {one.intensity_g_per_kwh for one in found}


def test_a_type_that_stood_still_may_fall_silent() -> None:
    found = list(hourly_intensity(generation({"B06": {0: 0.0}, "B05": {0: 1.0, 1: 1.0}}), FACTORS))

    assert [round(one.from_s / HOUR_S) for one in found] == [1]


def test_an_hour_with_a_quarter_missing_is_not_complete() -> None:
    whole = generation({"B05": {0: 1.0, 1: 1.0, 2: 1.0}})
    slots = {slot: mw for slot, mw in whole.megawatts["B05"].items() if slot != 9}
    found = list(hourly_intensity(Generation(whole.areas, {"B05": slots}), FACTORS))

    assert [round(one.from_s / HOUR_S) for one in found] == [1]


def test_storage_is_left_out_and_may_fall_silent() -> None:
    found = list(hourly_intensity(generation({"B10": {0: 900.0}, "B25": {1: 50.0}, "B05": {0: 1.0, 1: 1.0}}), FACTORS))

    assert [one.intensity_g_per_kwh for one in found] == [820.0]


def test_an_unknown_type_counts_as_other() -> None:
    found = list(hourly_intensity(generation({"B99": {0: 5.0}}), FACTORS))

    assert [FACTORS[OTHER]] == [one.intensity_g_per_kwh for one in found]


# The factors


def test_every_type_has_a_factor_or_is_storage() -> None:
    known = {f"B{number:02}" for number in range(1, 21)} | {"B25"}
    direct = factors("direct")

    assert known == set(FACTORS) == set(direct)
    assert {"B10", "B25"} == {psr for psr, factor in FACTORS.items() if factor is None}
    assert all((direct[psr] or 0) <= (factor or 0) <= 820 for psr, factor in FACTORS.items())
    assert (FACTORS["B05"], direct["B05"], FACTORS["B14"], direct["B14"]) == (820.0, 760.0, 12.0, 0.0)


@given(line=st.text() | st.lists(st.text(max_size=6), min_size=4, max_size=4).map(";".join))
def test_any_line_of_the_table_is_understood_or_refused(line: str) -> None:
    try:
        assert isinstance(parse_factor(line), FuelFactor)
    except SourceFormatError:
        return


# The client


def test_the_newest_complete_hour_is_the_truth(tmp_path: Path) -> None:
    with bench("entsoe", tmp_path) as setup:
        found = setup.fetch()

        assert found.points[-1].from_s == NOON_S - 2 * HOUR_S
        assert [200 + point.from_s // HOUR_S % 24 * 10 for point in found.points] == pytest.approx(
            [point.intensity_g_per_kwh for point in found.points], abs=1e-3
        )
        assert all(point.is_estimated for point in found.points)
        assert (found.provider, found.basis, found.forecast) == ("entsoe", "production-lifecycle", ())
        assert found.fresh_until_s == NOON_S - 2 * HOUR_S + 21_600


def test_direct_factors_are_used_and_named(tmp_path: Path) -> None:
    wanted = ProviderSettings(kind="entsoe", emission_factors="direct")
    with bench("entsoe", tmp_path, settings=wanted) as setup:
        api_of(setup).mix = steady(B05=1000.0, B14=3000.0)
        found = setup.fetch()

        assert found.basis == "production-direct"
        assert found.points[-1].intensity_g_per_kwh == 190.0


def gaps(api: EntsoeApi) -> None:
    api.curve_type = "A03"


def mixed(api: EntsoeApi) -> None:
    api.resolution_minutes = {"B05": 15, "B19": 30}


def split(api: EntsoeApi) -> None:
    api.resolution_minutes = {"B05": 15, "B19": 15}
    api.splits_s = NOON_S - 6 * HOUR_S


def all_at_once(api: EntsoeApi) -> None:
    split(api)
    gaps(api)


@pytest.mark.parametrize("change", [gaps, mixed, split, all_at_once])
def test_the_form_of_the_answer_changes_nothing(tmp_path: Path, change: Callable[[EntsoeApi], None]) -> None:
    with bench("entsoe", tmp_path) as setup:
        plain = {point.from_s: point.intensity_g_per_kwh for point in setup.fetch().points}
        change(api_of(setup))
        found = {point.from_s: point.intensity_g_per_kwh for point in setup.fetch().points}

        assert len(found) >= len(plain)
        assert {at: found[at] for at in plain} == pytest.approx(plain)


def test_a_type_that_is_late_holds_the_hour_back(tmp_path: Path) -> None:
    with bench("entsoe", tmp_path) as setup:
        api_of(setup).late_s = {"B19": 3 * HOUR_S}

        assert setup.fetch().points[-1].from_s == NOON_S - 5 * HOUR_S


def test_pumping_is_not_generation(tmp_path: Path) -> None:
    with bench("entsoe", tmp_path) as setup:
        api_of(setup).mix = steady(B05=1000.0, B10=500.0)
        api_of(setup).storage_mw = 4000.0

        assert setup.fetch().points[-1].intensity_g_per_kwh == 820.0


@pytest.mark.parametrize("status", [200, 400])
def test_no_data_is_no_data_whatever_the_status(tmp_path: Path, status: int) -> None:
    with bench("entsoe", tmp_path) as setup:
        api_of(setup).no_data_status = status
        setup.api.fail("acknowledgement")
        with pytest.raises(ProviderError, match="No matching data found") as caught:
            setup.fetch()

        assert caught.value.reason == "not_found"


def test_another_reason_is_told_in_the_platforms_words(tmp_path: Path) -> None:
    with bench("entsoe", tmp_path) as setup:
        setup.api.fail("acknowledgement_error")
        with pytest.raises(ProviderError, match="exceeds allowed limit") as caught:
            setup.fetch()

        assert caught.value.reason == "format"


def test_the_question_is_that_of_the_guide(tmp_path: Path) -> None:
    with bench("entsoe", tmp_path) as setup:
        setup.fetch()
        query = dict(setup.api.requests[0].query)

        assert query == {
            "securityToken": "entsoe-token-0042",
            "documentType": "A75",
            "processType": "A16",
            "in_Domain": _AREA,
            "periodStart": "202610251200",
            "periodEnd": "202610261300",
        }


@pytest.mark.parametrize("midnight_s", [1_774_742_400.0, 1_792_886_400.0])
def test_days_of_the_change_of_clocks_have_no_gap_and_no_hour_twice(tmp_path: Path, midnight_s: float) -> None:
    """2026-03-29 and 2026-10-25: of 23 and of 25 hours in Berlin, of 24 here."""
    with bench("entsoe", tmp_path, at_s=midnight_s + 24 * HOUR_S) as setup:
        starts = [point.from_s for point in setup.fetch().points]

        assert starts == [midnight_s + hour * HOUR_S for hour in range(1, 23)]


def test_an_area_may_be_given_by_its_code(tmp_path: Path) -> None:
    wanted = ProviderSettings(kind="entsoe", zone="10YDE-VE-------2")
    with bench("entsoe", tmp_path, settings=wanted) as setup:
        setup.fetch("DE")
        setup.fetch("SE-SE3")

        assert [request.query["in_Domain"] for request in setup.api.requests] == [
            "10YDE-VE-------2",
            "10Y1001A1001A46L",
        ]
