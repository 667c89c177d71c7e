"""Monitors, rules and dashboards for Prometheus' operator, whose kinds have no schema at hand."""

from __future__ import annotations

import re
import textwrap

import pytest
import yaml

from tests.helm.chart import CHART, MATRIX, ROOT, Object, find, render, run_helm

pytestmark = pytest.mark.system

RULES = sorted((ROOT / "dashboards" / "rules").glob("*.yaml"))
MONITORS = {"PodMonitor": ("pod-monitor", "podMetricsEndpoints"), "ServiceMonitor": ("service-monitor", "endpoints")}


@pytest.mark.parametrize("kind", MONITORS)
def test_a_monitor_finds_the_agents(kind: str) -> None:
    """Its selector fits what it looks for, in the namespace of the release, at a port that is there."""
    case, endpoints = MONITORS[kind]
    objects = render(MATRIX[case])
    monitor = find(objects, kind)
    daemon_set, service = find(objects, "DaemonSet"), find(objects, "Service")
    labels = (
        daemon_set["spec"]["template"]["metadata"]["labels"] if kind == "PodMonitor" else service["metadata"]["labels"]
    )
    (endpoint,) = monitor["spec"][endpoints]

    assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
    assert set(monitor["spec"]) == {"namespaceSelector", "selector", endpoints}
    assert monitor["spec"]["namespaceSelector"] == {"matchNames": ["monitoring"]}
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert endpoint["port"] == "metrics"
    assert endpoint["path"] == "/metrics"
    assert endpoint["honorLabels"] is True
    assert re.fullmatch(r"\d+s", endpoint["interval"])
    assert float(endpoint["scrapeTimeout"][:-1]) <= float(endpoint["interval"][:-1])
    assert set(endpoint) == {"port", "path", "honorLabels", "interval", "scrapeTimeout", "relabelings"}


@pytest.mark.parametrize("kind", MONITORS)
def test_a_monitor_finds_the_gateway(kind: str) -> None:
    """Where there is a gateway it is scraped, too, as a job of its own, each pod as an instance."""
    case, endpoints = MONITORS[kind]
    objects = render({**MATRIX[case], "gateway": MATRIX["gateway-plain"]["gateway"]})
    monitor = find(objects, kind, "wattribute-gateway")
    deployment, service = find(objects, "Deployment"), find(objects, "Service", "wattribute-gateway")
    (endpoint,) = monitor["spec"][endpoints]
    target = {"instance": "10.0.0.7:10188", "job": "x", "pod": "wattribute-gateway-5d", "namespace": "monitoring"}
    labels = _relabelled(target, endpoint["relabelings"])

    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert (
        monitor["spec"]["selector"]["matchLabels"].items()
        <= deployment["spec"]["template"]["metadata"]["labels"].items()
    )
    assert endpoint["port"] == deployment["spec"]["template"]["spec"]["containers"][0]["ports"][0]["name"]
    assert {name: labels[name] for name in labels if name != "cluster"} == {
        "instance": "10.0.0.7:10188",
        "job": "wattribute-gateway",
    }


@pytest.mark.parametrize("kind", MONITORS)
def test_series_are_named_after_the_node(kind: str) -> None:
    """A new pod goes on with the series of the one before, under the job that the alerts name."""
    case, endpoints = MONITORS[kind]
    pod = {"__meta_kubernetes_pod_node_name": "n1", "namespace": "monitoring", "pod": "wattribute-x7k2p"}
    target = {
        **pod,
        "container": "agent",
        "endpoint": "metrics",
        "job": "monitoring/wattribute",
        "instance": "10.0.0.7:10187",
    }
    labels = _relabelled(target, find(render(MATRIX[case]), kind)["spec"][endpoints][0]["relabelings"])
    expected = {"job": "wattribute", "instance": "n1", "node": "n1"}

    assert labels == (expected | {"cluster": "west"} if case == "pod-monitor" else expected)
    alerts = (ROOT / "dashboards" / "rules" / "wattribute-health-alerts.yaml").read_text()
    assert f'job="{labels["job"]}" # token: job' in alerts


def _relabelled(labels: dict[str, str], steps: list[Object]) -> dict[str, str]:
    """Return what Prometheus makes of a target's labels, for the two actions that the chart uses."""
    for step in steps:
        if step.get("action") == "labeldrop":
            labels = {name: value for name, value in labels.items() if not re.fullmatch(step["regex"], name)}
        else:
            values = [labels[name] for name in step.get("sourceLabels", [])]
            labels = labels | {step["targetLabel"]: step.get("replacement", ";".join(values))}
    return {name: value for name, value in labels.items() if not name.startswith("__")}


def test_further_relabelings_come_last() -> None:
    """What the user adds sees the chart's labels and may change them."""
    drop = {"action": "drop", "sourceLabels": ["node"], "regex": "test-.*"}
    monitor = {"enabled": True, "relabelings": [drop], "metricRelabelings": [drop]}
    endpoint = find(render({"prometheus": {"podMonitor": monitor}}), "PodMonitor")["spec"]["podMetricsEndpoints"][0]

    assert endpoint["relabelings"][-1] == drop
    assert endpoint["metricRelabelings"] == [drop]


def test_nothing_of_the_operator_is_made_by_default() -> None:
    """A cluster without the operator's kinds takes the chart as it is."""
    assert not [item for item in render({}) if item["apiVersion"].startswith("monitoring.coreos.com")]


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_rules_are_the_files_byte_for_byte(path: object) -> None:
    """The text of each rule file stands in its object unchanged, only indented."""
    name = str(getattr(path, "stem", ""))
    arguments = ("--set=prometheus.rules.enabled=true", "--show-only=templates/prometheusrules.yaml")
    shown = run_helm("v3", "template", "wattribute", str(CHART), *arguments).stdout
    document = next(part for part in shown.split("\n---\n") if f"\n  name: wattribute-{name}\n" in part)
    text = textwrap.dedent(document.split("\nspec:\n", 1)[1])

    assert text.rstrip("\n") == (ROOT / "dashboards" / "rules" / f"{name}.yaml").read_text().rstrip("\n")


def test_prometheus_selects_monitors_and_rules() -> None:
    """Every object of the operator has the label that was asked for, and every rule file is there."""
    objects = [item for item in render(MATRIX["pod-monitor"]) if item["apiVersion"].startswith("monitoring.coreos.com")]

    assert len(objects) == 1 + len(RULES)
    assert {item["metadata"]["labels"]["release"] for item in objects} == {"prometheus"}
    for item in objects[1:]:
        assert item["kind"] == "PodMonitor" or all(group["rules"] for group in item["spec"]["groups"])


def test_dashboards_are_the_files() -> None:
    """Every dashboard is in a ConfigMap of its own with the label that Grafana's sidecar looks for."""
    files = {path.name: path.read_text() for path in (ROOT / "dashboards").glob("*.json")}
    objects = render(MATRIX["service-monitor"])
    maps = [o for o in objects if o["metadata"]["labels"].get("grafana_dashboard") == "1"]
    found = {key: value for item in maps for key, value in item["data"].items()}

    assert {name: yaml.safe_load(text) for name, text in found.items()} == {
        f"wattribute-{name}": yaml.safe_load(text) for name, text in files.items()
    }
