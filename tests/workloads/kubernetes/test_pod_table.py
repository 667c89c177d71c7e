"""The table of pods: by UID, by name, and for a while after they are gone."""

from __future__ import annotations

from dataclasses import replace

from exporter.workloads.kubernetes.pod_table import PodTable
from exporter.workloads.kubernetes.records import Owner, Pod
from tests.workloads.kubernetes.cluster import uid

RICH = Pod(
    uid=uid(1),
    namespace="ml",
    name="a",
    node="node-1",
    labels={"app": "a"},
    owner=Owner("Job", "a", "1", "batch/v1"),
    containers={"c" * 64: "main"},
    knows_containers=True,
)


def test_pods_that_are_gone_stay_known_for_a_while() -> None:
    table = PodTable(keep_s=100.0)
    table.update([RICH], now_s=0.0)
    table.update([], now_s=100.0)
    kept = table.find(uid(1))
    table.update([], now_s=101.0)

    assert kept == RICH
    assert table.find(uid(1)) is None


def test_the_version_grows_only_with_what_is_known() -> None:
    table = PodTable(keep_s=100.0)
    table.update([RICH], now_s=0.0)
    first = table.version
    table.update([replace(RICH)], now_s=10.0)
    same = table.version
    table.update([replace(RICH, labels={})], now_s=20.0)

    assert (first, same, table.version) == (1, 1, 2)


def test_of_two_pods_of_one_name_the_one_that_is_listed_is_found() -> None:
    table = PodTable(keep_s=100.0)
    table.update([replace(RICH, started_s=9.0)], now_s=0.0)
    table.update([replace(RICH, uid=uid(2), started_s=1.0)], now_s=10.0)

    assert table.find_by_name("ml", "a") == table.find(uid(2))
    assert table.find_by_name("other", "a") is None


def test_a_poorer_source_takes_nothing_away() -> None:
    table = PodTable(keep_s=100.0)
    table.update([RICH], now_s=0.0)
    table.update([Pod(uid=uid(1), namespace="ml", name="a")], now_s=10.0)
    bare = table.find(uid(1))
    table.update(
        [Pod(uid=uid(1), namespace="ml", name="a", containers={"d" * 64: "b"}, knows_containers=True)], now_s=20
    )

    assert bare == RICH
    assert table.find(uid(1)) == replace(RICH, containers={"c" * 64: "main", "d" * 64: "b"})


def test_past_containers_stay_known_up_to_a_number() -> None:
    table = PodTable(keep_s=100.0)
    for number in range(200):
        table.update([replace(RICH, containers={f"{number:064x}": "main"})], now_s=float(number))
    known = table.find(uid(1))

    assert known is not None
    assert len(known.containers) == 64
    assert f"{199:064x}" in known.containers


def test_the_number_of_pods_that_are_gone_is_bounded() -> None:
    table = PodTable(keep_s=1e9)
    for number in range(40):
        table.update([replace(RICH, uid=uid(100 * number + i)) for i in range(100)], now_s=float(number))

    assert len(table.pods) == 1100


def test_the_labels_of_a_pod_that_nothing_controls_survive_a_poorer_source() -> None:
    table = PodTable(keep_s=100.0)
    alone = replace(RICH, owner=None)
    table.update([alone], now_s=0.0)
    table.update(
        [Pod(uid=uid(1), namespace="ml", name="a", containers=RICH.containers, knows_containers=True)], now_s=9
    )

    assert table.find(uid(1)) == alone
