"""The threads: each client its own, nobody waits for anybody, and what is known is kept now and then."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable

from exporter.carbon.live import Fetcher, Poller
from exporter.carbon.records import IntensitySeries, ZoneQuery
from exporter.clock import SystemClock
from tests.carbon.clients import ScriptedClient, series_of


class HungClient:
    """Answers when it is let go."""

    provider = "hung"

    def __init__(self) -> None:
        self.is_asked = threading.Event()
        self.let_go = threading.Event()

    def fetch(self, query: ZoneQuery, *, now_s: float) -> IntensitySeries:
        self.is_asked.set()
        self.let_go.wait(30)
        return present()


def present(zone: str = "DE") -> IntensitySeries:
    now_s = time.time()
    return series_of([(now_s - 60, math.inf, 300.0)], zone=zone, fetched_s=now_s)


def poller_of(client: ScriptedClient | HungClient, zone: str = "DE", *, interval_s: float = 900) -> Poller:
    jitter = random.Random(1)  # noqa: S311 - spreads questions, hides nothing
    return Poller(client, ZoneQuery(zone), SystemClock(), interval_s=interval_s, jitter=jitter)


def wait_for(condition: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.002)


def threads_of(provider: str) -> int:
    return sum(thread.name == f"carbon-{provider}" for thread in threading.enumerate())


def test_a_provider_that_hangs_delays_no_other_and_no_reader() -> None:
    hung, prompt = HungClient(), ScriptedClient(present())
    pollers = [poller_of(hung), poller_of(prompt)]
    fetcher = Fetcher(pollers, SystemClock())
    fetcher.start()
    assert hung.is_asked.wait(10)
    wait_for(lambda: pollers[1].series)

    assert pollers[0].series is None  # read while the question is under way
    assert pollers[0].finding().state == "absent"
    fetcher.stop()  # returns although the server still hangs
    hung.let_go.set()


def test_nobody_is_asked_before_the_start_nor_after_the_stop() -> None:
    client = ScriptedClient(present(), provider="nobody")
    fetcher = Fetcher([poller_of(client)], SystemClock())
    fetcher.stop()
    fetcher.start()

    assert client.asked_s == []
    assert threads_of("nobody") == 0


def test_zones_of_one_client_share_a_thread_and_come_and_go() -> None:
    client = ScriptedClient(present(), provider="shared")
    first = poller_of(client)
    fetcher = Fetcher([first], SystemClock())
    fetcher.start()
    fetcher.start()
    wait_for(lambda: first.series)
    client.answer = present("FR")
    second = poller_of(client, "FR")

    fetcher.add(second)

    wait_for(lambda: second.series)
    assert threads_of("shared") == 1
    fetcher.remove(first)
    fetcher.stop()


def test_a_client_that_is_added_later_is_asked_too() -> None:
    fetcher = Fetcher([], SystemClock())
    fetcher.start()
    poller = poller_of(ScriptedClient(present()))

    fetcher.add(poller)

    wait_for(lambda: poller.series)
    fetcher.stop()


def test_what_is_known_is_saved_once_a_minute_at_most() -> None:
    saved = []
    pollers = [poller_of(ScriptedClient(present())), poller_of(ScriptedClient(present()), interval_s=0.01)]
    fetcher = Fetcher(pollers, SystemClock(), save=lambda: saved.append(1))
    fetcher.start()
    wait_for(lambda: saved)
    asked_s = pollers[1].client.asked_s  # type: ignore[attr-defined]  # a scripted client

    wait_for(lambda: len(asked_s) > 5)

    fetcher.stop()
    assert saved == [1]
