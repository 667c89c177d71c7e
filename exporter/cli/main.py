"""Choosing and running a command."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from exporter.cli.arguments import Options, parse
from exporter.errors import ConfigError, ExporterError

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that ``argv`` names; return 0, 1 if something needed is down, 2 for a mistake."""
    try:
        code = _run(parse(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()  # here, where a reader that has left is no traceback
    except ConfigError as exc:
        print("\n".join(exc.problems), file=sys.stderr)
        return 2
    except ExporterError as exc:
        print(f"wattribute: {exc}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    return code


_RUNNERS = {
    "agent": "agent_command:run_agent",
    "check": "check_command:run_check",
    "top": "top_command:run_top",
    "demo": "demo_command:run_demo",
    "runs": "runs_command:run_runs",
    "report": "report_command:run_report",
    "estimate": "estimate_command:run_estimate",
    "advise": "advise_command:run_advise",
    "gateway": "gateway_command:run_gateway",
}
"""Module and function of each command, imported when it is asked for: no command pays for another's libraries."""


def _run(options: Options) -> int:
    settings = options.settings()
    if options.command not in _RUNNERS:
        return 0
    module, _, function = _RUNNERS[options.command].partition(":")
    return int(getattr(import_module(f"exporter.cli.{module}"), function)(options, settings))
