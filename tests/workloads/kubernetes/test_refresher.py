"""When sources are asked: rarely, sooner for what is unknown, and never because of what can never be known."""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass, field

import pytest

from exporter.testing import FakeClock
from exporter.workloads.kubernetes.documents import PodPage
from exporter.workloads.kubernetes.pod_table import PodTable
from exporter.workloads.kubernetes.records import Pod, PodSourceError
from exporter.workloads.kubernetes.refresher import PodRefresher
from tests.workloads.kubernetes.cluster import uid


@dataclass
class ListSource:
    """A source that lists ``pods``, or fails with ``reason``."""

    name: str = "kubelet"
    seconds_per_call: float = 15.0
    note: str = ""
    pods: list[Pod] = field(default_factory=list)
    reason: str = ""
    calls: int = 0
    called: threading.Event = field(default_factory=threading.Event)

    def fetch(self) -> PodPage:
        self.calls += 1
        self.called.set()
        if self.reason == "defect":
            raise ZeroDivisionError("a defect")
        if self.reason:
            raise PodSourceError(self.reason, f"{self.name} failed", remedy=f"mend {self.name}")
        return PodPage(list(self.pods), "", 0)


def build(*sources: ListSource) -> tuple[PodRefresher, FakeClock]:
    clock = FakeClock()
    table = PodTable(keep_s=1800.0)
    return PodRefresher(sources, table, clock, refresh_interval_s=300.0, jitter=itertools.repeat(0.5).__next__), clock


def run(refresher: PodRefresher, clock: FakeClock, seconds: float, *unknown: str) -> None:
    for _ in range(int(seconds / 5)):
        clock.advance(5.0)
        refresher.want(unknown)
        refresher.refresh_if_due()


def test_what_no_list_ever_has_costs_six_calls_in_all() -> None:
    """A sandbox, and the group of a pod that is long gone."""
    source = ListSource()
    refresher, clock = build(source)
    run(refresher, clock, 3600, "c" * 64, uid(7))

    assert 12 <= source.calls <= 12 + 8


def test_an_unknown_pod_is_asked_for_at_once() -> None:
    source = ListSource()
    refresher, clock = build(source)
    run(refresher, clock, 60)
    before = source.calls
    refresher.want([uid(1)])

    assert refresher.refresh_if_due()
    assert source.calls == before + 1


def test_new_pods_without_end_share_a_budget() -> None:
    source = ListSource()
    refresher, clock = build(source)
    for number in range(720):
        clock.advance(5.0)
        refresher.want([uid(number)])
        refresher.refresh_if_due()

    assert source.calls <= 3600 / 15 + 10 + 14


def test_while_one_source_fails_the_next_is_asked_and_the_first_found_again() -> None:
    kubelet, logs = ListSource(reason="forbidden"), ListSource(name="log_directories")
    refresher, clock = build(kubelet, logs)
    run(refresher, clock, 3600)
    fallen, calls = refresher.finding(), (kubelet.calls, logs.calls)
    kubelet.reason = ""
    run(refresher, clock, 400)

    assert (fallen.state, fallen.remedy) == ("degraded", "mend kubelet")
    assert "from log_directories" in fallen.detail
    assert calls[0] <= 20
    assert calls[1] <= 20 + 14
    assert refresher.finding().state == "up"
    assert "from kubelet" in refresher.finding().detail


def test_where_every_source_fails_both_are_left_alone_for_minutes() -> None:
    kubelet, api = ListSource(reason="timeout"), ListSource(name="api_server", reason="io")
    refresher, clock = build(kubelet, api)
    run(refresher, clock, 3600, uid(1))

    assert max(kubelet.calls, api.calls) <= 22
    assert not refresher.is_working()
    assert refresher.finding().state == "down"
    assert {(event.reason, event.amount) for event in refresher.take_events()} == {
        ("timeout", kubelet.calls),
        ("io", api.calls),
    }
    assert refresher.take_events() == []


def test_a_source_that_works_with_a_reservation_is_degraded() -> None:
    refresher, clock = build(ListSource(note="its certificate is not checked"))
    run(refresher, clock, 10)

    assert refresher.finding().state == "degraded"
    assert "certificate is not checked" in refresher.finding().detail


def test_nodes_that_start_together_do_not_ask_together() -> None:
    moments = set()
    for seed in range(20):
        source, clock = ListSource(), FakeClock()
        refresher = PodRefresher(
            [source], PodTable(keep_s=60), clock, refresh_interval_s=300.0, jitter=itertools.repeat(seed / 20).__next__
        )
        refresher.refresh_if_due()
        while source.calls < 2:
            clock.advance(1.0)
            refresher.refresh_if_due()
        moments.add(clock.monotonic_s())

    assert len(moments) > 10


def test_the_thread_asks_at_once_and_outlives_a_defect() -> None:
    """The sampling loop never waits: it only says what is unknown."""
    source = ListSource(reason="defect")
    refresher, clock = build(source)
    refresher.start(wait_s=5.0)
    broken = refresher.finding()
    source.reason, source.pods = "", [Pod(uid=uid(1), namespace="ml", name="a")]
    source.called.clear()
    clock.advance(10.0)
    refresher.want([uid(1)])
    is_called = source.called.wait(5.0)
    refresher.close()

    assert "ZeroDivisionError" in broken.detail
    assert is_called


def test_a_closed_thread_ends() -> None:
    refresher, _clock = build(ListSource())
    refresher.start(wait_s=5.0)
    thread = refresher._thread
    refresher.close()
    assert thread is not None
    thread.join(5.0)

    assert not thread.is_alive()


@pytest.mark.parametrize("reason", ["forbidden", ""])
def test_waiting_ends_with_the_first_answer_good_or_bad(reason: str) -> None:
    refresher, _clock = build(ListSource(reason=reason))
    refresher.start(wait_s=5.0)
    refresher.close()

    assert refresher.is_working() == (not reason)
