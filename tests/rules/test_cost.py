"""What the rules cost is stated in the docs, and stays below what one Prometheus can take."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rules.cost import NODES, cost_of, table
from tests.rules.rule_files import Rule, records, rules

_REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "recording-rules.md"
_MOST_SAMPLES = 15_000_000
_LIMIT_PER_QUERY = 50_000_000


def test_the_reference_states_the_costs() -> None:
    assert table() in _REFERENCE.read_text()


@pytest.mark.parametrize("rule", list(rules()), ids=lambda rule: rule.record or rule.alert)
def test_no_rule_reads_more_than_stated_at_the_largest_size(rule: Rule) -> None:
    assert cost_of(rule, NODES[-1]).samples <= _MOST_SAMPLES < _LIMIT_PER_QUERY


@pytest.mark.parametrize("name", sorted({r.record for r in records() if r.record.startswith("budget:")}))
def test_of_the_budgets_only_the_first_rules_depend_on_the_number_of_nodes(name: str) -> None:
    """One series per budget is recorded, and everything else is made of it."""
    first = (":max", ":rate5m")
    rule = next(r for r in records() if r.record == name)
    small, large = (cost_of(rule, nodes).samples for nodes in (NODES[0], NODES[-1]))

    assert (small != large) == name.endswith(first)
