"""Exact totals of counters in a Prometheus-compatible server, over any time, whatever was restarted meanwhile.

Where nothing was reset, the last sample is the whole: three cheap queries per family tell. Where something was, the
time is halved until the resets lie in pieces of at most a day, of which the raw samples are read. ``increase`` would
extrapolate and miss births. What was counted between the last scrape and a reboot is unseen by any server.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from exporter.reports.prometheus_api import Labels, PrometheusApi, PrometheusError, quoted
from exporter.reports.report_segments import Piece, continued, joined, one_counter, piece_of

__all__ = ["NodeKey", "Progress", "RangeQueries", "Span", "escaped", "node_of"]

Progress = Callable[[float], None]
"""Told the share of the work that was done since the last call."""

_SMALLEST_S = 600.0
_RAW_S = 86_400.0
_MOST_NAMED = 200
_NODE_LABELS = ("node", "instance")
_CLUSTER_LABELS = ("cluster", "cluster_name", "k8s_cluster_name")


class NodeKey(NamedTuple):
    """A node as the server's target labels have it: cluster (or empty), its name, and the label that holds the name."""

    cluster: str
    name: str
    label: str = "instance"


class Span(NamedTuple):
    """A time with both ends, in Unix seconds."""

    from_s: float
    until_s: float

    @property
    def length_s(self) -> float:
        """Its length in whole seconds, rounded up, as PromQL takes it."""
        return max(math.ceil(self.until_s - self.from_s), 1.0)

    def halves(self) -> tuple[Span, Span]:
        """Return both halves; they share their edge."""
        middle_s = math.floor((self.from_s + self.until_s) / 2)
        return Span(self.from_s, middle_s), Span(middle_s, self.until_s)


def node_of(labels: Mapping[str, str]) -> NodeKey:
    """Return the node of a series: label ``node`` if there is one, else ``instance``, apart by cluster."""
    cluster = next((labels[name] for name in _CLUSTER_LABELS if labels.get(name)), "")
    label = next((name for name in _NODE_LABELS if labels.get(name)), _NODE_LABELS[-1])
    return NodeKey(cluster, labels.get(label, ""), label)


class RangeQueries:
    """Queries over long times, split where the server's limits ask for it."""

    def __init__(self, api: PrometheusApi, progress: Progress | None = None) -> None:
        self._api = api
        self._progress = progress or (lambda _: None)

    def over(
        self, function: str, selector: str, span: Span, pick: Callable[[float, float], float]
    ) -> dict[Labels, float]:
        """Return ``function(selector[span])``, for example ``last_over_time``, by labels.

        ``pick`` joins the values of two halves, the earlier one first.

        Raises:
            PrometheusError: there is no usable answer.
        """
        try:
            found = self._api.instant(f"{function}({selector}[{span.length_s:.0f}s])", span.until_s)
        except PrometheusError as exc:
            if not exc.is_too_large or span.length_s <= _SMALLEST_S:
                raise
            early, late = (self.over(function, selector, half, pick) for half in span.halves())
            both = {labels: pick(early[labels], late[labels]) for labels in early.keys() & late.keys()}
            return early | late | both
        return {series.labels: series.value for series in found}

    def counters(
        self, selector: str, span: Span, group: Callable[[Mapping[str, str]], tuple[str, ...]]
    ) -> dict[tuple[NodeKey, tuple[str, ...]], float]:
        """Return the total from birth of each counter, by node and what ``group`` makes of its labels.

        Raises:
            PrometheusError: there is no usable answer, or a value is infinite.
        """
        pieces = self._pieces(selector, span, 1.0)
        groups: dict[tuple[NodeKey, tuple[str, ...]], list[Labels]] = {}
        for labels in pieces:
            by_name = dict(labels)
            groups.setdefault((node_of(by_name), group(by_name)), []).append(labels)
        totals = {key: continued([pieces[labels] for labels in members]) for key, members in groups.items()}
        unclear = {labels for key, total in totals.items() if total is None for labels in groups[key]}
        exact = self._raw_pieces(_narrowed(selector, unclear), span, unclear) if unclear else {}
        return {
            key: one_counter(exact[one] for one in groups[key] if one in exact) if total is None else total
            for key, total in totals.items()
        }

    def _pieces(self, selector: str, span: Span, share: float) -> dict[Labels, Piece]:
        """Return the piece of every series in ``span``; ``share`` is of all the work."""
        try:
            resets = self._values("resets", selector, span)
            first = self._values("min_over_time", selector, span)
            last = self._values("last_over_time", selector, span)
        except PrometheusError as exc:
            if not exc.is_too_large or span.length_s <= _SMALLEST_S:
                raise
            return self._halved(selector, span, share)
        whole: dict[Labels, Piece] = {}
        for labels in first.keys() & last.keys():
            numbers = (first[labels], last[labels], resets.get(labels, math.nan))
            if all(map(math.isfinite, numbers)) and resets[labels] == 0:
                whole[labels] = Piece(first[labels], last[labels], 0.0, *span)
        broken = last.keys() - whole.keys()
        if not broken:
            self._progress(share)
            return whole
        narrow = _narrowed(selector, broken)
        if span.length_s > _RAW_S:
            found = self._halved(narrow, span, share)
        else:
            found = self._raw_pieces(narrow, span, broken)
            self._progress(share)
        return whole | {labels: piece for labels, piece in found.items() if labels in broken}

    def _halved(self, selector: str, span: Span, share: float) -> dict[Labels, Piece]:
        early, late = (self._pieces(selector, half, share / 2) for half in span.halves())
        return _joined(early, late)

    def _raw_pieces(self, selector: str, span: Span, wanted: set[Labels]) -> dict[Labels, Piece]:
        """Return the pieces of the series in ``wanted``, with exact times, from their samples."""
        if span.length_s <= _RAW_S:
            with suppress(_SmallerError):
                return self._read(selector, span, wanted)
        early, late = (self._raw_pieces(selector, half, wanted) for half in span.halves())
        return _joined(early, late)

    def _read(self, selector: str, span: Span, wanted: set[Labels]) -> dict[Labels, Piece]:
        try:
            found = self._api.raw(f"{selector}[{span.length_s:.0f}s]", span.until_s)
        except PrometheusError as exc:
            if exc.is_too_large and span.length_s > _SMALLEST_S:
                raise _SmallerError from exc
            raise
        pieces = {series.labels: piece_of(_numbers(series.samples)) for series in found if series.labels in wanted}
        return {labels: piece for labels, piece in pieces.items() if piece is not None}

    def _values(self, function: str, selector: str, span: Span) -> dict[Labels, float]:
        found = self._api.instant(f"{function}({selector}[{span.length_s:.0f}s])", span.until_s)
        return {series.labels: series.value for series in found}


class _SmallerError(Exception):
    """The server wants a shorter time."""


def _joined(early: Mapping[Labels, Piece], late: Mapping[Labels, Piece]) -> dict[Labels, Piece]:
    both = {labels: joined(early[labels], late[labels]) for labels in early.keys() & late.keys()}
    return {**early, **late, **both}


def _numbers(samples: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    """Return the samples that are numbers; NaN is no value (a marker of staleness, for some servers)."""
    if any(math.isinf(value) for _, value in samples):
        raise PrometheusError("a counter holds an infinite value: is something else writing wattribute_ series?")
    return [(at_s, value) for at_s, value in samples if not math.isnan(value)]


def _narrowed(selector: str, wanted: set[Labels]) -> str:
    """Return ``selector`` for the instances of ``wanted`` only, where these are few enough to be named."""
    instances = sorted({dict(labels).get("instance", "") for labels in wanted})
    if len(instances) > _MOST_NAMED or "instance=" in selector:
        return selector
    pattern = "|".join(escaped(instance) for instance in instances)
    return f"{selector.removesuffix('}')},instance=~{quoted(pattern)}}}"


def escaped(text: str) -> str:
    """Return a regular expression (RE2) that matches ``text`` only."""
    return "".join(f"\\{c}" if c in r"\.+*?()|[]{}^$" else c for c in text)
