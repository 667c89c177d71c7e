"""``wattribute gateway``: the flags, where its state is kept, the signals, the loop."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.errors import ConfigError

if TYPE_CHECKING:
    import argparse

    from exporter.cli.arguments import Options
    from exporter.config import Flag, Settings

__all__ = ["add_gateway_flags", "gateway_settings", "run_gateway", "with_gateway_state_path"]

_SYSTEM_DIRECTORY = Path("/var/lib/wattribute")
_AGENTS_FLAGS = {
    "web.listen_addresses": "--gateway.listen-address",
    "ledger.state_path": "--gateway.state-file",
}
"""Settings of an agent whose flags are easily taken for the gateway's."""


def add_gateway_flags(own: argparse._ArgumentGroup) -> None:
    """Add the flags of ``wattribute gateway``."""
    own.add_argument(
        "--gateway.listen-address",
        dest="gateway_listen",
        action="append",
        metavar="HOST:PORT",
        help="where to listen; repeatable [gateway.listen_addresses]",
    )
    own.add_argument(
        "--gateway.state-file",
        dest="gateway_state",
        metavar="FILE",
        help="where the last values are kept; empty: nowhere [gateway.state_path]",
    )


def run_gateway(options: Options, settings: Settings) -> int:
    """Fetch and serve until SIGTERM or SIGINT (a second one ends at once); SIGHUP reads the configuration again."""
    from exporter.cli import signals
    from exporter.clock import SystemClock
    from exporter.gateway.gateway import Gateway
    from exporter.logs import set_up_logs

    signals.block(signals.ENDING | {signal.SIGHUP})
    set_up_logs(settings.log.level, settings.log.format)

    def load() -> Settings:
        return with_gateway_state_path(gateway_settings(options), os.environ)

    gateway = Gateway(load(), clock=SystemClock(), reload=load if options.config_path else None)
    others = {signal.SIGHUP: gateway.request_reload}
    threading.Thread(target=signals.obey, args=(gateway.stop, others), name="signals", daemon=True).start()
    return gateway.run()


def gateway_settings(options: Options) -> Settings:
    """Return the settings with the gateway's own flags over them.

    Raises:
        ConfigError: with every mistake, those that only a gateway minds included.
    """
    from exporter.config.gateway_problems import gateway_only_problems

    problems = [
        f"{options.flags[setting][0]}: is an agent's; the gateway's is {flag}."
        for setting, flag in _AGENTS_FLAGS.items()
        if setting in options.flags
    ]
    if problems:
        raise ConfigError(problems)
    flags: dict[str, Flag] = dict(options.flags)
    if options.values.gateway_listen is not None:
        flags["gateway.listen_addresses"] = ("--gateway.listen-address", options.values.gateway_listen)
    if options.values.gateway_state is not None:
        flags["gateway.state_path"] = ("--gateway.state-file", options.values.gateway_state)
    settings = replace(options, flags=flags).settings()
    problems = gateway_only_problems(settings)
    if problems:
        where = options.config_path or "defaults"
        raise ConfigError([f"{where}: {problem}" for problem in problems])
    return settings


def with_gateway_state_path(
    settings: Settings, environ: Mapping[str, str], system: Path = _SYSTEM_DIRECTORY
) -> Settings:
    """Return ``settings`` with the default place of the state file, unless they name one or say that there is none.

    Source of ``$STATE_DIRECTORY``: systemd.exec(5).
    """
    if settings.gateway.state_path is not None:
        return settings
    directory = Path(environ["STATE_DIRECTORY"].split(":")[0]) if environ.get("STATE_DIRECTORY") else system
    return replace(settings, gateway=replace(settings.gateway, state_path=str(directory / "gateway.json")))
