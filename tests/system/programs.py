"""Starts the real programs of the system tests: an agent, a simulated node in real time, Prometheus, Alertmanager."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import pytest

from exporter.host import Roots

__all__ = [
    "Agent",
    "PrometheusServer",
    "Webhook",
    "agent_running",
    "alertmanager_running",
    "free_port",
    "needs",
    "prometheus_running",
    "started",
    "wait_for",
    "webhook_running",
]

_T = TypeVar("_T")


def needs(*programs: str) -> pytest.MarkDecorator:
    """Return a mark that skips where one of ``programs`` is not installed."""
    missing = [program for program in programs if shutil.which(program) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)} (make test as root does)")


def free_port() -> int:
    """Return a loopback port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_for(what: str, look: Callable[[], _T | None], *, timeout_s: float = 30.0) -> _T:
    """Return the first result of ``look`` that is not None; errors of the network count as None.

    Raises:
        AssertionError: nothing came in time.
    """
    end_s = time.monotonic() + timeout_s
    while True:
        try:
            found = look()
        except OSError:
            found = None
        if found is not None:
            return found
        if time.monotonic() > end_s:
            raise AssertionError(f"waited {timeout_s} s for {what}")
        time.sleep(0.1)


@contextmanager
def started(command: Sequence[str], *, log: Path, cwd: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``command`` with its output in ``log``, and end it afterwards."""
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=cwd)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Agent:
    """The agent as people start it, which can be killed and started again with the same state file.

    Args:
        directory: for its state, configuration and log.
        roots: where it finds the kernel's files.
        config: the configuration file's text.
        environ: variables on top of this process's.
    """

    def __init__(
        self, directory: Path, roots: Roots, *, config: str = "", environ: Mapping[str, str] | None = None
    ) -> None:
        self._environ = {**os.environ, **(environ or {})}
        self.port = free_port()
        self.log = directory / "agent.log"
        (directory / "agent.yaml").write_text(config)
        self._command = [
            *(sys.executable, "-m", "exporter.cli", "agent", f"--config.file={directory / 'agent.yaml'}"),
            *(f"--path.procfs={roots.procfs}", f"--path.sysfs={roots.sysfs}", f"--path.cgroupfs={roots.cgroupfs}"),
            *(f"--state.file={directory / 'state.db'}", "--sampling.interval=1s"),
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, without waiting."""
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(self._command, stdout=output, stderr=output, env=self._environ)

    def kill(self) -> None:
        """End it with SIGKILL."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """End it with SIGTERM and return its exit code."""
        return self._end(signal.SIGTERM)

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, timeout_s: float = 20.0) -> int:
        """Wait until it has ended by itself and return its exit code."""
        assert self._process is not None
        process, self._process = self._process, None
        return process.wait(timeout=timeout_s)

    def get(self, path: str = "/metrics") -> str:
        """Return a page.

        Raises:
            OSError: it does not answer.
        """
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as response:
            return str(response.read().decode())

    def _end(self, number: int) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(number)
        return process.wait(timeout=20)


@contextmanager
def agent_running(
    directory: Path, roots: Roots, *, config: str = "", environ: Mapping[str, str] | None = None
) -> Iterator[Agent]:
    """Run an agent and wait until it serves; what it logged is shown if it does not."""
    agent = Agent(directory, roots, config=config, environ=environ)
    agent.start()
    try:
        try:
            wait_for("the agent to serve", agent.get)
        except AssertionError as exc:
            raise AssertionError(f"{exc}; its log: {agent.log.read_text()[-2000:]}") from exc
        yield agent
    finally:
        agent.stop()


class PrometheusServer:
    """A real Prometheus on loopback."""

    def __init__(self, port: int) -> None:
        self._port = port

    def query(self, expression: str, *, at_s: float | None = None) -> list[tuple[dict[str, str], float]]:
        """Return the instant vector of ``expression``, now or at a Unix time: labels and value of each series.

        Raises:
            OSError: Prometheus does not answer or rejects the expression.
        """
        return [(series["metric"], float(series["value"][1])) for series in self._result(expression, at_s)]

    def value(self, expression: str) -> float | None:
        """Return the one value of ``expression``, or None if there is no series."""
        found = self.query(expression)
        assert len(found) <= 1, f"expected one series for {expression}, got {found}"
        return found[0][1] if found else None

    def samples(self, selector: str) -> list[float]:
        """Return the raw samples of the one series of a range selector, in order of time.

        Raises:
            OSError: as ``query``.
        """
        found = self._result(selector)
        assert len(found) == 1, f"expected one series for {selector}, got {len(found)}"
        return [float(value) for _, value in found[0]["values"]]

    def rules(self) -> list[tuple[str, dict[str, Any]]]:  # JSON of Prometheus' API
        """Return every rule with the name of its group.

        Raises:
            OSError: as ``query``.
        """
        return [(group["name"], rule) for group in self._get("rules")["groups"] for rule in group["rules"]]

    def _result(self, expression: str, at_s: float | None = None) -> list[dict[str, Any]]:  # JSON of Prometheus' API
        time_s = {} if at_s is None else {"time": f"{at_s:.3f}"}
        return list(self._get("query", query=expression, **time_s)["result"])

    def _get(self, what: str, **parameters: str) -> dict[str, Any]:  # JSON of Prometheus' API
        address = f"http://127.0.0.1:{self._port}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(address, timeout=10) as response:
            return dict(json.load(response)["data"])


@contextmanager
def prometheus_running(
    directory: Path,
    *target_ports: int,
    rules: Path | None = None,
    alertmanager_port: int | None = None,
    retention: str = "15d",
) -> Iterator[PrometheusServer]:
    """Run a Prometheus that scrapes the targets and evaluates the rule files of a directory once a second."""
    port = free_port()
    config = directory / "prometheus.yml"
    targets = ", ".join(f"'127.0.0.1:{target}'" for target in target_ports)
    text = (
        "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n"
        "scrape_configs:\n"
        f"  - {{job_name: wattribute, honor_labels: true, static_configs: [{{targets: [{targets}]}}]}}\n"
    )
    if rules is not None:
        text += f"rule_files: ['{rules}/*.yaml']\n"
    if alertmanager_port is not None:
        text += f"alerting: {{alertmanagers: [{{static_configs: [{{targets: ['127.0.0.1:{alertmanager_port}']}}]}}]}}\n"
    config.write_text(text)
    command = [
        *("prometheus", f"--config.file={config}", f"--storage.tsdb.path={directory / 'tsdb'}"),
        *(f"--storage.tsdb.retention.time={retention}", f"--web.listen-address=127.0.0.1:{port}"),
    ]
    server = PrometheusServer(port)
    with started(command, log=directory / "prometheus.log"):
        wait_for("Prometheus", lambda: server.query("vector(1)"))
        yield server


class Webhook:
    """A receiver of Alertmanager's notifications on loopback.

    Attributes:
        url: where it listens.
        alerts: every alert of every notification so far, as it came, in order.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.alerts: list[dict[str, Any]] = []  # JSON of Alertmanager's webhook, version 4

    def newest(self, **labels: str) -> dict[str, Any] | None:
        """Return the newest alert that has these labels, or None."""
        found = [alert for alert in self.alerts if labels.items() <= alert["labels"].items()]
        return found[-1] if found else None


@contextmanager
def webhook_running() -> Iterator[Webhook]:
    """Run a receiver of notifications."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hook.alerts.extend(json.loads(body)["alerts"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hook = Webhook(f"http://127.0.0.1:{server.server_port}/")
        thread = threading.Thread(target=server.serve_forever, name="webhook", daemon=True)
        thread.start()
        try:
            yield hook
        finally:
            server.shutdown()
            thread.join(timeout=5.0)


@contextmanager
def alertmanager_running(directory: Path, hook: Webhook) -> Iterator[int]:
    """Run an Alertmanager that notifies the receiver at once, and give its port."""
    port = free_port()
    config = directory / "alertmanager.yml"
    config.write_text(
        "route: {receiver: hook, group_by: ['...'], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}\n"
        f"receivers: [{{name: hook, webhook_configs: [{{url: '{hook.url}', send_resolved: true}}]}}]\n"
    )
    command = [
        *("prometheus-alertmanager", f"--config.file={config}", f"--storage.path={directory / 'alertmanager'}"),
        *(f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="),
    ]

    def answer() -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5) as response:
            return bool(response.status == 200)

    with started(command, log=directory / "alertmanager.log"):
        wait_for("Alertmanager", answer)
        yield port
