"""The gateway as a provider, over a real server in its format, and the fixed value as one."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from exporter.carbon.live import Poller, encode_series
from exporter.carbon.providers.fixed import FixedClient
from exporter.carbon.providers.gateway import GatewayClient
from exporter.carbon.records import ZoneQuery
from exporter.carbon.settings import ProviderSettings
from exporter.errors import ProviderError
from exporter.testing.fake_clock import FakeClock
from tests.carbon.clients import HOUR_S, NOON_S, series_of
from tests.carbon.servers import Question, Reply, serving

SERIES = replace(
    series_of(
        [(NOON_S, NOON_S + HOUR_S, 300.0)],
        provider="electricity_maps",
        forecast=[(NOON_S + HOUR_S, NOON_S + 2 * HOUR_S, 100.0)],
    ),
    note="hourly",
)


class NoJitter:
    def uniform(self, a: float, b: float, /) -> float:
        return a


def body_of(series: object) -> bytes:
    return json.dumps(series).encode()


def test_what_the_gateway_says_is_what_its_provider_said() -> None:
    with serving(lambda _: Reply(body_of(encode_series(SERIES)))) as server:
        client = GatewayClient(ProviderSettings(kind="gateway", url=server.url + "/"))
        series = client.fetch(ZoneQuery("DE", "average", with_forecast=True), now_s=NOON_S)
        client.fetch(ZoneQuery("SE-SE3", "marginal"), now_s=NOON_S)
        questions = [(question.path, question.query) for question in server.questions]

    assert series == SERIES
    assert questions == [
        ("/api/v1/intensity", {"zone": "DE", "signal": "average", "forecast": "1"}),
        ("/api/v1/intensity", {"zone": "SE-SE3", "signal": "marginal"}),
    ]


def test_findings_and_errors_are_the_gateways_and_the_figure_its_providers() -> None:
    clock = FakeClock(wall_s=NOON_S)
    with serving(lambda _: Reply(body_of(encode_series(SERIES)))) as server:
        client = GatewayClient(ProviderSettings(kind="gateway", url=server.url))
        poller = Poller(client, ZoneQuery("DE"), clock, interval_s=300, jitter=NoJitter())
        poller.poll()
        good = poller.finding()
        server.answer = lambda _: Reply(b'{"error": "nothing yet"}', 503, {"Retry-After": "45"})
        poller.poll()

    assert poller.series is not None
    assert (good.source, good.state, poller.series.provider) == ("gateway", "up", "electricity_maps")
    assert [(event.source, event.reason) for event in poller.take_events()] == [("gateway", "server")]
    assert poller.due_s - clock.monotonic_s() == 45


@pytest.mark.parametrize(
    ("reply", "reason", "words"),
    [
        (Reply(b'{"error": "no grid zone XX is known; did you mean DE?"}', 404), "not_found", "did you mean DE?"),
        (Reply(b'{"error": "nothing yet"}', 503), "server", "nothing yet"),
        (Reply(b"[]"), "format", "expected an object"),
        (Reply(b"\xff"), "format", "expected JSON"),
        (Reply(body_of(encode_series(SERIES) | {"version": 2})), "format", "version 1"),
        (Reply(body_of(encode_series(SERIES) | {"points": []})), "format", "at least one"),
        (Reply(status=302, headers={"Location": "/login"}), "format", "302"),
    ],
)
def test_a_failure_has_its_reason(reply: Reply, reason: str, words: str) -> None:
    with serving(lambda _: reply) as server, pytest.raises(ProviderError) as caught:
        GatewayClient(ProviderSettings(kind="gateway", url=server.url)).fetch(ZoneQuery("DE"), now_s=NOON_S)

    assert (caught.value.reason, caught.value.source) == (reason, "gateway")
    assert words in str(caught.value)


def test_another_zone_than_asked_for_is_not_believed() -> None:
    def other(question: Question) -> Reply:
        return Reply(body_of(encode_series(replace(SERIES, grid_zone="FR"))))

    with serving(other) as server:
        client = GatewayClient(ProviderSettings(kind="gateway", url=server.url))
        poller = Poller(client, ZoneQuery("DE"), FakeClock(wall_s=NOON_S), interval_s=300, jitter=NoJitter())
        poller.poll()

    assert poller.series is None
    assert [event.reason for event in poller.take_events()] == ["wrong_zone"]


def test_a_fixed_value_holds_from_the_first_question_on_and_for_good() -> None:
    client = FixedClient(ProviderSettings(kind="fixed", signal="market", intensity_g_per_kwh=0.0))
    client.fetch(ZoneQuery("DE", "market"), now_s=NOON_S)
    series = client.fetch(ZoneQuery("DE", "market"), now_s=NOON_S + HOUR_S)

    assert series.points == ((NOON_S, math.inf, 0.0, False),)
    assert (series.signal, series.fresh_until_s) == ("market", math.inf)


def test_a_fixed_provider_without_a_value_has_none() -> None:
    with pytest.raises(ProviderError, match="intensity_g_per_kwh is not set"):
        FixedClient(ProviderSettings(kind="fixed")).fetch(ZoneQuery("DE"), now_s=NOON_S)
