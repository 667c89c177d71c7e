"""What the agent says of its own view of process ids."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.testing import SimulatedNode
from exporter.testing.kernel_files import create_text
from exporter.workloads.access import has_host_pids
from tests.workloads.following import Follower, finding

_HOST, _OTHER = "pid:[4026531836]", "pid:[4026532211]"


def _own(directory: Path, namespace: str | None, ids: str | None) -> Path:
    own = directory / "self"
    create_text(own / "status", "Name:\tagent\n" + (f"NSpid:\t{ids}\n" if ids is not None else ""))
    if namespace is not None:
        (own / "ns").mkdir()
        (own / "ns/pid").symlink_to(namespace)
    return own


@pytest.mark.parametrize(
    ("namespace", "ids", "expected"),
    [
        (_HOST, "4711", True),
        (_HOST, None, True),
        (_OTHER, "4711", False),
        (_OTHER, "4711\t1", False),
        (_HOST, "4711\t1", False),
        (None, "4711", False),
    ],
)
def test_process_ids_are_the_hosts_only_in_the_first_namespace(
    tmp_path: Path, namespace: str | None, ids: str | None, *, expected: bool
) -> None:
    """One id alone proves nothing: a container's own /proc never shows those above."""
    assert expected == has_host_pids(_own(tmp_path, namespace, ids))


def test_a_namespace_that_cannot_be_read_is_not_taken_for_the_hosts(tmp_path: Path) -> None:
    assert not has_host_pids(tmp_path / "missing")


def test_the_hosts_process_ids_are_told_as_up(tmp_path: Path) -> None:
    node = SimulatedNode(tmp_path)
    with Follower(node) as follower:
        sample = follower.tick()

    assert finding(sample, "pid_view").state == "up"


def test_another_namespaces_process_ids_are_told_with_the_cure(tmp_path: Path) -> None:
    """The table may be complete all the same: the host's /proc was mounted, the driver is asked from inside."""
    node = SimulatedNode(tmp_path)
    link = node.roots.procfs / "1/ns/pid"
    link.unlink()
    link.symlink_to(_OTHER)
    with Follower(node) as follower:
        sample = follower.tick()

    assert finding(sample, "process_table").state == "up"
    assert finding(sample, "pid_view").state == "degraded"
    assert "hostPID: true" in finding(sample, "pid_view").remedy
