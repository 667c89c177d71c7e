"""The shipped rules: correct for promtool, tested one by one, made of metrics that exist, explained in the runbook."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.exposition.catalogue import CATALOGUE
from tests.rules.rule_files import DIRECTORY, FILES, TESTS, Rule, Selector, alerts, records, rules, selectors
from tests.system.programs import needs

_DOCS = Path(__file__).parents[2] / "docs"
_RUNBOOK = _DOCS / "reference" / "alerts.md"
_GUIDE = _DOCS / "how-to" / "prometheus-rules.md"
_KINDS = ("fires", "silent", "gap", "restart")
_TOKEN = re.compile(r"(?P<value>[^\s{},]+),? # token: (?P<name>\w+)$", re.MULTILINE)


def _cases() -> list[dict[str, Any]]:  # YAML
    return [case for path in TESTS for case in yaml.safe_load(path.read_text())["tests"]]


@needs("promtool")
def test_promtool_finds_no_fault_in_the_files() -> None:
    checked = subprocess.run(
        ["promtool", "check", "rules", "--lint-fatal", *FILES], capture_output=True, text=True, check=False
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr


@needs("promtool")
@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_the_rules_do_what_their_tests_say(path: Path) -> None:
    tested = subprocess.run(
        ["promtool", "test", "rules", path.name], capture_output=True, text=True, check=False, cwd=path.parent
    )

    assert tested.returncode == 0, tested.stdout + tested.stderr


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule.alert)
@pytest.mark.parametrize("kind", _KINDS)
def test_each_alert_has_a_test_of_each_kind(rule: Rule, kind: str) -> None:
    """A test that fires it, one that does not, one with a hole in the scrapes, one with a restart; by name."""
    start = f"{rule.alert.removeprefix('Wattribute')}: {kind}: "
    cases = [case for case in _cases() if case.get("name", "").startswith(start)]
    checks = [c for case in cases for c in case["alert_rule_test"] if c["alertname"] == rule.alert]

    assert checks
    if kind == "fires":
        assert any(check["exp_alerts"] for check in checks)
    if kind == "silent":
        assert not any(check["exp_alerts"] for check in checks)


@pytest.mark.parametrize("name", sorted({rule.record for rule in records()}))
def test_each_recording_rule_has_a_test_of_its_value(name: str) -> None:
    checks = [check for case in _cases() for check in case.get("promql_expr_test", [])]

    assert any(check["exp_samples"] for check in checks if name in [s.name for s in selectors(check["expr"])])


@pytest.mark.parametrize("rule", list(rules()), ids=lambda rule: rule.record or rule.alert)
def test_rules_read_only_what_exists(rule: Rule) -> None:
    known = {family.name for family in CATALOGUE} | {record.record for record in records()} | {"up"}
    read = {selector.name for selector in selectors(rule.expr)}

    assert read
    assert read <= known


@pytest.mark.parametrize("rule", records(), ids=lambda rule: rule.record)
def test_records_are_named_level_metric_operation(rule: Rule) -> None:
    assert re.fullmatch(
        r"(instance|instance_run|run|namespace|cluster|cluster_\w+|budget):wattribute_\w+:\w+", rule.record
    )


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule.alert)
def test_alerts_say_how_bad_what_where_and_what_to_do(rule: Rule) -> None:
    """A constant sentence, a description that names what is concerned, and the heading of the runbook."""
    annotations = rule.text["annotations"]

    assert rule.alert.startswith("Wattribute")
    assert set(rule.text["labels"]) == {"severity"}
    assert rule.text["labels"]["severity"] in {"critical", "warning", "info"}
    assert set(annotations) == {"summary", "description", "runbook_url"}
    assert re.fullmatch(r"[A-Z][^{}]*[^.{}]\.", annotations["summary"])
    assert annotations["description"].endswith(".")
    assert "{{" in annotations["description"] or rule.alert == "WattributeAgentAbsent"
    assert annotations["runbook_url"].endswith(f"/docs/reference/alerts.md#{rule.alert.lower()}")


def test_one_base_address_leads_to_the_runbook() -> None:
    bases = {rule.text["annotations"]["runbook_url"].split("/docs/")[0] for rule in alerts()}

    assert bases == {"https://wattribute.example"}


def test_the_runbook_has_one_heading_per_alert() -> None:
    headings = re.findall(r"^## (\w+)$", _RUNBOOK.read_text(), re.MULTILINE)

    assert sorted(rule.alert for rule in alerts()) == sorted(headings)


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule.alert)
def test_the_runbook_says_meaning_check_cure_and_tuning(rule: Rule) -> None:
    section = re.search(rf"^## {rule.alert}\n(.*?)(?=^## |\Z)", _RUNBOOK.read_text(), re.MULTILINE | re.DOTALL)

    assert section
    for part in ("**Means:**", "**Check:**", "**Do:**", "**Tune:**"):
        assert part in section[1]
    assert f"`{rule.text['labels']['severity']}`" in section[1]


def test_the_queries_of_the_runbook_read_only_what_exists() -> None:
    known = {family.name for family in CATALOGUE} | {record.record for record in records()} | {"up"}
    blocks = re.findall(r"^```promql\n(.*?)^```", _RUNBOOK.read_text() + _GUIDE.read_text(), re.MULTILINE | re.DOTALL)

    assert len(blocks) >= len(alerts())
    assert {selector.name for block in blocks for selector in selectors(block)} <= known


def test_each_threshold_stands_once_and_in_the_guide() -> None:
    """Tokens are what a chart may replace: a plain value before a comment; the job may stand in several places."""
    found = [(m["name"], m["value"]) for path in FILES for m in _TOKEN.finditer(path.read_text())]
    rows = re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", _GUIDE.read_text(), re.MULTILINE)
    numbers = [name for name, _ in found if name != "job"]

    assert len(numbers) == len(set(numbers))
    assert sorted(set(found)) == sorted(rows)
    for name, value in found:
        assert re.fullmatch(r'job="\w+"' if name == "job" else r"[0-9.]+", value)
    assert sum(path.read_text().count("# token:") for path in FILES) == len(found) + _mentions()


def _mentions() -> int:
    """Return how often the files speak of tokens in general."""
    return sum(path.read_text().count("`# token: name`") for path in FILES)


def test_every_record_is_in_the_reference() -> None:
    text = (_DOCS / "reference" / "recording-rules.md").read_text()

    assert {rule.record for rule in records()} == set(re.findall(r"^\| `([^`{]+:[^`{]+)", text, re.MULTILINE))


def test_the_files_are_where_the_guide_says() -> None:
    assert {path.name for path in DIRECTORY.iterdir()} == set(
        re.findall(r"wattribute-[\w-]+\.yaml", _GUIDE.read_text())
    )


def test_selectors_are_found_in_an_expression() -> None:
    expr = """
      sum by (a, b) (rate(x_total{c="d"}[5m]))
        / on (a) group_left () avg_over_time(y:z[1d:5m]) > 2 # token: w
        and v
    """

    assert selectors(expr) == [
        Selector("x_total", '{c="d"}', 300, None),
        Selector("y:z", "", 86400, 300),
        Selector("v", "", None, None),
    ]
