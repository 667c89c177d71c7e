"""A client that all zones share, and with it the provider's wish to be left alone for a while.

A limit on calls counts the key, not the zone: when one zone is told to wait, every zone waits.
"""

from __future__ import annotations

import threading

from exporter.carbon.live.poller import Credentials, Punctual
from exporter.carbon.records import IntensityClient, IntensitySeries, ZoneQuery
from exporter.clock import Clock
from exporter.errors import ProviderError

__all__ = ["UNSAID_WAIT_S", "PatientClient"]

UNSAID_WAIT_S = 60.0
"""Seconds of silence after a 429 that does not say for how long."""
_USUAL_DELAY_S = 60.0
_LONGEST_WAIT_S = 86_400.0


class PatientClient:
    """Asks ``client`` unless it said a moment ago that it has had enough. Thread-safe.

    Attributes:
        provider: the client's.
        usual_delay_s: the client's, or a minute.
        requests: questions that did reach the client.
        keys_seen: how often its key was found to be another one.
    """

    def __init__(self, client: IntensityClient, clock: Clock) -> None:
        self.provider = client.provider
        self.usual_delay_s = client.usual_delay_s if isinstance(client, Punctual) else _USUAL_DELAY_S
        self.requests = self.keys_seen = 0
        self._client = client
        self._clock = clock
        self._lock = threading.Lock()
        self._resume_s = 0.0

    def credentials_changed(self) -> bool:
        """Return whether the client's key file differs from that of the last question."""
        return isinstance(self._client, Credentials) and self._client.credentials_changed()

    def fetch(self, query: ZoneQuery, *, now_s: float) -> IntensitySeries:
        """Return what the client returns; raises what it raises, and rate_limited while it wants to be left alone."""
        with self._lock:
            if self.credentials_changed():
                self.keys_seen += 1
                self._resume_s = 0.0
            left_s = self._resume_s - self._clock.monotonic_s()
            if left_s > 0:
                text = f"{self.provider} wants to be left alone for another {left_s:.0f} s"
                raise ProviderError(self.provider, "rate_limited", text, retry_after_s=left_s)
            self.requests += 1
        try:
            return self._client.fetch(query, now_s=now_s)
        except ProviderError as exc:
            if exc.reason == "rate_limited":
                wait_s = UNSAID_WAIT_S if exc.retry_after_s is None else min(exc.retry_after_s, _LONGEST_WAIT_S)
                with self._lock:
                    self._resume_s = self._clock.monotonic_s() + wait_s
            raise
