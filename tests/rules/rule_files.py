"""Reads the shipped rule files, and of each expression which series it reads over which time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

__all__ = ["DIRECTORY", "FILES", "TESTS", "Rule", "Selector", "alerts", "records", "rules", "seconds", "selectors"]

_ROOT = Path(__file__).parents[2]
DIRECTORY = _ROOT / "dashboards" / "rules"
FILES = sorted(DIRECTORY.glob("*.yaml"))
TESTS = sorted(Path(__file__).parent.glob("*.yaml"))

_CLAUSE = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_SELECTOR = re.compile(
    r"(?<![\w:.])(?P<name>[A-Za-z_:][\w:]*)(?![\w:])\s*(?P<labels>\{[^}]*\})?\s*"
    r"(?:\[(?P<range>\w+)(?::(?P<step>\w+))?\])?(?!\s*\()"
)
_WORDS = {"and", "or", "unless", "bool", "offset"}
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Rule(NamedTuple):
    """One rule. ``interval_s`` is None where Prometheus' own evaluation interval holds."""

    file: str
    group: str
    interval_s: int | None
    record: str
    alert: str
    expr: str
    text: Mapping[str, Any]  # the rule as the file has it


class Selector(NamedTuple):
    """One selector of an expression; ``range_s`` and ``step_s`` are None where it has none."""

    name: str
    labels: str
    range_s: int | None
    step_s: int | None


def rules() -> Iterator[Rule]:
    """Yield every shipped rule."""
    for path in FILES:
        for group in yaml.safe_load(path.read_text())["groups"]:
            interval_s = seconds(group["interval"]) if "interval" in group else None
            for rule in group["rules"]:
                names = rule.get("record", ""), rule.get("alert", "")
                yield Rule(path.name, group["name"], interval_s, *names, rule["expr"], rule)


def alerts() -> list[Rule]:
    """Return the alerts."""
    return [rule for rule in rules() if rule.alert]


def records() -> list[Rule]:
    """Return the recording rules."""
    return [rule for rule in rules() if rule.record]


def selectors(expr: str) -> list[Selector]:
    """Return the selectors of a PromQL expression, in order."""
    text = _CLAUSE.sub(" ", re.sub(r"#.*", "", expr))
    return [
        Selector(
            match["name"], match["labels"] or "", *(seconds(d) if d else None for d in match.group("range", "step"))
        )
        for match in _SELECTOR.finditer(text)
        if match["name"] not in _WORDS
    ]


def seconds(duration: str) -> int:
    """Return a Prometheus duration of one unit in seconds."""
    return int(duration[:-1]) * _UNITS_S[duration[-1]]
