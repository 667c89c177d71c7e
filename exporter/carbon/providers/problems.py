"""What each kind of provider must be told, may be told and cannot do: mistakes in settings, and doubts about files."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from exporter.carbon.cloud_regions import CloudRegion
from exporter.carbon.settings import ProviderKind, ProviderSettings
from exporter.health import Finding

__all__ = ["provider_findings", "provider_problems"]


class _Rule(NamedTuple):
    """Keys that a kind needs, keys it may have besides, signals it has."""

    needed: Sequence[str] = ()
    allowed: Sequence[str] = ()
    signals: Sequence[str] = ("average", "marginal", "market")


_ALWAYS = ("kind", "signal", "poll_interval_s", "fresh_for_s")
_SERVER = ("url", "ca_file")
_RULES: Mapping[ProviderKind, _Rule] = {
    "electricity_maps": _Rule(("key_file",), (*_SERVER, "zone", "emission_factors", "estimates"), ("average",)),
    "watttime": _Rule(("username_file", "password_file"), (*_SERVER, "zone"), ("average", "marginal")),
    "gb_carbon_intensity": _Rule((), (*_SERVER, "zone"), ("average",)),
    "entsoe": _Rule(("key_file",), (*_SERVER, "zone", "emission_factors"), ("average",)),
    "prometheus": _Rule(("url", "query"), ("key_file", "username_file", "password_file", "ca_file")),
    "gateway": _Rule(("url",), ("ca_file",)),
    "file": _Rule(("path",)),
    "fixed": _Rule(("intensity_g_per_kwh",)),
}
_FILES = ("key_file", "username_file", "password_file", "ca_file")
_NOT_OFFERED = {
    "market": "no public provider knows your contracts; use kind fixed or file",
    "marginal": "use watttime",
}


def provider_problems(settings: ProviderSettings, grid_zone: str, region: CloudRegion | None = None) -> list[str]:
    """Return every mistake in one provider's settings, one sentence each that starts with the key; empty if none.

    Args:
        settings: the provider's.
        grid_zone: the node's zone (``place_of(carbon).grid_zone``); empty: none is set, as in a gateway that only
            learns zones. Zones are then not checked.
        region: the node's cloud region (``place_of(carbon).region``), which WattTime's regions are found by, too.
    """
    return [
        *_key_problems(settings),
        *_signal_problems(settings),
        *_url_problems(settings),
        *_zone_problems(settings, grid_zone.strip(), region),
    ]


def provider_findings(settings: ProviderSettings) -> list[Finding]:
    """Return doubts about one provider's files: missing, not readable by us, or readable by everybody.

    They are not mistakes: a secret may be mounted after the start, and is read again at every change.
    """
    findings = []
    for key in _FILES:
        path = getattr(settings, key)
        doubt = _doubt(path, is_secret=key != "ca_file") if path else None
        if doubt:
            detail, remedy = doubt
            findings.append(
                Finding(source=settings.kind, item=key, state="degraded", detail=f"{path}: {detail}", remedy=remedy)
            )
    return findings


def _doubt(path: str, *, is_secret: bool) -> tuple[str, str] | None:
    """Return what is wrong with a file and what to do, or None."""
    try:
        mode = Path(path).stat().st_mode
        with Path(path).open("rb"):
            pass
    except OSError as exc:
        return exc.strerror or type(exc).__name__, "put the file there, readable by the user of this process"
    if is_secret and mode & stat.S_IROTH:
        return "everybody can read this secret", f"chmod o-r {path}"
    return None


def _key_problems(settings: ProviderSettings) -> Iterator[str]:
    rule = _RULES[settings.kind]
    for key in rule.needed:
        if getattr(settings, key) in ("", None):
            yield f"{key}: kind {settings.kind} needs it, and it is empty"
    for field in fields(settings):
        is_set = getattr(settings, field.name) != field.default
        if is_set and field.name not in (*_ALWAYS, *rule.needed, *rule.allowed):
            why = _always_estimates(settings.kind) if field.name == "estimates" else "has no use for it"
            yield f"{field.name}: kind {settings.kind} {why}; remove it"
    if bool(settings.username_file) != bool(settings.password_file) and settings.kind == "prometheus":
        lacking = "username_file" if settings.password_file else "password_file"
        yield f"{lacking}: a user name and a password go together, and this one is empty"
    if settings.kind == "prometheus" and settings.key_file and settings.username_file:
        yield "key_file: expected a token or a user name with a password, found both; remove one"


def _always_estimates(kind: ProviderKind) -> str:
    if kind in ("watttime", "gb_carbon_intensity", "entsoe"):
        return "gives nothing but estimates"
    return "does not ask for values without estimates"


def _signal_problems(settings: ProviderSettings) -> Iterator[str]:
    signals = _RULES[settings.kind].signals
    if settings.signal not in signals:
        yield (
            f"signal: kind {settings.kind} offers {' and '.join(signals)}, found {settings.signal}; "
            f"{_NOT_OFFERED[settings.signal]}"
        )


def _url_problems(settings: ProviderSettings) -> Iterator[str]:
    if not settings.url:
        return
    try:
        parts = urlsplit(settings.url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        yield f"url: expected http://HOST or https://HOST, found {settings.url[:80]!r}"
        return
    if parts.username is not None or parts.password is not None:
        yield "url: expected no user name or password in the address, where logs would show it; use the *_file keys"
    elif not is_address:
        yield f"url: expected http://HOST or https://HOST, found {settings.url[:80]!r}"
    elif parts.query or parts.fragment:
        yield f"url: expected an address without ? and #, found {settings.url.split('?')[0][:80]!r} with more"


def _zone_problems(settings: ProviderSettings, grid_zone: str, region: CloudRegion | None) -> Iterator[str]:
    """Say what is wrong with the provider's own name of the zone, or that the provider does not cover the zone."""
    from exporter.carbon.providers.zones import provider_zone, zone_example

    if "zone" not in _RULES[settings.kind].allowed:
        return
    if settings.zone and not grid_zone:
        yield (f"zone: {settings.zone[:40]!r} translates carbon.grid_zone, which is empty; set grid_zone, too")
    pattern, meaning = zone_example(settings.kind)
    if settings.zone and not re.fullmatch(pattern, settings.zone):
        yield f"zone: expected {meaning}, found {settings.zone[:40]!r}"
    elif grid_zone and provider_zone(settings, grid_zone, grid_zone, region) is None:
        cure = f"set zone to {meaning}, or remove this provider"
        if settings.kind == "gb_carbon_intensity":
            cure = "it knows GB, GB-1 to GB-17, GB-ENG, GB-SCT and GB-WLS; remove this provider elsewhere"
        yield f"zone: kind {settings.kind} is not known to cover grid zone {grid_zone[:40]!r}; {cure}"
