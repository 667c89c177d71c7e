"""Passwords: the check of HTTP basic authentication (RFC 7617) against bcrypt hashes, away from the server's thread.

One check takes a tenth of a second on purpose, so one thread does one at a time, a bounded queue waits before it, and
results are remembered. They are remembered under a keyed hash of name, password and bcrypt hash with their lengths:
whoever knows a bcrypt hash cannot make up a key, and a changed password is a new one.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import logging
import queue
import random
import secrets
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

__all__ = ["Authenticator", "Verdict"]

_log = logging.getLogger(__name__)

Verdict = Literal["accepted", "refused", "pending", "busy", "failed"]
"""pending: ask again after ``wake``; busy: too many checks wait already, of this peer or of all; failed: the library
for them is broken."""

_QUEUE_LENGTH = 16
_CHECKS_PER_PEER = 2
"""How many different credentials of one address may be in hand, so that no address alone can fill the queue."""
_CACHE_ENTRIES = 100
_MAX_PASSWORD_BYTES = 72
"""What bcrypt looks at. A longer password is refused rather than cut."""
_MAX_HEADER_CHARACTERS = 2048


class _Job(NamedTuple):
    key: bytes
    password: bytes
    hash: bytes
    is_known: bool


class Authenticator:
    """Checks credentials. All methods but the worker's belong to the server's thread.

    Args:
        wake: called from the worker's thread when a check has ended.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._secret = secrets.token_bytes(32)
        # Two memories, so that a flood of wrong passwords cannot push the right ones out.
        self._accepted: dict[bytes, None] = {}
        self._refused: dict[bytes, None] = {}
        self._in_hand: dict[bytes, str] = {}  # the peer that asked first, by key
        self._jobs: queue.Queue[_Job | None] = queue.Queue(_QUEUE_LENGTH)
        self._ended: deque[tuple[bytes, bool | None]] = deque()
        self._thread: threading.Thread | None = None
        self._is_broken = False

    def check(self, authorization: str, users: Mapping[str, bytes], peer: str) -> Verdict:
        """Return whether the header's value names one of ``users`` (bcrypt hash by name) and its password.

        ``peer`` is the address of the client.
        """
        credentials = _credentials(authorization)
        if credentials is None:
            return "refused"
        name, password = credentials
        stored = users.get(name)
        hashed = stored or _dummy_hash(users)
        key = self._key(name.encode(), password, hashed)
        if key in self._accepted:
            return "accepted" if stored else "refused"
        if key in self._refused:
            return "refused"
        if key in self._in_hand or self._is_broken:
            return "failed" if self._is_broken else "pending"
        return self._ask(_Job(key, password, hashed, stored is not None), peer)

    def _ask(self, job: _Job, peer: str) -> Verdict:
        if sum(other == peer for other in self._in_hand.values()) >= _CHECKS_PER_PEER:
            return "busy"
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            return "busy"
        self._in_hand[job.key] = peer
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="passwords", daemon=True)
            self._thread.start()
        return "pending"

    def collect(self) -> None:
        """Take the results of ended checks; what was pending on them has another verdict now."""
        while self._ended:
            key, is_right = self._ended.popleft()
            self._in_hand.pop(key, None)
            if is_right is None:
                continue
            memory = self._accepted if is_right else self._refused
            if len(memory) >= _CACHE_ENTRIES:
                del memory[random.choice(list(memory))]  # noqa: S311 - not a secret
            memory[key] = None

    def close(self) -> None:
        """End the worker after the check in hand."""
        while True:
            try:
                self._jobs.get_nowait()
            except queue.Empty:
                break
        self._jobs.put_nowait(None)

    def _key(self, *parts: bytes) -> bytes:
        digest = hashlib.blake2b(key=self._secret, digest_size=32)
        for part in parts:
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
        return digest.digest()

    def _work(self) -> None:
        try:
            from bcrypt import checkpw
        except BaseException as exc:  # noqa: BLE001 - the thread's top: who waits must have an answer
            _log.error("passwords cannot be checked", extra={"error": type(exc).__name__})
            self._is_broken = True
        while (job := self._jobs.get()) is not None:
            is_right: bool | None = None
            if not self._is_broken:
                try:
                    is_right = checkpw(job.password, job.hash) and job.is_known
                except BaseException:  # noqa: BLE001 - a hash or password it cannot read is a wrong one
                    is_right = False
            self._ended.append((job.key, is_right))
            self._wake()


def _credentials(authorization: str) -> tuple[str, bytes] | None:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic" or len(encoded) > _MAX_HEADER_CHARACTERS:
        return None
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True)
        raw_name, colon, password = decoded.partition(b":")
        name = raw_name.decode()
    except (binascii.Error, ValueError):
        return None
    if not colon or len(password) > _MAX_PASSWORD_BYTES or b"\0" in password:
        return None
    return name, password


def _dummy_hash(users: Mapping[str, bytes]) -> bytes:
    """Return a hash of no password that takes as long to check as the users' own: nobody can time out who exists."""
    cost = max((hashed[4:6] for hashed in users.values()), default=b"10")
    return b"$2b$" + cost + b"$" + b"." * 53
