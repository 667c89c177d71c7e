"""The ring of utilisation samples: what it answers when idle, how deep and fast it is, and whether shares add up."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

from bench.validation.driver import Row
from bench.validation.loads import Load
from bench.validation.report import Numbers, Skipped, rounded
from bench.validation.setting import Setting, polled
from exporter.units import MICROSECONDS_PER_SECOND, MILLISECONDS_PER_SECOND, NANOSECONDS_PER_SECOND

__all__ = ["mps", "samples_at_idle", "samples_in_the_ring", "samples_of_two"]

_POLL_S = 0.5
_UTILIZATION_POLL_S = 0.1
_CLOCKS = {"wall": time.CLOCK_REALTIME, "monotonic": time.CLOCK_MONOTONIC, "boot": time.CLOCK_BOOTTIME}
_SAME_CLOCK_S = 60.0
_MPS_CONTROL = "nvidia-cuda-mps"  # the kernel keeps 15 characters of a name
_MAX_RAW = 400


def samples_at_idle(setting: Setting) -> Numbers:
    """Ask for samples newer than the newest while nothing runs: NOT_FOUND, or SUCCESS with none."""
    gpu = setting.gpu
    newest = gpu.newest_stamp()
    codes: Counter[str] = Counter()
    fresh = 0
    for _, (code, rows) in polled(lambda: gpu.rows(newest), seconds=1.0, every_s=0.1):
        codes[code] += 1
        fresh += len(rows)
    utilization = gpu.utilization()
    if fresh or utilization:
        raise Skipped(f"the GPU is busy with other work ({utilization} % utilisation, {fresh} samples in a second)")
    kept = gpu.rows(0)
    return {"codes": dict(codes), "code_for_last_seen_0": kept[0], "kept_from_before": len(kept[1])}


def samples_in_the_ring(setting: Setting) -> Numbers:
    """Load the GPU longer than the ring is deep, and look at all that is kept, then at what is new in each poll."""
    with ExitStack() as stack:
        if setting.gpu.utilization() == 0:
            stack.enter_context(setting.loads.running("steady"))
        time.sleep(setting.spans.ring)
        return _ring(setting)


def _ring(setting: Setting) -> Numbers:
    gpu = setting.gpu
    code, rows = gpu.rows(0)
    if not rows:
        return {"code_for_last_seen_0": code, "rows": 0}
    stamps = sorted({row.stamp for row in rows})
    gaps_us = [after - before for before, after in pairwise(stamps)]
    gap_us = statistics.median(gaps_us) if gaps_us else None
    by_pid = Counter(row.pid for row in rows)
    return {
        "rows": len(rows),
        "distinct_stamps": len(stamps),
        "rows_by_pid": {str(pid): count for pid, count in by_pid.most_common(8)},
        "is_one_row_per_pid": max(by_pid.values()) == 1,
        "span_s": rounded((stamps[-1] - stamps[0]) / MICROSECONDS_PER_SECOND),
        "samples_per_s": rounded(MICROSECONDS_PER_SECOND / gap_us) if gap_us else None,
        "newest_stamp": stamps[-1],
        "stamps_are_of_clock": _clock_of(stamps[-1]),
        "rows_beyond_100_percent": sum(row.sm > 100 for row in rows),
        "rows_of_pid_0": by_pid[0],
        "new_rows_per_poll": _new_rows(setting),
        "raw": [list(row) for row in rows[:_MAX_RAW]],
    }


def _clock_of(stamp: int) -> str:
    """Return which of the kernel's clocks a stamp in microseconds was likely taken from."""
    for name, clock in _CLOCKS.items():
        now_us = time.clock_gettime_ns(clock) * MICROSECONDS_PER_SECOND // NANOSECONDS_PER_SECOND
        if abs(now_us - stamp) < _SAME_CLOCK_S * MICROSECONDS_PER_SECOND:
            return name
    return "none of wall, monotonic, boot"


def _new_rows(setting: Setting) -> list[int]:
    """Return how many rows each poll gave that asked for what is newer than the poll before had."""
    last, counts = setting.gpu.newest_stamp(), []
    for _ in range(max(round(setting.spans.ring / _POLL_S / 2), 3)):
        time.sleep(_POLL_S)
        rows = setting.gpu.rows(last)[1]
        last = max((row.stamp for row in rows), default=last)
        counts.append(len(rows))
    return counts


def samples_of_two(setting: Setting) -> Numbers:
    """Let two processes share the GPU in time, and add up what the samples say of each."""
    with setting.loads.running("train") as first, setting.loads.running("train_half") as second:
        time.sleep(setting.spans.settle)
        return _shared(setting, (first, second))


def _shared(setting: Setting, loads: Sequence[Load]) -> Numbers:
    gpu = setting.gpu
    work_before = [load.work() for load in loads]
    last, end_s = gpu.newest_stamp(), time.perf_counter() + setting.spans.shared
    rows: list[Row] = []
    utilizations: list[float] = []
    while time.perf_counter() < end_s:
        utilizations += [float(value) for _, value in polled(gpu.utilization, seconds=1.0, every_s=_UTILIZATION_POLL_S)]
        fresh = gpu.rows(last)[1]
        last = max((row.stamp for row in fresh), default=last)
        rows += fresh
    work = [load.work() - before for load, before in zip(loads, work_before, strict=True)]
    stamps = len({row.stamp for row in rows})
    used = [float(sum(row.sm for row in rows if row.pid == load.pid)) for load in loads]
    return {
        "samples": stamps,
        "work": work,
        "work_share": _share(work),
        "sampled_share": _share(used),
        "sampled_sum_over_stamps_percent": rounded(sum(used) / stamps) if stamps else None,
        "device_utilization_percent": rounded(statistics.mean(utilizations)),
        "rows_of_others": sum(row.pid not in {load.pid for load in loads} for row in rows),
        "raw": [list(row) for row in rows[:_MAX_RAW]],
    }


def _share(amounts: Sequence[float]) -> float | None:
    """Return the first one's share of two."""
    return rounded(amounts[0] / sum(amounts)) if sum(amounts) > 0 else None


def mps(setting: Setting) -> Numbers:
    """See whose pids the lists and samples name while two clients run; never starts a daemon."""
    daemons = _named(_MPS_CONTROL)
    if not daemons:
        raise Skipped("no MPS control daemon runs, and this script starts none")
    with setting.loads.running("train") as first, setting.loads.running("train") as second:
        time.sleep(setting.spans.settle)
        last = setting.gpu.newest_stamp()
        time.sleep(setting.spans.shared)
        rows = setting.gpu.rows(last)[1]
        return {
            "daemons": daemons,
            "clients": [first.pid, second.pid],
            "listed": setting.gpu.listed(),
            "sampled": {str(pid): count for pid, count in Counter(row.pid for row in rows).items()},
            "seconds": setting.spans.shared,
            "period_ms": rounded(setting.spans.shared * MILLISECONDS_PER_SECOND / max(len(rows), 1)),
        }


def _named(beginning: str) -> dict[str, str]:
    """Return pid → name of the processes whose name begins so."""
    found: dict[str, str] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            name = (entry / "comm").read_text().strip()
        except OSError:
            continue
        if name.startswith(beginning):
            found[entry.name] = name
    return found
