"""A value out of Prometheus, over a real server in its format."""

from __future__ import annotations

import base64
import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.carbon.providers.answers import MalformedError
from exporter.carbon.providers.prometheus import PrometheusClient, parse_sample
from exporter.carbon.records import ZoneQuery
from exporter.carbon.settings import ProviderSettings
from exporter.errors import ProviderError
from tests.carbon.clients import NOON_S
from tests.carbon.servers import Question, Reply, Server, serving

QUERY = 'avg(grid_intensity{zone="$zone"})'
KEY = "s3cret-token"


def success(result_type: str, result: object) -> Reply:
    return Reply(json.dumps({"status": "success", "data": {"resultType": result_type, "result": result}}).encode())


def vector(*values: tuple[float, str]) -> Reply:
    return success("vector", [{"metric": {"zone": "DE"}, "value": [*value]} for value in values])


def failed(status: int, kind: str, text: str) -> Reply:
    body = {"status": "error", "errorType": kind, "error": text}
    return Reply(json.dumps(body).encode(), status, {"Content-Type": "application/json"})


def settings_of(server: Server, **more: object) -> ProviderSettings:
    return ProviderSettings(kind="prometheus", url=server.url, query=QUERY, **more)  # type: ignore[arg-type]  # by name


def error_of(reply: Reply, **more: object) -> ProviderError:
    with serving(lambda _: reply) as server, pytest.raises(ProviderError) as caught:
        PrometheusClient(settings_of(server, **more)).fetch(ZoneQuery("DE"), now_s=NOON_S)
    return caught.value


def test_the_sample_holds_from_its_timestamp_on_and_is_fresh_for_a_quarter_of_an_hour() -> None:
    with serving(lambda _: vector((NOON_S - 5.5, "312.5"))) as server:
        series = PrometheusClient(settings_of(server)).fetch(ZoneQuery("DE"), now_s=NOON_S)

    assert series.points == ((NOON_S - 5.5, math.inf, 312.5, False),)
    assert series.fresh_until_s == NOON_S - 5.5 + 900
    assert (series.provider, series.grid_zone, series.signal) == ("prometheus", "DE", "average")


def test_freshness_may_be_configured_and_a_scalar_is_as_good() -> None:
    with serving(lambda _: success("scalar", [NOON_S, "41"])) as server:
        series = PrometheusClient(settings_of(server, fresh_for_s=60.0)).fetch(ZoneQuery("DE"), now_s=NOON_S)

    assert series.points[0].intensity_g_per_kwh == 41
    assert series.fresh_until_s == NOON_S + 60


@pytest.mark.parametrize(
    ("zone", "expected"), [("DE", 'zone="DE"'), ('X"} or up{a="', 'zone="X\\"} or up{a=\\""'), ("a\\", 'zone="a\\\\"')]
)
def test_the_zone_gets_into_the_query_and_not_out_of_its_quotes(zone: str, expected: str) -> None:
    with serving(lambda _: vector((NOON_S, "1"))) as server:
        PrometheusClient(settings_of(server)).fetch(ZoneQuery(zone), now_s=NOON_S)
        [question] = server.questions

    assert question.path == "/api/v1/query"
    assert question.query["query"] == f"avg(grid_intensity{{{expected}}})"


def test_a_token_is_read_from_its_file_at_every_question(tmp_path: Path) -> None:
    key_file = tmp_path / "token"
    key_file.write_text("old\n")
    with serving(lambda _: vector((NOON_S, "1"))) as server:
        client = PrometheusClient(settings_of(server, key_file=str(key_file)))
        client.fetch(ZoneQuery("DE"), now_s=NOON_S)
        assert not client.credentials_changed()
        key_file.write_text("new\n")
        assert client.credentials_changed()
        client.fetch(ZoneQuery("DE"), now_s=NOON_S)

        assert [question.headers["authorization"] for question in server.questions] == ["Bearer old", "Bearer new"]


def test_a_user_name_and_password_are_basic_authentication(tmp_path: Path) -> None:
    (tmp_path / "user").write_text("agent")
    (tmp_path / "password").write_text("p:w")
    files = {"username_file": str(tmp_path / "user"), "password_file": str(tmp_path / "password")}
    with serving(lambda _: vector((NOON_S, "1"))) as server:
        PrometheusClient(settings_of(server, **files)).fetch(ZoneQuery("DE"), now_s=NOON_S)
        [question] = server.questions

    assert base64.b64decode(question.headers["authorization"].removeprefix("Basic ")) == b"agent:p:w"


@pytest.mark.parametrize(
    ("reply", "reason", "words"),
    [
        (failed(400, "bad_data", "invalid parameter: parse error"), "format", "parse error"),
        (failed(422, "execution", "many-to-many matching"), "format", "many-to-many"),
        (failed(503, "timeout", "query timed out"), "server", "query timed out"),
        (Reply(b"404 page not found", 404), "format", "404 page not found"),
        (Reply(b"<html>no</html>", 401), "auth", "401"),
        (Reply(b"", 429, {"Retry-After": "7"}), "rate_limited", "429"),
        (vector(), "not_found", "no sample for DE"),
        (vector((NOON_S, "1"), (NOON_S, "2")), "format", "expected one sample, found 2; aggregate"),
        (vector((NOON_S, "NaN")), "format", "finite"),
        (vector((NOON_S, "+Inf")), "format", "finite"),
        (success("matrix", []), "format", "use an instant query"),
        (success("string", [NOON_S, "x"]), "format", "scalar or a vector"),
        (Reply(b"<html>a proxy</html>"), "format", "expected JSON"),
        (Reply(json.dumps({"status": "error", "error": "odd"}).encode()), "format", "odd"),
    ],
)
def test_a_failure_has_its_reason_and_the_servers_words(reply: Reply, reason: str, words: str) -> None:
    error = error_of(reply)

    assert (error.reason, error.source) == (reason, "prometheus")
    assert words in str(error)


def test_retry_after_is_passed_on() -> None:
    assert error_of(Reply(b"", 429, {"Retry-After": "7"})).retry_after_s == 7


def test_a_key_that_the_server_repeats_is_hidden(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(KEY)

    def repeat(question: Question) -> Reply:
        return failed(403, "auth", f"bad header {question.headers['authorization']}")

    with serving(repeat) as server:
        client = PrometheusClient(settings_of(server, key_file=str(tmp_path / "token")))
        with pytest.raises(ProviderError) as caught:
            client.fetch(ZoneQuery("DE"), now_s=NOON_S)

    assert KEY not in str(caught.value)
    assert KEY not in repr(client)
    assert "hidden" in str(caught.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(result=json_values, kind=st.sampled_from(["vector", "scalar"]))
def test_any_result_is_a_sample_or_malformed(result: object, kind: str) -> None:
    document = {"status": "success", "data": {"resultType": kind, "result": result}}
    try:
        sample = parse_sample(document)
    except MalformedError:
        return

    assert sample is None or all(map(math.isfinite, sample))
