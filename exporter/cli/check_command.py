"""``wattribute check``: two real reads, and what every source says of itself."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, replace

from exporter.cli.arguments import Options
from exporter.cli.state_path import with_state_path
from exporter.clock import SystemClock
from exporter.config import Settings
from exporter.exposition.listen import ListenError, open_listener
from exporter.health import Finding
from exporter.node import Node

__all__ = ["run_check"]

_REQUIRED = ("web", "sensors", "workloads", "energy")


def run_check(options: Options, settings: Settings) -> int:
    """Print the findings; return 1 if the web address, the workloads, all energy or a required source is down."""
    # Without the state file: two agents must not write it, and a check books nothing.
    node = Node(
        replace(settings, ledger=replace(settings.ledger, state_path="")), roots=options.roots, clock=SystemClock()
    )
    try:
        node.start()
        time.sleep(max(options.values.wait, 0.1))
        snapshot = node.tick()
    finally:
        node.close()
    findings = [f for f in snapshot.findings if f.source != "state_file"]
    if not snapshot.components:
        remedy = "see the sources above; in a virtual machine set sensors.tdp_watts"
        findings.append(Finding(source="energy", state="down", detail="no component has a source", remedy=remedy))
    findings += [_state_finding(settings), *_web_findings(settings)]
    _print(findings, as_json=options.values.output == "json")
    required = {*_REQUIRED, *settings.sensors.required_sources}
    return int(any(f.state == "down" and not f.item and f.source in required for f in findings))


def _state_finding(settings: Settings) -> Finding:
    path = with_state_path(settings, os.environ).ledger.state_path
    if path:
        return Finding(source="state_file", state="up", detail=path)
    remedy = "give the agent a writable local directory with --state.file"
    return Finding(source="state_file", state="absent", detail="counters restart with the agent", remedy=remedy)


def _web_findings(settings: Settings) -> list[Finding]:
    findings = []
    for address in settings.web.listen_addresses:
        try:
            open_listener(address).close()
        except ListenError as exc:
            findings.append(Finding(source="web", state="down", detail=str(exc)))
        else:
            findings.append(Finding(source="web", state="up", detail=address))
    return findings


def _print(findings: Sequence[Finding], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
        return
    for f in findings:
        print(f"{f.state:9} {f.source}{' ' + f.item if f.item else ''}: {f.detail}")
        if f.remedy and f.state != "up":
            print(f"{'':9} → {f.remedy}")
