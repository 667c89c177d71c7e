"""Choosing and running a command."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

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


def _run(options: Options) -> int:
    settings = options.settings()
    if options.command == "runs":
        from exporter.cli.runs_command import run_runs

        return run_runs(options, settings)
    if options.command == "check":
        from exporter.cli.check_command import run_check

        return run_check(options, settings)
    if options.command == "top":
        from exporter.cli.top_command import run_top

        return run_top(options, settings)
    if options.command == "demo":
        from exporter.cli.demo_command import run_demo

        return run_demo(options, settings)
    if options.command == "agent":
        from exporter.cli.agent_command import run_agent

        return run_agent(options, settings)
    return 0
