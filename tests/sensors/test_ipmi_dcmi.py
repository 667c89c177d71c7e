from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.sensors.bmc_poll import HIGHEST_POWER_W, BmcError
from exporter.sensors.ipmi_dcmi import DcmiProgram, parse_power_reading

GOOD = """
    Instantaneous power reading:                   214 Watts
    Minimum during sampling period:                 50 Watts
    Maximum during sampling period:                420 Watts
    Average power reading over sample period:      220 Watts
    IPMI timestamp:                           Tue Nov 24 10:11:12 2026
    Sampling period:                          00000001 Seconds.
    Power reading state is:                   activated

"""


class Machine:
    """A directory with a program ``ipmitool`` and a device that can be read and written."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.device = root / "ipmi0"
        self.device.touch()
        self.calls = root / "calls"

    def program(self, script: str) -> None:
        file = self.root / "ipmitool"
        file.write_text(f'#!/bin/sh\necho "$$ $*" >> {self.calls}\n{script}\n')
        file.chmod(0o755)

    def bmc(self, *, timeout_s: float = 5.0) -> DcmiProgram:
        path = f"{self.root}:/usr/bin:/bin"
        return DcmiProgram(str(self.device), {"PATH": path, "SECRET": "x"}, timeout_s=timeout_s)

    def error(self, *, timeout_s: float = 5.0) -> BmcError:
        with pytest.raises(BmcError) as caught:
            self.bmc(timeout_s=timeout_s).ask()
        return caught.value


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_momentary_power_is_read(machine: Machine) -> None:
    machine.program(f"cat <<'END'\n{GOOD}\nEND")

    answer = machine.bmc().ask()

    assert (answer.power_w, answer.doubt) == (214.0, "")
    assert machine.calls.read_text().split()[1:] == ["-I", "open", "-d", "0", "dcmi", "power", "reading"]


def test_a_deactivated_reading_of_360_w_is_accepted_with_a_doubt() -> None:
    """OpenBMC says "deactivated" beside a good value (F24)."""
    text = GOOD.replace("214 Watts", "360 Watts").replace(" activated", " deactivated")

    answer = parse_power_reading(text.encode())

    assert (answer.power_w, "deactivated" in answer.doubt) == (360.0, True)


def test_0_w_with_a_time_of_1970_is_no_data() -> None:
    text = GOOD.replace("214 Watts", "0 Watts").replace("Tue Nov 24 10:11:12 2026", "Thu Jan  1 00:00:00 1970")

    with pytest.raises(BmcError, match="no data: 0 W of 1970") as caught:
        parse_power_reading(text.encode())
    assert caught.value.reason == "busy"


@pytest.mark.parametrize(
    "output",
    [
        "",
        "DCMI request failed because: Invalid command",
        GOOD.replace("214 Watts", "2O4 Watts"),
        GOOD.replace("214 Watts", "-14 Watts"),
        GOOD.replace("214 Watts", "214"),
        GOOD.replace("214 Watts", "999999 Watts"),
        GOOD + GOOD.replace("214 Watts", "215 Watts"),
    ],
)
def test_what_is_not_the_format_is_no_power(output: str) -> None:
    with pytest.raises(BmcError) as caught:
        parse_power_reading(output.encode())
    assert caught.value.reason == "format"


def test_binary_output_is_no_power(machine: Machine) -> None:
    machine.program("printf '\\000\\377\\376Watts'")

    assert machine.error().reason == "format"


def test_a_missing_program_is_looked_for_seldom(machine: Machine) -> None:
    program = DcmiProgram(str(machine.device), {"PATH": str(machine.root)})
    with pytest.raises(BmcError) as caught:
        program.ask()

    assert (caught.value.reason, caught.value.is_lasting) == ("missing", True)
    assert "install ipmitool" in caught.value.remedy


def test_a_missing_device_is_named(machine: Machine) -> None:
    machine.program("exit 0")
    machine.device.unlink()

    error = machine.error()

    assert (error.reason, str(machine.device) in error.remedy) == ("missing", True)
    assert not machine.calls.exists()


def test_a_program_that_fails_is_an_error(machine: Machine) -> None:
    machine.program("echo 'no DCMI here: secret' >&2; exit 1")

    error = machine.error()

    assert (error.reason, str(error)) == ("io", "ipmitool ended with status 1")


def test_a_program_that_cannot_be_run_is_an_error(machine: Machine) -> None:
    (machine.root / "ipmitool").write_bytes(b"\x7fELF nothing")
    (machine.root / "ipmitool").chmod(0o755)

    assert machine.error().reason == "io"


def test_a_program_that_hangs_is_killed_with_what_it_started(machine: Machine) -> None:
    machine.program("sleep 60 & echo $! >> $0.child; wait")
    begun_s = time.monotonic()

    assert machine.error(timeout_s=0.3).reason == "timeout"

    assert time.monotonic() - begun_s < 5
    pids = [int(machine.calls.read_text().split()[0]), int((machine.root / "ipmitool.child").read_text())]
    assert all(_is_gone(pid) for pid in pids)


def test_the_deadline_holds_where_the_program_ends_and_its_child_keeps_the_pipe(machine: Machine) -> None:
    machine.program("sleep 60 & exit 0")

    assert machine.error(timeout_s=0.3).reason == "timeout"


def test_other_children_of_the_agent_live_on(machine: Machine) -> None:
    other = os.posix_spawn("/bin/sleep", ["sleep", "60"], {})
    machine.program("sleep 60")
    try:
        machine.error(timeout_s=0.2)
        assert os.waitpid(other, os.WNOHANG) == (0, 0)
    finally:
        os.kill(other, 9)
        os.waitpid(other, 0)


def test_endless_output_is_cut_off(machine: Machine) -> None:
    machine.program("yes")

    assert machine.error().reason == "too_large"


def test_nothing_of_the_environment_reaches_the_child(machine: Machine) -> None:
    machine.program(f"env > {machine.root}/env; cat <<'END'\n{GOOD}\nEND")

    machine.bmc().ask()

    assert "SECRET" not in (machine.root / "env").read_text()


def _is_gone(pid: int) -> bool:
    """Whether ``pid`` ended; an orphan may wait for init as a zombie."""
    end_s = time.monotonic() + 3
    while time.monotonic() < end_s:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.01)
    return False


@given(
    lines=st.lists(
        st.text(max_size=30)
        | st.builds(
            "{}:{}{}".format,
            st.sampled_from(["Instantaneous power reading", "Power reading state is", "IPMI timestamp"]),
            st.text(alphabet=" \t", max_size=3),
            st.integers(-10, 10**7).map("{} Watts".format) | st.text(max_size=10),
        ),
        max_size=6,
    )
)
def test_no_text_makes_the_parser_fail_or_invent_a_power(lines: list[str]) -> None:
    _check("\n".join(lines).encode("utf-8", "surrogatepass"))


@given(output=st.binary(max_size=200))
def test_no_bytes_make_the_parser_fail_or_invent_a_power(output: bytes) -> None:
    _check(output)


def _check(output: bytes) -> None:
    try:
        answer = parse_power_reading(output)
    except BmcError as exc:
        assert exc.reason in {"format", "busy"}  # noqa: PT017 - either outcome is right
        return
    assert answer.power_w is not None
    assert 0 < answer.power_w <= HIGHEST_POWER_W
    assert f"{answer.power_w:.0f} Watts".encode() in output  # digits of the text itself, never made up
