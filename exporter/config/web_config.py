"""The web configuration file: ``tls_server_config``, ``http_server_config``, ``basic_auth_users``.

Format: that of the flag ``--web.config.file`` of other exporters (the exporter toolkit's web configuration). What
cannot be honoured here and would leave the page less guarded than the file says is a mistake. No text of a key, hash
or misplaced password gets into a message.
"""

from __future__ import annotations

import difflib
import importlib
import re
import stat
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from exporter.config.document import Listing, Node, Scalar, Section, read_document
from exporter.errors import ConfigError
from exporter.exposition.web_config import Access, WebConfig
from exporter.exposition.web_settings import WebSettings

if TYPE_CHECKING:
    from exporter.exposition.tls import TlsServer

__all__ = ["load_web_config", "make_access"]

_SECTIONS = ("tls_server_config", "http_server_config", "basic_auth_users", "rate_limit")
_TLS_KEYS = (
    "cert", "cert_file", "key", "key_file", "client_ca", "client_ca_file", "client_auth_type", "client_allowed_sans",
    "min_version", "max_version", "cipher_suites", "prefer_server_cipher_suites", "curve_preferences",
)  # fmt: skip
_HTTP_KEYS = ("http2", "headers")
_HEADERS: Final[dict[str, tuple[str, ...]]] = {
    "Content-Security-Policy": (),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-Content-Type-Options": ("nosniff",),
    "X-XSS-Protection": (),
    "Strict-Transport-Security": (),
}
"""The headers that may be set; with values, these alone."""
_UNVERIFIED = ("RequestClientCert", "RequireAnyClientCert", "RequireClientCert")
_TLS13_SUITES = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
_HASH = re.compile(r"\$2[aby]\$(0[4-9]|1[0-9]|2[0-9]|3[01])\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")
_HIGHEST_COST = 14
_MAX_PEM_BYTES = 1_048_576
_BOOLEANS = {"true": True, "false": False}


def make_access(settings: WebSettings) -> Access | None:
    """Return what follows ``settings.config_file``, or None where there is none.

    Raises:
        ConfigError: the file cannot be used.
    """
    if not settings.config_file:
        return None
    path = Path(settings.config_file)
    return Access(lambda: load_web_config(path))


def load_web_config(path: Path) -> WebConfig:
    """Return what the file at ``path`` says; relative paths in it are relative to it.

    Raises:
        ConfigError: with every mistake, in file order.
    """
    section, problems = read_document(_regular(path))
    reader = _Reader(path, problems)
    reader.check_keys(section, "", _SECTIONS)
    tls = reader.tls(section)
    headers = reader.http(section)
    users = reader.users(section)
    if "rate_limit" in section.entries:
        remedy = "web.max_requests and web.max_connections bound the load here; remove it"
        reader.mistake(section.entries["rate_limit"], "rate_limit", "no such section, which is not supported", remedy)
    if reader.problems:
        raise ConfigError([sentence for _, sentence in sorted(reader.problems, key=lambda item: item[0])])
    return WebConfig(tls=tls, users=users, headers=headers, files=(path, *reader.files), notes=tuple(reader.notes))


def _regular(path: Path) -> Path:
    """Return ``path``; a pipe would keep the server's thread waiting."""
    try:
        is_file = stat.S_ISREG(path.stat().st_mode)
    except OSError as exc:
        remedy = "check --web.config.file and the file's permissions"
        raise ConfigError([f"{path}: expected a readable file, found: {exc.strerror}, {remedy}"]) from exc
    if not is_file:
        raise ConfigError([f"{path}: expected a regular file, found something else, check --web.config.file"])
    return path


class _Reader:
    """Takes the tree apart and collects mistakes as (line, sentence)."""

    def __init__(self, path: Path, problems: Sequence[tuple[int, str]]) -> None:
        self.problems = list(problems)
        self.files: list[Path] = []
        self.notes: list[str] = []
        self._path = path

    def mistake(self, node: Node, where: str, expected: str, remedy: str, *, found: str = "") -> None:
        """Note that ``node`` is not what was expected."""
        what = f", found {found}" if found else ""
        self.problems.append((node.place.line, f"{node.place.text}: {where}: expected {expected}{what}, {remedy}"))

    def check_keys(self, section: Section, where: str, known: Collection[str]) -> None:
        """Note every key that is not known."""
        for name, place in section.keys.items():
            if name in known:
                continue
            close = difflib.get_close_matches(name, known, 1)
            remedy = f"did you mean {close[0]!r}?" if close else "remove it"
            shown = f"found the unknown key {name[:60]!r}, {remedy}"
            what = f"{where}{name[:60]}: expected one of {', '.join(known)}, {shown}"
            self.problems.append((place.line, f"{place.text}: {what}"))

    def tls(self, root: Section) -> TlsServer | None:
        """Return the section ``tls_server_config``."""
        section = self._section(root, "tls_server_config")
        if section is None:
            return None
        from exporter.exposition.tls import VERSIONS, TlsConfig, TlsError, TlsServer

        before = len(self.problems)
        where = "tls_server_config."
        self.check_keys(section, where, _TLS_KEYS)
        cert, key = self._pem(section, "cert"), self._pem(section, "key")
        for name, text in (("cert", cert), ("key", key)):
            if text is None and name not in section.keys and f"{name}_file" not in section.keys:
                remedy = "name the file, or remove tls_server_config for plain HTTP"
                self.mistake(section, f"{where}{name}_file", "a file", remedy, found="none")
        auth_type, client_ca, sans = self._client_auth(section)
        oldest = self._word(section, where, "min_version", tuple(VERSIONS)) or "TLS12"
        newest = self._word(section, where, "max_version", tuple(VERSIONS)) or "TLS13"
        if oldest > newest:
            remedy = "lower min_version or raise max_version"
            self.mistake(section, f"{where}max_version", f"at least min_version {oldest}", remedy, found=newest)
        suites = self._suites(section, oldest)
        server_chooses = self._boolean(section, where, "prefer_server_cipher_suites")
        if "curve_preferences" in section.entries:
            expected = "no such key: the curves cannot be chosen here"
            self.mistake(section.entries["curve_preferences"], f"{where}curve_preferences", expected, "remove it")
        if len(self.problems) > before:
            return None
        config = TlsConfig(
            cert=cert or "",
            key=key or "",
            client_ca=client_ca or "",
            client_auth_type=auth_type,
            allowed_sans=sans,
            min_version=oldest,
            max_version=newest,
            cipher_suites=suites,
            prefer_server_cipher_suites=server_chooses is not False,
        )
        try:
            return TlsServer(config)
        except TlsError as exc:
            name = exc.key if exc.key in section.entries else f"{exc.key}_file"
            place = section.entries[name].place
            shown = "" if name == exc.key else f" {self._file(section.entries[name])}"
            self.problems.append((place.line, f"{place.text}: {where}{name}{shown}: {exc}; correct or replace it"))
            return None

    def _client_auth(self, section: Section) -> tuple[str, str | None, tuple[str, ...]]:
        """Return type, authorities and alternative names of client certificates."""
        from exporter.exposition.tls import CLIENT_AUTH_TYPES

        where = "tls_server_config."
        client_ca = self._pem(section, "client_ca")
        has_ca = "client_ca" in section.keys or "client_ca_file" in section.keys
        node = section.entries.get("client_auth_type")
        if isinstance(node, Scalar) and node.text in _UNVERIFIED:
            expected = "a type that verifies what it asks for"
            remedy = "use RequireAndVerifyClientCert with client_ca_file"
            self.mistake(node, f"{where}client_auth_type", expected, remedy, found=node.text)
            return "NoClientCert", client_ca, ()
        auth_type = self._word(section, where, "client_auth_type", tuple(CLIENT_AUTH_TYPES)) or "NoClientCert"
        if has_ca and auth_type == "NoClientCert" and (node is None or isinstance(node, Scalar)):
            remedy = "set RequireAndVerifyClientCert, or remove the client CA"
            expected = "a type that uses the client CA"
            self.mistake(node or section, f"{where}client_auth_type", expected, remedy, found="NoClientCert")
        if auth_type != "NoClientCert" and not has_ca:
            remedy = "name the file with the authorities' certificates"
            self.mistake(section, f"{where}client_ca_file", f"a file, for {auth_type}", remedy, found="none")
        sans = self._words(section, where, "client_allowed_sans")
        if sans and auth_type != "RequireAndVerifyClientCert":
            expected = "client_auth_type RequireAndVerifyClientCert with it"
            remedy = "or a client without a certificate would have no name to match; set it"
            self.mistake(
                section.entries["client_allowed_sans"],
                f"{where}client_allowed_sans",
                expected,
                remedy,
                found=auth_type,
            )
        return auth_type, client_ca, sans

    def _suites(self, section: Section, oldest: str) -> tuple[str, ...]:
        """Return OpenSSL's names of the suites."""
        from exporter.exposition.tls import CIPHER_SUITES

        where = "tls_server_config.cipher_suites"
        names = self._words(section, "tls_server_config.", "cipher_suites")
        node = section.entries.get("cipher_suites")
        for name in names:
            if node is not None and name not in CIPHER_SUITES and name not in _TLS13_SUITES:
                allowed = ", ".join((*CIPHER_SUITES, *_TLS13_SUITES))
                self.mistake(node, where, f"some of {allowed}", "remove it from the list", found=repr(name[:60]))
        suites = tuple(CIPHER_SUITES[name] for name in names if name in CIPHER_SUITES)
        if node is not None and names and not suites and oldest == "TLS12":
            remedy = "add one, or set min_version to TLS13"
            self.mistake(node, where, "at least one suite of TLS 1.2, which min_version allows", remedy, found="none")
        return suites

    def http(self, root: Section) -> tuple[tuple[str, str], ...]:
        """Return the headers of the section ``http_server_config``."""
        section = self._section(root, "http_server_config")
        if section is None:
            return ()
        self.check_keys(section, "http_server_config.", _HTTP_KEYS)
        if self._boolean(section, "http_server_config.", "http2"):
            self.notes.append("http_server_config.http2 has no effect: HTTP/1.1 is served")
        headers = self._section(section, "headers", "http_server_config.")
        if headers is None:
            return ()
        where = "http_server_config.headers."
        self.check_keys(headers, where, _HEADERS)
        values = []
        for name, allowed in _HEADERS.items():
            node = headers.entries.get(name)
            if node is None or (isinstance(node, Scalar) and not node.text):
                continue
            text = (
                self._word(headers, where, name, allowed, folds_case=True)
                if allowed
                else self._line(node, where + name)
            )
            if text:
                values.append((name, text))
        return tuple(values)

    def users(self, root: Section) -> dict[str, bytes]:
        """Return bcrypt hash by name of ``basic_auth_users``."""
        section = self._section(root, "basic_auth_users")
        if section is None:
            return {}
        users = {}
        for name, node in section.entries.items():
            where = f"basic_auth_users.{name[:60]}"
            if not name or ":" in name or not name.isprintable():
                self.mistake(node, where, "a printable name without a colon", "choose another name")
                continue
            match = _HASH.fullmatch(node.text) if isinstance(node, Scalar) else None
            if not isinstance(node, Scalar) or not match:
                remedy = "make one with: htpasswd -nBC 10 NAME"
                self.mistake(
                    node, where, "a bcrypt hash that begins with $2a$, $2b$ or $2y$", remedy, found="another text"
                )
            elif int(match[1]) > _HIGHEST_COST:
                remedy = "or one check would take seconds; hash the password again"
                self.mistake(node, where, f"a hash with a cost of at most {_HIGHEST_COST}", remedy, found=match[1])
            else:
                users[name] = node.text.encode("ascii")
        try:
            importlib.import_module("bcrypt")
        except Exception as exc:  # noqa: BLE001 - a package that is there may fail in any way when it is loaded
            expected = "the Python package bcrypt to check passwords with"
            remedy = "install wattribute[auth]"
            is_absent = isinstance(exc, ModuleNotFoundError)
            found = "none" if is_absent else f"one that cannot be imported ({type(exc).__name__})"
            self.mistake(section, "basic_auth_users", expected, remedy, found=found)
        return users

    def _section(self, parent: Section, name: str, where: str = "") -> Section | None:
        node = parent.entries.get(name)
        if node is None:
            return None
        if not isinstance(node, Section) or not node.entries:
            self.mistake(node, where + name, "keys below it", "add them or remove it", found="none")
            return None
        return node

    def _pem(self, section: Section, name: str) -> str | None:
        """Return PEM text that is given as such or as a file."""
        where = f"tls_server_config.{name}"
        inline, named = section.entries.get(name), section.entries.get(f"{name}_file")
        if inline is not None and named is not None:
            self.mistake(named, f"{where}_file", f"no {name} beside it, found both", "remove one of them")
            return None
        if inline is not None:
            if isinstance(inline, Scalar) and inline.text.strip():
                return inline.text
            self.mistake(inline, where, "PEM text", f"write `{name}: |` and the text below it", found="none")
        if named is not None:
            if isinstance(named, Scalar) and named.text and named.text.isprintable():
                return self._read(named, f"{where}_file")
            self.mistake(named, f"{where}_file", "the path of a file", "name the file", found="none")
        return None

    def _file(self, node: Node) -> Path:
        assert isinstance(node, Scalar)  # noqa: S101 - a path was read from it
        return self._path.parent / node.text

    def _read(self, node: Scalar, where: str) -> str | None:
        path = self._file(node)
        self.files.append(path)
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                self.mistake(node, where, "a regular file", "name another", found=f"something else at {path}")
                return None
            with path.open("rb") as file:
                data = file.read(_MAX_PEM_BYTES + 1)
            if len(data) > _MAX_PEM_BYTES:
                raise UnicodeError  # noqa: TRY301 - treated as what it is: not PEM
            return data.decode("ascii")
        except OSError as exc:
            remedy = "check the path, which is relative to this file, and its permissions"
            self.mistake(node, where, "a readable file", remedy, found=f"{path}: {exc.strerror or exc}")
        except UnicodeError:
            self.mistake(node, where, "PEM text", "convert it with openssl", found=f"other bytes in {path}")
        return None

    def _word(
        self, section: Section, where: str, name: str, allowed: Sequence[str], *, folds_case: bool = False
    ) -> str | None:
        node = section.entries.get(name)
        if node is None:
            return None
        text = node.text if isinstance(node, Scalar) else ""
        if (text.lower() if folds_case else text) in allowed:
            return text
        expected = f"one of {', '.join(allowed)}"
        self.mistake(node, where + name, expected, "choose one or remove the key", found=repr(text[:40]))
        return None

    def _words(self, section: Section, where: str, name: str) -> tuple[str, ...]:
        node = section.entries.get(name)
        if node is None:
            return ()
        words = tuple(item.text for item in node.items if isinstance(item, Scalar)) if isinstance(node, Listing) else ()
        if not isinstance(node, Listing) or not words or len(words) < len(node.items) or not all(words):
            self.mistake(
                node, where + name, "a list of words", "write [a, b] or remove the key", found="something else"
            )
            return ()
        return words

    def _boolean(self, section: Section, where: str, name: str) -> bool | None:
        node = section.entries.get(name)
        if node is None:
            return None
        value = _BOOLEANS.get(node.text.lower()) if isinstance(node, Scalar) else None
        if value is None:
            self.mistake(node, where + name, "true or false", "write one of them", found="something else")
        return value

    def _line(self, node: Node, where: str) -> str | None:
        text = node.text if isinstance(node, Scalar) else ""
        if text and text.isascii() and text.isprintable():
            return text
        self.mistake(node, where, "one line of printable ASCII", "correct it or remove the key", found="something else")
        return None
