"""What providers are asked for each zone when a command waits for them: here, a file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from exporter.carbon.settings import CarbonSettings, ProviderSettings
from exporter.cli.live_outlook import ask_providers
from tests.carbon.clients import NOON_S


def grams_and_problem(directory: Path, text: str, zone: str) -> tuple[float | None, str]:
    path = directory / "grid.yaml"
    path.write_text(text)
    os.utime(path, (NOON_S - 60, NOON_S - 60))
    carbon = CarbonSettings(grid_zone="DE", providers=(ProviderSettings(kind="file", path=str(path)),))
    live = ask_providers(carbon, ["DE", "FR"], now_s=NOON_S, timeout_s=30)[zone]
    return (live.series.points[-1].intensity_g_per_kwh if live.series else None), live.problem


@pytest.mark.parametrize(
    ("text", "germany", "france"),
    [
        ("312", (312, ""), (None, "file has no value for it")),
        ("{DE: 312, FR: 41}", (312, ""), (41, "")),
        ("{FR: 41}", (None, "file has no value for it"), (41, "")),
    ],
)
def test_a_files_value_without_zone_is_of_the_nodes_zone(
    tmp_path: Path, text: str, germany: tuple[float | None, str], france: tuple[float | None, str]
) -> None:
    assert grams_and_problem(tmp_path, text, "DE") == germany
    assert grams_and_problem(tmp_path, text, "FR") == france
