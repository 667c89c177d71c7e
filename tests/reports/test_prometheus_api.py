from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import ConfigError
from exporter.reports.prometheus_api import Access, Instant, PrometheusApi, PrometheusError, Raw, quoted
from tests.reports.report_server import FakeServer, Fault, serving

X = "/no/such/file"
QUERY = 'last_over_time(x{run=~"r"}[60s])'


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with serving(FakeServer()) as fake:
        fake.put("x", {"run": "r", "b": "2", "a": "1"}, [(10.0, 1.5), (20.0, 2.5)])
        yield fake


def test_values_and_samples_come_with_labels_in_order(server: FakeServer) -> None:
    api = PrometheusApi(Access(url=server.url))

    labels = (("a", "1"), ("b", "2"), ("run", "r"))
    assert [Instant(labels, 2.5)] == list(api.instant(QUERY, 30.0))
    assert [Raw(labels, [(10.0, 1.5), (20.0, 2.5)])] == list(api.raw('x{run=~"r"}[60s]', 30.0))


@pytest.mark.parametrize("suffix", ["/prometheus", "/prometheus/", "/prometheus/api/v1", "/prometheus/api/v1/"])
def test_the_path_prefix_of_the_address_is_kept(server: FakeServer, suffix: str) -> None:
    PrometheusApi(Access(url=server.url + suffix)).instant(QUERY, 30.0)

    assert server.asked[0][1] == "/prometheus/api/v1/query"


def test_a_server_that_takes_no_post_is_asked_by_get(server: FakeServer) -> None:
    server.is_get_only = True
    api = PrometheusApi(Access(url=server.url))
    api.instant(QUERY, 30.0)
    api.instant(QUERY, 30.0)

    assert [method for method, *_ in server.asked] == ["POST", "GET", "GET"]


def test_secrets_and_tenants_go_into_headers(server: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    (tmp_path / "user").write_text("ada\n")
    (tmp_path / "password").write_text("pa:ss\n")
    token = Access(url=server.url, bearer_token_file=str(tmp_path / "token"), headers={"X-Scope-OrgID": "team-a"})
    PrometheusApi(token).instant(QUERY, 30.0)
    basic = Access(url=server.url, username_file=str(tmp_path / "user"), password_file=str(tmp_path / "password"))
    PrometheusApi(basic).instant(QUERY, 30.0)

    first, second = (headers for _, _, headers, _ in server.asked)
    assert (first["authorization"], first["x-scope-orgid"]) == ("Bearer s3cret", "team-a")
    assert second["authorization"] == "Basic YWRhOnBhOnNz"
    assert "s3cret" not in repr(token)
    assert "team-a" not in repr(token)


def test_warnings_are_kept_once(server: FakeServer) -> None:
    server.warnings = ["partial response: store gateway-1 is away"]
    api = PrometheusApi(Access(url=server.url))
    api.instant(QUERY, 30.0)
    api.instant(QUERY, 30.0)

    assert api.warnings == ["partial response: store gateway-1 is away"]


HTML = "<html><body>Sign in</body></html>"


@pytest.mark.parametrize(
    ("fault", "said", "is_too_large"),
    [
        (Fault(401, "Unauthorized", headers={"Content-Type": "text/plain"}), "bearer-token-file", False),
        (Fault(403, '{"status":"error","error":"no org id"}'), "no org id; may this user query", False),
        (Fault(404, HTML), "path prefix", False),
        (Fault(302, "", headers={"Location": "/login?secret=1"}), "login page", False),
        (Fault(200, HTML), "not JSON", False),
        (Fault(200, "{"), "not JSON", False),
        (Fault(200, "[]"), "not JSON", False),
        (Fault(200, '{"status":"success"}'), "expected data of type vector", False),
        (Fault(200, '{"status":"success","data":{"resultType":"vector","result":[{}]}}'), "not as the", False),
        (
            Fault(200, '{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"x"]}]}}'),
            "not as the interface",
            False,
        ),
        (Fault(400, '{"status":"error","errorType":"bad_data","error":"parse error at 3"}'), "parse error at 3", False),
        (Fault(422, '{"status":"error","errorType":"execution","error":"too many samples"}'), "too many samples", True),
        (Fault(422, '{"status":"error","error":"the query exceeds the maximum of 1"}'), "exceeds", True),
        (Fault(503, '{"status":"error","errorType":"timeout","error":"query timed out in evaluation"}'), "timed", True),
        (Fault(429, "slow down"), "try again later", False),
        (Fault(500, "oops"), "status 500", False),
        (Fault(500, '{"status":"error","error":"' + "x" * 5000 + '"}'), "status 500", False),
    ],
)  # fmt: skip
def test_each_failure_says_what_to_do(server: FakeServer, fault: Fault, said: str, *, is_too_large: bool) -> None:
    server.fault = fault
    with pytest.raises(PrometheusError, match=said) as caught:
        PrometheusApi(Access(url=server.url)).instant(QUERY, 30.0)

    assert caught.value.is_too_large is is_too_large
    assert len(str(caught.value)) < 700
    assert QUERY not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_server_that_is_slow_at_once_is_an_error_and_later_a_reason_for_smaller_ranges(server: FakeServer) -> None:
    """A server that never answered is not asked a dozen times more."""
    api = PrometheusApi(Access(url=server.url, timeout_s=0.15))
    server.fault = Fault(200, "{}", delay_s=0.4)
    with pytest.raises(PrometheusError, match="no answer") as first:
        api.instant(QUERY, 30.0)
    server.fault = None
    api.instant(QUERY, 30.0)
    server.fault = Fault(200, "{}", delay_s=0.4)
    with pytest.raises(PrometheusError, match="no answer") as second:
        api.instant(QUERY, 30.0)

    assert (first.value.is_too_large, second.value.is_too_large) == (False, True)


def test_nobody_listening_is_an_error_without_the_query() -> None:
    with pytest.raises(PrometheusError, match=r"no answer from http://127\.0\.0\.1:1"):
        PrometheusApi(Access(url="http://127.0.0.1:1")).instant(QUERY, 30.0)


@pytest.mark.parametrize(
    ("access", "said"),
    [
        (Access(url="ftp://host"), "expected http://HOST"),
        (Access(url="http://ada:s3cret@host"), "--prometheus.username-file"),
        (Access(url="http://host/?token=s3cret"), "no [?] or #"),
        (Access(url="http://host", username_file=X), "give both"),
        (Access(url="http://host", username_file=X, password_file=X, bearer_token_file=X), "not both"),
        (Access(url="http://host", bearer_token_file=X), "No such file"),
        (Access(url="http://host", ca_file="/no/such/file"), "--prometheus.ca-file: /no/such/file does not exist"),
    ],
)
def test_access_that_cannot_be_used_is_a_mistake(access: Access, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        PrometheusApi(access)

    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"two\nlines", b"caf\xc3\xa9", b"\xff"])
def test_a_token_file_that_holds_no_token_is_a_mistake_that_does_not_show_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(ConfigError, match="bearer-token-file") as caught:
        PrometheusApi(Access(url="http://host", bearer_token_file=str(tmp_path / "token")))

    assert "lines" not in str(caught.value)


@given(st.text())
def test_quoted_text_is_one_literal(text: str) -> None:
    """No text ends the literal before its end, and none breaks the line."""
    literal = quoted(text)

    assert literal.isprintable() or "\n" not in literal
    inside = literal[1:-1].replace("\\\\", "").replace('\\"', "")
    assert '"' not in inside
