"""``wattribute check``: two real reads, and what every source says of itself."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace

from exporter import __version__
from exporter.carbon import CarbonSource
from exporter.carbon.providers import provider_findings
from exporter.cli.arguments import Options
from exporter.cli.feeds import agent_url, is_agent, without_state
from exporter.cli.screen import STATE_STYLES, Column, open_console, printable, prose, table, words
from exporter.cli.state_path import state_finding, with_state_path
from exporter.clock import Clock, SystemClock
from exporter.config import Settings
from exporter.exposition.listen import ListenError, open_listener
from exporter.exposition.quantities import power_text
from exporter.health import Finding
from exporter.host import Roots
from exporter.ledger.budgets import overlaps
from exporter.ledger.snapshot import Snapshot
from exporter.node import Node, kernel_workloads
from exporter.workloads.records import UsageSample, WorkloadSampler

__all__ = ["run_check"]

_LONGEST_ANSWER_S = 12.0
"""Seconds that providers of carbon intensity have to answer; each gives up after ten."""
_LOOK_S = 0.1
_REQUIRED = ("energy", "process_table", "web", "workloads")
"""Without one of these an agent is of no use. Whatever else is missing, it does the rest."""


def run_check(options: Options, settings: Settings, environ: Mapping[str, str] | None = None) -> int:
    """Print the findings; return 1 if something without which an agent is of no use, or a required source, is down."""
    snapshot, missing, usage = _look(options, settings)
    findings = [finding for finding in snapshot.findings if finding.source != "state_file"]
    findings += _energy_findings(snapshot)
    if settings.carbon.providers:
        asked = _ask_providers(settings)
        findings = [f for f in findings if f.source not in {finding.source for finding in asked}] + asked
    findings += [doubt for provider in settings.carbon.providers for doubt in provider_findings(provider)]
    findings += overlaps(settings.budgets, usage, with_embodied=settings.embodied.enabled)
    findings.append(state_finding(with_state_path(settings, os.environ if environ is None else environ)))
    findings += [_web_finding(address) for address in settings.web.listen_addresses]
    down = {f.source for f in findings if f.state == "down" and not f.item}
    failed = sorted({source for source in _REQUIRED if source in down} | set(missing))
    if options.values.output == "json":
        document = {"version": __version__, "failed": failed, "findings": [asdict(finding) for finding in findings]}
        print(json.dumps(document, indent=2))
    else:
        _print(findings, failed)
    return int(bool(failed))


def _look(options: Options, settings: Settings) -> tuple[Snapshot, Sequence[str], UsageSample]:
    """Return the second of two reads, the required sensors that gave nothing in it, and who used the node."""
    seen: list[_NotingSampler] = []

    def noting(settings: Settings, roots: Roots, clock: Clock) -> WorkloadSampler:
        seen.append(_NotingSampler(kernel_workloads(settings, roots, clock)))
        return seen[-1]

    without_providers = replace(settings, carbon=replace(settings.carbon, providers=()))
    node = Node(without_state(without_providers), roots=options.roots, clock=SystemClock(), make_workloads=noting)
    try:
        node.start()
        time.sleep(options.values.wait)
        snapshot = node.tick()
        return snapshot, node.missing_required(), seen[-1].last
    finally:
        node.close()


def _ask_providers(settings: Settings) -> list[Finding]:
    """Return what carbon knows once every provider was asked, which an agent spreads over half a minute."""
    source = CarbonSource(settings.carbon, settings.costs, SystemClock(), jitter=_AtOnce())
    try:
        source.state()
        end_s = time.monotonic() + _LONGEST_ANSWER_S
        while source.is_waiting and time.monotonic() < end_s:
            time.sleep(_LOOK_S)
        return list(source.state().findings)
    finally:
        source.close()


class _AtOnce:
    """No spread."""

    def uniform(self, a: float, b: float, /) -> float:
        return min(a, b)


class _NotingSampler:
    """Passes samples of the workloads on and keeps the last, which says what budgets select."""

    def __init__(self, sampler: WorkloadSampler) -> None:
        self._sampler = sampler
        self.last = UsageSample(interval_s=0.0, cpu_count=1, busy_cpu_s=0.0, system_cpu_s=0.0, runs={})

    def sample(self, *, with_memory: bool, gpu_pids: Collection[int] = ()) -> UsageSample:
        self.last = self._sampler.sample(with_memory=with_memory, gpu_pids=gpu_pids)
        return self.last

    def close(self) -> None:
        self._sampler.close()


def _energy_findings(snapshot: Snapshot) -> list[Finding]:
    """Return what the sensors come to: one finding per component, or the fault that there is none."""
    if not snapshot.components:
        remedy = "see the sources above; in a virtual machine set sensors.tdp_watts"
        return [Finding(source="energy", state="down", detail="no component has a source", remedy=remedy)]
    return [
        Finding(
            source="energy",
            item=component.value,
            state="degraded" if totals.is_partial else "up",
            detail=f"{'no reading' if totals.power_w is None else power_text(totals.power_w)} {totals.quality} by "
            f"{totals.source}, ±{totals.uncertainty_ratio:.0%}{', incomplete' if totals.is_partial else ''}",
        )
        for component, totals in snapshot.components.items()
    ]


def _web_finding(address: str) -> Finding:
    try:
        open_listener(address).close()
    except ListenError as exc:
        if is_agent(agent_url(address)):
            return Finding(source="web", state="up", detail=f"an agent is running at {agent_url(address)}")
        return Finding(source="web", state="down", detail=str(exc), remedy="see --web.listen-address")
    return Finding(source="web", state="up", detail=f"{address} is free")


def _print(findings: Sequence[Finding], failed: Sequence[str]) -> None:
    verdict = f"down, and needed: {', '.join(failed)}" if failed else "everything needed works"
    if sys.stdout.isatty():
        _print_table(findings, verdict, "bold red" if failed else "bold green")
        return
    for finding in findings:
        print(f"{finding.state:9} {_name(finding)}: {printable(finding.detail)}")
        remedy = finding.remedy.split("\n") if finding.state != "up" and finding.remedy else []
        for mark, line in zip("→" + " " * len(remedy), remedy, strict=False):
            print(f"{'':9} {mark} {printable(line)}")
    print(verdict)


def _print_table(findings: Sequence[Finding], verdict: str, style: str) -> None:
    console = open_console()
    columns = (Column("STATE"), Column("SOURCE"), Column("WHAT WAS FOUND, AND WHAT TO DO", is_flexible=True))
    rows = []
    for finding in findings:
        found = prose(finding.detail)
        if finding.remedy and finding.state != "up":
            found.append_text(prose(f"\n→ {finding.remedy}", "bold"))
        rows.append([words(finding.state, STATE_STYLES[finding.state]), words(_name(finding)), found])
    console.print(table(columns, rows, width=console.width))
    console.print(words(verdict, style))


def _name(finding: Finding) -> str:
    return printable(f"{finding.source} {finding.item}".strip())
