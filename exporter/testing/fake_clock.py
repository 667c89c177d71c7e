"""A clock that stands still until it is moved."""

from __future__ import annotations

__all__ = ["FakeClock"]


class FakeClock:
    """A ``Clock`` for tests: both times move only by ``advance``.

    Args:
        monotonic_s: seconds since boot at the start.
        wall_s: seconds since the Unix epoch at the start.
    """

    def __init__(self, *, monotonic_s: float = 1000.0, wall_s: float = 1_750_000_000.0) -> None:
        self._monotonic_s = monotonic_s
        self._wall_s = wall_s

    def monotonic_s(self) -> float:
        """Return seconds since boot."""
        return self._monotonic_s

    def wall_s(self) -> float:
        """Return seconds since the Unix epoch."""
        return self._wall_s

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass on both clocks.

        Raises:
            ValueError: ``seconds`` is negative; the monotonic clock never steps back.
        """
        if seconds < 0:
            raise ValueError(f"expected seconds to pass, got {seconds}")
        self._monotonic_s += seconds
        self._wall_s += seconds

    def step_wall(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an administrator or a time server does."""
        self._wall_s += seconds
