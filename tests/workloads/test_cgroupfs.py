"""Reading cgroups from trees of files."""

import shutil
from pathlib import Path

from exporter.host import Roots
from exporter.workloads.cgroupfs import CgroupTree


def _put(root: Path, path: str, usage_ns: int) -> None:
    directory = root / "cpuacct" / path
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "cpuacct.usage").write_text(f"{usage_ns}\n")


def _tree(root: Path, max_cgroups: int = 100, max_descriptors: int = 100) -> CgroupTree:
    return CgroupTree(Roots(cgroupfs=root), max_cgroups=max_cgroups, max_descriptors=max_descriptors)


def _named(used: dict[str, int]) -> dict[str, int]:
    return {key.partition("#")[0].rpartition("/")[2]: value for key, value in used.items()}


def test_exclusive_use_sums_to_the_root(tmp_path: Path) -> None:
    for path, usage in (("", 100), ("a", 60), ("a/b", 20)):
        _put(tmp_path, path, usage)
    tree = _tree(tmp_path)
    assert tree.sample(scan=True) == {}
    for path, usage in (("", 200), ("a", 150), ("a/b", 90)):
        _put(tmp_path, path, usage)
    assert _named(tree.sample(scan=False)) == {"cpuacct": 10, "a": 20, "b": 70}
    tree.close()


def test_a_recreated_cgroup_starts_at_zero_without_a_negative(tmp_path: Path) -> None:
    """F52."""
    _put(tmp_path, "", 100)
    _put(tmp_path, "a", 50)
    tree = _tree(tmp_path, max_descriptors=0)
    tree.sample(scan=True)
    (tmp_path / "cpuacct" / "a").rename(tmp_path / "old")
    _put(tmp_path, "a", 5)
    _put(tmp_path, "", 105)
    assert _named(tree.sample(scan=True)) == {"a": 5}
    tree.close()


def test_the_last_use_of_a_vanished_cgroup_is_its_own(tmp_path: Path) -> None:
    _put(tmp_path, "", 100)
    _put(tmp_path, "a", 50)
    tree = _tree(tmp_path, max_descriptors=0)
    tree.sample(scan=True)
    shutil.rmtree(tmp_path / "cpuacct" / "a")
    _put(tmp_path, "", 130)
    assert _named(tree.sample(scan=False)) == {"a": 30}
    tree.close()


def test_cgroups_beyond_the_limit_stay_in_their_parent(tmp_path: Path) -> None:
    """F54."""
    for path in ("", "a", "a/b"):
        _put(tmp_path, path, 10)
    tree = _tree(tmp_path, max_cgroups=1)
    tree.sample(scan=True)
    for path in ("", "a", "a/b"):
        _put(tmp_path, path, 25)
    assert _named(tree.sample(scan=False)) == {"a": 15}
    assert tree.truncated
    tree.close()
