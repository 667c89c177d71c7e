"""What each kind of provider must be told: every mistake at once, by key; and doubts about files of secrets."""

from __future__ import annotations

import typing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.carbon.place import place_of
from exporter.carbon.providers import TEMPO, fresh_for_s, make_client, provider_findings, provider_problems
from exporter.carbon.providers.zones import ZoneName, parse_name, provider_zone, read_names, zone_example
from exporter.carbon.settings import CarbonSettings, ProviderKind, ProviderSettings
from exporter.errors import SourceFormatError

DOCS = Path(__file__).parents[2] / "docs" / "reference" / "carbon.md"
FILE = "p"
GOOD = {
    "electricity_maps": ProviderSettings(kind="electricity_maps", key_file="k", estimates=False),
    "watttime": ProviderSettings(kind="watttime", username_file="u", password_file=FILE, signal="marginal"),
    "gb_carbon_intensity": ProviderSettings(kind="gb_carbon_intensity", zone="17"),
    "entsoe": ProviderSettings(kind="entsoe", key_file="k", emission_factors="direct"),
    "prometheus": ProviderSettings(
        kind="prometheus", url="https://p:9090/x", query="q", username_file="u", password_file=FILE
    ),
    "gateway": ProviderSettings(kind="gateway", url="http://[::1]:10188"),
    "file": ProviderSettings(kind="file", path="f"),
    "fixed": ProviderSettings(kind="fixed", intensity_g_per_kwh=0.0, signal="market"),
}


def keys(settings: ProviderSettings, zone: str = "DE") -> list[str]:
    """Return the keys that mistakes are about."""
    return [problem.partition(":")[0] for problem in provider_problems(settings, zone)]


@pytest.mark.parametrize("kind", typing.get_args(ProviderKind))
def test_good_settings_of_every_kind_have_no_mistake_and_make_a_client(kind: ProviderKind) -> None:
    zone = "GB" if kind == "gb_carbon_intensity" else "DE"

    assert not provider_problems(GOOD[kind], zone)
    assert make_client(GOOD[kind], CarbonSettings(grid_zone=zone)).provider == kind


@pytest.mark.parametrize(
    ("settings", "zone", "wanted"),
    [
        (ProviderSettings(kind="electricity_maps"), "DE", ["key_file"]),
        (ProviderSettings(kind="watttime"), "DE", ["username_file", "password_file"]),
        (ProviderSettings(kind="prometheus"), "DE", ["url", "query"]),
        (ProviderSettings(kind="gateway"), "DE", ["url"]),
        (ProviderSettings(kind="file"), "DE", ["path"]),
        (ProviderSettings(kind="fixed", path="f", query="q"), "DE", ["intensity_g_per_kwh", "query", "path"]),
        (ProviderSettings(kind="gb_carbon_intensity", estimates=False, signal="market"), "GB", ["estimates", "signal"]),
        (ProviderSettings(kind="electricity_maps", key_file="k", signal="marginal"), "DE", ["signal"]),
        (ProviderSettings(kind="prometheus", url="http://p", query="q", password_file=FILE), "DE", ["username_file"]),
        (ProviderSettings(kind="gateway", url="ftp://g"), "DE", ["url"]),
        (ProviderSettings(kind="gateway", url="http://g:port"), "DE", ["url"]),
        (ProviderSettings(kind="gateway", url="http://g?token=x"), "DE", ["url"]),
        (ProviderSettings(kind="gb_carbon_intensity", zone="18"), "GB", ["zone"]),
        (ProviderSettings(kind="gb_carbon_intensity", zone="13"), "DE", ["zone"]),
        (ProviderSettings(kind="gb_carbon_intensity"), "GB-NIR", ["zone"]),
        (ProviderSettings(kind="gb_carbon_intensity", zone="3"), "", ["zone"]),
        (ProviderSettings(kind="entsoe", key_file="k"), "US", ["zone"]),
        (ProviderSettings(kind="entsoe", key_file="k", zone="DE"), "DE", ["zone"]),
        (ProviderSettings(kind="watttime", username_file="u", password_file=FILE), "US-TEX-ERCO", ["zone"]),
    ],
)
def test_every_mistake_begins_with_its_key(settings: ProviderSettings, zone: str, wanted: list[str]) -> None:
    assert keys(settings, zone) == wanted


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    (problem,) = provider_problems(ProviderSettings(kind="gateway", url="http://me:s3cret@g"), "DE")

    assert problem.startswith("url: ")
    assert "s3cret" not in problem


def test_a_cloud_region_tells_the_region_where_the_zone_does_not() -> None:
    place = place_of(CarbonSettings(cloud_provider="aws", cloud_region="us-east-1"))
    settings = ProviderSettings(kind="watttime", username_file="u", password_file=FILE)

    assert keys(settings, place.grid_zone) == ["zone"]
    assert not provider_problems(settings, place.grid_zone, place.region)


def test_files_are_doubted_not_refused(tmp_path: Path) -> None:
    fine, open_to_all, missing = (tmp_path / name for name in ("fine", "open", "missing"))
    for path, mode in ((fine, 0o640), (open_to_all, 0o644)):
        path.write_text("s3cret")
        path.chmod(mode)
    found = {
        path.name: provider_findings(ProviderSettings(kind="entsoe", key_file=str(path)))
        for path in (fine, open_to_all, missing)
    }

    assert not found["fine"]
    assert "everybody can read" in found["open"][0].detail
    assert "No such file" in found["missing"][0].detail
    assert all(one.state == "degraded" and one.remedy for one in (*found["open"], *found["missing"]))
    assert "s3cret" not in str(found)


def test_certificates_may_be_read_by_everybody(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("-")
    path.chmod(0o644)

    assert not provider_findings(ProviderSettings(kind="gateway", url="http://g", ca_file=str(path)))


@pytest.mark.parametrize("kind", ["entsoe", "watttime"])
def test_every_name_in_a_table_is_one_that_the_key_would_accept(kind: ProviderKind) -> None:
    import re

    names = list(read_names(kind))
    pattern, _ = zone_example(kind)

    assert len(names) == len({name.zone for name in names}) > 50
    assert all(re.fullmatch(pattern, name.name) for name in names)


@given(line=st.text())
def test_any_line_of_a_table_is_understood_or_refused(line: str) -> None:
    try:
        assert isinstance(parse_name(line), ZoneName)
    except SourceFormatError:
        return


@given(zone=st.text(max_size=12), home=st.text(max_size=12))
def test_any_zone_has_a_name_or_none(zone: str, home: str) -> None:
    for kind in ("electricity_maps", "watttime", "gb_carbon_intensity", "entsoe"):
        name = provider_zone(GOOD[kind], zone, home)

        assert name is None or name


def test_freshness_is_the_settings_or_the_kinds() -> None:
    assert set(TEMPO) == set(typing.get_args(ProviderKind))
    assert fresh_for_s(ProviderSettings(kind="entsoe")) == TEMPO["entsoe"].delay_s
    assert fresh_for_s(ProviderSettings(kind="entsoe", fresh_for_s=7.0)) == 7.0


def test_the_documented_factors_are_those_in_use() -> None:
    from exporter.carbon.providers.fuel_factors import factors

    lifecycle, direct = factors("lifecycle"), factors("direct")
    text = DOCS.read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| B")]
    documented = {code: row[1:] for row in rows for code in lifecycle if code in row[0]}

    assert documented == {
        code: ["left out", "left out"] if factor is None else [f"{factor:g}", f"{direct[code]:g}"]
        for code, factor in lifecycle.items()
    }
