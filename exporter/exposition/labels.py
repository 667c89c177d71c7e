"""Label values: valid UTF-8, no control characters, of bounded length, whatever a user put into a name."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["MAX_LABEL_CHARACTERS", "clean_label", "clean_labels"]

MAX_LABEL_CHARACTERS = 128
"""Characters of a label value that are kept; the last one is an ellipsis where something was cut off."""

_UNWANTED = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_REPLACEMENT = "\ufffd"


def clean_label(text: str) -> str:
    """Return ``text`` fit for a label: control characters and lone surrogates replaced, capped in length.

    Idempotent. Two texts may become equal: whoever makes series of the result must add up their values.
    """
    if len(text) > MAX_LABEL_CHARACTERS:
        text = text[: MAX_LABEL_CHARACTERS - 1] + "…"
    if text.isprintable():
        return text
    return _UNWANTED.sub(_REPLACEMENT, text)


def clean_labels(texts: Iterable[str]) -> tuple[str, ...]:
    """Return label values fit for a page; see ``clean_label``."""
    return tuple([clean_label(text) for text in texts])
