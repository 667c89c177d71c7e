"""Settings of the web server and of what it serves."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FIXED_ROUTES", "HEALTH_ROUTES", "WebSettings"]

HEALTH_ROUTES = frozenset({"/-/healthy", "/-/ready"})
"""Paths for probes: never behind a password, and all that ``health_address`` serves."""

FIXED_ROUTES = frozenset({"/", "/-/healthy", "/-/ready", "/api/v1/runs", "/api/v1/snapshot"})
"""Paths that are served whatever the settings say; the telemetry path must be another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSettings:
    """Where the agent listens, and the bounds that keep any client from hurting the others."""

    listen_addresses: tuple[str, ...] = ("127.0.0.1:10187",)
    """Addresses as ``HOST:PORT``, ``[::1]:PORT`` or ``:PORT`` (all interfaces, IPv6 and IPv4). At least one.

    Loopback by default: power draw tells what a tenant runs, so reaching it from elsewhere is a decision."""
    config_file: str = ""
    """File that guards the page with TLS, client certificates and passwords, in the format of ``--web.config.file`` of
    other exporters; relative to the working directory. Empty: plain HTTP for everybody who reaches it.

    It is followed while the page is served: docs/how-to/secure-the-page.md."""
    health_address: str = ""
    """A further address that serves ``/-/healthy`` and ``/-/ready`` in plain HTTP and nothing else; empty: none.

    For probes that cannot show a client certificate."""
    telemetry_path: str = "/metrics"
    """Path of the metrics page. Begins with a slash; must not be one of the other routes."""
    process_metrics: bool = True
    """Append ``process_*`` and ``python_info`` of the agent itself; costs about 10 MiB of memory for the library."""
    max_connections: int = 256
    """Open connections. When full, the oldest that has not completed a request is dropped for a new one. 1-10000."""
    max_requests: int = 40
    """Requests whose answers are not yet fully written; beyond, 503 is answered. At least 1."""
    max_header_bytes: int = 16_384
    """Bytes of request line and headers together; beyond, 431 is answered. 1024-1048576."""
    header_timeout_s: float = 5.0
    """Seconds from the first wait for a request's bytes to the end of its headers. Above 0, at most 60."""
    write_timeout_s: float = 10.0
    """Seconds in which a client must take its whole answer. Prometheus gives up after 10 s by default. Above 0."""
    keep_alive_s: float = 65.0
    """Seconds an idle connection stays open after an answer; above the usual scrape interval of 60 s. Above 0."""
    healthy_within_ticks: float = 4.0
    """Intervals without a tick after which ``/-/healthy`` fails. At least 2."""
