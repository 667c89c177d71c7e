"""Where the state file is kept when nobody said."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from exporter.config import Settings

__all__ = ["with_state_path"]

_SYSTEM_DIRECTORY = Path("/var/lib/wattribute")


def with_state_path(settings: Settings, environ: Mapping[str, str], system: Path = _SYSTEM_DIRECTORY) -> Settings:
    """Return ``settings`` with the first writable place for the state file, or none, unless they name one.

    Source of ``$STATE_DIRECTORY``: systemd.exec(5); of ``$XDG_STATE_HOME``: the XDG base directory specification.
    """
    if settings.ledger.state_path is not None:
        return settings
    chosen = next((d / "state.db" for d in _directories(environ, system) if _is_writable(d)), "")
    return replace(settings, ledger=replace(settings.ledger, state_path=str(chosen)))


def _directories(environ: Mapping[str, str], system: Path) -> Iterator[Path]:
    if environ.get("STATE_DIRECTORY"):
        yield Path(environ["STATE_DIRECTORY"].split(":")[0])
    yield system
    if environ.get("XDG_STATE_HOME"):
        yield Path(environ["XDG_STATE_HOME"]) / "wattribute"
    elif environ.get("HOME"):
        yield Path(environ["HOME"]) / ".local/state/wattribute"


def _is_writable(directory: Path) -> bool:
    existing = next(path for path in (directory.absolute(), *directory.absolute().parents) if path.exists())
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
