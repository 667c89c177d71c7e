"""Queries to anything that speaks Prometheus' HTTP API: Prometheus, Thanos, Mimir, VictoriaMetrics.

Source: https://prometheus.io/docs/prometheus/latest/querying/api/. Knows nothing of what is asked for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from exporter.errors import ConfigError, ExporterError
from exporter.web_client import Answer, HttpError, WebClient

__all__ = ["Access", "Instant", "Labels", "PrometheusApi", "PrometheusError", "Raw", "quoted"]

Labels = tuple[tuple[str, str], ...]
"""Labels of a series without its name, ordered by label name."""

_MOST_BYTES = 128 << 20
_SHOWN = 300
_OK = 200
_NO_POST = (405, 501)
_TOO_LARGE = re.compile(
    r"too many|too large|exceed|limit|max-samples|maxsamples|maxunique|timed out|timeout|out of memory", re.IGNORECASE
)
"""What servers say of a query that a shorter range would mend: their limits on samples, series, range and time."""
_REMEDIES = {
    301: "give the address that it is redirected to",
    302: "is a login page before it? give the address of the server itself",
    400: "does the address name a Prometheus-compatible server, with its path prefix?",
    401: "give a token with --prometheus.bearer-token-file, or a user and password as files",
    403: "may this user query, and is the tenant (--prometheus.header X-Scope-OrgID=NAME) right?",
    404: "add the server's path prefix to --prometheus.url, for example /prometheus (Mimir) or /select/0/prometheus",
    429: "the server limits how often it may be asked; try again later",
}


_Json = dict[str, Any]  # whatever a server sends; what does not fit is an error where it is used


class PrometheusError(ExporterError):
    """No usable answer. ``is_too_large``: a shorter range may be answered."""

    def __init__(self, message: str, *, is_too_large: bool = False) -> None:
        super().__init__(message)
        self.is_too_large = is_too_large


class Instant(NamedTuple):
    """A series' labels and its value at one moment, which may be no finite number."""

    labels: Labels
    value: float


class Raw(NamedTuple):
    """A series' labels and its stored samples, (Unix seconds, value), in order of time."""

    labels: Labels
    samples: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Where the server is and how it lets us in.

    Attributes:
        url: address with path prefix, without ``/api/v1``.
        bearer_token_file: file with a token, or empty.
        username_file, password_file: files for basic authentication, or empty.
        ca_file: certificates that may sign the server's, or empty.
        headers: sent with every query, for example the tenant's.
        timeout_s: seconds for one query.
    """

    url: str
    bearer_token_file: str = ""
    username_file: str = ""
    password_file: str = field(default="", repr=False)
    ca_file: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout_s: float = 60.0


class PrometheusApi:
    """Asks one server. Not thread-safe.

    Attributes:
        where: the server for people: scheme, host and port.
        warnings: what the server warned of, each once: a result may be partial.

    Raises:
        ConfigError: the access cannot be used; every mistake.
    """

    def __init__(self, access: Access) -> None:
        problems: list[str] = []
        parts = urlsplit(access.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            problems.append(
                "--prometheus.url: expected http://HOST or https://HOST, with a path prefix if there is one"
            )
        elif parts.username or parts.password:
            problems.append(
                "--prometheus.url: holds a user or password; give them as files, with --prometheus.username-file and "
                "--prometheus.password-file"
            )
        elif parts.query or parts.fragment:
            problems.append(
                "--prometheus.url: expected no ? or #; headers such as a tenant's go to --prometheus.header"
            )
        if access.ca_file and not Path(access.ca_file).is_file():
            problems.append(f"--prometheus.ca-file: {access.ca_file} does not exist")
        self._headers = {**access.headers, **_authorization(access, problems)}
        if problems:
            raise ConfigError(problems)
        self.where = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
        self.warnings: list[str] = []
        base = access.url.rstrip("/").removesuffix("/api/v1")
        self._client = WebClient(base, ca_file=access.ca_file, timeout_s=access.timeout_s, max_bytes=_MOST_BYTES)
        self._can_post = True
        self._has_answered = False

    def instant(self, expression: str, at_s: float) -> Sequence[Instant]:
        """Return the value of every series of ``expression`` at ``at_s``.

        Raises:
            PrometheusError: there is no usable answer.
        """
        try:
            return [
                Instant(_labels(series["metric"]), float(series["value"][1]))
                for series in self._result(expression, at_s, "vector")
            ]
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as exc:
            raise self._unusable("a series is not as the interface promises") from exc

    def raw(self, selector: str, at_s: float) -> Sequence[Raw]:
        """Return the stored samples of a range selector such as ``x{a="b"}[60s]`` that ends at ``at_s``.

        Raises:
            PrometheusError: there is no usable answer.
        """
        try:
            return [
                Raw(_labels(series["metric"]), [(float(at), float(value)) for at, value in series["values"]])
                for series in self._result(selector, at_s, "matrix")
            ]
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            raise self._unusable("a series is not as the interface promises") from exc

    def _result(self, expression: str, at_s: float, kind: str) -> Sequence[_Json]:
        document = self._document(self._answer({"query": expression, "time": f"{at_s:.3f}"}))
        data = document.get("data")
        if not isinstance(data, dict) or data.get("resultType") != kind or not isinstance(data.get("result"), list):
            raise self._unusable(f"expected data of type {kind}")
        for warning in document.get("warnings") or ():
            if (text := str(warning)[:_SHOWN]) not in self.warnings:
                self.warnings.append(text)
        self._has_answered = True
        result: list[_Json] = data["result"]
        return result

    def _answer(self, form: Mapping[str, str]) -> Answer:
        try:
            if self._can_post:
                answer = self._client.post_form("/api/v1/query", form, headers=self._headers)
                if answer.status not in _NO_POST:
                    return answer
                self._can_post = False
            return self._client.get("/api/v1/query", form, headers=self._headers)
        except HttpError as exc:
            too_large = exc.reason == "too_large" or (exc.reason == "timeout" and self._has_answered)
            raise PrometheusError(str(exc), is_too_large=too_large) from exc

    def _document(self, answer: Answer) -> _Json:
        try:
            document = json.loads(answer.body)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            what = "an answer that is not JSON" if answer.status == _OK else f"status {answer.status}"
            remedy = _REMEDIES.get(answer.status, _REMEDIES[400] if answer.status == _OK else "see the server's log")
            too_large = answer.status in {413, 422, 504}
            raise PrometheusError(f"{self.where} gave {what}: {remedy}", is_too_large=too_large)
        if answer.status != _OK or document.get("status") != "success":
            said = str(document.get("error") or document.get("message") or "no reason given")[:_SHOWN]
            remedy = _REMEDIES.get(answer.status, "")
            raise PrometheusError(
                f"{self.where} refused a query (status {answer.status}): {said}{remedy and f'; {remedy}'}",
                is_too_large=answer.status not in {401, 403, 404} and bool(_TOO_LARGE.search(said)),
            )
        return document

    def _unusable(self, what: str) -> PrometheusError:
        return PrometheusError(f"{self.where} gave an answer that cannot be used: {what}; {_REMEDIES[400]}")


def quoted(text: str) -> str:
    """Return ``text`` as a PromQL string literal. JSON's escapes are a subset of Go's, which PromQL takes."""
    return json.dumps(text.encode("utf-8", "replace").decode("utf-8"), ensure_ascii=False)


def _labels(metric: Mapping[str, str]) -> Labels:
    return tuple(sorted((str(name), str(value)) for name, value in metric.items() if name != "__name__"))


def _authorization(access: Access, problems: list[str]) -> Mapping[str, str]:
    from base64 import b64encode

    if access.bearer_token_file and (access.username_file or access.password_file):
        problems.append("--prometheus.bearer-token-file: give a token or a user with password, not both")
        return {}
    if access.bearer_token_file:
        token = _secret("--prometheus.bearer-token-file", access.bearer_token_file, problems)
        return {"Authorization": f"Bearer {token}"}
    if access.username_file or access.password_file:
        if not (access.username_file and access.password_file):
            problems.append("--prometheus.username-file and --prometheus.password-file: give both")
            return {}
        user = _secret("--prometheus.username-file", access.username_file, problems)
        password = _secret("--prometheus.password-file", access.password_file, problems)
        return {"Authorization": f"Basic {b64encode(f'{user}:{password}'.encode()).decode('ascii')}"}
    return {}


def _secret(flag: str, path: str, problems: list[str]) -> str:
    try:
        text = Path(path).read_text("utf-8").strip()
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "not UTF-8"
        problems.append(f"{flag}: {path} cannot be read: {reason}")
        return ""
    if not text or not text.isascii() or not text.isprintable():
        problems.append(f"{flag}: {path} must hold one line of printable ASCII characters, and nothing else")
        return ""
    return text
