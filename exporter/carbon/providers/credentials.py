"""Keys, user names and passwords in files: read at every question, so that a rotated secret works without a restart."""

from __future__ import annotations

from pathlib import Path

from exporter.errors import ProviderError

__all__ = ["KeyFile"]

_MAX_BYTES = 4096


class KeyFile:
    """A file that holds one secret on one line. Never shows it.

    Args:
        path: of the file.
        source: the provider's kind, for errors.
        what: what it holds, for errors: key, user name, password.
    """

    def __init__(self, path: str, *, source: str, what: str = "key") -> None:
        self._path = path
        self._source = source
        self._what = what
        self._was_read = False
        self._last: str | None = None

    def __repr__(self) -> str:
        return f"KeyFile({self._path!r})"

    def read(self) -> str:
        """Return the secret, without white space around it.

        Raises:
            ProviderError: auth; the file is missing, unreadable, too long, empty, or holds more than one line.
        """
        text = self._last = self._text()
        self._was_read = True
        if text is None:
            raise self._error("cannot be read; put the secret there, readable by the user of this process")
        if not text:
            raise self._error(f"is empty or longer than {_MAX_BYTES} bytes")
        if not text.isprintable() or (self._what in ("key", "token") and not text.isascii()):
            raise self._error("holds more than one line of plain characters")
        return text

    def has_changed(self) -> bool:
        """Return whether the file holds something else than when it was last read; False before the first time."""
        return self._was_read and self._text() != self._last

    def _text(self) -> str | None:
        """Return the stripped content, empty if it is too long, None if it cannot be read."""
        try:
            with Path(self._path).open("rb") as file:
                content = file.read(_MAX_BYTES + 1)
        except OSError:
            return None
        return "" if len(content) > _MAX_BYTES else content.decode(errors="replace").strip()

    def _error(self, problem: str) -> ProviderError:
        return ProviderError(self._source, "auth", f"{self._path}, the {self._what} of {self._source}, {problem}")
