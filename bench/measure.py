"""Measures one agent process from outside: CPU time by the scheduler's account, memory, descriptors, scrapes."""

from __future__ import annotations

import http.client
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from exporter.host import Roots
from exporter.units import BYTES_PER_KIBIBYTE, MILLISECONDS_PER_SECOND, NANOSECONDS_PER_SECOND

__all__ = ["AgentProcess", "floor_ms", "running_agent"]

_TICKS = re.compile(rb"^wattribute_ticks_total(?:\{[^}]*\})? ([0-9.e+]+)$", re.MULTILINE)
_SAMPLED_AT = re.compile(rb"^wattribute_sample_timestamp_seconds ([0-9.e+]+)$", re.MULTILINE)
_SCRAPE_EVERY = 3
_INTERVAL_S = 1.0
_START_TIMEOUT_S = 60.0


class AgentProcess:
    """A running agent under measurement."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self._process = process
        self._port = port

    def scrape(self) -> bytes:
        """Return the metrics page.

        Raises:
            OSError: the agent does not answer.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            connection.request("GET", "/metrics")
            return connection.getresponse().read()
        finally:
            connection.close()

    def cpu_s(self) -> float:
        """Return the CPU seconds of all threads, from /proc/PID/task/TID/schedstat (nanoseconds)."""
        tasks = Path(f"/proc/{self._process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / NANOSECONDS_PER_SECOND

    def tick_ms(self, ticks: int, *, between: Callable[[], None] | None = None) -> float:
        """Return CPU milliseconds per tick over ``ticks`` ticks of one second, with a scrape every third tick.

        ``between`` is called once per second; its own cost is another process's. Begins and ends halfway between two
        ticks, so that all that is measured belongs to whole ones; the first tick of a new load is left out.
        """
        time.sleep(_INTERVAL_S)
        self._wait_for_the_middle_of_an_interval()
        before_ticks, before_s = self.ticks(), self.cpu_s()
        for second in range(1, ticks + 1):
            time.sleep(_INTERVAL_S)
            if between:
                between()
            if second % _SCRAPE_EVERY == 0 and second < ticks:
                self.scrape()
        after_ticks, after_s = self.ticks(), self.cpu_s()
        return (after_s - before_s) / (after_ticks - before_ticks) * MILLISECONDS_PER_SECOND

    def scrape_ms(self, count: int) -> tuple[float, float, int]:
        """Return median and 99th percentile of the wall milliseconds of a scrape, and the page's bytes."""
        took_ms, size = [], 0
        for _ in range(count):
            started_s = time.perf_counter()
            size = len(self.scrape())
            took_ms.append((time.perf_counter() - started_s) * MILLISECONDS_PER_SECOND)
        return statistics.median(took_ms), statistics.quantiles(took_ms, n=100)[98], size

    def pss_mib(self) -> float:
        """Return the proportional set size in MiB."""
        text = Path(f"/proc/{self._process.pid}/smaps_rollup").read_text()
        match = re.search(r"^Pss: +([0-9]+) kB", text, re.MULTILINE)
        return int(match[1]) / BYTES_PER_KIBIBYTE if match else 0.0

    def descriptors(self) -> int:
        """Return the number of open descriptors."""
        return len(list(Path(f"/proc/{self._process.pid}/fd").iterdir()))

    def threads(self) -> int:
        """Return the number of threads."""
        return len(list(Path(f"/proc/{self._process.pid}/task").iterdir()))

    def ticks(self) -> float:
        """Return how often it has sampled, from its page."""
        return self._value(_TICKS)

    def _wait_for_the_middle_of_an_interval(self) -> None:
        sampled_s = self._value(_SAMPLED_AT)
        time.sleep((sampled_s + _INTERVAL_S / 2 - time.time()) % _INTERVAL_S)

    def _value(self, pattern: re.Pattern[bytes]) -> float:
        match = pattern.search(self.scrape())
        if match is None:
            raise RuntimeError(f"nothing on the page matches {pattern.pattern.decode()}")
        return float(match[1])


@contextmanager
def running_agent(
    roots: Roots,
    *,
    port: int,
    state: Path,
    arguments: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Iterator[AgentProcess]:
    """Start an agent with ticks of one second, wait until it has ticked, and stop it afterwards."""
    state.unlink(missing_ok=True)
    command = [
        *(sys.executable, "-m", "exporter.cli", "agent", "--sampling.interval=1s", f"--state.file={state}"),
        *(f"--web.listen-address=127.0.0.1:{port}", f"--path.procfs={roots.procfs}", f"--path.sysfs={roots.sysfs}"),
        *(f"--path.cgroupfs={roots.cgroupfs}", *arguments),
    ]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env={**os.environ, **(environment or {})})
    agent = AgentProcess(process, port)
    try:
        _wait(agent)
        yield agent
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


def _wait(agent: AgentProcess) -> None:
    end_s = time.monotonic() + _START_TIMEOUT_S
    while True:
        try:
            match = _TICKS.search(agent.scrape())
            if match and float(match[1]) >= 3:
                return
        except OSError:
            pass
        if time.monotonic() > end_s:
            raise RuntimeError(f"the agent did not tick within {_START_TIMEOUT_S} s")
        time.sleep(0.5)


def floor_ms(program: Path, procfs: Path, cpu_root: Path, cpu_file: str) -> tuple[float, int, int]:
    """Return the floor's CPU milliseconds per pass (median of seven), and how many processes and groups it read."""
    command = [str(program), str(procfs), str(cpu_root), cpu_file, "7"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\n")
    processes, cgroups = map(int, lines[0].split())
    passes_s = [float(line) for line in lines[1:] if line]
    return statistics.median(passes_s) * MILLISECONDS_PER_SECOND, processes, cgroups
