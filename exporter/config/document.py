"""YAML text to a tree that knows its lines. No object is ever constructed from a tag, and no alias is followed.

Scalars keep their text: the setting's type decides what it means, so that the grid zone ``NO`` stays Norway.
Format: YAML 1.1 as PyYAML's event parser reads it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from exporter.errors import ConfigError

if TYPE_CHECKING:
    import yaml

__all__ = ["MAX_BYTES", "Listing", "Node", "Place", "Scalar", "Section", "parse_document", "read_document"]

MAX_BYTES = 1_048_576
_MAX_EVENTS = 20_000
_MAX_DEPTH = 16
_NOT_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")


class Place(NamedTuple):
    """Where something was written: ``file:line`` or a flag; ``line`` orders mistakes."""

    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value as written; ``is_plain``: without quotes."""

    place: Place
    text: str
    is_plain: bool = True


@dataclass(frozen=True, slots=True)
class Listing:
    """A list."""

    place: Place
    items: list[Node] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Section:
    """A mapping; every key with the place where it was written."""

    place: Place
    entries: dict[str, Node] = field(default_factory=dict)
    keys: dict[str, Place] = field(default_factory=dict)


Node: TypeAlias = Scalar | Listing | Section


def read_document(path: Path) -> tuple[Section, list[tuple[int, str]]]:
    """Return the tree in the file at ``path``, and its mistakes as (line, sentence).

    Raises:
        ConfigError: it cannot be read, is too large, or is no YAML mapping.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as exc:
        remedy = "check --config.file and the file's permissions"
        raise ConfigError([f"{path}: expected a readable file, found: {exc.strerror or exc}, {remedy}"]) from exc
    if len(data) > MAX_BYTES:
        raise ConfigError([f"{path}: expected at most {MAX_BYTES} bytes, found more, is it the right file?"])
    return parse_document(data, name=str(path))


def parse_document(data: bytes, *, name: str) -> tuple[Section, list[tuple[int, str]]]:
    """Return the tree in ``data`` and its mistakes as (line, sentence); an empty document is an empty section.

    Raises:
        ConfigError: it is no text, no YAML, no mapping, too deep or too large, or has aliases.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise ConfigError([f"{name}:{line}: expected UTF-8 text, found other bytes, is it the right file?"]) from exc
    bad = _NOT_TEXT.search(text)
    if bad:
        line = text.count("\n", 0, bad.start()) + 1
        raise ConfigError([f"{name}:{line}: expected text, found {bad.group()!r}, is it the right file?"])
    import yaml  # 1.5 MiB that an agent without a configuration file does not need

    reader = _Reader(name)
    try:
        for event in _bounded(yaml.parse(text, Loader=yaml.SafeLoader), name):
            reader.take(event)
    except yaml.MarkedYAMLError as exc:
        raise ConfigError([_syntax_problem(exc, text, name)]) from exc
    except yaml.YAMLError as exc:
        raise ConfigError([f"{name}: expected YAML, found: {exc}, is it the right file?"]) from exc
    return reader.root or Section(Place(1, f"{name}:1")), reader.problems


def _bounded(events: Iterator[yaml.Event], name: str) -> Iterator[yaml.Event]:
    for count, event in enumerate(events):
        if count >= _MAX_EVENTS:
            raise ConfigError([f"{name}: expected at most {_MAX_EVENTS} YAML items, found more, is it the right file?"])
        yield event


def _syntax_problem(exc: yaml.MarkedYAMLError, text: str, name: str) -> str:
    mark = exc.problem_mark or exc.context_mark
    number = mark.line + 1 if mark else 1
    lines = text.splitlines()
    line = lines[number - 1] if number <= len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return f"{name}:{number}: expected spaces, found a tab in the indentation, replace it by spaces"
    return f"{name}:{number}: expected YAML, found: {exc.problem or exc.context}, check quotes and indentation"


def _joined(text: str) -> str:
    """Join the halves of a character that JSON writes as two escapes, which YAML 1.1 reads as two characters."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class _Reader:
    """Builds the tree from events, without recursion."""

    def __init__(self, name: str) -> None:
        self.root: Section | None = None
        self.problems: list[tuple[int, str]] = []
        self._name = name
        self._open: list[Section | Listing] = []
        self._pending: list[Scalar | None] = []

    def take(self, event: yaml.Event) -> None:
        """Add one event.

        Raises:
            ConfigError: an alias, a tag, a second document, too deep a nesting, or no mapping at the top.
        """
        import yaml

        place = self._place(event)
        self._refuse(event, place)
        if isinstance(event, yaml.ScalarEvent):
            self._add(Scalar(place, _joined(event.value), event.style is None))
        elif isinstance(event, yaml.MappingStartEvent):
            self._enter(Section(place))
        elif isinstance(event, yaml.SequenceStartEvent):
            self._enter(Listing(place))
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self._open.pop()
            self._pending.pop()

    def _place(self, event: yaml.Event) -> Place:
        line = event.start_mark.line + 1 if event.start_mark else 1
        return Place(line, f"{self._name}:{line}")

    def _refuse(self, event: yaml.Event, place: Place) -> None:
        import yaml

        if isinstance(event, yaml.DocumentStartEvent) and self.root is not None:
            raise ConfigError([f"{place.text}: expected one document, found a second, remove what follows ---"])
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise ConfigError([f"{place.text}: expected plain values, found an anchor or alias, write the value out"])
        if getattr(event, "tag", None):
            raise ConfigError([f"{place.text}: expected plain values, found a tag, remove the word with !"])

    def _enter(self, node: Section | Listing) -> None:
        if len(self._open) >= _MAX_DEPTH:
            raise ConfigError([f"{node.place.text}: expected at most {_MAX_DEPTH} levels, found more"])
        self._add(node)
        self._open.append(node)
        self._pending.append(None)

    def _add(self, node: Node) -> None:
        if not self._open:
            if isinstance(node, Section):
                self.root = node
            elif not (isinstance(node, Scalar) and node.is_plain and node.text in ("", "~", "null")):
                raise ConfigError([f"{node.place.text}: expected sections such as `web:`, found something else"])
            return
        parent = self._open[-1]
        if isinstance(parent, Listing):
            parent.items.append(node)
            return
        key = self._pending[-1]
        if key is not None:
            self._pending[-1] = None
            self._put(parent, key, node)
        elif isinstance(node, Scalar):
            self._pending[-1] = node
        else:
            raise ConfigError([f"{node.place.text}: expected a word as key, found a list or mapping"])

    def _put(self, parent: Section, key: Scalar, node: Node) -> None:
        if key.text in parent.keys:
            first = parent.keys[key.text].line
            self.problems.append(
                (
                    key.place.line,
                    f"{key.place.text}: {key.text[:60]!r}: expected once, found in line {first} too, remove one",
                )
            )
            return
        parent.keys[key.text] = key.place
        parent.entries[key.text] = node
