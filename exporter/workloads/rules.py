"""The administrator's rules that name runs, and the settings of run recognition.

Rules are trusted: they come before anything a process says of itself, and the first that matches wins.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from exporter.workloads.environment import ENVIRONMENT_NAMES
from exporter.workloads.facts import ProcessFacts
from exporter.workloads.text import NAME_LIMIT

__all__ = ["RunRule", "RunSettings", "allowed_variables", "match_rule", "rule_problems"]

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASS|CREDENTIAL|AUTH|COOKIE", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRule:
    """One rule: what a process must look like, and the name of the run it then belongs to."""

    name: str = ""
    """The run's name, at most 128 printable characters. Either this or ``name_from`` must be given."""
    name_from: str = ""
    """A variable that holds the name; a process without it does not match. It joins the allow-list."""
    framework: str = ""
    """The framework label of the run; empty: what is recognised."""
    user: str = ""
    """Login name or uid the process must have; empty: any."""
    command: str = ""
    """Shell pattern for the process name as in /proc/PID/comm; empty: any."""
    cgroup: str = ""
    """Shell pattern for the cgroup's path, or for ``kind/namespace/name/container``, empty parts left out."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Shell patterns by variable; each variable must exist and match. The names join the allow-list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """How runs are recognised and what is told of them."""

    script_names: bool = False
    """Whether a script's base name may name a run. Off, because it is taken from a command line."""
    user_names: bool = True
    """Whether runs carry their user. Personal data: switch it off where that is not wanted."""
    rules: Sequence[RunRule] = ()
    """Rules in order; the first match wins."""
    slurm_cluster_name: str = ""
    """Slurm's cluster name, part of a job's key; empty: what the job's environment says, if it can be read."""


def allowed_variables(settings: RunSettings) -> frozenset[str]:
    """Return every variable that may be read: the built-in list and what the rules name."""
    named = {name for rule in settings.rules for name in (rule.name_from, *rule.variables) if name}
    return frozenset(ENVIRONMENT_NAMES) | named


def rule_problems(rules: Sequence[RunRule], *, where: str = "runs.rules") -> list[str]:
    """Return every mistake in the rules, one sentence each, in order; ``where`` is their path in the file."""
    return [f"{where}[{index}]: {problem}." for index, rule in enumerate(rules) for problem in _problems(rule)]


def _problems(rule: RunRule) -> list[str]:
    problems = []
    if bool(rule.name) == bool(rule.name_from):
        problems.append("give either name or name_from")
    if len(rule.name) > NAME_LIMIT or not rule.name.isprintable():
        problems.append(f"name must be at most {NAME_LIMIT} printable characters")
    if len(rule.framework) > NAME_LIMIT or not rule.framework.isprintable():
        problems.append(f"framework must be at most {NAME_LIMIT} printable characters")
    if not (rule.user or rule.command or rule.cgroup or rule.variables):
        problems.append("at least one of user, command, cgroup and variables must be given, else all would match")
    for variable in (*((rule.name_from,) if rule.name_from else ()), *rule.variables):
        if _VARIABLE.fullmatch(variable) is None:
            problems.append(f"{variable[:40]!r} is not the name of an environment variable")
        elif _SECRET.search(variable):
            problems.append(f"{variable} looks like a secret and is never read")
    return problems


def match_rule(rules: Sequence[RunRule], process: ProcessFacts, user: str) -> tuple[RunRule, str] | None:
    """Return the first rule that matches and the run's name; ``user`` is the process's login name or empty."""
    for rule in rules:
        name = rule.name or (process.environment or {}).get(rule.name_from, "")
        if name and _matches(rule, process, user):
            return rule, name
    return None


def _matches(rule: RunRule, process: ProcessFacts, user: str) -> bool:
    if rule.user and rule.user not in {user, str(process.uid)}:
        return False
    if rule.command and not fnmatchcase(process.command, rule.command):
        return False
    if rule.cgroup and not _matches_cgroup(rule.cgroup, process):
        return False
    variables = process.environment or {}
    return all(name in variables and fnmatchcase(variables[name], glob) for name, glob in rule.variables.items())


def _matches_cgroup(pattern: str, process: ProcessFacts) -> bool:
    workload = "/".join(part for part in process.cgroup.workload if part)
    return fnmatchcase(process.cgroup_key.rpartition("#")[0], pattern) or fnmatchcase(workload, pattern)
