"""Fields of a protocol buffers message, without a schema: what a caller does not ask for is passed over.

Format: Protocol Buffers documentation, "Encoding". Groups, which are deprecated, are no part of the messages read here.
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["ProtobufError", "fields", "text"]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_BYTES = {_FIXED64: 8, _FIXED32: 4}
_LONGEST_VARINT = 10
_MOST_FIELDS = 1_000_000
_STRING_LIMIT_BYTES = 1024


class ProtobufError(Exception):
    """The bytes are no message."""


def fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield number and content of every field of variable length (texts and messages), in order; pass over others.

    Raises:
        ProtobufError: the message is cut off or of another format. What was yielded before is then not to be trusted.
    """
    place, end = 0, len(message)
    for _ in range(_MOST_FIELDS):
        if place == end:
            return
        tag, place = _varint(message, place)
        number, kind = tag >> 3, tag & 7
        if not number:
            raise ProtobufError(f"field number 0 at byte {place}")
        if kind == _VARINT:
            _, place = _varint(message, place)
            continue
        if kind == _BYTES:
            length, place = _varint(message, place)
        elif kind in _FIXED_BYTES:
            length = _FIXED_BYTES[kind]
        else:
            raise ProtobufError(f"wire type {kind} at byte {place}")
        if length > end - place:
            raise ProtobufError(f"a field of {length} bytes at byte {place} of {end}")
        if kind == _BYTES:
            yield number, message[place : place + length]
        place += length
    raise ProtobufError(f"more than {_MOST_FIELDS} fields")


def text(content: memoryview) -> str:
    """Return a field's text, or an empty one for what is too long to be a name.

    Raises:
        ProtobufError: it is not UTF-8.
    """
    if len(content) > _STRING_LIMIT_BYTES:
        return ""
    try:
        return str(content, "utf-8")
    except UnicodeDecodeError as exc:
        raise ProtobufError(f"a text that is not UTF-8: {exc.reason}") from None


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """Return a number and the place behind it."""
    value = 0
    for shift, octet in enumerate(message[place : place + _LONGEST_VARINT]):
        value |= (octet & 0x7F) << (7 * shift)
        if octet < 0x80:  # noqa: PLR2004 - the bit that says that more follows
            return value, place + shift + 1
    raise ProtobufError(f"a number without end at byte {place}")
