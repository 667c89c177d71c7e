"""The embedded yearly table: its format, its rows, and how a zone finds the row that stands for it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.carbon.grid_table import Alias, Entry, Origin, find_row, near_zones, parse_line, read_lines
from exporter.carbon.place import HIGHEST_INTENSITY_G_PER_KWH
from exporter.errors import SourceFormatError


@given(line=st.text() | st.lists(st.text(max_size=8), min_size=1, max_size=6).map(";".join))
def test_any_line_is_understood_or_refused_as_a_format_error(line: str) -> None:
    try:
        parsed = parse_line(line)
    except SourceFormatError:
        return

    assert parsed is None or isinstance(parsed, Origin | Alias | Entry)


def test_every_row_names_a_known_origin_and_a_plausible_figure() -> None:
    lines = list(read_lines())
    keys = {line.key for line in lines if isinstance(line, Origin)}
    entries = [line for line in lines if isinstance(line, Entry)]

    assert len(entries) > 350
    assert all(entry.origin_key in keys for entry in entries)
    assert all(0 < entry.intensity_g_per_kwh <= HIGHEST_INTENSITY_G_PER_KWH for entry in entries)
    assert all(2000 <= entry.year <= 2026 and entry.name for entry in entries)


def test_no_zone_has_two_rows() -> None:
    zones = [line.zone for line in read_lines() if isinstance(line, Entry)]

    assert sorted(set(zones)) == zones


def test_no_figure_is_under_share_alike_terms() -> None:
    allowed = {"CC BY 4.0", "US public domain", "MIT", "government publication"}

    assert allowed == {line.licence for line in read_lines() if isinstance(line, Origin)}


def test_every_alias_leads_to_a_row_of_another_name() -> None:
    lines = list(read_lines())
    zones = {line.zone for line in lines if isinstance(line, Entry)}
    aliases = [line for line in lines if isinstance(line, Alias)]

    assert aliases
    assert all(alias.row_zone in zones and alias.zone not in zones for alias in aliases)


def test_every_zone_finds_its_own_row() -> None:
    for entry in [line for line in read_lines() if isinstance(line, Entry)][::9]:
        row = find_row(entry.zone)

        assert row is not None
        assert (entry, "exact") == (row.entry, row.match)


@pytest.mark.parametrize(
    ("zone", "row_zone", "match"),
    [
        ("DE", "DE", "exact"),
        ("de", "DE", "exact"),
        ("Germany", "DE", "exact"),
        ("Georgia", "GE", "exact"),
        ("SE-SE3", "SE-SE3", "exact"),
        ("US-CAL-CISO", "EGRID-CAMX", "alias"),
        ("US-MIDA-PJM", "US", "parent"),
        ("US-CA-SOUTH", "US-CA", "parent"),
        ("DEX", None, None),
        ("", None, None),
    ],
)
def test_a_zone_finds_the_row_that_stands_for_it(zone: str, row_zone: str | None, match: str | None) -> None:
    row = find_row(zone)

    assert (row_zone, match) == ((row.entry.zone, row.match) if row else (None, None))


def test_a_mistyped_name_leads_to_the_zone() -> None:
    assert near_zones("Germny")[0] == "DE"
    assert "US-CAL-CISO" in near_zones("US-CAL-CSIO")
