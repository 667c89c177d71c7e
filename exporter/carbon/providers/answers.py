"""What all providers' answers have in common: HTTP status, JSON, times; and how each failure becomes a reason.

Nothing an answer holds may raise anything but ``ProviderError``, and nothing secret may get into its text.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from exporter import __version__
from exporter.errors import ProviderError
from exporter.web_client import Answer, HttpError, WebClient

__all__ = [
    "FORECAST_HOURS",
    "MalformedError",
    "clean",
    "get",
    "items_of",
    "number_of",
    "parse_json",
    "reading",
    "record_of",
    "refuse_future",
    "retry_after_s",
    "text_of",
    "time_of",
    "user_agent",
    "utc_text",
    "without_secrets",
]

FORECAST_HOURS = 48
"""Hours of forecast asked for: every start within a day of work that takes as long."""
_SHOWN = 80
_SKEW_S = 300.0
"""Seconds by which the provider's clock may be ahead of ours."""
_LONGEST_RETRY_S = 86_400.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STATUS_REASONS: Mapping[int, str] = {
    400: "not_found",
    401: "auth",
    403: "auth",
    404: "not_found",
    408: "timeout",
    429: "rate_limited",
}
_HIDDEN = "(hidden)"
_SHORTEST_SECRET = 3
"""Characters; anything shorter would hide half of every text."""


class MalformedError(ValueError):
    """An answer is not what the interface promises; ``reading`` makes a ``ProviderError`` of it."""


def user_agent() -> str:
    """Return who asks; Electricity Maps blocks programs that do not say."""
    return f"wattribute/{__version__}"


@contextmanager
def reading(source: str, secrets: Sequence[str] = ()) -> Iterator[None]:
    """Turn whatever a body can provoke while it is read into a ``ProviderError`` with reason format.

    ``secrets`` never appear in its text, even if the server sent them back.
    """
    try:
        yield
    except MalformedError as exc:
        text = without_secrets(str(exc), secrets)
        raise ProviderError(source, "format", f"{source} answered unexpectedly: {text}") from None


def get(
    client: WebClient,
    source: str,
    path: str,
    query: Mapping[str, str] | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    secrets: Sequence[str] = (),
    statuses: Sequence[int] = (200,),
    now_s: float,
) -> bytes:
    """Return the body of a good answer to GET.

    Args:
        client: where to ask.
        source: the provider's kind, for errors.
        path: after the client's base address.
        query: parameters.
        headers: further ones.
        secrets: what never appears in an error, even if the server sends it back.
        statuses: those of good answers.
        now_s: wall clock, for a ``Retry-After`` that is a date.

    Raises:
        ProviderError: no answer, or one of another status.
    """
    try:
        answer = client.get(path, query, headers=headers)
    except HttpError as exc:
        reason = "format" if exc.reason == "too_large" else exc.reason
        raise ProviderError(source, reason, f"{source}: {without_secrets(str(exc), secrets)}") from None
    if answer.status not in statuses:
        raise _status_error(answer, source, secrets, now_s)
    return answer.body


def refuse_future(source: str, from_s: float, now_s: float) -> None:
    """Raise ``ProviderError`` if the present interval is said to start later than ``now_s`` and a little."""
    if from_s > now_s + _SKEW_S:
        raise ProviderError(
            source, "future", f"{source} answered for {from_s - now_s:.0f} s ahead; is this machine's clock right?"
        )


def _status_error(answer: Answer, source: str, secrets: Sequence[str], now_s: float) -> ProviderError:
    """Return the error that a status and its body, in any format, stand for."""
    reason = _STATUS_REASONS.get(answer.status, "server" if answer.status // 100 == 5 else "format")  # noqa: PLR2004
    said = clean(without_secrets(_message(answer.body), secrets))
    text = f"{source} answered {answer.status}" + (f": {said}" if said else "")
    return ProviderError(source, reason, text, retry_after_s=retry_after_s(answer.headers, now_s))


def _message(body: bytes) -> str:
    """Return what an error's body says for people: ``error``, ``message``, or both one level down, else itself."""
    try:
        content = parse_json(body)
    except MalformedError:
        return body[:4096].decode(errors="replace")
    if isinstance(content, dict) and isinstance(content.get("error"), dict):
        content = content["error"]
    if isinstance(content, dict):
        return next((content[key] for key in ("message", "error") if isinstance(content.get(key), str)), "")
    return ""


def retry_after_s(headers: Mapping[str, str], now_s: float) -> float | None:
    """Return after how many seconds to ask again (RFC 9110 §10.2.3: seconds or a date), at most a day; None: unsaid."""
    from email.utils import parsedate_to_datetime

    value = headers.get("retry-after", "").strip()[:64]
    if value.isascii() and value.isdigit():
        return min(float(value), _LONGEST_RETRY_S)
    try:
        at_s = (parsedate_to_datetime(value).replace(tzinfo=UTC) - _EPOCH).total_seconds()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return min(max(at_s - now_s, 0.0), _LONGEST_RETRY_S)


def clean(text: str) -> str:
    """Return at most 80 printable characters of ``text`` on one line, without markup."""
    import re

    plain = re.sub(r"<[^<>]{0,2000}>", " ", text[:8192])
    words = "".join(char if char.isprintable() else " " for char in plain).split()
    return " ".join(words)[:_SHOWN]


def without_secrets(text: str, secrets: Sequence[str]) -> str:
    """Return ``text`` with every secret hidden, one whose end was cut off with the text too."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, _HIDDEN)
            text = _without_cut_off(text, secret)
    return text


def _without_cut_off(text: str, secret: str) -> str:
    """Hide the beginning of ``secret`` where ``text`` ends with it; a quote may follow, as in a shown text."""
    bare = text.rstrip("'\"")
    for length in range(min(len(secret) - 1, len(bare)), _SHORTEST_SECRET - 1, -1):
        if bare.endswith(secret[:length]):
            return bare[:-length] + _HIDDEN + text[len(bare) :]
    return text


def parse_json(body: bytes) -> object:
    """Return the JSON value in ``body``. Raises ``MalformedError`` for anything else, NaN and infinity included."""
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError):
        start = clean(body[:1024].decode(errors="replace"))
        raise MalformedError(f"expected JSON, found {start!r}") from None


def _refuse(word: str) -> object:
    raise ValueError(word)


def record_of(value: object, what: str) -> Mapping[str, object]:
    """Return ``value`` if it is a JSON object, else raise ``MalformedError`` naming ``what``."""
    if not isinstance(value, dict):
        raise MalformedError(f"expected an object as {what}, found {_shown(value)}")
    return value


def items_of(value: object, what: str) -> Sequence[object]:
    """Return ``value`` if it is a JSON list, else raise ``MalformedError`` naming ``what``."""
    if not isinstance(value, list):
        raise MalformedError(f"expected a list as {what}, found {_shown(value)}")
    return value


def text_of(value: object, what: str) -> str:
    """Return ``value`` if it is a string, else raise ``MalformedError`` naming ``what``."""
    if not isinstance(value, str):
        raise MalformedError(f"expected text as {what}, found {_shown(value)}")
    return value


def number_of(value: object, what: str) -> float:
    """Return ``value`` if it is a finite number of at least 0, else raise ``MalformedError`` naming ``what``."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number) and number >= 0:
            return number
    raise MalformedError(f"expected a number of at least 0 as {what}, found {_shown(value)}")


def time_of(value: object, what: str) -> float:
    """Return the wall-clock seconds of an ISO 8601 time with an offset, else raise ``MalformedError``."""
    try:
        moment = datetime.fromisoformat(text_of(value, what))
        if moment.tzinfo is not None:
            return (moment - _EPOCH) / timedelta(seconds=1)
    except MalformedError:
        raise
    except (ValueError, OverflowError):
        pass
    raise MalformedError(f"expected a time with an offset as {what}, found {_shown(value)}")


def utc_text(wall_s: float, form: str) -> str:
    """Return a wall-clock time in UTC in the form of ``strftime``."""
    return (_EPOCH + timedelta(seconds=wall_s)).strftime(form)


def _shown(value: object) -> str:
    if isinstance(value, dict | list):
        return f"a {'list' if isinstance(value, list) else 'object'} of {len(value)}"
    return repr(clean(value) if isinstance(value, str) else str(value)[:_SHOWN])
