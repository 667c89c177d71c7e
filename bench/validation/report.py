"""Runs checks one by one, each failing alone, and writes what they found: JSON for machines, Markdown for people."""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

__all__ = ["Numbers", "Report", "Section", "Skipped", "rounded", "run_check"]

Numbers = dict[str, object]
"""What a check found: plain JSON. The key ``raw`` holds long lists, which the summary leaves out."""

Status = Literal["measured", "skipped", "failed"]
_LONGEST_CELL = 400
_DIGITS = 6


class Skipped(Exception):  # noqa: N818 - an outcome, not an error
    """The check does not apply here; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """The outcome of one check; ``reason`` says why it was skipped, or how it failed."""

    name: str
    title: str
    status: Status
    reason: str = ""
    took_s: float = 0.0
    numbers: Numbers = field(default_factory=dict)


def run_check(name: str, title: str, check: Callable[[], Numbers]) -> Section:
    """Return what ``check`` found; whatever it raises ends this section only."""
    print(f"{name} …", file=sys.stderr, flush=True)
    started_s = time.monotonic()
    status: Status = "measured"
    numbers: Numbers = {}
    reason = ""
    try:
        numbers = check()
    except Skipped as exc:
        status, reason = "skipped", str(exc)
    except Exception as exc:  # noqa: BLE001 - the isolation line: the other sections are worth having
        status, reason = "failed", f"{type(exc).__name__}: {exc}"
        traceback.print_exc()
    took_s = round(time.monotonic() - started_s, 2)
    return Section(name=name, title=title, status=status, reason=reason, took_s=took_s, numbers=numbers)


def rounded(value: float) -> float:
    """Return ``value`` to six significant digits: more than any sensor has."""
    return float(f"{value:.{_DIGITS}g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One run of the script.

    Attributes:
        simulated: what was simulated, in words; empty: nothing, a real driver answered.
        facts: machine, driver and GPU.
        sections: the checks, in order.
    """

    simulated: str
    facts: Mapping[str, object]
    sections: Sequence[Section]

    def write(self, directory: Path, *, stem: str) -> tuple[Path, Path]:
        """Write both files and return their paths."""
        directory.mkdir(parents=True, exist_ok=True)
        numbers, summary = directory / f"{stem}.json", directory / f"{stem}.md"
        numbers.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        summary.write_text(self.markdown(numbers.name), encoding="utf-8")
        return numbers, summary

    def markdown(self, numbers: str) -> str:
        """Return the summary; ``numbers`` is the name of the file with the raw numbers."""
        lines = [f"# {'Simulated: ' if self.simulated else ''}{self.facts.get('gpu', 'GPU')}", ""]
        if self.simulated:
            lines += [f"**{self.simulated} Nothing on this page was measured on a GPU.**", ""]
        lines += [f"Made by `make validate-gpu`; all numbers: [{numbers}]({numbers}).", "", "| fact | value |"]
        lines += ["| --- | --- |", *(f"| {name} | {_cell(value)} |" for name, value in self.facts.items()), ""]
        lines += ["| section | outcome | took | |", "| --- | --- | ---: | --- |"]
        lines += [f"| {one.title} | {one.status} | {one.took_s} s | {_cell(one.reason)} |" for one in self.sections]
        for one in self.sections:
            if one.status == "measured":
                lines += ["", f"## {one.title}", "", *_table(one.numbers)]
        return "\n".join(lines) + "\n"


def _table(numbers: Numbers) -> list[str]:
    rows = [(name, value) for name, value in numbers.items() if name != "raw"]
    return ["| | |", "| --- | --- |", *(f"| {name} | {_cell(value)} |" for name, value in rows)]


def _cell(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = text.replace("|", "\\|").replace("\n", " ")
    return text if len(text) <= _LONGEST_CELL else f"{text[:_LONGEST_CELL]}…"
