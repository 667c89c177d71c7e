"""The agent: one node's accounts on a fixed clock, served over HTTP from memory.

The loop runs in the thread that calls ``run``; the server has its own. A scrape reads the last snapshot and nothing
else. Signals only set flags: what they ask for happens between two ticks.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace

from exporter.clock import Clock
from exporter.config import Settings
from exporter.config.reloading import Reloading
from exporter.config.web_config import make_access
from exporter.errors import ExporterError
from exporter.exposition import Server, SnapshotBoard, WebApp
from exporter.exposition.web_config import Access
from exporter.host import Roots
from exporter.ledger import Snapshot
from exporter.logs import HealthLog
from exporter.node import GpuFactory, Node, hardware_gpus

__all__ = ["DRIVER_CHANGED_EXIT", "Agent"]

_log = logging.getLogger(__name__)

DRIVER_CHANGED_EXIT = 3
"""Exit code of an agent that ends because a GPU driver was replaced under it: a supervisor should start it again."""


class Agent:
    """Samples, serves and saves until it is told to stop.

    Args:
        settings: everything that can be set.
        roots: where the host's kernel interfaces are mounted.
        clock: the time.
        reload: returns new settings or raises ConfigError; called between two ticks after ``request_reload``.
        make_gpus: builds what reads the GPUs; this machine's unless given.
        simulated: what is simulated, for every output to say so; empty: nothing.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        roots: Roots,
        clock: Clock,
        reload: Callable[[], Settings] | None = None,
        make_gpus: GpuFactory = hardware_gpus,
        simulated: str = "",
    ) -> None:
        self.board = SnapshotBoard(clock)
        self._app = WebApp(self.board, settings.web)
        self._access: Access | None = None
        self._settings = settings
        self._clock = clock
        self._reloading = Reloading(reload, clock, _log)
        self._node = Node(settings, roots=roots, clock=clock, make_gpus=make_gpus)
        self._simulated = simulated
        self._release_s: float | None = None
        self._exit_code = 0
        self._health_log = HealthLog()
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._reload_is_due = False
        self._started = False

    def run(self) -> int:
        """Serve and sample until ``stop``; return the process's exit code.

        0; 1 if the address cannot be bound or guarded as configured; 3 if a GPU driver was replaced, so that only a new
        process can go on.
        """
        web = self._settings.web
        try:
            self._access = make_access(web)
            server = Server(web.listen_addresses, self._app, web, access=self._access)
            server.start()
        except ExporterError as exc:
            _log.error("cannot serve", extra={"reason": str(exc)})
            return 1
        try:
            addresses = ",".join(server.urls)
            _log.info("serving", extra={"addresses": addresses})
            self._loop()
        finally:
            try:
                server.stop()
            finally:
                self.close()
            _log.info("stopped")
        return self._exit_code

    def stop(self) -> None:
        """Ask ``run`` to take a last sample, save and return. Safe in a signal handler."""
        self._stop.set()
        self._wake.set()

    def request_reload(self) -> None:
        """Ask for the configuration to be read again between two ticks. Safe in a signal handler."""
        self._reload_is_due = True
        self._wake.set()

    def request_gpu_release(self, *, is_wanted: bool) -> None:
        """Ask for the GPU drivers to be let go for a while, or to be taken again. Safe in a signal handler."""
        self._release_s = self._settings.gpus.release_s if is_wanted else 0.0
        self._wake.set()

    def tick(self, *, is_late: bool = False) -> Snapshot:
        """Take one sample, publish and return it; the first call also takes over the saved state."""
        if not self._started:
            self.start()
        return self._publish(self._node.tick(is_late=is_late))

    def start(self) -> Snapshot:
        """Take over the saved state and set the baselines without an interval; publish and return the totals."""
        self._started = True
        return self._publish(self._node.start(), is_sample=False)

    def close(self) -> None:
        """Save everything and release what is open."""
        self._node.close()

    def _loop(self) -> None:
        self.start()
        due_s = self._clock.monotonic_s() + self._settings.sampling.interval_s
        while not self._stop.is_set():
            self._wake.wait(max(due_s - self._clock.monotonic_s(), 0.0))
            self._wake.clear()
            late_s = self._clock.monotonic_s() - due_s
            if late_s >= 0 or self._stop.is_set():
                interval_s = self._settings.sampling.interval_s
                self.tick(is_late=late_s > interval_s / 2)
                due_s += interval_s * (1 + max(int(late_s / interval_s), 0))
            if self._reload_is_due:
                self._reload_is_due = False
                self._apply_reload()
            if self._release_s is not None:
                self._apply_release()
            if self._node.driver_change and self._settings.gpus.exit_on_driver_change:
                self._exit_code = DRIVER_CHANGED_EXIT
                _log.error(
                    "ending to be started again with the new GPU driver", extra={"reason": self._node.driver_change}
                )
                self.stop()

    def _apply_release(self) -> None:
        seconds, self._release_s = self._release_s or 0.0, None
        self._node.release_gpus(seconds)
        if seconds > 0:
            _log.warning("GPU drivers let go on request", extra={"seconds": seconds})
        else:
            _log.info("GPU drivers taken again on request")

    def _apply_reload(self) -> None:
        settings = self._reloading.changed(self._settings)
        if settings is None:
            return
        if settings.web != self._settings.web or settings.ledger.state_path != self._settings.ledger.state_path:
            _log.warning("changes of web and of ledger.state_path take effect at the next start")
        self._settings = settings
        self._node.reconfigure(settings)
        _log.info("configuration reloaded")

    def _publish(self, snapshot: Snapshot, *, is_sample: bool = True) -> Snapshot:
        stats = replace(
            snapshot.agent,
            config_reload_ok=self._reloading.is_good,
            config_loaded_s=self._reloading.loaded_s,
            simulated=self._simulated,
        )
        snapshot = replace(snapshot, agent=stats)
        self._health_log.note(snapshot.findings)
        if self._access is not None:  # which writes its own line
            snapshot = replace(snapshot, findings=(*snapshot.findings, self._access.finding()))
        self.board.publish(snapshot, is_sample=is_sample)
        self._app.prepare()
        return snapshot
