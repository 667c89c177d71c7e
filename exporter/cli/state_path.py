"""Where the state file is kept when nobody said."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from exporter.config import Settings
from exporter.errors import StateError
from exporter.health import Finding

__all__ = ["state_finding", "with_state_path"]

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


def state_finding(settings: Settings) -> Finding:
    """Return whether the state file could be used; nothing is created and no agent that uses it is disturbed."""
    remedy = "give the agent a writable local directory with --state.file"
    path = Path(settings.ledger.state_path or "")
    if not settings.ledger.state_path:
        detail = "no state file: counters restart with the agent"
        return Finding(source="state_file", state="absent", detail=detail, remedy=remedy)
    if not _exists(path):
        if _is_writable(path.parent):
            return Finding(source="state_file", state="up", detail=f"{path} will be created")
        detail = f"{path} cannot be created: no permission, or a read-only file system"
        return Finding(source="state_file", state="down", detail=detail, remedy=remedy)
    try:
        _try(path)
    except (StateError, OSError) as exc:
        return Finding(source="state_file", state="down", detail=str(exc), remedy=remedy)
    return Finding(source="state_file", state="up", detail=f"{path}{', in use by an agent' * _is_locked(path)}")


def _try(path: Path) -> None:
    from exporter.ledger.history import History

    History(path).runs(limit=1)
    if not os.access(path, os.W_OK):
        raise StateError(f"state file {path} is not writable")


def _is_locked(path: Path) -> bool:
    """Tell whether an agent has the file; asks the kernel's list, as trying the lock could get in an agent's way.

    Source: proc_locks(5): the sixth field is device and inode of the locked file.
    """
    try:
        inode = Path(f"{path}.lock").stat().st_ino
        locks = Path("/proc/locks").read_text("ascii")
    except (OSError, ValueError):
        return False
    return any(line.split()[5:6] and line.split()[5].endswith(f":{inode}") for line in locks.splitlines())


def _is_writable(directory: Path) -> bool:
    existing = next(path for path in (directory.absolute(), *directory.absolute().parents) if _exists(path))
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)


def _exists(path: Path) -> bool:
    """Tell whether ``path`` can be seen to exist; below a directory that is closed to us, nothing can."""
    try:
        return path.exists()
    except PermissionError:
        return False
