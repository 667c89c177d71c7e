"""The running kernel's own control groups: what exits, what is removed, what is made again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from exporter.clock import SystemClock
from exporter.host import Roots
from exporter.workloads import UsageSample, WorkloadCollector, WorkloadSettings
from exporter.workloads.cgroup_files import Hierarchy, choose_hierarchy, parse_usage_ns
from exporter.workloads.cgroup_paths import classify_cgroup
from exporter.workloads.cgroup_tree import CgroupTree

_SHORT_LIVED = """
import os, sys, time
from pathlib import Path
Path(sys.argv[1], "cgroup.procs").write_text(str(os.getpid()))
for _ in range(8):
    child = os.fork()
    if not child:
        end_s = time.process_time() + 0.05
        while time.process_time() < end_s: pass
        os._exit(0)
    os.waitpid(child, 0)
"""


def _writable_hierarchy(roots: Roots) -> Hierarchy | None:
    hierarchy = choose_hierarchy(roots.cgroupfs)
    if hierarchy is None or os.geteuid() != 0:
        return None
    probe = hierarchy.root / f"wattribute-probe-{os.getpid()}"
    try:
        probe.mkdir()
    except OSError:
        return None
    probe.rmdir()
    return hierarchy


@pytest.fixture(params=["/sys/fs/cgroup", "/sys/fs/cgroup/unified"])
def roots(request: pytest.FixtureRequest) -> Roots:
    """Return the running kernel; of a hybrid, its version 1 and then its version 2."""
    return Roots(cgroupfs=Path(request.param))


@pytest.fixture
def hierarchy(roots: Roots) -> Hierarchy:
    """Return the running kernel's hierarchy, if groups can be made in it."""
    found = _writable_hierarchy(roots)
    if found is None:
        pytest.skip("needs real hardware: root, and control groups that may be written")
    return found


@pytest.fixture
def group(hierarchy: Hierarchy) -> Iterator[Path]:
    """Return the directory of a new group; it is gone afterwards."""
    path = hierarchy.root / f"wattribute-test-{os.getpid()}.service"
    path.mkdir()
    yield path
    if path.is_dir():
        _remove(path)


def _remove(path: Path) -> None:
    for _ in range(100):  # the last process may not have left yet
        with suppress(OSError):
            path.rmdir()
            return
        time.sleep(0.02)
    path.rmdir()


def _burn(group: Path) -> None:
    """Use 0.4 s of CPU time in children of 50 ms each that are gone at once."""
    subprocess.run([sys.executable, "-c", _SHORT_LIVED, str(group)], check=True, timeout=60)


def _used_s(sample: UsageSample, group: Path) -> float:
    return sum(leaf.cpu_s for leaf in sample.leaves if leaf.workload.name == group.name)


@pytest.fixture
def collector(roots: Roots, group: Path) -> Iterator[WorkloadCollector]:
    """Return a collector that knows the group."""
    collector = WorkloadCollector(roots, SystemClock(), WorkloadSettings())
    collector.sample(with_memory=False)
    yield collector
    collector.close()


def test_short_lived_children_count_for_their_group(
    hierarchy: Hierarchy, group: Path, collector: WorkloadCollector
) -> None:
    _burn(group)
    sample = collector.sample(with_memory=False)
    shown_ns = parse_usage_ns((group / hierarchy.usage_file).read_bytes(), version=hierarchy.version)

    assert _used_s(sample, group) >= 0.4
    assert _used_s(sample, group) == pytest.approx(shown_ns / 1e9, abs=0.02)


def test_a_removed_group_is_forgotten_and_made_again_it_counts_from_zero(
    group: Path, collector: WorkloadCollector
) -> None:
    """F51, F52: the kept descriptor of the old one answers ENODEV."""
    _burn(group)
    first = collector.sample(with_memory=False)
    _remove(group)
    group.mkdir()
    _burn(group)
    second = collector.sample(with_memory=False)
    third = collector.sample(with_memory=False)

    assert _used_s(first, group) >= 0.4
    assert 0.4 <= _used_s(second, group) < 0.4 + 0.5
    assert _used_s(third, group) == pytest.approx(0.0, abs=0.02)


def test_a_group_that_goes_between_the_event_and_the_reading_is_no_error(hierarchy: Hierarchy, group: Path) -> None:
    """F51: ENODEV during the reading itself."""
    tree = CgroupTree(hierarchy, classify=classify_cgroup, max_cgroups=10_000, max_descriptors=100)
    tree.sample()
    tree.refresh(walk=False)
    known = tree.find(f"/{group.name}")
    _remove(group)
    end_s = time.process_time() + 0.05
    while time.process_time() < end_s:
        pass  # the root must have used something, or nobody reads what is below
    used = tree.sample()
    errors = tree.take_errors()
    tree.close()

    assert known.path not in tree.nodes
    assert (errors, [node for node, _ in used if node is known]) == (0, [])


def test_a_process_that_moves_into_a_group_is_seen_there(group: Path, collector: WorkloadCollector) -> None:
    """F47: the running kernel's word of where a process is."""
    with subprocess.Popen(["sleep", "60"]) as process:
        (group / "cgroup.procs").write_text(str(process.pid))
        sample = collector.sample(with_memory=False)
        process.kill()

    assert group.name in {leaf.workload.name for leaf in sample.leaves}
