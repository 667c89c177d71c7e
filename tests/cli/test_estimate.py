from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from exporter.cli import main

GPT_3 = ("--power=330", "--count=10000", "--duration=14.8d", "--pue=1.1", "--intensity=429")
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def no_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATTRIBUTE_CONFIG_FILE", raising=False)


def estimate(capsys: Capture, *flags: str) -> Mapping[str, object]:
    (one,) = json_of(capsys, *flags)
    return one


def json_of(capsys: Capture, *flags: str) -> list[Mapping[str, object]]:
    assert main(["estimate", "--output=json", *flags]) == 0
    found: list[Mapping[str, object]] = json.loads(capsys.readouterr().out)["estimates"]
    return found


def mistakes(capsys: Capture, *flags: str) -> str:
    assert main(["estimate", *flags]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err


def test_gpt_3_comes_out_as_published(capsys: Capture) -> None:
    """Patterson et al. 2021: 1,287 MWh and 552.1 t."""
    found = estimate(capsys, *GPT_3, "--published-mwh=1287", "--published-t=552.1")

    assert found["energy_kwh"] == pytest.approx(1_287_000, rel=0.003)
    assert found["emissions_g"] == pytest.approx(552.1e6, rel=0.003)
    assert found["energy_residual_ratio"] == pytest.approx(0.0018, abs=1e-4)


def test_text_names_amounts_ranges_and_assumptions(capsys: Capture) -> None:
    assert main(["estimate", *GPT_3, "--wue=0.2", "--price=0.1", "--net-intensity=10"]) == 0
    text = capsys.readouterr().out

    assert "553 tCO2e" in text
    assert "1160 MWh to 1418 MWh; of the facility, PUE 1.1" in text
    assert "12.9 tCO2e" in text
    assert "234,000 l" in text
    assert "129,000 EUR" in text
    assert "flights" in text
    assert re.search(r"assumed\n  - 330 W per accelerator as given, ±10%", text)


def test_power_hours_and_energy_say_the_same(capsys: Capture) -> None:
    by_hours = estimate(capsys, "--power=500", "--accelerator-hours=48", "--pue=1.2", "--grid-zone=DE")
    by_count = estimate(capsys, "--power=500", "--count=2", "--duration=1d", "--pue=1.2", "--grid-zone=DE")
    by_energy = estimate(capsys, "--energy=24", "--pue=1.2", "--grid-zone=DE")

    assert by_hours["energy_kwh"] == by_count["energy_kwh"] == pytest.approx(28.8)
    assert by_energy["emissions_g"] == pytest.approx(by_hours["emissions_g"])


def test_the_configuration_gives_what_flags_do_not(capsys: Capture, tmp_path: Path) -> None:
    file = tmp_path / "wattribute.yaml"
    file.write_text(
        "carbon: {grid_zone: DE, pue_ratio: 1.25, intensity_g_per_kwh: 200, wue_l_per_kwh: 0.5}\n"
        "costs: {price_per_kwh: 0.4, currency: CHF}\nembodied: {enabled: true, server_kg: 0, accelerator_kg: 876.6}\n"
    )

    found = estimate(capsys, f"--config.file={file}", "--power=1000", "--duration=10h")

    assert (found["energy_kwh"], found["emissions_g"]) == (pytest.approx(12.5), pytest.approx(2500))
    assert (found["water_l"], found["cost"], found["currency"]) == (pytest.approx(5), pytest.approx(5), "CHF")
    assert found["embodied_g"] == pytest.approx(876.6e3 * 10 / (4 * 365.25 * 24))


def test_the_short_flag_of_the_zone_in_the_settings_counts_too(capsys: Capture) -> None:
    assert estimate(capsys, "--carbon.grid-zone=FR", "--energy=1")["grid_zone"] == "FR"


def test_json_states_inputs_sources_and_assumptions(capsys: Capture) -> None:
    found = estimate(capsys, "--accelerator=H100", "--count=8", "--duration=2d", "--grid-zone=aws:us-east-1")

    assert found["power_kind"] == "modelled"
    assert (found["power_w_low"], found["power_w"], found["power_w_high"]) == pytest.approx((378, 700, 1050))
    assert found["accelerator_hours"] == 8 * 48
    assert found["intensity_basis"] == "generation-lifecycle"
    assert "Ember" in str(found["intensity_note"])
    assert isinstance(found["assumptions"], list)
    assert len(found["assumptions"]) >= 4
    assert isinstance(found["equivalents"], dict)
    assert found["implausible"] is False


def test_all_mistakes_are_told_at_once(capsys: Capture) -> None:
    said = mistakes(
        capsys,
        "--accelerator=H1OO",
        "--duration=5",
        "--pue=0.3",
        "--grid-zone=GERMNY",
        "--intensity=x",
        "--utilization=12",
        "--wue=nan",
    )

    for start in ("--accelerator", "--duration", "--pue", "--grid-zone", "--intensity", "--utilization", "--wue"):
        assert re.search(rf"^{start}: ", said, re.MULTILINE), start
    assert "expected a duration such as 90m, 36h or 14.8d, found '5'" in said
    assert "did you mean DE" in said


def test_a_mistyped_accelerator_has_near_names(capsys: Capture) -> None:
    assert "did you mean H100" in mistakes(capsys, "--accelerator=H1OO", "--duration=5h")


def test_what_a_plan_lacks_is_a_mistake(capsys: Capture) -> None:
    said = mistakes(capsys, "--grid-zone=DE")

    assert "the time is not stated: give --duration with --count" in said
    assert "the power is not stated: give --power or --accelerator" in said


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--energy=1", "--power=300"), "--power: has no effect where the energy was metered"),
        (("--power=300", "--utilization=0.5", "--duration=1h"), "--utilization: has no effect on a measured average"),
        (
            ("--power=300", "--duration=1h", "--accelerator-hours=8"),
            "--accelerator-hours: states the time a second time",
        ),
    ],
)
def test_flags_that_contradict_each_other_are_mistakes(capsys: Capture, flags: tuple[str, ...], said: str) -> None:
    assert said in mistakes(capsys, *flags)


def test_an_implausible_total_is_warned_of(capsys: Capture) -> None:
    """Llama 3.3 70B: 12.9 t for 7 million hours of 700 W."""
    assert main(["estimate", "--power=700", "--accelerator-hours=7000000", "--pue=1", "--published-t=12.9"]) == 0
    printed = capsys.readouterr()

    assert "wattribute: implausible: the published total means 2.63 g/kWh" in printed.err
    assert "implausible: the published total means 2.63 g/kWh" in printed.out


def test_an_intensity_in_kilograms_is_suspected(capsys: Capture) -> None:
    assert main(["estimate", "--energy=1", "--intensity=0.429"]) == 0

    assert "is it in kg/kWh?" in capsys.readouterr().err


FILE = """\
# runs of last year
name,accelerator,power,count,duration,accelerator_hours,pue,intensity,published-t
first,V100,330,10000,14.8d,,1.1,429,552.1
,,,,,,,,
second,H100,,8,1d,,,,
"=cmd()",,,,,,,,3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "runs.csv"
    path.write_text(FILE)
    return path


def test_a_file_has_one_run_per_row(capsys: Capture, file: Path) -> None:
    first, second, third = json_of(capsys, f"--input={file}", "--grid-zone=DE", "--pue=1.5")

    assert first["emissions_g"] == pytest.approx(553.1e6, rel=1e-3)
    assert (first["pue_ratio"], second["pue_ratio"]) == (1.1, 1.5)
    assert (first["intensity_provider"], second["grid_zone"]) == ("given", "DE")
    assert (third["status"], third["energy_kwh"]) == ("incomplete", None)
    assert "the time is not stated" in str(third["missing"])


def test_a_file_as_a_table_lists_incomplete_rows(capsys: Capture, file: Path) -> None:
    assert main(["estimate", f"--input={file}"]) == 0
    printed = capsys.readouterr()

    assert re.search(r"first +1289 MWh .* 552 tCO2e +\+0.2%  measured", printed.out)
    assert re.search(r"=cmd\(\).*incomplete: the time is not stated", printed.out)
    assert "1 of 3 rows lack what an estimate needs" in printed.err


def test_csv_is_safe_and_complete(capsys: Capture, file: Path) -> None:
    assert main(["estimate", f"--input={file}", "--output=csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))

    assert [row["name"] for row in rows] == ["first", "second", "'=cmd()"]
    assert float(rows[0]["energy_kwh"]) == pytest.approx(1_289_376)
    assert rows[2]["energy_kwh"] == ""


def test_a_row_says_its_time_in_another_way_than_the_flags(capsys: Capture, tmp_path: Path) -> None:
    """Flags fill what a row leaves open; they do not contradict what it says."""
    path = tmp_path / "runs.csv"
    path.write_text("name,accelerator-hours,energy\nhours,10,\nmetered,,7\nplain,,\n")

    found = json_of(capsys, f"--input={path}", "--power=100", "--duration=1h", "--count=2")

    assert [one["it_energy_kwh"] for one in found] == pytest.approx([1.0, 7.0, 0.2])


def test_mistakes_in_a_file_name_line_and_column(capsys: Capture, tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("# a comment\nname,power,duration,pue\na,300,1h,0.5\nb,much,1h,1.1\n")

    said = mistakes(capsys, f"--input={path}")

    assert f"{path}:3: pue: expected a number from 1 to 10, found '0.5'" in said
    assert f"{path}:4: power: expected a number above 0, found 'much'" in said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b"name,powr\na,1\n", "no column 'powr' is known; did you mean power?"),
        (b"power,power\n1,1\n", "column power is there twice"),
        (b"name\na,b\n", "expected 1 cells, found 2"),
        (b"\xff\xfe", "it is not UTF-8"),
        (None, "No such file or directory"),
    ],
)
def test_a_file_that_cannot_be_used_is_a_mistake(
    capsys: Capture, tmp_path: Path, content: bytes | None, said: str
) -> None:
    path = tmp_path / "runs.csv"
    if content is not None:
        path.write_bytes(content)

    assert said in mistakes(capsys, f"--input={path}")


def test_terminal_control_sequences_of_names_are_not_printed(capsys: Capture, tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("name,energy\nlost\x1b[2J,1\n")

    assert main(["estimate", f"--input={path}"]) == 0
    printed = capsys.readouterr()

    assert "\x1b" not in printed.out + printed.err


@pytest.mark.parametrize("text", ["1,000", "1e3", "1000.0"])
def test_numbers_are_read_as_people_write_them(capsys: Capture, text: str) -> None:
    assert estimate(capsys, f"--energy={text}")["it_energy_kwh"] == pytest.approx(1000)
