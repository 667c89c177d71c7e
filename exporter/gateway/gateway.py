"""The gateway's loop: what agents ask for is fetched, what is fetched is kept, and changes of state are said once.

Three kinds of thread: the server's answers from memory, one for each provider fetches, and the loop, which runs in the
thread that calls ``run``, does the rest. Signals only set flags.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from exporter.carbon.live import CacheEntry, load, save
from exporter.carbon.providers import make_client
from exporter.carbon.records import IntensityClient, IntensitySeries
from exporter.carbon.settings import CarbonSettings, ProviderSettings
from exporter.clock import Clock
from exporter.config import Settings
from exporter.config.reloading import Reloading
from exporter.config.web_config import make_access
from exporter.errors import ExporterError
from exporter.exposition import Server
from exporter.gateway.app import GatewayApp
from exporter.gateway.metrics import PageContent
from exporter.gateway.records import Demand
from exporter.gateway.upstreams import Upstreams
from exporter.gateway.zone_book import ZoneBook
from exporter.health import Finding
from exporter.logs import HealthLog

__all__ = ["Gateway", "MakeClient"]

_log = logging.getLogger(__name__)
_TURN_S = 5.0
_HUNG_AFTER_S = 60.0


class MakeClient(Protocol):
    """What makes the client of a provider."""

    def __call__(self, settings: ProviderSettings, carbon: CarbonSettings) -> IntensityClient:
        """Return the client."""
        ...


class Gateway:
    """Fetches, keeps and serves until it is told to stop.

    Args:
        settings: everything that can be set; ``gateway.state_path`` is a path, or empty for none.
        clock: the time.
        reload: returns new settings or raises ConfigError; called after ``request_reload``.
        make: makes the client of a provider.
        procfs: where this process finds itself, for its own metrics.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock,
        reload: Callable[[], Settings] | None = None,
        make: MakeClient = make_client,
        procfs: Path = Path("/proc"),
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._reloading = Reloading(reload, clock, _log)
        self._make = make
        self._path = Path(settings.gateway.state_path) if settings.gateway.state_path else None
        self._book = ZoneBook(settings.gateway, settings.carbon, clock)
        self._saved = ""
        self._is_reload_due = False
        self._turned_s = clock.monotonic_s()
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._health_log = HealthLog()
        own = procfs if settings.web.process_metrics else None
        self.app = GatewayApp(self, telemetry_path=settings.web.telemetry_path, procfs=own)
        self.upstreams = self._make_upstreams(self._load())

    def run(self) -> int:
        """Serve and fetch until ``stop``; return the exit code: 0, or 1 if an address cannot be listened on."""
        web = self._settings.web
        try:
            server = Server(self._settings.gateway.listen_addresses, self.app, web, access=make_access(web))
            server.start()
        except ExporterError as exc:
            _log.error("cannot serve", extra={"reason": str(exc)})
            return 1
        try:
            addresses = ",".join(server.urls)
            _log.info("serving", extra={"addresses": addresses, "zones": len(self._book.zones())})
            self.upstreams.start()
            while not self._stop.is_set():
                self.turn()
                self._wake.wait(_TURN_S)
                self._wake.clear()
        finally:
            self.upstreams.stop()
            server.stop()
            self.save()
            _log.info("stopped")
        return 0

    def stop(self) -> None:
        """Ask ``run`` to save and return."""
        self._stop.set()
        self._wake.set()

    def request_reload(self) -> None:
        """Ask for the configuration to be read again."""
        self._is_reload_due = True
        self._wake.set()

    def turn(self) -> None:
        """Do what is due: take new settings, fetch what is asked for, forget what is not, say what has changed."""
        if self._is_reload_due:
            self._is_reload_due = False
            self._apply_reload()
        answered = [d.grid_zone for d in self._book.demands() if self.upstreams.series(d) is not None]
        for zone in self._book.forget(answered):
            _log.info("zone is no longer fetched", extra={"grid_zone": zone})
        self.upstreams.fetch(self._book.demands())
        self._health_log.note([*self.upstreams.findings(), *self._state_findings()])
        self._turned_s = self._clock.monotonic_s()

    def ask(self, demand: Demand) -> str:
        """Note an agent's question; return why it is not served, else nothing. From any thread."""
        is_known = demand.grid_zone in self._book
        refusal = self._book.ask(demand.grid_zone, demand.signal)
        if not refusal and not is_known:
            _log.info("zone is fetched from now on", extra={"grid_zone": demand.grid_zone})
            self._wake.set()
        return refusal

    def series(self, demand: Demand) -> IntensitySeries | None:
        """Return what is served, or None. From any thread."""
        return self.upstreams.series(demand)

    def due_in_s(self, demand: Demand) -> float:
        """Return seconds until a provider is asked for it next. From any thread."""
        return self.upstreams.due_in_s(demand)

    def content(self) -> PageContent:
        """Return what the pages show. From any thread."""
        return PageContent(
            now_s=self._clock.wall_s(),
            zones=self.upstreams.states(self._book.zones()),
            counts=self.upstreams.counts(),
            max_zones=self._settings.gateway.max_zones,
            state_saved=None if self._path is None else not self._saved,
            config_is_good=self._reloading.is_good,
            config_loaded_s=self._reloading.loaded_s,
        )

    def complaint(self) -> str:
        """Return that the loop hangs, if it does. From any thread."""
        age_s = self._clock.monotonic_s() - self._turned_s
        return (
            f"the loop has not turned for {age_s:.0f} s, expected every {_TURN_S:g} s" if age_s > _HUNG_AFTER_S else ""
        )

    def save(self) -> None:
        """Write what is known to the state file, if there is one."""
        if self._path is not None:
            self._saved = save(self._path, self.upstreams.entries())

    def _load(self) -> list[CacheEntry]:
        """Return what an earlier process knew; its learned zones are fetched again."""
        if self._path is None:
            return []
        loaded = load(self._path)
        if loaded.note:
            _log.warning("state file", extra={"reason": loaded.note})
        self._book.learn(Demand(entry.series.grid_zone, entry.series.signal) for entry in loaded.entries)
        return list(loaded.entries)

    def _make_upstreams(self, known: list[CacheEntry]) -> Upstreams:
        upstreams = Upstreams(
            self._settings.carbon,
            max_age_s=self._settings.gateway.max_age_s,
            clock=self._clock,
            save=self.save,
            make=self._make_client,
        )
        upstreams.restore(known)
        upstreams.fetch(self._book.demands())
        return upstreams

    def _make_client(self, provider: ProviderSettings, carbon: CarbonSettings) -> IntensityClient:
        """Return the client of ``provider``. What a file says without zone is of the only zone of the gateway."""
        zones = self._settings.gateway.zones
        if provider.kind == "file" and len(zones) == 1:
            carbon = replace(carbon, grid_zone=zones[0])
        return self._make(provider, carbon)

    def _state_findings(self) -> list[Finding]:
        if self._path is None:
            return []
        if not self._saved:
            return [Finding(source="state_file", state="up", detail=str(self._path))]
        remedy = "make gateway.state_path a writable file, or empty where nothing is to be kept"
        return [Finding(source="state_file", state="down", detail=self._saved, remedy=remedy)]

    def _apply_reload(self) -> None:
        settings = self._reloading.changed(self._settings)
        if settings is None:
            return
        before, self._settings = self._settings, settings
        fixed = [(s.web, s.log, s.gateway.listen_addresses, s.gateway.state_path) for s in (before, settings)]
        if fixed[0] != fixed[1]:
            _log.warning("changes of web, log, gateway.listen_addresses and gateway.state_path need a new start")
        self._book.reconfigure(settings.gateway, settings.carbon)
        if _of_upstreams(settings) != _of_upstreams(before):
            old = self.upstreams
            old.stop()
            self.upstreams = self._make_upstreams(old.entries())
            self.upstreams.start()
        _log.info("configuration reloaded")


def _of_upstreams(settings: Settings) -> tuple[object, ...]:
    """Return the settings that ``Upstreams`` and its clients are made from."""
    zones = settings.gateway.zones
    return settings.carbon, settings.gateway.max_age_s, zones if len(zones) == 1 else ()
