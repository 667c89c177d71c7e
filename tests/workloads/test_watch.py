"""Learning of directories: by the kernel's word, and by walking where that fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.testing import SimulatedNode
from exporter.workloads.cgroup_files import choose_hierarchy
from exporter.workloads.cgroup_paths import classify_cgroup
from exporter.workloads.cgroup_tree import CgroupTree
from exporter.workloads.watch import DirectoryWatch


def test_directories_that_come_and_go_are_told_in_order(tmp_path: Path) -> None:
    watch = DirectoryWatch()
    number = watch.add(str(tmp_path))
    (tmp_path / "a").mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / "a").rename(tmp_path / "b")
    (tmp_path / "b").rmdir()
    events = [tuple(event) for event in watch.events()]
    again = list(watch.events())
    watch.close()

    assert events == [(number, "a", True), (number, "a", False), (number, "b", True), (number, "b", False)]
    assert again == []


def test_a_directory_that_is_not_there_cannot_be_watched(tmp_path: Path) -> None:
    watch = DirectoryWatch()
    (tmp_path / "file").write_text("x")

    assert (watch.add(str(tmp_path / "missing")), watch.add(str(tmp_path / "file"))) == (-1, -1)
    watch.close()


def test_a_closed_watch_tells_nothing(tmp_path: Path) -> None:
    watch = DirectoryWatch()
    watch.close()
    watch.close()

    assert (watch.is_available, watch.add(str(tmp_path)), list(watch.events())) == (False, -1, [])


@pytest.mark.parametrize("count", [20_000])
def test_more_events_than_the_kernel_keeps_are_noticed(tmp_path: Path, count: int) -> None:
    """The queue holds fs.inotify.max_queued_events, 16,384 by default; what came after it is lost."""
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    watch = DirectoryWatch()
    watch.add(str(tmp_path))
    (tmp_path / "0").mkdir()
    for number in range(min(limit, count) // 2 + 1):
        (tmp_path / str(number)).rename(tmp_path / str(number + 1))
    seen = sum(1 for _ in watch.events())
    is_complete = watch.is_complete
    watch.close()

    assert seen <= limit
    assert is_complete == (limit > count)


class _FewWatches(DirectoryWatch):
    """The kernel grants as many watches and no more."""

    def __init__(self, granted: int) -> None:
        super().__init__()
        self.granted = granted

    def add(self, path: str) -> int:
        self.granted -= 1
        return super().add(path) if self.granted >= 0 else -1


def _tree(node: SimulatedNode, watch: DirectoryWatch) -> CgroupTree:
    hierarchy = choose_hierarchy(node.roots.cgroupfs)
    assert hierarchy is not None
    return CgroupTree(hierarchy, classify=classify_cgroup, max_cgroups=100, max_descriptors=100, watch=watch)


def _tick(node: SimulatedNode, tree: CgroupTree) -> dict[str, float]:
    node.advance(5.0)
    tree.refresh(walk=False)
    return {group.path: used_ns / 1e9 for group, used_ns in tree.sample()}


@pytest.mark.parametrize("granted", [0, 1, 2, 3, 100])
def test_where_watches_run_out_the_tree_is_walked(tmp_path: Path, granted: int) -> None:
    """New groups, and groups made again under their names, are found without the kernel's word, at every tick."""
    node = SimulatedNode(tmp_path)
    node.spawn("a", cgroup="/system.slice/a.service", demand_cpus=1.0)
    tree = _tree(node, _FewWatches(granted))
    _tick(node, tree)
    _tick(node, tree)
    node.spawn("b", cgroup="/system.slice/b.service", demand_cpus=2.0)
    found = _tick(node, tree)
    node.remove_cgroup("/system.slice/b.service")
    node.spawn("b", cgroup="/system.slice/b.service", demand_cpus=1.0)
    again = _tick(node, tree)
    after = _tick(node, tree)
    tree.close()

    assert sum(found.values()) == pytest.approx(15.0)
    assert sum(again.values()) == pytest.approx(10.0)
    assert after == pytest.approx({"/system.slice/a.service": 5.0, "/system.slice/b.service": 5.0})
    assert tree.has_events == (granted == 100)


def test_watches_that_are_granted_again_are_taken_at_the_next_walk(tmp_path: Path) -> None:
    node = SimulatedNode(tmp_path)
    node.spawn("a", cgroup="/system.slice/a.service")
    watch = _FewWatches(1)
    tree = _tree(node, watch)
    before = tree.has_events
    watch.granted = 100
    tree.refresh(walk=True)
    tree.close()

    assert (before, tree.has_events) == (False, True)


def test_a_watch_that_is_not_available_at_all_is_said(tmp_path: Path) -> None:
    node = SimulatedNode(tmp_path)
    watch = DirectoryWatch()
    watch.close()
    tree = _tree(node, watch)
    node.spawn("a", cgroup="/system.slice/a.service", demand_cpus=1.0)
    used = [_tick(node, tree), _tick(node, tree)]
    tree.close()

    assert not tree.has_events
    assert [sum(seconds.values()) for seconds in used] == pytest.approx([5.0, 5.0])
    assert "/system.slice/a.service" in used[1]
