"""What a command line says about the launch of a run; the command line itself, which may hold secrets, is dropped.

Format: ``/proc/PID/cmdline``, NUL-separated arguments or a title, see proc_pid_cmdline(5).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from exporter.workloads.facts import CommandFacts
from exporter.workloads.launchers import LAUNCHER_PROGRAMS, WRAPPER_PROGRAMS
from exporter.workloads.text import clean_text

__all__ = ["COMMAND_LIMIT_BYTES", "parse_command"]

COMMAND_LIMIT_BYTES = 65536
"""What is looked at of one command line."""

_STEP_DAEMON = "slurmstepd"
_STEP_TITLE = re.compile(rb"slurmstepd: \[(?:StepId=)?([0-9]{1,12})(?:\.([0-9A-Za-z_+]{1,32}))?\]")
_LOCAL_RANK = re.compile(r"--local[_-]rank=([0-9]{1,9})$")
_INTERPRETER = re.compile(r"(?:python|pypy)[0-9.]*t?$")
_SCRIPT = re.compile(r"[^/]+\.(?:py|sh|bash)$")
_ARGUMENTS = 256


def parse_command(raw: bytes, comm: str, *, keep_script: bool) -> CommandFacts:
    """Return what the command line ``raw`` of a process named ``comm`` says; any bytes are accepted.

    ``keep_script`` allows the base name of the script to be kept. The title of a Slurm step daemon is only a
    claim: whoever uses it must check that the process is root's.
    """
    title = _STEP_TITLE.match(raw) if comm == _STEP_DAEMON else None
    if title is not None:
        return CommandFacts(slurm_job=title[1].decode(), slurm_step=(title[2] or b"").decode())
    arguments = raw[:COMMAND_LIMIT_BYTES].decode("utf-8", "replace").split("\0")[:_ARGUMENTS]
    programs = _programs(arguments)
    launcher = next((LAUNCHER_PROGRAMS[name] for name in (*programs, comm) if name in LAUNCHER_PROGRAMS), "")
    return CommandFacts(
        launcher=launcher,
        wrapper=not launcher and (programs[0] or comm) in WRAPPER_PROGRAMS,
        script=_script(arguments) if keep_script else "",
        local_rank=next((match[1] for match in map(_LOCAL_RANK.match, arguments[1:]) if match), ""),
    )


def _programs(arguments: Sequence[str]) -> list[str]:
    """Return the program, and what it runs if it is an interpreter: a script's base name or a module."""
    program = _base_name(arguments[0]).removeprefix("-")
    if _INTERPRETER.match(program) is None:
        return [program]
    rest = iter(arguments[1:])
    for argument in rest:
        if argument == "-m":
            return [program, next(rest, "")]
        if not argument.startswith("-"):
            return [program, _base_name(argument).removesuffix(".py")]
        if argument == "-c":
            break
        if argument in {"-W", "-X"}:
            next(rest, "")
    return [program]


def _script(arguments: Sequence[str]) -> str:
    names = (_base_name(argument) for argument in arguments[1:] if argument and not argument.startswith("-"))
    scripts = (name for name in names if _SCRIPT.match(name) and name.removesuffix(".py") not in LAUNCHER_PROGRAMS)
    return clean_text(next(scripts, ""))


def _base_name(path: str) -> str:
    return path.rpartition("/")[2]
