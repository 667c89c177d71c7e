"""What a budget says: whether it makes sense, what it selects, and what people should know of several of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from exporter.health import Finding, State
from exporter.ledger.budget_settings import BudgetSelector, BudgetSettings
from exporter.units import GRAMS_PER_KILOGRAM, GRAMS_PER_TONNE
from exporter.workloads.records import LeafUsage, RunKey, UsageSample, WorkloadId

__all__ = ["budget_problems", "limit_g", "overlaps", "period_s", "selects"]

_SECONDS_PER_DAY = 86_400
_NAME = re.compile(r"[A-Za-z0-9._-]{1,63}")
# Source: kubernetes.io/docs/concepts/overview/working-with-objects/labels, "Syntax and character set".
_LABEL_KEY = re.compile(
    r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", re.ASCII
)
_LIMITS = ("limit_g", "limit_kg", "limit_t")
_KINDS_OF_USERS = frozenset({"session", "user_unit"})


def limit_g(budget: BudgetSettings) -> float:
    """Return the limit in grams; 0 where none is given."""
    if budget.limit_kg is not None:
        return budget.limit_kg * GRAMS_PER_KILOGRAM
    if budget.limit_t is not None:
        return budget.limit_t * GRAMS_PER_TONNE
    return budget.limit_g or 0.0


def period_s(budget: BudgetSettings) -> float | None:
    """Return the rolling time of the limit in seconds; None: the limit of each run."""
    return None if budget.period == "run" else float(budget.period.removesuffix("d")) * _SECONDS_PER_DAY


def budget_problems(budgets: Sequence[BudgetSettings]) -> list[str]:
    """Return every mistake in ``budgets``, one sentence each, with the key, the value and the remedy."""
    names = [budget.name for budget in budgets]
    problems: list[str] = []
    for i, budget in enumerate(budgets):
        if names.index(budget.name) < i and budget.name:
            first = names.index(budget.name)
            problems.append(f"budgets[{i}].name: {budget.name!r} is the name of budgets[{first}] already; rename one")
        problems += [f"budgets[{i}].{problem}" for problem in _problems(budget)]
    return problems


def _problems(budget: BudgetSettings) -> Iterator[str]:
    if not _NAME.fullmatch(budget.name):
        yield f"name: expected 1 to 63 letters, digits, '-', '_' or '.', found {budget.name[:80]!r}"
    given = [key for key in _LIMITS if getattr(budget, key) is not None]
    if not given:
        yield "limit_g: no limit; give one of limit_g, limit_kg and limit_t"
    elif len(given) > 1:
        yield f"{given[1]}: one limit is enough, found {' and '.join(given)}; remove all but one"
    if not budget.scopes:
        yield "scopes: expected operational, embodied or both, found none; leave the key out for operational"
    elif len(set(budget.scopes)) < len(budget.scopes):
        yield f"scopes: each scope counts once, found {', '.join(budget.scopes)}; remove the repetition"
    yield from _selector_problems(budget.select)


def _selector_problems(select: BudgetSelector) -> Iterator[str]:
    given = [key for key, text in _texts(select) if text]
    given += ["pod_labels"] if select.pod_labels else []
    if select.everything and given:
        yield f"select.everything: stands alone, found {', '.join(given)} beside it; remove one or the other"
    elif not select.everything and not given:
        keys = ", ".join(key for key, _ in _texts(select))
        yield f"select: selects nothing; give one of {keys}, pod_labels, or 'everything: true' for the whole node"
    for key, pattern in select.pod_labels.items():
        if not _LABEL_KEY.fullmatch(key):
            yield f"select.pod_labels: {key[:80]!r} is no label key; expected a name such as team or example.org/team"
        if not pattern:
            yield f"select.pod_labels: {key[:80]!r} has no pattern; '*' takes every value"


def _texts(select: BudgetSelector) -> Sequence[tuple[str, str]]:
    keys = ("kind", "namespace", "workload", "run", "user", "slurm_account")
    return [(key, getattr(select, key)) for key in keys]


def selects(select: BudgetSelector, workload: WorkloadId, run: RunKey | None, usage: UsageSample) -> bool:
    """Return whether ``select`` takes this leaf. All keys that are given must fit; what is not known fits nothing."""
    if select.everything:
        return True
    facts = usage.runs.get(run) if run is not None else None
    session_user = workload.namespace if workload.kind in _KINDS_OF_USERS else ""
    wanted: list[tuple[str, tuple[str, ...]]] = [
        (select.kind, (workload.kind,)),
        (select.namespace, (workload.namespace,)),
        (select.workload, (workload.name,)),
        (select.run, (run or "", facts.name if facts else "")),
        (select.user, (facts.user if facts else "", session_user)),
        (select.slurm_account, (facts.account if facts else "",)),
    ]
    if not all(_fits(pattern, texts) for pattern, texts in wanted if pattern):
        return False
    if not select.pod_labels:
        return bool(any(pattern for pattern, _ in wanted))
    labels = usage.labels.get(workload) or usage.labels.get(workload._replace(container="")) or {}
    return all(key in labels and fnmatchcase(labels[key], pattern) for key, pattern in select.pod_labels.items())


def _fits(pattern: str, texts: Sequence[str]) -> bool:
    return any(text and fnmatchcase(text, pattern) for text in texts)


def overlaps(budgets: Sequence[BudgetSettings], usage: UsageSample, *, with_embodied: bool = True) -> list[Finding]:
    """Return one finding per budget: what it selects on this node now, and with which others it shares that.

    Nothing selected is no mistake: the workloads may run elsewhere, or later. Neither is overlap: a leaf counts once in
    each budget that selects it. ``with_embodied``: whether emissions of making the hardware are counted at all.
    """
    selected = [
        frozenset(i for i, leaf in enumerate(usage.leaves) if _takes(budget, leaf, usage)) for budget in budgets
    ]
    findings = []
    for budget, own in zip(budgets, selected, strict=True):
        detail = f"selects {len(own)} of {len(usage.leaves)} workloads here now" if own else "selects nothing here now"
        shared = [
            f"{len(own & others)} with {other.name}"
            for other, others in zip(budgets, selected, strict=True)
            if other is not budget and own & others and not (other.select.everything or budget.select.everything)
        ]
        remedy = "" if own else "if it is meant for what runs here, compare its patterns with wattribute top"
        if "embodied" in budget.scopes and not with_embodied:
            detail += "; embodied emissions are not counted"
            remedy = "set embodied.enabled, or remove embodied from its scopes"
        detail += f"; shares {', '.join(shared)}" if shared else ""
        state: State = "up" if own and not remedy else "absent"
        findings.append(Finding(source="budget", item=budget.name, state=state, detail=detail, remedy=remedy))
    return findings


def _takes(budget: BudgetSettings, leaf: LeafUsage, usage: UsageSample) -> bool:
    return selects(budget.select, leaf.workload, leaf.run, usage)
