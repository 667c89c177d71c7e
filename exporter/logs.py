"""Log lines: logfmt or JSON on standard error, capped in rate, and one line per change of a source's state.

User-controlled text cannot forge a line: control characters are escaped in both formats.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TextIO

from exporter.health import Finding, State

__all__ = ["HealthLog", "JsonFormatter", "LogfmtFormatter", "RateCap", "set_up_logs"]

_log = logging.getLogger(__name__)
_STANDARD = frozenset(vars(logging.LogRecord("", 0, "", 0, "", None, None))) | {"message", "asctime", "taskName"}
_VALUE_LIMIT = 2000


def _fields(record: logging.LogRecord) -> dict[str, object]:
    moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    fields: dict[str, object] = {"ts": moment, "level": record.levelname.lower(), "msg": record.getMessage()}
    fields |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
    if record.exc_info:
        fields["exception"] = logging.Formatter().formatException(record.exc_info)
    return fields


def _quoted(value: object) -> str:
    text = str(value)[:_VALUE_LIMIT]
    is_bare = text.isprintable() and text and not any(character in ' "=\\' for character in text)
    return text if is_bare else json.dumps(text, ensure_ascii=not text.isprintable())


class LogfmtFormatter(logging.Formatter):
    """``key=value`` pairs; values with blanks, quotes or control characters are quoted and escaped as in JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        return " ".join(f"{key}={_quoted(value)}" for key, value in _fields(record).items())


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        fields = _fields(record)
        return json.dumps({key: value if isinstance(value, int) else str(value) for key, value in fields.items()})


class RateCap(logging.Filter):
    """Lets ``limit`` records through per ``window_s`` seconds of ``now_s``; the next says how many were dropped."""

    def __init__(self, limit: int = 100, window_s: float = 10.0, now_s: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._limit, self._window_s, self._now_s = limit, window_s, now_s
        self._window_from_s = now_s()
        self._passed = self._dropped = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is written."""
        if self._now_s() - self._window_from_s >= self._window_s:
            self._window_from_s, self._passed = self._now_s(), 0
        self._passed += 1
        if self._passed > self._limit:
            self._dropped += 1
            return False
        if self._dropped:
            record.dropped_before = self._dropped
            self._dropped = 0
        return True


def set_up_logs(level: str, log_format: str, stream: TextIO | None = None) -> None:
    """Send this package's logs of ``level`` and above to ``stream`` (standard error) as ``logfmt`` or ``json``."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else LogfmtFormatter())
    handler.addFilter(RateCap())
    logger = logging.getLogger("exporter")
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False
    logging.raiseExceptions = False  # a full disk or closed pipe behind standard error must not end the loop


class HealthLog:
    """Turns findings into log lines, one per change of state; what is fine from the start is said at info."""

    def __init__(self) -> None:
        self._states: Mapping[tuple[str, str], State] = {}

    def note(self, findings: Sequence[Finding]) -> None:
        """Log every finding whose state is not what it was in the previous call."""
        before = self._states
        self._states = {(f.source, f.item): f.state for f in findings}
        if self._states == before:
            return
        for finding in findings:
            if before.get((finding.source, finding.item)) != finding.state:
                _log_finding(finding)


def _log_finding(finding: Finding) -> None:
    level = logging.WARNING if finding.state in ("down", "degraded") else logging.INFO
    texts = {"item": finding.item, "detail": finding.detail, "remedy": finding.remedy}
    extra = {"source": finding.source, "state": finding.state} | {key: text for key, text in texts.items() if text}
    _log.log(level, "source %s", finding.state, extra=extra)
