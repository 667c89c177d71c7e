"""Reading the configuration again while a program runs: what is wrong changes nothing and is logged."""

from __future__ import annotations

import logging
from collections.abc import Callable

from exporter.clock import Clock
from exporter.config.settings import Settings
from exporter.errors import ConfigError

__all__ = ["Reloading"]


class Reloading:
    """How the configuration in force was come by.

    Args:
        load: returns new settings or raises ConfigError; None: there is no file to read again.
        clock: the time.
        log: of the program, which says what came of it.

    Attributes:
        is_good: whether the last attempt succeeded.
        loaded_s: wall-clock time of the last that did.
    """

    def __init__(self, load: Callable[[], Settings] | None, clock: Clock, log: logging.Logger) -> None:
        self._load = load
        self._clock = clock
        self._log = log
        self.is_good = True
        self.loaded_s = clock.wall_s()

    def changed(self, current: Settings) -> Settings | None:
        """Return the settings as they are on disk, or None if there is nothing to do: equal, wrong or no file."""
        if self._load is None:
            self._log.warning("nothing to reload: started without a configuration file")
            return None
        try:
            settings = self._load()
        except ConfigError as exc:
            self.is_good = False
            for problem in exc.problems:
                self._log.error("configuration kept", extra={"problem": problem})
            return None
        self.is_good = True
        self.loaded_s = self._clock.wall_s()
        if settings == current:
            self._log.info("configuration reloaded, nothing changed")
            return None
        return settings
