"""Starts what the tests of alerts need: agents of a simulated cluster, Alertmanager, and a receiver of its webhooks."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.system.programs import PrometheusServer, free_port, started, wait_for

__all__ = ["RULES", "DemoAgent", "Webhook", "alertmanager_running", "demo_cluster", "rules_running", "webhook_running"]

RULES = Path(__file__).parents[2] / "dashboards" / "rules"


class DemoAgent:
    """One node of the demo, and the configuration file that it can be made to read again."""

    def __init__(self, config: Path, port: int, process: subprocess.Popen[bytes]) -> None:
        self.port = port
        self._config = config
        self._process = process

    def reload(self, text: str) -> None:
        """Replace the configuration by ``text`` and have it read."""
        self._config.write_text(text)
        self._process.send_signal(signal.SIGHUP)

    def runs(self) -> dict[str, float]:
        """Return the joules of every run on this node, by key."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/runs", timeout=5) as answer:
            runs = json.load(answer)["runs"]
        return {run["run"]: math.fsum(j for modes in run["energy_j"].values() for j in modes.values()) for run in runs}


@contextmanager
def demo_cluster(directory: Path, config: str, *, nodes: int = 3, interval: str = "1s") -> Iterator[list[DemoAgent]]:
    """Run ``nodes`` demo agents that share a run, all with the configuration ``config``."""
    with ExitStack() as stack:
        agents = []
        for node in range(nodes):
            path, port = directory / f"agent-{node}.yaml", free_port()
            path.write_text(config)
            command = [
                *(sys.executable, "-m", "exporter.cli", "demo", f"--node={node}", f"--nodes={nodes}"),
                *(f"--config.file={path}", f"--sampling.interval={interval}"),
                f"--web.listen-address=127.0.0.1:{port}",
            ]
            process = stack.enter_context(started(command, log=directory / f"agent-{node}.log"))
            agents.append(DemoAgent(path, port, process))
        for agent in agents:
            wait_for("the agents' runs", lambda agent=agent: agent.runs() or None)  # type: ignore[misc]
        yield agents


class Webhook:
    """Keeps what Alertmanager sends."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._lock = threading.Lock()
        self._alerts: list[dict[str, Any]] = []  # JSON of Alertmanager's webhooks

    def take(self, body: bytes) -> None:
        """Keep the alerts of one message."""
        with self._lock:
            self._alerts += json.loads(body)["alerts"]

    def find(self, name: str, status: str, **labels: str) -> dict[str, Any] | None:
        """Return the first alert of this name, status and labels that came, or None."""
        wanted = {"alertname": name, **labels}.items()
        with self._lock:
            return next((a for a in self._alerts if a["status"] == status and wanted <= a["labels"].items()), None)


@contextmanager
def webhook_running() -> Iterator[Webhook]:
    """Run a receiver of webhooks."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            webhook.take(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    webhook = Webhook(server.server_port)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield webhook
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)


@contextmanager
def alertmanager_running(directory: Path, webhook_port: int) -> Iterator[int]:
    """Run a real Alertmanager that tells everything to the webhook, and return its port."""
    port = free_port()
    config = directory / "alertmanager.yml"
    config.write_text(
        "route: {receiver: hook, group_wait: 1s, group_interval: 1s, repeat_interval: 1h, group_by: ['...']}\n"
        f"receivers: [{{name: hook, webhook_configs: [{{url: 'http://127.0.0.1:{webhook_port}/'}}]}}]\n"
    )
    command = [
        *("prometheus-alertmanager", f"--config.file={config}", f"--storage.path={directory / 'alertmanager'}"),
        *(f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="),
    ]
    with started(command, log=directory / "alertmanager.log"):
        wait_for("Alertmanager", lambda: _answers(port))
        yield port


@contextmanager
def rules_running(directory: Path, targets: Sequence[int], alertmanager_port: int) -> Iterator[PrometheusServer]:
    """Run a Prometheus with the shipped rules, unchanged, that scrapes and evaluates once a second."""
    port = free_port()
    config = directory / "prometheus.yml"
    addresses = ", ".join(f"'127.0.0.1:{target}'" for target in targets)
    config.write_text(
        "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n"
        f"rule_files: ['{RULES}/*.yaml']\n"
        f"alerting: {{alertmanagers: [{{static_configs: [{{targets: ['127.0.0.1:{alertmanager_port}']}}]}}]}}\n"
        "scrape_configs:\n"
        f"  - {{job_name: wattribute, honor_labels: true, static_configs: [{{targets: [{addresses}]}}]}}\n"
    )
    command = [
        *("prometheus", f"--config.file={config}", f"--storage.tsdb.path={directory / 'tsdb'}"),
        *(f"--web.listen-address=127.0.0.1:{port}", "--rules.alert.resend-delay=1s"),
    ]
    server = PrometheusServer(port)
    with started(command, log=directory / "prometheus.log"):
        wait_for("Prometheus", lambda: server.query("vector(1)"))
        yield server


def _answers(port: int) -> bool | None:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=2) as answer:
        return True if answer.status == 200 else None
