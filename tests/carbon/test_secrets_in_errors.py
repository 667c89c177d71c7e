"""A key never shows in an error, wherever a text that holds it was cut off."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.carbon.providers.answers import MalformedError, clean, parse_json, reading, without_secrets
from exporter.errors import ProviderError

SECRET = "SECRETKEYabcdefghijklmnopqrstuvwxyz0123456789"  # noqa: S105 - made up


@pytest.mark.parametrize("offset", range(90))
def test_a_key_that_the_server_sends_back_is_hidden_at_every_offset(offset: int) -> None:
    body = ("x" * offset + " " + SECRET + " and more").encode()

    with pytest.raises(ProviderError) as caught, reading("entsoe", [SECRET]):
        parse_json(body)

    assert SECRET[:8] not in str(caught.value)


def test_what_is_no_secret_stays() -> None:
    with pytest.raises(ProviderError, match="expected a list"), reading("entsoe", [SECRET]):
        raise MalformedError("expected a list")


@given(before=st.text(max_size=100), cut=st.integers(0, 200))
def test_no_cut_leaves_eight_characters_of_a_key(before: str, cut: int) -> None:
    text = without_secrets(clean((before + SECRET)[:cut]), [SECRET])

    assert SECRET[:8] not in text
