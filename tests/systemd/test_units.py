"""The systemd units: what they say, what systemd makes of it, and what the how-to says about them."""

from __future__ import annotations

import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from exporter.cli.main import main

ROOT = Path(__file__).parents[2]
UNITS = ("wattribute", "wattribute-gateway")
PROGRAM = "/opt/wattribute/bin/wattribute"
GUIDE = (ROOT / "docs/how-to/systemd.md").read_text()
CAPABILITY = "CAP_DAC_READ_SEARCH"
_DIRECTIVE = re.compile(r"([A-Za-z]+)=(.*)")


def _systemd_version() -> int:
    program = shutil.which("systemd-analyze")
    if program is None:
        return 0
    said = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout
    return int(said.split()[1])


needs_analyze = pytest.mark.skipif(
    _systemd_version() < 250,
    reason="no systemd-analyze 250 or later (Debian package systemd): systemd itself cannot check the units",
)


def unit_lines(unit: str) -> list[str]:
    return (ROOT / f"systemd/{unit}.service").read_text().splitlines()


def directives(unit: str) -> dict[str, list[str]]:
    """Return every directive of a unit with its values, in order; a line that is nothing known is an error."""
    found: dict[str, list[str]] = {}
    for line in unit_lines(unit):
        if not line or line.startswith(("#", "[")):
            continue
        match = _DIRECTIVE.fullmatch(line)
        assert match is not None, f"{unit}.service: not a directive: {line!r}"
        found.setdefault(match[1], []).append(match[2])
    return found


def installed(unit: str, directory: Path) -> Path:
    """Return a copy of the unit whose program exists here, which systemd-analyze asks for."""
    copy = directory / f"{unit}.service"
    text = (ROOT / f"systemd/{unit}.service").read_text()
    copy.write_text(text.replace(PROGRAM, str(shutil.which("true"))))
    return copy


def analyze(*arguments: str) -> str:
    done = subprocess.run(
        [str(shutil.which("systemd-analyze")), *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("unit", UNITS)
def test_every_directive_has_its_reason_in_the_line_above(unit: str) -> None:
    """Documentation names itself, and a description too; each other directive says why it is there."""
    lines = unit_lines(unit)
    unexplained = [
        line
        for above, line in pairwise(lines)
        if _DIRECTIVE.fullmatch(line)
        and not line.startswith(("Description=", "Documentation="))
        and not above.startswith("#")
    ]

    assert unexplained == []


@pytest.mark.parametrize("unit", UNITS)
def test_the_guide_names_the_program_and_the_configuration(unit: str) -> None:
    """Who follows the guide has every file that ExecStart names."""
    (command,) = directives(unit)["ExecStart"]
    program, _, flag = command.split()

    assert program == PROGRAM
    assert PROGRAM in GUIDE
    assert flag.removeprefix("--config.file=") in GUIDE


@pytest.mark.parametrize("unit", UNITS)
def test_the_command_line_is_one_that_the_program_takes(
    unit: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A flag that does not exist would be the first mistake; here the only one is the missing file."""
    (command,) = directives(unit)["ExecStart"]
    absent = tmp_path / "absent.yaml"
    arguments = [re.sub(r"(--config.file=).*", rf"\g<1>{absent}", word) for word in command.split()[1:]]

    code = main(arguments)

    assert code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_exit_codes_decide_whether_the_agent_is_started_again() -> None:
    """3 is a replaced GPU driver; 2 a mistake that starting again repeats."""
    agent = directives("wattribute")

    assert agent["RestartForceExitStatus"] == ["3"]
    assert agent["RestartPreventExitStatus"] == ["2"]
    assert agent["ExecReload"] == ["/bin/kill -HUP $MAINPID"]


def test_no_unit_waits_for_a_word_that_is_never_said() -> None:
    """Nothing speaks sd_notify, so a watchdog or Type=notify would kill a healthy program."""
    for unit in UNITS:
        assert directives(unit)["Type"] == ["exec"]
        assert "WatchdogSec" not in directives(unit)


def test_the_agent_has_one_capability_and_the_gateway_none() -> None:
    """More is a drop-in that somebody decided on."""
    agent, gateway = directives("wattribute"), directives("wattribute-gateway")

    assert agent["AmbientCapabilities"] == agent["CapabilityBoundingSet"] == [CAPABILITY]
    assert gateway["AmbientCapabilities"] == gateway["CapabilityBoundingSet"] == [""]


def test_the_agent_sees_all_processes_and_all_of_proc() -> None:
    """Hidden processes would be energy without an owner."""
    agent = directives("wattribute")

    assert agent["ProtectProc"] == ["default"]
    assert agent["ProcSubset"] == ["all"]
    assert not {"PrivateUsers", "PrivateDevices", "PrivatePIDs"} & set(agent)


@needs_analyze
@pytest.mark.parametrize("unit", UNITS)
def test_systemd_understands_the_unit(unit: str, tmp_path: Path) -> None:
    """An unknown directive or value is only a warning, so any word about this unit is a failure."""
    said = analyze("verify", "--man=no", str(installed(unit, tmp_path)))

    assert f"{unit}.service" not in said


@needs_analyze
@pytest.mark.parametrize("unit", UNITS)
def test_the_exposure_is_no_higher_than_the_guide_says(unit: str, tmp_path: Path) -> None:
    """Another version of systemd may count a little otherwise: 0.3 points either way."""
    said = analyze("security", "--offline=true", "--no-pager", str(installed(unit, tmp_path)))
    measured = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)
    stated = re.search(rf"\| `{unit}.service` \| ([0-9.]+) \|", GUIDE)

    assert measured is not None
    assert stated is not None
    assert float(measured[1]) == pytest.approx(float(stated[1]), abs=0.3)
