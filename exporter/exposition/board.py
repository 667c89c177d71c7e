"""The last snapshot, handed from the loop's thread to every reader's."""

from __future__ import annotations

from exporter.clock import Clock
from exporter.ledger.snapshot import Snapshot

__all__ = ["SnapshotBoard"]


class SnapshotBoard:
    """Holds the last published snapshot. One thread publishes, any thread reads; neither waits for the other."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last: tuple[Snapshot, float] | None = None
        self._has_sample = False

    def publish(self, snapshot: Snapshot, *, is_sample: bool = True) -> None:
        """Make ``snapshot`` the one that readers see; the one that a start begins with covers no interval yet."""
        self._last = (snapshot, self._clock.monotonic_s())
        self._has_sample = self._has_sample or is_sample

    @property
    def has_sample(self) -> bool:
        """Whether a snapshot was published that covers an interval."""
        return self._has_sample

    def latest(self) -> Snapshot | None:
        """Return the last snapshot, or None before the first."""
        last = self._last
        return last[0] if last else None

    def age_s(self) -> float | None:
        """Return seconds since the last publication, or None before the first."""
        last = self._last
        return self._clock.monotonic_s() - last[1] if last else None
