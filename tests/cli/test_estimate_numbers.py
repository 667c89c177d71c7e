"""Numbers as people write them: a decimal comma is a mistake, not a factor of a hundred."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.cli.estimate_arguments import number
from exporter.cli.main import main


@pytest.mark.parametrize(
    ("text", "value"),
    [("0,30", None), ("12,5", None), ("1,000", 1000.0), ("1,082,990", 1_082_990.0), ("1,234.5", 1234.5),
     ("1e308", None), ("0.3", 0.3), ("-1", -1.0), ("nan", None), ("1,00", None)],
)  # fmt: skip
def test_a_comma_separates_thousands_and_nothing_else(text: str, value: float | None) -> None:
    assert number(text) == value


def test_endless_durations_and_cells_are_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", "--power=300", "--count=8", f"--duration={'9' * 400}d", "--intensity=300"]) == 2
    plan = tmp_path / "runs.csv"
    plan.write_text(f"name,energy,intensity\n{'x' * 140_000},1,300\n")
    assert main(["estimate", f"--input={plan}"]) == 2
    assert "comma-separated" in capsys.readouterr().err


def test_what_looks_like_a_comment_in_a_quoted_cell_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = tmp_path / "runs.csv"
    plan.write_text('# a comment\nname,energy,intensity\n"a\n#b",1,300\nc,2,300\n')

    assert main(["estimate", f"--input={plan}", "--output=csv"]) == 0
    assert capsys.readouterr().out.count("300") >= 2
