"""The flags, and which setting each one overrides."""

from __future__ import annotations

import argparse
import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from exporter import __version__
from exporter.config import Flag, Settings, load_settings
from exporter.host import Roots

__all__ = ["COMMANDS", "Options", "parse"]

COMMANDS: Mapping[str, str] = {
    "agent": "sample and serve (the default)",
    "check": "say which sensors and capabilities work, and what to do about the others",
    "runs": "list the training runs in the state file",
    "config": "check the configuration; print nothing if it is good",
}
_SETTING_OF: Mapping[str, str] = {
    "--web.listen-address": "web.listen_addresses",
    "--web.telemetry-path": "web.telemetry_path",
    "--log.level": "log.level",
    "--log.format": "log.format",
    "--sampling.interval": "sampling.interval_s",
    "--state.file": "ledger.state_path",
    "--carbon.grid-zone": "carbon.grid_zone",
}


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line said. ``values`` holds the command's own flags."""

    command: str
    config_path: Path | None
    roots: Roots
    flags: Mapping[str, Flag]
    values: argparse.Namespace

    def settings(self) -> Settings:
        """Read the file again and return the settings with the flags over them; raises ConfigError."""
        return load_settings(self.config_path, self.flags)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        _, _, unknown = message.partition("unrecognized arguments: ")
        flag = unknown.split("=")[0].split(" ")[0]
        close = difflib.get_close_matches(flag, self._option_string_actions, 1) if flag else []
        if close:
            message += f"; did you mean {close[0]}?"
        elif flag in COMMANDS:
            message += f"; the command comes first: wattribute {flag} ..."
        self.exit(2, f"wattribute: {message} (see wattribute --help)\n")


def parse(argv: Sequence[str], environ: Mapping[str, str] | None = None) -> Options:
    """Return the options of ``argv``; exits with 2 and a hint for what is not understood, 0 for help and version."""
    command, rest = (argv[0], argv[1:]) if argv and argv[0] in COMMANDS else ("agent", argv)
    values = _parser(command).parse_args(rest)
    environment = os.environ if environ is None else environ
    config = values.config_file or environment.get("WATTRIBUTE_CONFIG_FILE", "")
    sysfs = Path(values.sysfs)
    cgroupfs = Path(values.cgroupfs) if values.cgroupfs else sysfs / "fs/cgroup"
    roots = Roots(procfs=Path(values.procfs), sysfs=sysfs, cgroupfs=cgroupfs)
    given = {flag: getattr(values, setting) for flag, setting in _SETTING_OF.items()}
    flags = {_SETTING_OF[flag]: (flag, value) for flag, value in given.items() if value is not None}
    return Options(command, Path(config) if config else None, roots, flags, values)


def _parser(command: str) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=f"wattribute {command}",
        usage="wattribute [COMMAND] [FLAGS]",
        description=COMMANDS[command],
        epilog="commands: " + "; ".join(f"{name}: {text}" for name, text in COMMANDS.items()),
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"wattribute {__version__}")
    parser.add_argument("--config.file", dest="config_file", metavar="FILE", help="also $WATTRIBUTE_CONFIG_FILE")
    parser.add_argument("--path.procfs", dest="procfs", default="/proc", metavar="DIR")
    parser.add_argument("--path.sysfs", dest="sysfs", default="/sys", metavar="DIR")
    parser.add_argument("--path.cgroupfs", dest="cgroupfs", metavar="DIR", help="default: fs/cgroup below sysfs")
    for flag, setting in _SETTING_OF.items():
        action = "append" if flag == "--web.listen-address" else "store"
        parser.add_argument(flag, dest=setting, action=action, metavar="VALUE", help=f"overrides {setting}")
    if command == "check":
        parser.add_argument("--output", choices=("text", "json"), default="text")
        parser.add_argument("--wait", type=float, default=1.0, metavar="SECONDS", help="between the two reads")
    if command == "runs":
        parser.add_argument("--output", choices=("text", "json", "csv"), default="text")
        parser.add_argument("--since", default="", metavar="DURATION", help="last alive within, for example 24h")
        parser.add_argument("--name", default="", metavar="GLOB", help="name or key")
        parser.add_argument("--limit", type=int, default=50, metavar="N")
    return parser
