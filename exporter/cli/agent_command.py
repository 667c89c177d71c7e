"""``wattribute agent``: the graph, the signals, the loop."""

from __future__ import annotations

import os
import signal
from types import FrameType

from exporter.agent import Agent
from exporter.cli.arguments import Options
from exporter.cli.state_path import with_state_path
from exporter.clock import SystemClock
from exporter.config import Settings
from exporter.logs import set_up_logs

__all__ = ["run_agent"]

_KILLED_BY = 128


def run_agent(options: Options, settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT (a second one ends at once); SIGHUP reads the configuration again."""
    set_up_logs(settings.log.level, settings.log.format)

    def load() -> Settings:
        return with_state_path(options.settings(), os.environ)

    agent = Agent(
        with_state_path(settings, os.environ),
        roots=options.roots,
        clock=SystemClock(),
        reload=load if options.config_path else None,
    )
    is_stopping = False

    def stop(number: int, _: FrameType | None) -> None:
        nonlocal is_stopping
        if is_stopping:
            os._exit(_KILLED_BY + number)
        is_stopping = True
        agent.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGHUP, lambda *_: agent.request_reload())
    return agent.run()
