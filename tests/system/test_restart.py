"""The agent is killed at random moments under load; Prometheus still sums to what the hardware counted."""

from __future__ import annotations

import random
import re
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from exporter.host import Roots
from exporter.testing import AMD_RANGE_UJ
from exporter.units import MICROJOULES_PER_JOULE
from tests.system.programs import PrometheusServer, agent_running, needs, prometheus_running, started, wait_for

_KILLS = 50
_ZONES = ("intel-rapl:0", "intel-rapl:1")
_MAX_OPEN_TICKS = 5
"""Ticks of a second between the first scrape and the first reading, and between the last tick and the last reading.

One tick per kill is what is promised; time without agent is booked as well, so the kills themselves cost nothing."""


class _Registers:
    """The demo node's package registers, unwrapped; must be read more often than they wrap."""

    def __init__(self, sysfs: Path) -> None:
        self._paths = [sysfs / "class/powercap" / zone / "energy_uj" for zone in _ZONES]
        self._last_uj = self._read()
        self._counted_uj = 0
        self.read_s = time.monotonic()

    def counted_j(self) -> float:
        now_uj = self._read()
        self._counted_uj += sum((now - last) % AMD_RANGE_UJ for now, last in zip(now_uj, self._last_uj, strict=True))
        self._last_uj = now_uj
        self.read_s = time.monotonic()
        return self._counted_uj / MICROJOULES_PER_JOULE

    def _read(self) -> list[int]:
        return [int(path.read_text()) for path in self._paths]


@pytest.mark.system
@pytest.mark.timeout(400)
@needs("prometheus")
def test_fifty_kills_cost_at_most_one_tick_each(tmp_path: Path) -> None:
    """SIGKILL at random moments, with and without time to tick in between; energy while down is booked, not lost."""
    chance = random.Random(7)  # noqa: S311 - moments, not secrets
    tree = tmp_path / "node"
    roots = Roots(procfs=tree / "proc", sysfs=tree / "sys", cgroupfs=tree / "cgroup")
    demo = [sys.executable, "-m", "exporter.testing", str(tree)]
    log = tmp_path / "demo.log"
    with started(demo, log=log):
        wait_for("the demo node to say that it is there", lambda: log.read_text() or None)
        with agent_running(tmp_path, roots) as agent, prometheus_running(tmp_path, agent.port) as prometheus:
            wait_for("a first scrape", lambda: prometheus.value(_NODE))
            registers = _Registers(roots.sysfs)
            started_s = registers.read_s
            for _ in range(_KILLS):
                time.sleep(chance.uniform(0.2, 2.5))
                agent.kill()
                registers.counted_j()
                agent.start()
            wait_for("the last agent", agent.get)
            time.sleep(3.0)
            counted_j = registers.counted_j()
            shown_j = _joules(agent.get())
            samples = wait_for("the last scrape", lambda: _scraped_up_to(prometheus, shown_j))

    one_tick_j = counted_j / (registers.read_s - started_s)
    assert abs(_increase(samples) - counted_j) <= one_tick_j * _MAX_OPEN_TICKS
    assert samples == sorted(samples), "the counter fell: what a scrape had seen was not on disk"


_NODE = 'wattribute_node_energy_joules_total{component="cpu"}'


def _scraped_up_to(prometheus: PrometheusServer, joules: float) -> list[float] | None:
    """Return all scraped values once the last is at least ``joules``."""
    samples = prometheus.samples(f"{_NODE}[15m]")
    return samples if samples[-1] >= joules else None


def _increase(samples: list[float]) -> float:
    """Return what increase() sums, without its extrapolation: a value below the last one is a restart from zero."""
    return sum(now - last if now >= last else now for last, now in pairwise(samples))


def _joules(page: str) -> float:
    match = re.search(rf"^{re.escape(_NODE)} (\S+)$", page, re.MULTILINE)
    assert match is not None
    return float(match[1])
