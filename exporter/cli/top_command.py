"""``wattribute top``: the node, live on a terminal, or one frame as text."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING

from exporter.cli.arguments import Options
from exporter.cli.feeds import AgentFeed, Feed, NodeFeed, agent_url, is_agent
from exporter.cli.node_view import NodeView
from exporter.cli.screen import open_console, show
from exporter.cli.top_frame import SORTS, frame
from exporter.clock import SystemClock
from exporter.config import Settings
from exporter.errors import ExporterError
from exporter.exposition.quantities import duration_text

if TYPE_CHECKING:
    from rich.console import Console, Group

__all__ = ["run_top"]

_STALE_AFTER_INTERVALS = 3
_KILLED_BY_TERM = 128 + signal.SIGTERM


def run_top(options: Options, settings: Settings) -> int:
    """Show the node until ``q`` or Ctrl-C; with ``--once``, or where there is no terminal, print one frame.

    Raises:
        ExporterError: the agent that was asked for does not answer.
    """
    console = open_console()
    feed = _feed(options, settings)
    try:
        if options.values.once or not console.is_terminal:
            show(console, _frame(feed.read(), feed, options.values.sort, console, is_live=False))
        else:
            with suppress(KeyboardInterrupt), _keys() as keys:
                _show(feed, keys, options, console)
    finally:
        feed.close()
    return 0


def _feed(options: Options, settings: Settings) -> Feed:
    """Return the agent that was named; else the one that runs here; else this process."""
    if options.values.agent:
        return AgentFeed(options.values.agent)
    url = agent_url(settings.web.listen_addresses[0])
    if is_agent(url):
        return AgentFeed(url)
    feed = NodeFeed(settings, roots=options.roots, clock=SystemClock())
    time.sleep(options.values.interval)  # what the first frame shows is the mean over this time
    return feed


def _frame(view: NodeView, feed: Feed, sort: str, console: Console, *, is_live: bool, note: str = "") -> Group:
    height = console.height - 1 if is_live else None
    name = f"{feed.name}  sort: {sort} (s)  quit: q" if is_live else feed.name
    return frame(view, feed=name, sort=sort, width=console.width, height=height, note=note)


def _show(feed: Feed, keys: _Keys, options: Options, console: Console) -> None:
    from rich.live import Live

    sorts = list(SORTS)
    sort, interval_s = options.values.sort, options.values.interval
    view = feed.read()
    note = ""
    changed_s = time.monotonic()
    with Live(console=console, screen=True, auto_refresh=False) as live:
        due_s = time.monotonic()
        while True:
            now_s = time.monotonic()
            if now_s >= due_s:
                due_s = now_s + interval_s
                before_s = view.taken_s
                try:
                    view, note = feed.read(), ""
                except ExporterError as exc:
                    note = f"no answer, the last one is shown: {exc}"
                changed_s = now_s if view.taken_s != before_s else changed_s
                if not note and now_s - changed_s > _STALE_AFTER_INTERVALS * view.interval_s:
                    note = f"the agent has not sampled for {duration_text(now_s - changed_s)}"
            live.update(_frame(view, feed, sort, console, is_live=True, note=note), refresh=True)
            key = keys.wait(due_s - time.monotonic())
            if key in ("q", "Q"):
                return
            if key == "s":
                sort = sorts[(sorts.index(sort) + 1) % len(sorts)]


class _Keys:
    """Single key presses from standard input, if it is a terminal."""

    def __init__(self, *, is_terminal: bool) -> None:
        self._is_terminal = is_terminal

    def wait(self, timeout_s: float) -> str:
        """Return the next key, or an empty text after ``timeout_s`` seconds."""
        timeout_s = max(timeout_s, 0.0)
        if not self._is_terminal:
            time.sleep(timeout_s)
            return ""
        ready, _, _ = select.select([sys.stdin], [], [], timeout_s)
        if not ready:
            return ""
        return os.read(sys.stdin.fileno(), 1).decode("latin-1") or "q"  # nothing to read: the terminal has gone


@contextmanager
def _keys() -> Iterator[_Keys]:
    """Read keys without waiting for a line; the terminal is restored whatever happens, SIGTERM included."""
    import termios
    import tty

    def leave(_: int, __: FrameType | None) -> None:
        sys.exit(_KILLED_BY_TERM)

    before_signal = signal.signal(signal.SIGTERM, leave)
    is_terminal = sys.stdin.isatty()
    before = termios.tcgetattr(sys.stdin) if is_terminal else None
    try:
        if is_terminal:
            tty.setcbreak(sys.stdin, termios.TCSADRAIN)
        yield _Keys(is_terminal=is_terminal)
    finally:
        if before is not None:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
        signal.signal(signal.SIGTERM, before_signal)
