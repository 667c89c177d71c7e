from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cli.node_view import node_view
from exporter.cli.screen import open_console
from exporter.cli.top_frame import frame
from exporter.errors import SourceFormatError
from exporter.exposition.api import snapshot_document
from tests.exposition.snapshots import snapshot

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def document() -> Any:
    return json.loads(snapshot_document(snapshot()))


def _replaced(value: Any, steps: list[int], new: Any) -> Any:
    """Replace what is found by going into ``value`` by position."""
    if not steps or not isinstance(value, dict | list) or not value:
        return new
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = keys[steps[0] % len(keys)]
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[key] = _replaced(value[key], steps[1:], new)
    return copy


@given(st.lists(st.integers(0, 20), max_size=5), _json)
def test_any_document_is_a_frame_or_a_format_error(steps: list[int], new: Any) -> None:
    """Whatever a foreign server answers, ``top`` does not fall over."""
    try:
        view = node_view(_replaced(document(), steps, new))
    except SourceFormatError:
        return
    with open_console().capture() as capture:
        open_console().print(frame(view, feed="x", width=80, height=24))

    assert "\x1b" not in capture.get()


def test_the_parts_of_the_view_add_up_to_the_node() -> None:
    view = node_view(document())

    assert view.power_w == pytest.approx(83.5)
    assert view.unattributed_w == pytest.approx(83.5 - 61.0 - 0.2)


def test_a_newer_document_is_refused() -> None:
    with pytest.raises(SourceFormatError, match="version 1"):
        node_view(document() | {"version": 2})
