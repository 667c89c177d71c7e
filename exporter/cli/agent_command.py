"""``wattribute agent``: the graph, the signals, the loop."""

from __future__ import annotations

import os
import resource
import signal
import threading
from collections.abc import Callable
from functools import partial

from exporter.agent import Agent
from exporter.cli import signals
from exporter.cli.arguments import Options
from exporter.cli.state_path import with_state_path
from exporter.clock import SystemClock
from exporter.config import Settings
from exporter.logs import set_up_logs

__all__ = ["block_signals", "obey_signals", "run_agent"]

_DESCRIPTORS = 65_536


def run_agent(options: Options, settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT (a second one ends at once).

    SIGHUP reads the configuration again; SIGUSR1 lets go of the GPU drivers for a while, SIGUSR2 takes them again.

    Signals are held back from the first moment and taken by a thread: one that came while the agent is built waits for
    it, and none interrupts the loop where it holds a lock that stopping needs.
    """
    block_signals()
    set_up_logs(settings.log.level, settings.log.format)
    _raise_descriptor_limit()

    def load() -> Settings:
        return with_state_path(options.settings(), os.environ)

    agent = Agent(
        with_state_path(settings, os.environ),
        roots=options.roots,
        clock=SystemClock(),
        reload=load if options.config_path else None,
    )
    threading.Thread(target=obey_signals, args=(agent,), name="signals", daemon=True).start()
    return agent.run()


def block_signals() -> None:
    """Hold back the signals that ``obey_signals`` takes; to be called before any thread is started."""
    signals.block(signals.ENDING | {signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2})


def obey_signals(agent: Agent) -> None:
    """Do what signals ask for, until the process ends."""
    others: dict[signal.Signals, Callable[[], None]] = {
        signal.SIGHUP: agent.request_reload,
        signal.SIGUSR1: partial(agent.request_gpu_release, is_wanted=True),
        signal.SIGUSR2: partial(agent.request_gpu_release, is_wanted=False),
    }
    signals.obey(agent.stop, others)


def _raise_descriptor_limit() -> None:
    """Use the descriptors that the hard limit allows: a kept-open one is four times cheaper to read than a path."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
