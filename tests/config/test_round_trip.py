from __future__ import annotations

import dataclasses
import json
import math
import types
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args, get_origin, get_type_hints

from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.config import Settings
from exporter.config.build import Builder
from exporter.config.document import parse_document
from exporter.config.limits import CHOICES, LIMITS, Range

_text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)


def records(kind: type[Any], path: str = "") -> st.SearchStrategy[Any]:
    """Return records of ``kind`` whose every field has any value that its type and limits allow."""
    hints = get_type_hints(kind)
    fields = {name: values(hint, f"{path}.{name}" if path else name) for name, hint in hints.items()}
    return st.builds(kind, **fields)


def values(hint: Any, path: str) -> st.SearchStrategy[Any]:
    origin, args = get_origin(hint), get_args(hint)
    if origin is types.UnionType:
        return st.none() | values(next(a for a in args if a is not type(None)), path)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return records(hint, path)
    if origin in (tuple, Sequence):
        item = st.sampled_from(CHOICES[path]) if path in CHOICES else values(args[0], f"{path}[]")
        return st.lists(item, max_size=3).map(tuple)
    if origin is Mapping:
        return st.dictionaries(_text, _text, max_size=3)
    return st.sampled_from(args) if origin is Literal else scalars(hint, path)


def scalars(hint: Any, path: str) -> st.SearchStrategy[Any]:
    limit = LIMITS.get(path, Range(-1e9, 1e9))
    if hint is int:
        return st.integers(math.ceil(limit.lowest), int(min(limit.highest, 1e9)))
    if hint is float:
        return st.floats(limit.lowest, min(limit.highest, 1e9), exclude_min=limit.is_open)
    return {bool: st.booleans(), str: _text}[hint]


@settings(max_examples=40)
@given(records(Settings))
def test_settings_written_as_yaml_are_read_back(written: Settings) -> None:
    """JSON is YAML, and leaves no doubt about quotes."""
    section, problems = parse_document(json.dumps(dataclasses.asdict(written)).encode(), name="f")
    builder = Builder()

    assert written == builder.record(Settings, section)
    assert [] == problems == builder.problems
