"""What guards the page, as read from the web configuration file, and how it follows that file while it serves.

The format is that of ``--web.config.file`` of other exporters; exporter/config/web_config.py reads it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.errors import ConfigError
from exporter.health import Finding

if TYPE_CHECKING:
    from exporter.exposition.tls import TlsServer

__all__ = ["Access", "WebConfig"]

_log = logging.getLogger(__name__)
_Signature = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WebConfig:
    """One state of the file.

    Attributes:
        tls: makes TLS connections; None: plain HTTP.
        users: bcrypt hash by user name; empty: no password is asked for.
        headers: added to every answer, in place of the server's own of that name.
        files: the file itself and those it names, whose changes are followed.
        notes: what is accepted and has no effect, one sentence each.
    """

    tls: TlsServer | None = None
    users: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    headers: tuple[tuple[str, str], ...] = ()
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


class Access:
    """The configuration in force. Belongs to the server's thread once that runs, but for ``finding``.

    Args:
        load: reads the file; raises ConfigError.
        check_s: seconds between two looks at the files.

    Raises:
        ConfigError: the file cannot be used.
    """

    def __init__(self, load: Callable[[], WebConfig], *, check_s: float = 1.0) -> None:
        self._load = load
        self._check_s = check_s
        self._next_check_s = 0.0
        self._problem = ""
        self.config = load()
        self._signature = _signature(self.config.files)
        for note in self.config.notes:
            _log.warning("web configuration", extra={"note": note})

    def refresh(self, now_s: float) -> bool:
        """Read the files again if they changed and it is time; return whether a new configuration is in force.

        A file that cannot be used leaves the old configuration in force, is logged once, and is tried again.
        """
        if now_s < self._next_check_s:
            return False
        self._next_check_s = now_s + self._check_s
        signature = _signature(self.config.files)
        if signature == self._signature and not self._problem:
            return False
        try:
            config = self._load()
            _refuse_removal(self.config, config)
        except ConfigError as exc:
            self._keep(exc.problems)
            return False
        except Exception as exc:  # noqa: BLE001 - the isolation line: a file must not end the thread that serves the page
            path = self.config.files[0] if self.config.files else ""
            self._keep([f"{path}: expected a usable file, found a fault ({type(exc).__name__}) while reading it"])
            return False
        # The signature from before the read: a change during it is seen at the next look.
        files_are_the_same = config.files == self.config.files
        self.config, self._problem = config, ""
        self._signature = signature if files_are_the_same else _signature(config.files)
        _log.info("web configuration reloaded")
        return True

    def _keep(self, problems: Sequence[str]) -> None:
        """Note why the old configuration stays in force; log it once."""
        problem = "\n".join(problems)
        if problem != self._problem:
            _log.error("web configuration kept", extra={"problem": "; ".join(problems)})
        self._problem = problem

    def finding(self) -> Finding:
        """Return whether what is on disk is in force. From any thread."""
        path = str(self.config.files[0]) if self.config.files else ""
        problem = self._problem
        if not problem:
            return Finding(source="web_config", state="up", detail=path)
        remedy = "correct the file; the configuration read before stays in force"
        return Finding(source="web_config", state="down", detail=problem.splitlines()[0], remedy=remedy)


def _refuse_removal(old: WebConfig, new: WebConfig) -> None:
    """Refuse to drop a whole guard while serving: a file caught half written must not open the page.

    Raises:
        ConfigError: with one sentence per guard.
    """
    asked_for_certificates = old.tls is not None and old.tls.asks_for_certificates
    gone = {
        "tls_server_config": old.tls is not None and new.tls is None,
        "tls_server_config.client_auth_type": asked_for_certificates
        and new.tls is not None
        and not new.tls.asks_for_certificates,
        "tls_server_config.client_allowed_sans": old.tls is not None
        and bool(old.tls.allowed_sans)
        and new.tls is not None
        and not new.tls.allowed_sans,
        "basic_auth_users": bool(old.users) and not new.users,
    }
    problems = [
        f"{new.files[0] if new.files else ''}: {key}: expected to stay while the page is served, found it removed, "
        "restart to serve without it"
        for key, is_gone in gone.items()
        if is_gone
    ]
    if problems:
        raise ConfigError(problems)


def _signature(files: tuple[Path, ...]) -> _Signature:
    return tuple(_stat(path) for path in files)


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
