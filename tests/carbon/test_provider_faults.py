"""Every public provider through every fault: the right reason, no secret in the text, and recovery afterwards."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.carbon.settings import ProviderKind
from exporter.errors import ProviderError
from exporter.testing.grid_api_server import Fault, Reply
from exporter.testing.grid_apis import WattTimeApi
from tests.carbon.provider_bench import Bench, bench

KINDS: tuple[ProviderKind, ...] = ("electricity_maps", "watttime", "gb_carbon_intensity", "entsoe")

# fault: reason by provider in the order of KINDS; None: the fault does not exist there
REASONS: Mapping[Fault, tuple[str | None, ...]] = {
    "unauthorized": ("auth",) * 4,
    "forbidden_html": ("auth",) * 4,
    "forbidden_json": ("auth",) * 4,
    "not_found": ("not_found",) * 4,
    "bad_request": ("not_found", "not_found", "not_found", "format"),
    "rate_limited": ("rate_limited",) * 4,
    "server_error": ("server",) * 4,
    "unavailable": ("server",) * 4,
    "redirect": ("format",) * 4,
    "truncated": ("format",) * 4,
    "empty_body": ("format",) * 4,
    "html": ("format",) * 4,
    "wrong_type": ("format",) * 4,
    "nan": ("format",) * 4,
    "negative": ("format", "format", "format", "not_found"),
    "text_value": ("format",) * 4,
    "bool_value": ("format",) * 4,
    "null_value": ("not_found", "not_found", "not_found", "format"),
    "wrong_zone": ("wrong_zone", "wrong_zone", None, "wrong_zone"),
    "sandbox": ("sandbox", None, None, None),
    "future": ("future",) * 4,
    "empty_list": (None, "not_found", "not_found", "not_found"),
    "acknowledgement": (None, None, None, "not_found"),
    "acknowledgement_error": (None, None, None, "format"),
    "doctype": (None, None, None, "format"),
}
CASES = [
    pytest.param(kind, fault, reason, id=f"{kind}-{fault}")
    for fault, reasons in REASONS.items()
    for kind, reason in zip(KINDS, reasons, strict=True)
    if reason is not None
]
DATA_PATH: Mapping[ProviderKind, str] = {"watttime": "/v3/forecast"}


@runtime_checkable
class HasCredentials(Protocol):
    def credentials_changed(self) -> bool: ...


def check_refusal(setup: Bench, reason: str) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        setup.fetch()
    shown = f"{caught.value} {caught.value!r}"

    assert (reason, setup.kind) == (caught.value.reason, caught.value.source)
    assert caught.value.reason in ProviderError.REASONS
    assert not [secret for secret in setup.secrets if secret in shown]
    assert shown.isprintable()
    assert len(str(caught.value)) < 300
    return caught.value


@pytest.mark.parametrize(("kind", "fault", "reason"), CASES)
def test_a_fault_has_its_reason_and_ends_with_its_cause(
    tmp_path: Path, kind: ProviderKind, fault: Fault, reason: str
) -> None:
    with bench(kind, tmp_path) as setup:
        before = setup.fetch()
        setup.clock.advance(120)
        setup.api.fail(fault, path=DATA_PATH.get(kind, ""))
        check_refusal(setup, reason)
        setup.api.repair()
        setup.clock.advance(120)

        assert before.points == setup.fetch().points


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_does_not_answer_ends_with_the_time_limit(tmp_path: Path, kind: ProviderKind) -> None:
    with bench(kind, tmp_path, timeout_s=0.15) as setup:
        setup.api.fail("hang")
        check_refusal(setup, "timeout")


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_drips_ends_with_the_time_limit(tmp_path: Path, kind: ProviderKind) -> None:
    with bench(kind, tmp_path, timeout_s=0.15) as setup:
        setup.api.fail("drip")
        started_s = time.monotonic()
        check_refusal(setup, "timeout")

        assert time.monotonic() - started_s < 5


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_is_not_there_is_an_io_error(tmp_path: Path, kind: ProviderKind) -> None:
    with bench(kind, tmp_path) as setup:
        setup.api.stop()
        check_refusal(setup, "io")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("header", "wanted_s"),
    [
        ("60", 60.0),
        ("Mon, 26 Oct 2026 12:02:00 GMT", 120.0),
        ("Mon, 26 Oct 2026 11:00:00 GMT", 0.0),
        ("99999999999", 86_400.0),
        ("soon", None),
        ("-5", None),
        ("", None),
    ],
)
def test_the_provider_says_when_to_ask_again(
    tmp_path: Path, kind: ProviderKind, header: str, wanted_s: float | None
) -> None:
    with bench(kind, tmp_path) as setup:
        setup.api.fail("rate_limited", retry_after=header)
        # ENTSO-E shuts out for ten minutes, whatever it says.
        wanted_s = max(wanted_s or 0.0, 600.0) if kind == "entsoe" else wanted_s

        assert wanted_s == check_refusal(setup, "rate_limited").retry_after_s


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "gb_carbon_intensity"])
@pytest.mark.parametrize("content", ["", "  \n", "two\nlines", "x" * 5000, "caf\x00", None])
def test_a_key_that_is_none_is_never_sent(tmp_path: Path, kind: ProviderKind, content: str | None) -> None:
    with bench(kind, tmp_path) as setup:
        path = tmp_path / ("password" if kind == "watttime" else "key")
        if content is None:
            path.unlink()
        else:
            path.write_text(content)
        error = check_refusal(setup, "auth")

        assert str(path) in str(error)
        assert not setup.api.requests


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "gb_carbon_intensity"])
def test_a_rotated_key_is_noticed_and_used(tmp_path: Path, kind: ProviderKind) -> None:
    with bench(kind, tmp_path) as setup:
        name = "password" if kind == "watttime" else "key"
        client = setup.client
        setup.fetch()
        setattr(setup.api, name, "another-secret")
        if isinstance(setup.api, WattTimeApi):
            setup.api.expire_tokens()
            setup.clock.advance(120)
        check_refusal(setup, "auth")
        assert isinstance(client, HasCredentials)
        assert not client.credentials_changed()
        (tmp_path / name).write_text("another-secret")

        assert client.credentials_changed()
        assert setup.fetch().points
        assert not client.credentials_changed()


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_repeats_the_key_does_not_get_it_into_the_text(tmp_path: Path, kind: ProviderKind) -> None:
    with bench(kind, tmp_path) as setup:
        told = " ".join(setup.secrets)
        for status, body in ((401, json.dumps({"error": f"Invalid {told}"})), (400, told), (200, f"<p>{told}</p>")):
            setup.clock.advance(120)
            setup.api.say(Reply(status, "text/plain", body.encode()))
            with pytest.raises(ProviderError) as caught:
                setup.fetch()

            assert not [secret for secret in setup.secrets if secret in str(caught.value)]


ODD = (
    *(b"null", b"true", b"-1", b"1e999", b"NaN", b"0.0", b'""', b"[]", b"{}", b"9" * 400, b'"x"', b"[[", b"\xff\xfe"),
    *(b"<a>", b"</a>", b"]]>", b"&x;", b"<!DOCTYPE x>", b"PT15M", b"PT1S", b"A03", b"B10", b"2026-10-26T11:00Z"),
    *(b'"0001-01-01T00:00:00+14:00"', b'"9999-12-31T23:59:59-14:00"', b"2026-99-99T00:00Z", b'"2026-10-26"'),
)


@st.composite
def damaged(draw: st.DrawFn, body: bytes) -> bytes:
    """Cut out pieces of ``body``, tokens for choice, and put others in their place."""
    for _ in range(draw(st.integers(1, 3))):
        tokens = [found.span(1) for found in re.finditer(rb'("[^"]*"|(?<=>)[^<>]+(?=<)|[-+.\w]+)', body)]
        anywhere = st.tuples(st.integers(0, len(body)), st.integers(0, len(body))).map(lambda ends: tuple(sorted(ends)))
        start, end = draw(st.one_of(st.sampled_from(tokens), anywhere) if tokens else anywhere)
        body = body[:start] + draw(st.one_of(st.sampled_from(ODD), st.binary(max_size=6))) + body[end:]
    return body


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_answer_never_raises_anything_else(tmp_path: Path, kind: ProviderKind) -> None:
    """Whatever the body, there is a series of finite values or a ``ProviderError``."""
    with bench(kind, tmp_path) as setup:
        setup.fetch()
        good = setup.api.last_body

        @settings(max_examples=150, deadline=None)
        @given(body=damaged(good))
        def any_body_is_understood_or_refused(body: bytes) -> None:
            setup.api.say(Reply(200, "application/octet-stream", body))
            try:
                series = setup.fetch(with_forecast=True)
            except ProviderError as exc:
                error = exc
            else:
                values = [point.intensity_g_per_kwh for point in (*series.points, *series.forecast)]
                assert series.points
                assert all(0 <= value < math.inf for value in values)
                return

            assert error.reason in ProviderError.REASONS
            assert str(error).isprintable()

        any_body_is_understood_or_refused()
