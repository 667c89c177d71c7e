"""One driver, open or let go. Both calls are made in a worker, where they may hang as long as they like."""

from __future__ import annotations

from collections.abc import Sequence

from exporter.sensors.gpu.records import GpuDriver, GpuFacts
from exporter.sensors.gpu.worker import Call, Worker, wait_for

__all__ = ["DriverSession"]

_RELEASE_TIMEOUT_S = 3.0


class DriverSession:
    """Opens the driver by looking for GPUs, and closes it. One thread calls it.

    Attributes:
        is_open: whether the driver was opened and not closed since.
        number: counts up with each closing: what began under another number belongs to a driver that is gone.
        has_pending_look: whether a look has not returned yet.
    """

    def __init__(self, driver: GpuDriver) -> None:
        self.is_open = False
        self.number = 0
        self._driver = driver
        self._worker: Worker | None = None
        self._look: Call[Sequence[GpuFacts]] | None = None
        self._look_number = 0
        self._release: Call[None] | None = None

    @property
    def has_pending_look(self) -> bool:
        """Whether a look has not returned yet."""
        return self._look is not None

    def begin_look(self) -> Call[Sequence[GpuFacts]] | None:
        """Start a look for GPUs, which opens the driver; None while an earlier look or a release has not returned."""
        if self._look is not None or not self._is_released():
            return None
        self._worker = self._worker or Worker(f"{self._driver.source}-driver")
        self._look, self._look_number = self._worker.start(self._driver.look), self.number
        return self._look

    def end_look(self) -> Call[Sequence[GpuFacts]] | None:
        """Return the look that has returned, once; None if there is none, or the driver was closed meanwhile."""
        look = self._look
        if look is None or not look.is_done():
            return None
        self._look = None
        return look if self._look_number == self.number else None

    def _is_released(self) -> bool:
        if self._release is not None and self._release.is_done():
            self._release = None
        return self._release is None

    def close(self) -> None:
        """Let go of the driver, after a look that has not returned. Waits a few seconds at most."""
        self.is_open = False
        self.number += 1
        if self._worker is None or not self._is_released():
            return
        self._release = self._worker.start(self._driver.release)
        if self._look is None:
            wait_for([self._release], timeout_s=_RELEASE_TIMEOUT_S)

    def end(self) -> None:
        """Let the thread go once its calls have returned."""
        if self._worker is not None:
            self._worker.end()
            self._worker = None
