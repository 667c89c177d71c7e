"""A real agent under load is told to end, or is killed: what it showed is on disk, whole, for the next one."""

from __future__ import annotations

import random
import re
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from threading import Event

import pytest

from exporter.host import Roots
from exporter.ledger.store import Store
from exporter.sensors import Component
from tests.system.programs import Agent, agent_running, started, wait_for

_SCRAPERS = 8


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Roots]:
    """Run a simulated node in real time: its load and its registers go on while the agent does not."""
    directory = tmp_path_factory.mktemp("demo")
    tree, log = directory / "node", directory / "demo.log"
    with started([sys.executable, "-m", "exporter.testing", str(tree)], log=log):
        wait_for("the demo node to say that it is there", lambda: log.read_text() or None)
        yield Roots(procfs=tree / "proc", sysfs=tree / "sys", cgroupfs=tree / "cgroup")


@contextmanager
def _scraped_hard(agent: Agent) -> Iterator[list[Future[float]]]:
    """Scrape from many threads for as long as the block takes; each then returns the most joules it saw."""
    over = Event()

    def scrape() -> float:
        most_j = 0.0
        while not over.is_set():
            with suppress(OSError):
                most_j = max(most_j, _value(agent.get(), _NODE))
        return most_j

    with ThreadPoolExecutor(_SCRAPERS) as pool:
        scrapers = [pool.submit(scrape) for _ in range(_SCRAPERS)]
        try:
            yield scrapers
        finally:
            over.set()


@pytest.mark.parametrize("after_s", [0.3, 1.0, 1.7])
def test_sigterm_under_load_ends_it_in_time_with_everything_saved(tmp_path: Path, roots: Roots, after_s: float) -> None:
    """F66: exit 0 within 5 s of the signal, and no scraper has seen more than the file now holds."""
    with agent_running(tmp_path, roots) as agent:
        wait_for("a tick", lambda: _value(agent.get(), _NODE) or None)
        with _scraped_hard(agent) as scrapers:
            time.sleep(after_s)
            asked_s = time.monotonic()
            code = agent.stop()
            took_s = time.monotonic() - asked_s
    with closing(Store(tmp_path / "state.db", boot_id=roots.boot_id(), history_days=1)) as store:
        saved = store.load(now_s=time.clock_gettime(time.CLOCK_BOOTTIME))
    saved_j = saved.components[Component.CPU].energy_j

    assert code == 0
    assert took_s < 5.0
    assert 0 < max(scraper.result() for scraper in scrapers) <= saved_j * (1 + 1e-9)


def test_kills_at_any_moment_leave_a_state_that_the_next_agent_takes_over(tmp_path: Path, roots: Roots) -> None:
    """F67: the state file is whole after each kill, and no total that was shown falls."""
    chance = random.Random(3)  # noqa: S311 - moments, not secrets
    shown: list[tuple[float, float]] = []
    states = []
    with agent_running(tmp_path, roots) as agent:
        for _ in range(6):
            time.sleep(chance.uniform(0.9, 2.1))
            page = agent.get()
            shown.append((_value(page, _TICKS), _value(page, _NODE)))
            states.append(_value(page, 'wattribute_source_up{source="state_file"}'))
            agent.kill()
            agent.start()
            wait_for("the next agent", agent.get)

    assert states == [1.0] * len(states)
    assert shown == sorted(shown)
    assert shown[-1][0] >= len(shown)


_NODE = 'wattribute_node_energy_joules_total{component="cpu"}'
_TICKS = "wattribute_ticks_total"


def _value(page: str, series: str) -> float:
    match = re.search(rf"^{re.escape(series)} (\S+)$", page, re.MULTILINE)
    return float(match[1]) if match else 0.0
