"""Prints what the agent costs at several sizes, as ratios to a C program that reads everything once per tick.

CPU times on shared machines vary by half between runs: compare the ratios of one run, not milliseconds of two.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench.gpus import GPU_COLUMNS, measure_gpus
from bench.load import populated
from bench.measure import floor_ms, running_agent

_SIZES = [(processes, cgroups) for processes in (200, 2_000, 10_000) for cgroups in (50, 500, 2_000)]
_COLUMNS = (
    *("processes", "cgroups", "floor ms", "steady ms", "ratio", "10 % busy ms", "ratio", "churn ms", "ratio"),
    *("PSS MiB", "fds", "scrape p50 ms", "p99 ms", "bytes"),
)
_HERE = Path(__file__).parent
_MACHINE = f"Linux {os.uname().release}; {os.cpu_count()} CPUs; Python {sys.version.split()[0]}"


class _Row(NamedTuple):
    processes: int
    cgroups: int
    floor_ms: float
    steady_ms: float
    busy_ms: float
    churn_ms: float
    pss_mib: float
    descriptors: int
    scrape_p50_ms: float
    scrape_p99_ms: float
    page_bytes: int
    origin: str

    def cells(self) -> list[str]:
        ticks = [text for cpu_ms in self[3:6] for text in (f"{cpu_ms:.2f}", f"{cpu_ms / self.floor_ms:.2f}")]
        return [
            *(str(self.processes), str(self.cgroups), f"{self.floor_ms:.2f}", *ticks, f"{self.pss_mib:.1f}"),
            *(str(self.descriptors), f"{self.scrape_p50_ms:.2f}", f"{self.scrape_p99_ms:.2f}", str(self.page_bytes)),
        ]


def main() -> int:
    """Measure every size asked for and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--ticks", type=int, default=12, help="ticks of one second per measurement")
    parser.add_argument("--size", action="append", metavar="PROCESSES:CGROUPS", help="instead of all nine; repeatable")
    parser.add_argument("--gpus", default="0,1,8,16m", metavar="N,…", help="simulated GPUs; 8m: 8 divided by MIG")
    parser.add_argument("--no-gpus", action="store_true", help="no rows with GPUs")
    parser.add_argument("--only-gpus", action="store_true", help="nothing but the rows with GPUs")
    parser.add_argument("--markdown", action="store_true", help="a table for docs/reference/performance.md")
    parser.add_argument("--port", type=int, default=19_187, help="loopback port for the agent")
    arguments = parser.parse_args()
    if not shutil.which("gcc"):
        parser.exit(1, "the benchmark compares with C programs and needs gcc: install it, for example with apt\n")
    sizes = [tuple(map(int, size.split(":"))) for size in arguments.size or ()] or _SIZES
    with tempfile.TemporaryDirectory(prefix="wattribute-bench-") as directory:
        build = Path(directory)
        if not arguments.only_gpus:
            rows = _measure_all(sizes, build=build, ticks=arguments.ticks, port=arguments.port)
            about = f"{rows[0].origin}; {_MACHINE}"
            _print(about, [list(_COLUMNS), *(row.cells() for row in rows)], markdown=arguments.markdown)
        if not arguments.no_gpus:
            gpus = arguments.gpus.split(",")
            gpu_rows = measure_gpus(gpus, build=build, ticks=arguments.ticks, port=arguments.port)
            about = f"simulated GPUs; {_MACHINE}"
            _print(about, [list(GPU_COLUMNS), *(row.cells() for row in gpu_rows)], markdown=arguments.markdown)
    return 0


def _measure_all(sizes: Sequence[Sequence[int]], *, build: Path, ticks: int, port: int) -> list[_Row]:
    for program in ("floor", "sleepers"):
        command = ["gcc", "-O2", "-Wall", "-o", str(build / program), str(_HERE / f"{program}.c")]
        subprocess.run(command, check=True)
    rows = []
    for processes, cgroups in sizes:
        print(f"measuring {processes} processes, {cgroups} cgroups …", file=sys.stderr, flush=True)
        rows.append(_measure(processes, cgroups, build=build, ticks=ticks, port=port))
    return rows


def _measure(processes: int, cgroups: int, *, build: Path, ticks: int, port: int) -> _Row:
    with populated(processes, cgroups, build=build) as population:

        def floor() -> tuple[float, int, int]:
            return floor_ms(build / "floor", population.roots.procfs, population.cpu_root, population.cpu_file)

        before_ms, seen_processes, seen_cgroups = floor()
        with running_agent(population.roots, port=port, state=build / "state.db") as agent:
            steady_ms = agent.tick_ms(ticks)
            pss_mib, descriptors = agent.pss_mib(), agent.descriptors()
            p50_ms, p99_ms, size = agent.scrape_ms(300)
            population.load.busy(cgroups // 10)
            busy_ms = agent.tick_ms(ticks)
            population.load.busy(0)
            churn_ms = agent.tick_ms(ticks, between=population.load.churn)
        after_ms, _, _ = floor()
        return _Row(
            processes=seen_processes,
            cgroups=seen_cgroups,
            floor_ms=statistics.mean([before_ms, after_ms]),
            steady_ms=steady_ms,
            busy_ms=busy_ms,
            churn_ms=churn_ms,
            pss_mib=pss_mib,
            descriptors=descriptors,
            scrape_p50_ms=p50_ms,
            scrape_p99_ms=p99_ms,
            page_bytes=size,
            origin=population.origin,
        )


def _print(about: str, table: Sequence[Sequence[str]], *, markdown: bool) -> None:
    if markdown:
        lines = [f"| {' | '.join(cells)} |" for cells in table]
        lines.insert(1, "|" + " ---: |" * len(table[0]))
        print(f"{about}.\n")
        print("\n".join(lines), end="\n\n", flush=True)
        return
    print(about)
    widths = [max(len(cells[column]) for cells in table) for column in range(len(table[0]))]
    for cells in table:
        print("  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True)), flush=True)


if __name__ == "__main__":
    sys.exit(main())
