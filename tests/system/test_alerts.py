"""Three nodes, a budget, the shipped rules, a real Prometheus and Alertmanager: the alert comes, and it ends."""

from __future__ import annotations

import json
import signal
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.system.programs import (
    PrometheusServer,
    Webhook,
    alertmanager_running,
    free_port,
    needs,
    prometheus_running,
    started,
    wait_for,
    webhook_running,
)

pytestmark = [pytest.mark.system, needs("prometheus", "prometheus-alertmanager")]

_RULES = Path(__file__).parents[2] / "dashboards" / "rules"
_NODES = 3
_SMALL_G = 0.5
_LARGE_G = 50_000.0
_SLOW = {"wattribute-budgets-long"}


class _DemoNode:
    """One of the simulated nodes: its agent, and its configuration file."""

    def __init__(self, directory: Path, number: int, stack: ExitStack) -> None:
        directory.mkdir()
        self._config = directory / "wattribute.yaml"
        self.port = free_port()
        self.limit(_SMALL_G)
        command = [
            *(sys.executable, "-m", "exporter.cli", "demo", f"--node={number}", f"--nodes={_NODES}"),
            *(f"--config.file={self._config}", f"--web.listen-address=127.0.0.1:{self.port}"),
        ]
        self._process = stack.enter_context(started(command, log=directory / "agent.log"))

    def limit(self, limit_g: float) -> None:
        """Write the budget's limit into the file."""
        self._config.write_text(
            "carbon: {grid_zone: DE}\n"
            "budgets:\n"
            f"  - {{name: cluster, limit_g: {limit_g}, period: 1d, select: {{everything: true}}}}\n"
        )

    def reload(self) -> None:
        """Have the agent read the file again."""
        self._process.send_signal(signal.SIGHUP)

    def get(self, path: str) -> Any:  # JSON of the agent's API
        return json.loads(_get(self.port, path))


class _Cluster(NamedTuple):
    nodes: Sequence[_DemoNode]
    prometheus: PrometheusServer
    hook: Webhook


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Cluster]:
    directory = tmp_path_factory.mktemp("cluster")
    with ExitStack() as stack:
        nodes = [_DemoNode(directory / f"node{number}", number, stack) for number in range(_NODES)]
        hook = stack.enter_context(webhook_running())
        alertmanager_port = stack.enter_context(alertmanager_running(directory, hook))
        for node in nodes:
            wait_for("an agent's first sample", lambda node=node: _get(node.port, "/-/ready"))  # type: ignore[misc]
        ports = [node.port for node in nodes]
        yield _Cluster(
            nodes,
            stack.enter_context(
                prometheus_running(directory, *ports, rules=_RULES, alertmanager_port=alertmanager_port)
            ),
            hook,
        )


def test_a_run_over_three_nodes_is_one_run_to_the_joule(cluster: _Cluster) -> None:
    """Between two ticks of all three nodes, the sum in PromQL is the sum of what the nodes' own pages say."""

    def compare() -> tuple[Mapping[str, float], Mapping[str, float], int] | None:
        pages = [node.get("/api/v1/runs") for node in cluster.nodes]
        sampled_s = cluster.prometheus.query("wattribute_sample_timestamp_seconds")
        found = cluster.prometheus.query("sum by (run) (wattribute_run_energy_joules_total)")
        if sorted(page["taken_s"] for page in pages) != sorted(value for _, value in sampled_s):
            return None
        if [node.get("/api/v1/runs")["taken_s"] for node in cluster.nodes] != [page["taken_s"] for page in pages]:
            return None
        listed = [(run["run"], run) for page in pages for run in page["runs"]]
        own_j = {key: sum(_joules(run) for k, run in listed if k == key) for key, _ in listed}
        return own_j, {labels["run"]: joules for labels, joules in found}, sum(r["world_size"] == 12 for _, r in listed)

    own_j, prometheus_j, shown_of_large = wait_for("a moment without a tick", compare, timeout_s=60.0)

    assert shown_of_large == _NODES
    assert max(own_j.values()) > 100.0
    assert own_j == pytest.approx(prometheus_j, rel=1e-12)


def test_a_budget_that_is_used_up_notifies_and_ends_when_it_is_raised(cluster: _Cluster) -> None:
    """The grams of all nodes count; whoever gets the alert reads what is used up and where to look it up."""

    def told(status: str) -> dict[str, Any] | None:  # JSON of Alertmanager
        alert = cluster.hook.newest(alertname="WattributeBudgetExhausted", budget="cluster")
        return alert if alert is not None and alert["status"] == status else None

    firing = wait_for("the alert", lambda: told("firing"), timeout_s=90.0)
    used_g = cluster.prometheus.value("budget:wattribute_budget_emissions_grams:used")
    emitted_g = cluster.prometheus.value("sum(wattribute_budget_emissions_grams_total)")
    for node in cluster.nodes:
        node.limit(_LARGE_G)
        node.reload()
    resolved = wait_for("its end", lambda: told("resolved"), timeout_s=45.0)

    assert firing["labels"] == {
        "alertname": "WattributeBudgetExhausted",
        "budget": "cluster",
        "period": "1d",
        "severity": "critical",
    }
    assert firing["annotations"]["summary"] == "A budget of emissions is used up."
    assert firing["annotations"]["description"].startswith("Budget cluster has used ")
    assert firing["annotations"]["runbook_url"].endswith("#wattributebudgetexhausted")
    assert used_g is not None
    assert emitted_g is not None
    assert _SMALL_G <= used_g <= emitted_g
    assert resolved["labels"] == firing["labels"]
    assert resolved["fingerprint"] == firing["fingerprint"]


def test_every_rule_works_on_real_series_and_tells_nothing_else(cluster: _Cluster) -> None:
    """None gives an error; what a healthy demonstration alerts on is its budget alone."""
    wait_for(
        "all rules but those of long periods", lambda: _unknown(cluster.prometheus) <= _SLOW or None, timeout_s=90.0
    )
    rules = cluster.prometheus.rules()

    assert len(rules) > 60
    assert [rule for _, rule in rules if rule["health"] == "err"] == []
    assert {alert["labels"]["alertname"] for alert in cluster.hook.alerts} <= {"WattributeBudgetExhausted"}


def _unknown(prometheus: PrometheusServer) -> set[str]:
    """Return the groups with rules that have not been evaluated yet."""
    return {group for group, rule in prometheus.rules() if rule["health"] == "unknown"}


def _joules(run: Mapping[str, Any]) -> float:  # JSON of the agent's API
    return sum(float(joules) for modes in run["energy_j"].values() for joules in modes.values())


def _get(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as response:
        return str(response.read().decode())
