"""Cleaning of text that users and file systems control, before it may become a name or a label value."""

from __future__ import annotations

import hashlib

__all__ = ["NAME_LIMIT", "clean_text", "shorten_name"]

NAME_LIMIT = 128
"""Characters of a name that is kept: the longest Kubernetes and Slurm names in practice fit."""

_DIGEST_LENGTH = 12


def clean_text(text: str, *, limit: int = NAME_LIMIT) -> str:
    """Return at most ``limit`` characters of ``text``; what is not printable becomes U+FFFD.

    That covers control characters, line and paragraph separators, directional marks and lone surrogates, which
    is what undecodable bytes are after ``surrogateescape``. The result is valid UTF-8.
    """
    text = text[:limit]
    return text if text.isprintable() else "".join(sign if sign.isprintable() else "\ufffd" for sign in text)


def shorten_name(text: str, *, limit: int = NAME_LIMIT) -> str:
    """Return ``text`` cleaned; one that is too long ends in ``~`` and a digest, so that two never become one."""
    if len(text) <= limit:
        return clean_text(text, limit=limit)
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_LENGTH // 2).hexdigest()
    return f"{clean_text(text, limit=limit - _DIGEST_LENGTH - 1)}~{digest}"
