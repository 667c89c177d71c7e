"""The errors this package raises, as a tree.

* ``ExporterError``
* ``ConfigError``: a setting is wrong: exit 2
* ``StateError``: the state file cannot be used: start without it
* ``SourceError``: a sensor, kernel file or API failed; its kinds:
  ``SourceFormatError`` (an answer its format does not allow), ``SourceUnsupportedError`` (the hardware or kernel
  does not have it), ``SourcePermissionError`` (it exists and we may not read it), ``DeviceLostError`` (it is gone),
  ``SourceBusyError`` (nothing to read right now), ``DriverGoneError`` (the driver behind all devices went away),
  ``DriverReplacedError`` (another driver was loaded: only a new process can talk to it),
  ``ProviderError`` (a provider of carbon intensity gave no usable answer).
"""

from __future__ import annotations

__all__ = [
    "ConfigError",
    "DeviceLostError",
    "DriverGoneError",
    "DriverReplacedError",
    "ExporterError",
    "ProviderError",
    "SourceBusyError",
    "SourceError",
    "SourceFormatError",
    "SourcePermissionError",
    "SourceUnsupportedError",
    "StateError",
]


class ExporterError(Exception):
    """Base of every error raised on purpose by this package."""


class ConfigError(ExporterError):
    """The configuration cannot be used.

    Attributes:
        problems: every mistake found, one complete sentence each, in file order.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class StateError(ExporterError):
    """The state file is missing, foreign, damaged or unwritable."""


class SourceError(ExporterError):
    """A source could not be read.

    Attributes:
        source: the source's fixed name, as in the ``source`` label.
        reason: a fixed word for the ``reason`` label of the error counter.
    """

    reason = "io"

    def __init__(self, source: str, message: str) -> None:
        super().__init__(message)
        self.source = source


class ProviderError(SourceError):
    """A provider of carbon intensity gave no usable answer.

    Attributes:
        reason: one of the fixed words of ``REASONS``.
        retry_after_s: seconds after which the provider wants to be asked again, or None where it did not say.
    """

    REASONS = (
        "auth",  # 401, 403: key, account or plan
        "not_found",  # the zone is not covered, or has no data now
        "rate_limited",  # 429
        "server",  # 5xx
        "timeout",
        "io",  # no connection, no name, TLS
        "format",  # not what the interface promises
        "sandbox",  # invented numbers
        "wrong_zone",  # another zone than asked for
        "implausible",  # a value no grid has
        "stale",  # older than promised
        "future",  # from a time to come
    )

    def __init__(self, source: str, reason: str, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(source, message)
        self.reason = reason
        self.retry_after_s = retry_after_s


class SourceFormatError(SourceError):
    """A source answered text or bytes that its format does not allow."""

    reason = "format"


class SourceUnsupportedError(SourceError):
    """The hardware, kernel or driver does not offer this."""

    reason = "unsupported"


class SourcePermissionError(SourceError):
    """The source exists, but this process may not read it."""

    reason = "permission"


class DeviceLostError(SourceError):
    """The device answered before and is gone now."""

    reason = "lost"


class SourceBusyError(SourceError):
    """The source is there and has nothing to say right now; the next read may work."""

    reason = "busy"


class DriverGoneError(SourceError):
    """The driver behind all devices of a source went away; it may come back and be opened again."""

    reason = "driver_gone"


class DriverReplacedError(SourceError):
    """Another version of the driver was loaded than the library of this process; only a new process can use it."""

    reason = "driver_replaced"
