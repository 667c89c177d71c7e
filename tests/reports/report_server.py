"""A server with the query interface of Prometheus over samples in memory, with limits and faults to switch on.

Format of answers: https://prometheus.io/docs/prometheus/latest/querying/api/. It understands only what reports ask.
"""

from __future__ import annotations

import json
import math
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qs, urlsplit

__all__ = ["FakeServer", "Fault", "serving"]

Samples = Sequence[tuple[float, float]]
_QUERY = re.compile(r"(?:(\w+)\()?(\w+)\{(.*)\}\[(\d+)s\]\)?")
_MATCHER = re.compile(r'(\w+)(=~|!=|=)"((?:[^"\\]|\\.)*)"')
_FUNCTIONS: Mapping[str, Callable[[Sequence[float]], float]] = {
    "last_over_time": lambda values: values[-1],
    "min_over_time": min,
    "max_over_time": max,
    "avg_over_time": lambda values: sum(values) / len(values),
    "resets": lambda values: float(sum(b < a for a, b in pairwise(values))),
    "changes": lambda values: float(sum(a != b for a, b in pairwise(values))),
}


class Fault:
    """An answer to give instead: status, body and headers; ``delay_s`` before it."""

    def __init__(
        self, status: int, body: str, *, headers: Mapping[str, str] | None = None, delay_s: float = 0.0
    ) -> None:
        self.status = status
        self.body = body
        self.headers = {"Content-Type": "application/json", **(headers or {})}
        self.delay_s = delay_s


class FakeServer:
    """What it holds and how it behaves.

    Attributes:
        series: samples by family and labels.
        most_samples: of one query; more is refused as Prometheus does.
        fault: given instead of every answer.
        is_get_only: POST is refused.
        is_left_open: a range leaves out a sample at its very start, as from Prometheus 3.0 on.
        warnings: sent with every answer.
        asked: (method, path, headers, query) of every request.
    """

    def __init__(self) -> None:
        self.series: dict[tuple[str, tuple[tuple[str, str], ...]], Samples] = {}
        self.most_samples = 10**9
        self.fault: Fault | None = None
        self.is_get_only = False
        self.is_left_open = False
        self.warnings: Sequence[str] = ()
        self.asked: list[tuple[str, str, Mapping[str, str], str]] = []
        self.url = ""

    def put(self, family: str, labels: Mapping[str, str], samples: Samples) -> None:
        """Hold ``samples`` of a series."""
        self.series[family, tuple(sorted(labels.items()))] = samples

    def answer(self, query: str, at_s: float) -> Fault:
        """Return the answer to a query at a moment."""
        match = _QUERY.fullmatch(query)
        if match is None:
            return _refusal(400, "bad_data", f"parse error: {query}")
        function, family, matchers, length_s = match.groups()
        found = self._found(family, matchers, at_s - float(length_s), at_s)
        if sum(len(samples) for _, samples in found) > self.most_samples:
            return _refusal(
                422, "execution", "query processing would load too many samples into memory in query execution"
            )
        result: list[Mapping[str, Any]]
        if function is None:
            result = [{"metric": labels, "values": [[t, _text(v)] for t, v in samples]} for labels, samples in found]
        else:
            of = _FUNCTIONS[function]
            result = [
                {"metric": labels, "value": [at_s, _text(of([v for _, v in samples]))]} for labels, samples in found
            ]
        kind = "matrix" if function is None else "vector"
        document = {"status": "success", "data": {"resultType": kind, "result": result}}
        return Fault(200, json.dumps(document | ({"warnings": list(self.warnings)} if self.warnings else {})))

    def _found(
        self, family: str, matchers: str, from_s: float, until_s: float
    ) -> Sequence[tuple[Mapping[str, str], Samples]]:
        tests = [(name, operator, json.loads(f'"{text}"')) for name, operator, text in _MATCHER.findall(matchers)]
        found = []
        for (name, labels), samples in self.series.items():
            within = [(t, v) for t, v in samples if from_s < t <= until_s or (t == from_s and not self.is_left_open)]
            if name == family and within and all(_is_matched(dict(labels), test) for test in tests):
                found.append(({"__name__": name, **dict(labels)}, within))
        return found


def _is_matched(labels: Mapping[str, str], test: tuple[str, str, str]) -> bool:
    name, operator, text = test
    value = labels.get(name, "")
    return {"=": value == text, "!=": value != text, "=~": re.fullmatch(text, value) is not None}[operator]


def _text(value: float) -> str:
    return {float("inf"): "+Inf", float("-inf"): "-Inf"}.get(value, "NaN" if math.isnan(value) else repr(value))


def _refusal(status: int, kind: str, text: str) -> Fault:
    return Fault(status, json.dumps({"status": "error", "errorType": kind, "error": text}))


@contextmanager
def serving(fake: FakeServer) -> Iterator[FakeServer]:
    """Serve ``fake`` on loopback and tell it its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet: the client's kernel would wait 40 ms for the second

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
            self._reply("POST", body)

        def do_GET(self) -> None:
            self._reply("GET", urlsplit(self.path).query)

        def _reply(self, method: str, query: str) -> None:
            form = {name: values[0] for name, values in parse_qs(query).items()}
            headers = {name.lower(): value for name, value in self.headers.items()}
            fake.asked.append((method, urlsplit(self.path).path, headers, form["query"]))
            answer = fake.fault or fake.answer(form["query"], float(form["time"]))
            if method == "POST" and fake.is_get_only:
                answer = Fault(405, "")
            time.sleep(answer.delay_s)
            body = answer.body.encode()
            self.send_response(answer.status)
            for name, value in {**answer.headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """Say nothing of clients that leave."""

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        fake.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield fake
        finally:
            server.shutdown()
            thread.join(timeout=5)
