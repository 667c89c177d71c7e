"""Real agents, a real Prometheus with the shipped rules, a real Alertmanager: an alert arrives, and it resolves."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.system.alerting import DemoAgent, alertmanager_running, demo_cluster, rules_running, webhook_running
from tests.system.programs import PrometheusServer, needs, wait_for

pytestmark = [pytest.mark.system, needs("prometheus", "prometheus-alertmanager"), pytest.mark.timeout(300)]

_CONFIG = """\
carbon: {{grid_zone: DE}}
budgets:
  - {{name: tiny, limit_g: {limit_g}, period: 1d, select: {{everything: true}}}}
  - {{name: ample, limit_t: 1000, period: 1d, select: {{everything: true}}}}
"""


def test_a_budget_that_is_used_up_alerts_and_a_raised_one_resolves(tmp_path: Path) -> None:
    """The subqueries step by minutes, so that the first alert takes up to one."""
    with (
        demo_cluster(tmp_path, _CONFIG.format(limit_g=0.01)) as agents,
        webhook_running() as webhook,
        alertmanager_running(tmp_path, webhook.port) as alertmanager_port,
        rules_running(tmp_path, [agent.port for agent in agents], alertmanager_port) as prometheus,
    ):
        name = "WattributeBudgetExhausted"
        fired = wait_for("the alert", lambda: webhook.find(name, "firing", budget="tiny"), timeout_s=120)
        assert "tiny" in fired["annotations"]["description"]
        assert fired["labels"]["severity"] == "critical"
        assert webhook.find(name, "firing", budget="ample") is None

        for agent in agents:
            agent.reload(_CONFIG.format(limit_g=1_000_000))
        wait_for("its end", lambda: webhook.find(name, "resolved", budget="tiny"), timeout_s=60)

        used_g = prometheus.value('sum by (budget) (wattribute_budget_emissions_grams_total{budget="tiny"})')
        assert used_g is not None
        assert used_g > 0.01, "the reload must not have lost what was counted"


def test_a_run_on_three_nodes_is_one_run_to_the_joule(tmp_path: Path) -> None:
    with (
        demo_cluster(tmp_path, "carbon: {grid_zone: DE}\n", interval="5s") as agents,
        webhook_running() as webhook,
        alertmanager_running(tmp_path, webhook.port) as alertmanager_port,
        rules_running(tmp_path, [agent.port for agent in agents], alertmanager_port) as prometheus,
    ):
        asked, summed = wait_for("a moment between two ticks", lambda: _same_moment(agents, prometheus), timeout_s=90)

        shared = [key for key in asked if len(asked[key]) == len(agents)]
        for key, parts in asked.items():
            assert summed[key] == pytest.approx(sum(parts), rel=1e-12)
        assert max(sum(asked[key]) for key in shared) > 100


def _same_moment(
    agents: list[DemoAgent], prometheus: PrometheusServer
) -> tuple[dict[str, list[float]], dict[str, float]] | None:
    """Return joules by run as the agents and as PromQL give them, if no agent took a sample meanwhile."""
    before = [agent.runs() for agent in agents]
    time.sleep(2.5)
    rows = prometheus.query("sum by (run) (wattribute_run_energy_joules_total)")
    if before != [agent.runs() for agent in agents] or not any(sum(runs.values()) for runs in before):
        return None
    asked: dict[str, list[float]] = {}
    for runs in before:
        for key, joules in runs.items():
            asked.setdefault(key, []).append(joules)
    return asked, {labels["run"]: joules for labels, joules in rows}
