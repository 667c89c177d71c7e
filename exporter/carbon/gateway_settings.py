"""Settings of ``wattribute gateway``: which zones it fetches, where it serves them, where it keeps them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["GatewaySettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """One gateway fetches with one key for a whole cluster; the agents' provider of kind ``gateway`` asks it."""

    listen_addresses: tuple[str, ...] = (":10188",)
    """Addresses as ``HOST:PORT``, ``[::1]:PORT`` or ``:PORT`` (all interfaces). At least one.

    All interfaces by default: it serves other nodes, and what it serves is no secret."""
    zones: Sequence[str] = ()
    """Grid zones fetched from the start. Empty: only zones that agents ask for."""
    learn_zones: bool = True
    """Whether a zone that an agent asks for is fetched from then on. Off: only ``zones``."""
    max_zones: int = 100
    """Zones fetched at most, given and learned; each costs calls of the provider. From 1 to 1000."""
    forget_zone_s: float = 604_800.0
    """Seconds without a question after which a learned zone is no longer fetched. Above 0."""
    state_path: str | None = None
    """File that keeps the last good values over a restart. None: ``gateway.json`` in ``$STATE_DIRECTORY``, else in
    ``/var/lib/wattribute``. Empty: nothing is kept."""
    max_age_s: float = 604_800.0
    """Seconds for which a last value is still served, marked with its age, while the provider is down. Above 0."""
