"""Reads a machine's power through IPMI DCMI with the program ``ipmitool``: its command, its limits, its text.

The program and not the kernel's ``/dev/ipmi0`` calls: a child that hangs can be killed, a thread in the driver cannot.
Format: ``ipmitool dcmi power reading``; meaning: DCMI specification 1.5, section 6.6.1, Get Power Reading.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress

from exporter.sensors.bmc_poll import HIGHEST_POWER_W, IPMI_DCMI, BmcAnswer, BmcError

__all__ = ["DcmiProgram", "parse_power_reading"]

_TIMEOUT_S = 5.0
_MOST_BYTES = 16_384
_REAP_S = 1.0
_LINE = re.compile(r"[ \t]*(?P<label>[A-Za-z][A-Za-z ]{0,60}?)[ \t]*:[ \t]*(?P<value>[ -~]{0,120}?)[ \t]*\r?")
_WATTS = re.compile(r"(?P<watts>[0-9]{1,6}) Watts")
_POWER, _STATE, _TIME = "Instantaneous power reading", "Power reading state is", "IPMI timestamp"


def parse_power_reading(output: bytes) -> BmcAnswer:
    """Return the momentary power in the program's output; a state "deactivated" beside a power is a doubt.

    Raises:
        BmcError: there is no power in it: not this format (format), or 0 W, which a BMC says that has no data (busy).
    """
    try:
        text = output.decode("ascii")
    except UnicodeDecodeError:
        raise BmcError(IPMI_DCMI, "format", f"ipmitool wrote {len(output)} bytes that are no text") from None
    values: dict[str, str] = {}
    for line in text.split("\n"):
        match = _LINE.fullmatch(line)
        if match and values.setdefault(match["label"], match["value"]) != match["value"]:
            raise BmcError(IPMI_DCMI, "format", f"ipmitool wrote two values of {match['label']!r}")
    power = _WATTS.fullmatch(values.get(_POWER, ""))
    if power is None:
        raise BmcError(IPMI_DCMI, "format", f"ipmitool wrote no line '{_POWER}: N Watts'")
    power_w = float(power["watts"])
    if power_w == 0:
        stamp = " of 1970" if values.get(_TIME, "").endswith("1970") else ""
        raise BmcError(IPMI_DCMI, "busy", f"the BMC has no data: 0 W{stamp} while the machine runs")
    if power_w > HIGHEST_POWER_W:
        raise BmcError(IPMI_DCMI, "format", f"no machine draws {power_w:g} W")
    state = values.get(_STATE, "")
    doubt = "" if state == "activated" else f"the BMC calls its power reading {state[:40] or 'nothing'!r}"
    return BmcAnswer("DCMI power reading", power_w=power_w, doubt=doubt)


class DcmiProgram:
    """Asks one BMC, with one child at a time.

    Args:
        device: the kernel's device, such as ``/dev/ipmi0``.
        environ: where ``PATH`` is found; nothing else of it reaches the child.
        timeout_s: seconds for one question as a whole.
    """

    def __init__(self, device: str, environ: Mapping[str, str], *, timeout_s: float = _TIMEOUT_S) -> None:
        self._device = device
        self._path = environ.get("PATH", os.defpath)
        self._timeout_s = timeout_s
        self._stuck: subprocess.Popen[bytes] | None = None

    def ask(self) -> BmcAnswer:
        """Return the machine's power.

        Raises:
            BmcError: there is none: no program (missing), no device (missing, permission), too slow (timeout), a
                failing program (io), too much (too_large), or what ``parse_power_reading`` says.
        """
        if self._stuck is not None and self._stuck.poll() is None:
            raise BmcError(IPMI_DCMI, "timeout", "an earlier ipmitool hangs in the kernel and cannot be killed")
        self._stuck = None
        program = shutil.which("ipmitool", path=self._path)
        if program is None:
            remedy = "install ipmitool, or list ipmi_dcmi in sensors.disabled_sources"
            raise BmcError(IPMI_DCMI, "missing", "there is no program ipmitool", remedy=remedy, is_lasting=True)
        self._check_device()
        return parse_power_reading(self._run(program))

    def _check_device(self) -> None:
        if not os.path.exists(self._device):  # noqa: PTH110 - a device, not a path to work with
            remedy = f"give the agent the device {self._device}, or list ipmi_dcmi in sensors.disabled_sources"
            raise BmcError(IPMI_DCMI, "missing", "no such device", remedy=remedy, is_lasting=True)
        if not os.access(self._device, os.R_OK | os.W_OK):
            remedy = f"let the agent read and write {self._device}, or list ipmi_dcmi in sensors.disabled_sources"
            raise BmcError(IPMI_DCMI, "permission", "no permission", remedy=remedy, is_lasting=True)

    def _run(self, program: str) -> bytes:
        number = re.search(r"[0-9]{1,4}$", self._device)
        command = [program, "-I", "open", "-d", number[0] if number else "0", "dcmi", "power", "reading"]
        deadline_s = time.monotonic() + self._timeout_s
        try:
            child = subprocess.Popen(  # noqa: S603 - a fixed command
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={"PATH": self._path, "LC_ALL": "C", "TZ": "UTC"},
                start_new_session=True,
            )
        except OSError as exc:
            raise BmcError(IPMI_DCMI, "io", f"{program} cannot be run: {exc.strerror}") from None
        try:
            output = self._output(child, deadline_s)
            status = child.wait(max(deadline_s - time.monotonic(), 0.01))
        except subprocess.TimeoutExpired:
            raise self._too_slow() from None
        finally:
            self._end(child)
        if status != 0:
            remedy = "run `ipmitool dcmi power reading` to see why; many BMCs do not have this command"
            raise BmcError(IPMI_DCMI, "io", f"ipmitool ended with status {status}", remedy=remedy)
        return output

    def _output(self, child: subprocess.Popen[bytes], deadline_s: float) -> bytes:
        assert child.stdout is not None  # noqa: S101 - a pipe was asked for
        output, descriptor = b"", child.stdout.fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        while True:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or not poll.poll(left_s * 1000):
                raise self._too_slow()
            part = os.read(descriptor, _MOST_BYTES)
            if not part:
                return output
            output += part
            if len(output) > _MOST_BYTES:
                raise BmcError(IPMI_DCMI, "too_large", f"ipmitool wrote more than {_MOST_BYTES} bytes")

    def _too_slow(self) -> BmcError:
        return BmcError(IPMI_DCMI, "timeout", f"ipmitool gave no answer within {self._timeout_s:g} s")

    def _end(self, child: subprocess.Popen[bytes]) -> None:
        """Kill the child, and what it started, if it still runs; it may be stuck in the driver, where nothing kills."""
        if child.stdout is not None:
            child.stdout.close()
        if child.returncode is None:  # not reaped yet, so that the number of its group is still its own
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
            try:
                child.wait(_REAP_S)
            except subprocess.TimeoutExpired:
                self._stuck = child
