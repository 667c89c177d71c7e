"""Mistakes in the settings of ``wattribute gateway``: those that are wrong for everybody, and those only it minds.

One file may serve agents and gateway, so that what only the gateway minds must not keep an agent from starting.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

from exporter.carbon.grid_table import find_row, near_zones
from exporter.carbon.settings import ProviderSettings
from exporter.config.settings import Settings
from exporter.exposition.listen import ListenError, parse_address

__all__ = ["gateway_only_problems", "gateway_problems"]

_LONGEST_ZONE = 64
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_DEFAULT_PORTS = {"http": 80, "https": 443}


def gateway_problems(settings: Settings) -> list[str]:
    """Return every mistake in the section ``gateway``, one sentence each that starts with the setting's path."""
    gateway = settings.gateway
    sentences = []
    if not gateway.listen_addresses:
        sentences.append("gateway.listen_addresses: expected at least one address, found none.")
    for index, address in enumerate(gateway.listen_addresses):
        try:
            parse_address(address)
        except ListenError as exc:
            sentences.append(f"gateway.listen_addresses[{index}]: {exc}.")
    sentences += [s for index, zone in enumerate(gateway.zones) for s in _zone_problems(index, zone)]
    if len(gateway.zones) > gateway.max_zones:
        sentences.append(
            f"gateway.zones: expected at most gateway.max_zones ({gateway.max_zones}), found {len(gateway.zones)}; "
            "raise gateway.max_zones if the provider's limits allow it."
        )
    return sentences


def gateway_only_problems(settings: Settings) -> list[str]:
    """Return what keeps ``wattribute gateway`` from doing its work, one sentence each; an agent does not mind it."""
    sentences = []
    if not settings.carbon.providers:
        sentences.append(
            "carbon.providers: expected at least one provider for the gateway to ask, found none; "
            "add one, for example {kind: electricity_maps, key_file: /etc/wattribute/key}."
        )
    elif not (settings.gateway.zones or settings.gateway.learn_zones):
        sentences.append(
            "gateway.zones: expected at least one zone where gateway.learn_zones is off, found none: "
            "nothing would be served."
        )
    for index, provider in enumerate(settings.carbon.providers):
        sentences += [f"carbon.providers[{index}].{text}" for text in _provider_problems(provider, settings)]
    return sentences


def _zone_problems(index: int, zone: str) -> Iterator[str]:
    where = f"gateway.zones[{index}]"
    if not zone.strip() or len(zone) > _LONGEST_ZONE or not zone.isprintable():
        yield f"{where}: expected 1 to {_LONGEST_ZONE} printable characters, found {zone[:_LONGEST_ZONE]!r}."
    elif not find_row(zone):
        near = near_zones(zone)
        hint = f"did you mean {', '.join(near)}?" if near else "use an id such as DE or US-CAL-CISO."
        yield f"{where}: no grid zone {zone!r} is known; {hint}"


def _provider_problems(provider: ProviderSettings, settings: Settings) -> Iterator[str]:
    if provider.kind == "gateway" and _is_own(provider.url, settings.gateway.listen_addresses):
        yield (
            f"url: {provider.url!r} is this gateway itself, which cannot be its own provider; "
            "name the provider that it is to ask, or another gateway."
        )
    is_single = len(settings.gateway.zones) == 1 and not settings.gateway.learn_zones
    if provider.kind == "prometheus" and "$zone" not in provider.query and not is_single:
        yield (
            "query: expected $zone in it, or its one value would be served for every zone; put it in, or set "
            "gateway.learn_zones to false and gateway.zones to that one zone."
        )
    if provider.kind == "fixed" and not is_single:
        yield (
            "kind: a fixed value would be served for every zone; give it to the agents of that zone instead, or set "
            "gateway.learn_zones to false and gateway.zones to that one zone."
        )


def _is_own(url: str, listen_addresses: tuple[str, ...]) -> bool:
    """Tell whether ``url`` leads to one of these addresses, as far as names alone can tell."""
    parts = urlsplit(url)
    try:
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)
    except ValueError:
        return False
    host = parts.hostname or ""
    own_names = _LOOPBACK | {socket.gethostname().lower()}
    for address in listen_addresses:
        try:
            own_host, own_port = parse_address(address)
        except ListenError:
            continue
        is_here = host in own_names if own_host in ("", "0.0.0.0", "::") else host == own_host.lower()  # noqa: S104
        if port == own_port and (is_here or (host in _LOOPBACK and own_host in _LOOPBACK)):
            return True
    return False
