"""The flags of ``wattribute report``, and what they mean together."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from exporter.config.build import parse_duration_s
from exporter.errors import ConfigError

if TYPE_CHECKING:
    from exporter.reports.prometheus_api import Access

__all__ = ["ReportArguments", "add_report_flags", "read_arguments"]

_URL_VARIABLE = "WATTRIBUTE_PROMETHEUS_URL"
_DEFAULT_SINCE = "30d"
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A header's name: https://www.rfc-editor.org/rfc/rfc9110#section-5.6.2."""
_MATCHERS = re.compile(
    r'\s*[a-zA-Z_][a-zA-Z0-9_]*\s*(=~|!~|!=|=)\s*"(?:[^"\\\n]|\\.)*"\s*'
    r'(,\s*[a-zA-Z_][a-zA-Z0-9_]*\s*(=~|!~|!=|=)\s*"(?:[^"\\\n]|\\.)*"\s*)*,?\s*'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportArguments:
    """What to report, and where from.

    Attributes:
        run: key, name or shell pattern; empty: every run.
        takes_all, takes_last: what to do where several match.
        since_s, until_s: Unix times between which the run was alive.
        matchers: extra PromQL matchers, or empty.
        access: the server, or None for the state file.
        training_type, location: for a model card; empty: unknown.
    """

    run: str
    takes_all: bool
    takes_last: bool
    since_s: float
    until_s: float
    matchers: str
    access: Access | None
    training_type: str
    location: str


def add_report_flags(parser: argparse._ArgumentGroup | argparse.ArgumentParser) -> None:
    """Add what the command takes beside the flags of all commands."""
    add = parser.add_argument
    add("run", nargs="?", default="", metavar="RUN", help="key or name of the run, or a pattern such as 'llama-*'")
    several = parser.add_mutually_exclusive_group()
    several.add_argument("--all", action="store_true", help="report every run that matches; without RUN, all runs")
    several.add_argument("--last", action="store_true", help="report the one that was seen last, if several match")
    outputs = ("text", "json", "csv", "model-card")
    add("--output", choices=outputs, default="text", help="default: text")
    text = "seen since: a duration before --until, or a time such as 2026-11-01T00:00Z; default: 30d"
    add("--since", default=_DEFAULT_SINCE, metavar="TIME", help=text)
    add("--until", default="", metavar="TIME", help="seen before: likewise, before now; default: now")
    text = f"a Prometheus-compatible server, with its path prefix; also ${_URL_VARIABLE}; default: the state file"
    add("--prometheus.url", dest="prometheus_url", default=None, metavar="URL", help=text)
    text = "extra matchers for every series, for example 'cluster=\"a\"'"
    add("--match", default="", metavar="MATCHERS", help=text)
    for name, what in (
        ("bearer-token-file", "file with a token for the server"),
        ("username-file", "file with a user name for the server"),
        ("password-file", "file with the password that goes with it"),
        ("ca-file", "certificates (PEM) that may sign the server's; default: those of the system"),
    ):
        add(f"--prometheus.{name}", dest=f"prometheus_{name.replace('-', '_')}", default="", metavar="FILE", help=what)
    text = "header for every query, for example X-Scope-OrgID=TENANT; repeatable"
    add("--prometheus.header", dest="prometheus_headers", action="append", default=[], metavar="NAME=VALUE", help=text)
    text = "longest time for one query; default: 60s"
    add("--prometheus.timeout", dest="prometheus_timeout", default="60s", metavar="DURATION", help=text)
    text = "for a model card: pre-training, fine-tuning …"
    add("--training-type", dest="training_type", default="", metavar="TEXT", help=text)
    text = "for a model card: where the computers are; default: the grid zones"
    add("--location", default="", metavar="TEXT", help=text)


def read_arguments(values: argparse.Namespace, environ: Mapping[str, str], *, now_s: float) -> ReportArguments:
    """Return what the flags say together.

    Raises:
        ConfigError: they cannot be used; every mistake.
    """
    problems: list[str] = []
    until_s = min(_moment("--until", values.until, now_s, problems), now_s) if values.until else now_s
    since_s = _moment("--since", values.since, until_s, problems)
    if not problems and since_s >= until_s:
        problems.append("--since: must be before --until, and before now")
    if not values.run and not values.all and not values.last:
        problems.append("RUN: give a run's key or name, or --last for the newest, or --all (see: wattribute runs)")
    if values.output == "model-card" and values.all:
        problems.append("--output=model-card: a card is about one run; leave out --all")
    url = values.prometheus_url if values.prometheus_url is not None else environ.get(_URL_VARIABLE, "")
    if not url:
        problems += [
            f"{flag}: has no effect without --prometheus.url=URL"
            for flag, is_given in _server_flags(values)
            if is_given
        ]
    if values.match and not _MATCHERS.fullmatch(values.match):
        problems.append(f'--match: expected matchers such as cluster="a",job=~"x|y", found {values.match[:80]!r}')
    access = _access(values, url, problems)
    if problems:
        raise ConfigError([f"wattribute: {problem}" for problem in problems])
    return ReportArguments(
        run=values.run,
        takes_all=values.all,
        takes_last=values.last,
        since_s=since_s,
        until_s=until_s,
        matchers=values.match,
        access=access if url else None,
        training_type=values.training_type,
        location=values.location,
    )


def _server_flags(values: argparse.Namespace) -> Sequence[tuple[str, object]]:
    return (
        ("--match", values.match),
        ("--prometheus.bearer-token-file", values.prometheus_bearer_token_file),
        ("--prometheus.username-file", values.prometheus_username_file),
        ("--prometheus.password-file", values.prometheus_password_file),
        ("--prometheus.ca-file", values.prometheus_ca_file),
        ("--prometheus.header", values.prometheus_headers),
    )


def _access(values: argparse.Namespace, url: str, problems: list[str]) -> Access:
    from exporter.reports.prometheus_api import Access

    timeout_s = parse_duration_s(values.prometheus_timeout)
    if timeout_s is None or timeout_s <= 0:
        problems.append(
            f"--prometheus.timeout: expected a duration such as 60s, found {values.prometheus_timeout[:40]!r}"
        )
    return Access(
        url=url,
        bearer_token_file=values.prometheus_bearer_token_file,
        username_file=values.prometheus_username_file,
        password_file=values.prometheus_password_file,
        ca_file=values.prometheus_ca_file,
        headers=_headers(values.prometheus_headers, problems),
        timeout_s=timeout_s or 1.0,
    )


def _headers(texts: Sequence[str], problems: list[str]) -> Mapping[str, str]:
    headers: dict[str, str] = {}
    for text in texts:
        name, has_value, value = text.partition("=")
        if not has_value or not _TOKEN.fullmatch(name) or not value.isprintable() or not value.isascii():
            problems.append("--prometheus.header: expected NAME=VALUE, for example X-Scope-OrgID=TENANT")
        elif name.lower() in {"authorization", "cookie"}:
            problems.append(
                f"--prometheus.header: {name} on a command line can be read by every user of this machine; give a "
                "file with --prometheus.bearer-token-file, or --prometheus.username-file and --prometheus.password-file"
            )
        else:
            headers[name] = value
    return headers


def _moment(flag: str, text: str, now_s: float, problems: list[str]) -> float:
    """Return the Unix time of ``text``: a duration before ``now_s``, or a date with or without time, UTC by default."""
    ago_s = parse_duration_s(text)
    if ago_s is not None and 0 < ago_s <= now_s:
        return now_s - ago_s
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        problems.append(
            f"{flag}: expected a duration such as 30d, or a time such as 2026-11-01 or 2026-11-01T12:00Z, found "
            f"{text[:40]!r}"
        )
        return now_s
