"""A tree to records: types from the records' annotations, limits from the table, all mistakes at once."""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from exporter.config.document import Listing, Node, Scalar, Section
from exporter.config.limits import CHOICES, LIMITS, Range

__all__ = ["Builder", "parse_duration_s"]

_Record = TypeVar("_Record")
_NULLS = ("", "~", "null", "Null", "NULL")
_BOOLEANS = {"true": True, "false": False, "yes": True, "no": False, "on": True, "off": False}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_INDEX = re.compile(r"\[[0-9]+\]")
_INTEGER = re.compile(r"[-+]?[0-9][0-9_]{0,30}")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_WRONG = object()


def parse_duration_s(text: str) -> float | None:
    """Return the seconds of ``250ms``, ``5s``, ``15m``, ``24h`` or ``7d``, or None for anything else."""
    match = _DURATION.fullmatch(text)
    seconds = float(match[1]) * _UNIT_S[match[2]] if match else math.inf
    return seconds if math.isfinite(seconds) else None


@dataclass(slots=True)
class Builder:
    """Builds records and collects mistakes as (line, sentence)."""

    problems: list[tuple[int, str]] = field(default_factory=list)

    def record(self, kind: type[_Record], section: Section, path: str = "") -> _Record:
        """Return a ``kind`` with the section's values; what is wrong keeps its default and is a mistake."""
        hints = get_type_hints(kind)
        values: dict[str, Any] = {}  # of any settings type
        for name, node in section.entries.items():
            where = f"{path}.{name}" if path else name
            if name not in hints:
                self._unknown(section, name, where, list(hints))
                continue
            value = self._value(hints[name], node, where)
            if value is not _WRONG:
                values[name] = value
        return kind(**values)

    def mistake(self, node: Node, path: str, expected: str, *, remedy: str = "") -> Any:  # noqa: ANN401 - the marker
        """Note that ``node`` is not what was expected, and return the marker for it."""
        what = f"{node.place.text}: {path}: expected {expected}, found {_shown(node)}"
        self.problems.append((node.place.line, f"{what}, {remedy}" if remedy else what))
        return _WRONG

    def _unknown(self, section: Section, name: str, where: str, known: list[str]) -> None:
        place = section.keys[name]
        close = difflib.get_close_matches(name, known, 1) or [k for k in known if k == f"{name}_s"]
        remedy = f"did you mean {close[0]!r}?" if close else "remove it"
        found = f"the unknown key {name[:60]!r}"
        self.problems.append(
            (place.line, f"{place.text}: {where[:120]}: expected one of {', '.join(known)}, found {found}, {remedy}")
        )

    def _value(self, hint: Any, node: Node, path: str) -> Any:  # noqa: ANN401, PLR0911 - one return per kind of type
        origin, args = get_origin(hint), get_args(hint)
        if origin in (types.UnionType, typing.Union):
            if isinstance(node, Scalar) and node.is_plain and node.text in _NULLS:
                return None
            return self._value(next(a for a in args if a is not type(None)), node, path)
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            return self._section(hint, node, path)
        if origin in (tuple, Sequence):
            return self._list(args[0], node, path)
        if origin is Mapping:
            return self._mapping(node, path)
        if not isinstance(node, Scalar):
            return self.mistake(node, path, _name_of(hint, path))
        if origin is Literal:
            return node.text if node.text in args else self.mistake(node, path, f"one of {', '.join(args)}")
        return self._scalar(hint, node, path)

    def _section(self, hint: type[Any], node: Node, path: str) -> Any:  # noqa: ANN401 - any record
        if isinstance(node, Scalar) and node.is_plain and node.text in _NULLS:
            node = Section(node.place)
        if not isinstance(node, Section):
            return self.mistake(node, path, "indented keys", remedy="put `key: value` lines below it")
        return self.record(hint, node, path)

    def _list(self, hint: Any, node: Node, path: str) -> Any:  # noqa: ANN401 - any annotation
        if not isinstance(node, Listing):
            return self.mistake(node, path, "a list", remedy="write [a, b], or one `- ` line each")
        values = [self._value(hint, item, f"{path}[{index}]") for index, item in enumerate(node.items)]
        choices = CHOICES.get(path)
        for index, item in enumerate(node.items if choices else ()):
            if isinstance(item, Scalar) and choices and item.text not in choices:
                values[index] = self.mistake(item, f"{path}[{index}]", f"one of {', '.join(choices)}")
        return _WRONG if any(value is _WRONG for value in values) else tuple(values)

    def _mapping(self, node: Node, path: str) -> Any:  # noqa: ANN401 - a mapping or the marker
        if not isinstance(node, Section):
            return self.mistake(node, path, "`name: text` pairs")
        values = {name: self._value(str, item, f"{path}.{name}") for name, item in node.entries.items()}
        return _WRONG if any(value is _WRONG for value in values.values()) else values

    def _scalar(self, hint: Any, node: Scalar, path: str) -> Any:  # noqa: ANN401 - any scalar
        if hint is str:
            if node.is_plain and node.text in _NULLS:
                return self.mistake(node, path, "text", remedy='write "" for none')
            return self.mistake(node, path, "printable text") if _CONTROL.search(node.text) else node.text
        if not node.is_plain:
            return self.mistake(node, path, _name_of(hint, path), remedy="remove the quotes")
        value = _converted(hint, node.text, is_duration=_is_duration(path))
        if value is None:
            return self.mistake(node, path, _name_of(hint, path))
        limit = LIMITS.get(_INDEX.sub("[]", path), Range(-math.inf))
        return value if hint is bool or limit.holds(value) else self.mistake(node, path, f"a number {limit}")


def _is_duration(path: str) -> bool:
    return _INDEX.sub("", path).endswith("_s")


def _converted(hint: Any, text: str, *, is_duration: bool) -> Any:  # noqa: ANN401 - any scalar type
    if hint is bool:
        return _BOOLEANS.get(text.lower())
    if hint is int:
        return int(text) if _INTEGER.fullmatch(text) and not text.endswith("_") and "__" not in text else None
    seconds = parse_duration_s(text) if is_duration else None
    if seconds is not None:
        return seconds
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _name_of(hint: Any, path: str) -> str:  # noqa: ANN401 - any annotation
    if hint is float and _is_duration(path):
        return "seconds, or a duration such as 5s, 15m or 24h"
    return {bool: "true or false", int: "a whole number", float: "a number", str: "text"}.get(hint, "a word")


def _shown(node: Node) -> str:
    if isinstance(node, Scalar):
        return repr(node.text[:40]) if node.text else "nothing"
    return "a list" if isinstance(node, Listing) else "a mapping"
