"""The flags, and which setting each one overrides."""

from __future__ import annotations

import argparse
import difflib
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, NoReturn

from exporter import __version__
from exporter.config import Flag, Settings, load_settings
from exporter.config.build import parse_duration_s
from exporter.host import Roots

__all__ = ["COMMANDS", "Options", "make_parser", "parse"]

COMMANDS: Mapping[str, str] = {
    "agent": "Sample the node and serve its metrics. The default.",
    "check": "Say which sensors and capabilities work, and what to do about the others.",
    "top": "Show live what the node draws and who draws it.",
    "demo": "Serve a simulated node with eight GPUs, to see everything without hardware.",
    "runs": "List the training runs in the state file.",
    "report": "Say what a run used and emitted: energy, emissions, water, cost, idle share.",
    "estimate": "Estimate energy and emissions before a run.",
    "advise": "Say where and when the same energy would emit less.",
    "gateway": "Fetch carbon intensity once for a whole cluster, and serve it to its agents.",
    "config": "Check the configuration; print nothing if it is good.",
}


class _SettingFlag(NamedTuple):
    flag: str
    setting: str
    metavar: str
    help: str


_SETTING_FLAGS = (
    _SettingFlag("--web.listen-address", "web.listen_addresses", "HOST:PORT", "where to listen; repeatable"),
    _SettingFlag("--web.telemetry-path", "web.telemetry_path", "PATH", "path of the metrics page"),
    _SettingFlag("--web.config.file", "web.config_file", "FILE", "TLS and passwords, as for other exporters"),
    _SettingFlag("--web.health-address", "web.health_address", "HOST:PORT", "plain HTTP for probes, nothing else"),
    _SettingFlag("--log.level", "log.level", "LEVEL", "debug, info, warning or error"),
    _SettingFlag("--log.format", "log.format", "FORMAT", "logfmt or json"),
    _SettingFlag("--sampling.interval", "sampling.interval_s", "DURATION", "time between two reads, for example 5s"),
    _SettingFlag("--state.file", "ledger.state_path", "FILE", "where counters and runs are kept; empty: nowhere"),
    _SettingFlag("--carbon.grid-zone", "carbon.grid_zone", "ZONE", "the grid that feeds this node, for example DE"),
)


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
        word = unknown.split("=")[0].split(" ")[0]
        known = self._option_string_actions if word.startswith("-") else COMMANDS
        close = difflib.get_close_matches(word, known, 1) if word else []
        if word in COMMANDS:
            message += f"; the command comes first: wattribute {word} ..."
        elif close:
            message += f"; did you mean {close[0]}?"
        self.exit(2, f"wattribute: {message} (see wattribute --help)\n")


def parse(argv: Sequence[str], environ: Mapping[str, str] | None = None) -> Options:
    """Return the options of ``argv``; exits with 2 and a hint for what is not understood, 0 for help and version."""
    command, rest = (argv[0], argv[1:]) if argv and argv[0] in COMMANDS else ("agent", argv)
    values = make_parser(command, is_named=rest is not argv).parse_args(rest)
    environment = os.environ if environ is None else environ
    config = values.config_file or environment.get("WATTRIBUTE_CONFIG_FILE", "")
    sysfs = Path(values.sysfs)
    cgroupfs = Path(values.cgroupfs) if values.cgroupfs else sysfs / "fs/cgroup"
    roots = Roots(procfs=Path(values.procfs), sysfs=sysfs, cgroupfs=cgroupfs)
    given = {row: getattr(values, row.setting) for row in _SETTING_FLAGS}
    flags = {row.setting: (row.flag, value) for row, value in given.items() if value is not None}
    return Options(command, Path(config) if config else None, roots, flags, values)


def make_parser(command: str, *, is_named: bool = True) -> argparse.ArgumentParser:
    """Return the parser of ``command``; ``is_named`` False: of a command line that names none."""
    parser = _Parser(
        prog=f"wattribute {command}" if is_named else "wattribute",
        usage="%(prog)s [FLAGS]" if is_named else "%(prog)s [COMMAND] [FLAGS]",
        description=COMMANDS[command] if is_named else _OVERVIEW,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=False,
    )
    _add_own_flags(parser, command)
    place = parser.add_argument_group("where the node is")
    place.add_argument(
        "--path.procfs", dest="procfs", default="/proc", metavar="DIR", help="the proc file system; default: /proc"
    )
    place.add_argument(
        "--path.sysfs", dest="sysfs", default="/sys", metavar="DIR", help="the sys file system; default: /sys"
    )
    place.add_argument(
        "--path.cgroupfs", dest="cgroupfs", metavar="DIR", help="the cgroup mount; default: fs/cgroup below sysfs"
    )
    settings = parser.add_argument_group("settings")
    file_help = "configuration file; also $WATTRIBUTE_CONFIG_FILE; flags win over it"
    settings.add_argument("--config.file", dest="config_file", metavar="FILE", help=file_help)
    for row in _SETTING_FLAGS:
        action = "append" if row.setting.endswith("es") else "store"
        text = f"{row.help} [{row.setting}]"
        settings.add_argument(row.flag, dest=row.setting, action=action, metavar=row.metavar, help=text)
    general = parser.add_argument_group("general")
    general.add_argument("-h", "--help", action="help", help="show this help")
    general.add_argument("--version", action="version", version=f"wattribute {__version__}", help="show the version")
    return parser


_OVERVIEW = "Attribute the node's energy and emissions to workloads and training runs.\n\ncommands:\n" + "\n".join(
    f"  {name:9} {text}" for name, text in COMMANDS.items()
)


_FLAGS_ELSEWHERE = {
    "report": "report_command:add_report_flags",
    "estimate": "estimate_command:add_estimate_flags",
    "advise": "advise_command:add_advise_flags",
    "gateway": "gateway_command:add_gateway_flags",
}
"""Module and function that add the flags of a command which has many."""


def _add_own_flags(parser: argparse.ArgumentParser, command: str) -> None:
    own = parser.add_argument_group(f"flags of {command}")
    if command in _FLAGS_ELSEWHERE:
        module, _, function = _FLAGS_ELSEWHERE[command].partition(":")
        getattr(import_module(f"exporter.cli.{module}"), function)(own)
    elif command == "check":
        own.add_argument("--output", choices=("text", "json"), default="text", help="default: text")
        text = "time between the two reads; default: 1s"
        own.add_argument("--wait", type=_seconds, default=1.0, metavar="DURATION", help=text)
    elif command == "top":
        text = "address of an agent; default: the one on this machine, else the node is sampled by this command"
        own.add_argument("--agent", default="", metavar="URL", help=text)
        own.add_argument("--once", action="store_true", help="print one frame and end; so it is without a terminal")
        text = "time between two frames; default: 2s"
        own.add_argument("--interval", type=_seconds, default=2.0, metavar="DURATION", help=text)
        orders = ("power", "energy", "emissions", "name")
        own.add_argument("--sort", choices=orders, default="power", help="default: power; the key s changes it")
    elif command == "demo":
        text = "number of this node among --nodes, from 0; default: 0"
        own.add_argument("--node", type=_count, default=0, metavar="N", help=text)
        text = "simulated nodes, each a demo of its own on a port of its own, that share one run; default: 1"
        own.add_argument("--nodes", type=_count, default=1, metavar="N", help=text)
    elif command == "runs":
        own.add_argument("--output", choices=("text", "json", "csv"), default="text", help="default: text")
        own.add_argument("--since", type=_seconds, metavar="DURATION", help="alive within, for example 24h or 7d")
        own.add_argument("--name", default="", metavar="GLOB", help="only runs whose name or key matches")
        state = own.add_mutually_exclusive_group()
        state.add_argument("--running", action="store_true", help="only runs that have not ended")
        state.add_argument("--finished", action="store_true", help="only runs that have ended")
        own.add_argument("--limit", type=_count, default=50, metavar="N", help="at most so many; default: 50")


def _seconds(text: str) -> float:
    seconds = parse_duration_s(text)
    if seconds is None:
        try:
            seconds = float(text)
        except ValueError:
            seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"expected a duration such as 5s, 24h or 7d, found {text[:40]!r}")
    return seconds


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= len("1000000")):
        raise argparse.ArgumentTypeError(f"expected a whole number, found {text[:40]!r}")
    return int(text)
