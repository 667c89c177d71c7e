"""A run on three nodes is one run in a report from a real Prometheus, to the joule; and what backfilled data show."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from exporter.units import JOULES_PER_KILOWATT_HOUR
from tests.system.programs import PrometheusServer, free_port, needs, started, wait_for

_NODES = 3
_RANKS_PER_NODE = 4
_RUN = "llama-pretrain"

pytestmark = [pytest.mark.system, needs("prometheus", "promtool")]


@contextmanager
def _prometheus(directory: Path, targets: Sequence[str]) -> Iterator[tuple[PrometheusServer, str]]:
    """Run a Prometheus over ``directory/tsdb`` that scrapes ``targets``, and give it with its address."""
    port = free_port()
    config = directory / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
        f"scrape_configs: [{{job_name: wattribute, static_configs: [{{targets: {json.dumps(list(targets))}}}]}}]\n"
    )
    command = [
        *("prometheus", f"--config.file={config}", f"--storage.tsdb.path={directory / 'tsdb'}"),
        *(f"--web.listen-address=127.0.0.1:{port}", "--storage.tsdb.retention.time=10y"),
    ]
    server = PrometheusServer(port)
    with started(command, log=directory / "prometheus.log"):
        wait_for("Prometheus", lambda: server.query("vector(1)"))
        yield server, f"http://127.0.0.1:{port}"


def _report(url: str, *arguments: str) -> Mapping[str, Any]:
    """Return the only run of the JSON report, as the command prints it."""
    command = [sys.executable, "-m", "exporter.cli", "report", f"--prometheus.url={url}", "--output=json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (run,) = json.loads(done.stdout)["runs"]
    return dict(run)


def _runs(port: int) -> Mapping[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/runs", timeout=5) as answer:
        return dict(json.load(answer))


def _joules(documents: Sequence[Mapping[str, Any]]) -> float:
    found = [run for document in documents for run in document["runs"] if run["name"] == _RUN]
    assert len(found) == len(documents)
    return math.fsum(j for run in found for modes in run["energy_j"].values() for j in modes.values())


@pytest.mark.timeout(180)
def test_a_run_on_three_nodes_is_one_run_to_the_joule(tmp_path: Path) -> None:
    """The report equals the sum of what the three agents show, when neither ticked while it was made."""
    ports = [free_port() for _ in range(_NODES)]
    with ExitStack() as stack:
        for number, port in enumerate(ports):
            command = [
                *(sys.executable, "-m", "exporter.cli", "demo", f"--node={number}", f"--nodes={_NODES}"),
                *(f"--web.listen-address=127.0.0.1:{port}", "--sampling.interval=8s"),
            ]
            stack.enter_context(started(command, log=tmp_path / f"demo{number}.log"))
        _, url = stack.enter_context(_prometheus(tmp_path, [f"127.0.0.1:{port}" for port in ports]))
        wait_for("energy of all nodes", lambda: all(_energy_of(port) for port in ports) or None, timeout_s=60)

        run, shown_j = wait_for("a time without a tick", lambda: _quiet_report(url, ports), timeout_s=90)

    assert run["energy"]["total_j"] == pytest.approx(shown_j, rel=1e-12)
    assert run["name"] == _RUN
    assert len(run["nodes"]) == _NODES
    assert run["ranks"] == run["world_size"] == _NODES * _RANKS_PER_NODE
    assert run["hardware"] == [{"gpus": _NODES * _RANKS_PER_NODE, "model": "Simulated H100 80GB"}]
    assert [grid["zone"] for grid in run["grids"]] == ["DE"]
    assert run["emissions"]["average_intensity_g_per_kwh"] == pytest.approx(329.65, rel=1e-9)
    assert any("SIMULATED" in note for note in run["notes"])


def _energy_of(port: int) -> bool:
    return _joules([_runs(port)]) > 0


def _quiet_report(url: str, ports: Sequence[int]) -> tuple[Mapping[str, Any], float] | None:
    before = [_runs(port) for port in ports]
    time.sleep(2.2)
    run = _report(url, _RUN)
    after = [_runs(port) for port in ports]
    is_quiet = [document["taken_s"] for document in before] == [document["taken_s"] for document in after]
    return (run, _joules(after)) if is_quiet else None


_DAY_S = 86_400
_STEP_S = 600
_END_S = 1_763_942_400
"""A fixed past midnight, UTC, at which the backfilled data end."""


class _History:
    """Samples to backfill, and what they truly hold."""

    def __init__(self) -> None:
        self._series: dict[str, dict[str, list[tuple[int, float]]]] = {}

    def put(self, family: str, labels: Mapping[str, str], samples: Sequence[tuple[int, float]]) -> None:
        text = ",".join(f'{name}="{value}"' for name, value in labels.items())
        self._series.setdefault(family, {}).setdefault(text, []).extend(samples)

    def write(self, directory: Path) -> None:
        lines = []
        for family, by_labels in self._series.items():
            kind = "counter" if family.endswith("_total") else "gauge"
            lines.append(f"# TYPE {family.removesuffix('_total')} {kind}")
            for labels, samples in by_labels.items():
                lines += [f"{family}{{{labels}}} {value!r} {at_s}" for at_s, value in samples]
        text = directory / "history.om"
        text.write_text("\n".join([*lines, "# EOF", ""]))
        command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(text), str(directory / "tsdb")]
        subprocess.run([*command, "--max-block-duration=1440h"], check=True, capture_output=True)


def _times(from_day: float, until_day: float) -> Sequence[int]:
    """Return scrape times, given in days before the end of the data."""
    first, last = _END_S - round(from_day * _DAY_S), _END_S - round(until_day * _DAY_S)
    return range(first, last, _STEP_S)


def _rising(times: Sequence[int], *, power_w: float, from_j: float = 0.0) -> list[tuple[int, float]]:
    return [(at_s, from_j + power_w * (at_s - times[0])) for at_s in times]


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Mapping[str, float]]]:
    """Give a server that holds two runs of the past, and the joules of each.

    ``long``: 40 days on three nodes. One reboots twice within a day, and once in a gap of two days; one leaves after
    ten days; the agent of one gets a new address. ``doubled``: its node is scraped by two jobs.
    """
    history = _History()
    truth_j = {"long": 0.0, "doubled": 0.0}

    def energy(run: str, labels: Mapping[str, str], samples: Sequence[tuple[int, float]]) -> None:
        cpu = {"run": run, "component": "cpu", "mode": "active", **labels}
        history.put("wattribute_run_energy_joules_total", cpu, samples)
        grams = {"run": run, "scope": "operational", **labels}
        emitted = [(at_s, joules / JOULES_PER_KILOWATT_HOUR * 1.2 * 300) for at_s, joules in samples]
        history.put("wattribute_run_emissions_grams_total", grams, emitted)

    a, b = {"instance": "10.0.0.1:9", "job": "w"}, {"instance": "10.0.0.2:9", "job": "w"}
    for from_day, until_day, left_at_j in ((40, 19.7, 0.0), (19.6, 19.5, 0.0), (19.45, 15, 0.0), (13, 0, 0.0)):
        samples = _rising(_times(from_day, until_day), power_w=100.0, from_j=left_at_j)
        energy("long", a, samples)
        truth_j["long"] += samples[-1][1]
    samples = _rising(_times(40, 30), power_w=50.0)
    energy("long", b, samples)
    truth_j["long"] += samples[-1][1]
    old, new = _times(40, 10), _times(9.99, 0)
    samples = _rising(old, power_w=70.0)
    energy("long", {"instance": "10.1.0.7:9", "job": "w", "node": "c"}, samples)
    samples = _rising(new, power_w=70.0, from_j=samples[-1][1] + 70.0 * (new[0] - old[-1]))
    energy("long", {"instance": "10.1.0.8:9", "job": "w", "node": "c"}, samples)
    truth_j["long"] += samples[-1][1]

    for job, late_s in (("one", 0), ("two", 60)):
        for from_day, until_day in ((5, 3), (2.9, 1)):
            samples = [(at_s + late_s, value) for at_s, value in _rising(_times(from_day, until_day), power_w=10.0)]
            energy("doubled", {"instance": "10.0.0.3:9", "job": job}, samples)
            truth_j["doubled"] += samples[-1][1] if job == "one" else 0.0

    for run, from_day, until_day, labels in (("long", 40, 0, a), ("long", 40, 30, b), ("doubled", 5, 1, {})):
        times = _times(from_day, until_day)
        facts = {"run": run, "name": f"{run} run", "user": "ada", "world_size": "2", **labels}
        of_run = {"run": run, **labels}
        history.put("wattribute_run_info", facts, [(at_s, 1.0) for at_s in times])
        history.put("wattribute_run_start_timestamp_seconds", of_run, [(at_s, float(times[0])) for at_s in times])
        history.put("wattribute_run_last_seen_timestamp_seconds", of_run, [(at_s, float(at_s)) for at_s in times])
        history.put("wattribute_pue_ratio", labels or {"instance": "10.0.0.3:9"}, [(at_s, 1.2) for at_s in times])
    history.put("wattribute_pue_ratio", {"instance": "10.1.0.7:9", "node": "c"}, [(at_s, 1.2) for at_s in old])
    directory = tmp_path_factory.mktemp("past")
    history.write(directory)
    with _prometheus(directory, []) as (_, url):
        yield url, truth_j


def test_a_run_of_forty_days_is_whole_over_reboots_gaps_leavers_and_new_addresses(
    past: tuple[str, Mapping[str, float]],
) -> None:
    """Nothing is interpolated: what was drawn between the last sample and a reboot, or in a gap, is not invented."""
    url, truth_j = past
    run = _report(url, "long run", f"--until={_iso(_END_S)}", f"--since={_iso(_END_S - 30 * _DAY_S)}")

    assert run["energy"]["total_j"] == pytest.approx(truth_j["long"], rel=1e-12)
    assert run["started"] == _iso(_END_S - 40 * _DAY_S)
    assert run["nodes"] == ["10.0.0.1:9", "10.0.0.2:9", "c"]
    assert run["emissions"]["average_intensity_g_per_kwh"] == pytest.approx(300.0)


def test_a_node_that_two_jobs_scrape_counts_once(past: tuple[str, Mapping[str, float]]) -> None:
    url, truth_j = past
    run = _report(url, "doubled", f"--until={_iso(_END_S)}")

    assert run["energy"]["total_j"] == pytest.approx(truth_j["doubled"], rel=1e-12)
    assert len(run["nodes"]) == 1


def test_a_server_with_a_low_limit_of_samples_is_asked_in_smaller_chunks(tmp_path: Path) -> None:
    """A real limit of a real server: ``--query.max-samples`` lets a day of one series pass, and no more."""
    history = _History()
    labels = {"run": "limited", "component": "cpu", "mode": "active", "instance": "n:9"}
    total_j = 0.0
    for from_day, until_day in ((6, 3.2), (3.1, 0)):
        samples = _rising(_times(from_day, until_day), power_w=3.0)
        history.put("wattribute_run_energy_joules_total", labels, samples)
        total_j += samples[-1][1]
    times = _times(6, 0)
    for family, value in (("wattribute_run_info", 1.0), ("wattribute_run_start_timestamp_seconds", float(times[0]))):
        history.put(family, {"run": "limited", "instance": "n:9"}, [(at_s, value) for at_s in times])
    history.write(tmp_path)
    (tmp_path / "prometheus.yml").write_text("")
    port = free_port()
    command = [
        *("prometheus", f"--config.file={tmp_path / 'prometheus.yml'}", f"--storage.tsdb.path={tmp_path / 'tsdb'}"),
        *(f"--web.listen-address=127.0.0.1:{port}", "--storage.tsdb.retention.time=10y"),
        f"--query.max-samples={_DAY_S // _STEP_S - 10}",
    ]
    with started(command, log=tmp_path / "prometheus.log"):
        wait_for("Prometheus", lambda: PrometheusServer(port).query("vector(1)"))
        with pytest.raises(urllib.error.HTTPError, match="422"):
            PrometheusServer(port).query(f"resets(wattribute_run_energy_joules_total[7d] @ {_END_S})")
        run = _report(f"http://127.0.0.1:{port}", "limited", f"--until={_iso(_END_S)}")

    assert run["energy"]["total_j"] == pytest.approx(total_j, rel=1e-12)


def _iso(at_s: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_s))
