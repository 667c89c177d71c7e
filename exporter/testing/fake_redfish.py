"""A BMC's Redfish service over HTTPS, with one system in one chassis and whatever shapes and faults a test wants."""

from __future__ import annotations

import base64
import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler
from typing import ClassVar, Self

from exporter.testing.fake_kubelet import CertificateAuthority
from exporter.testing.tls_server import TlsServer

__all__ = ["CHASSIS", "ENVIRONMENT", "POWER", "SENSORS", "SYSTEM", "FakeRedfish"]

SYSTEM = "/redfish/v1/Systems/1"
CHASSIS = "/redfish/v1/Chassis/1"
ENVIRONMENT = f"{CHASSIS}/EnvironmentMetrics"
POWER = f"{CHASSIS}/Power"
SENSORS = f"{CHASSIS}/Sensors"


class FakeRedfish:
    """Serves ``resources``; a context manager.

    Attributes:
        resources: what is served at each path, as JSON; changes show at once.
        bodies: bytes served at a path instead.
        statuses: statuses answered at a path instead of 200; the empty path stands for every path.
        redirects: where a path leads to.
        drips: paths whose bodies come a byte every 50 ms and never end.
        calls: requests by path.
        authorizations: the header of every request, in order.
    """

    def __init__(self, authority: CertificateAuthority, *, username: str = "", password: str = "") -> None:
        self.resources: dict[str, object] = {}
        self.bodies: dict[str, bytes] = {}
        self.statuses: dict[str, int] = {}
        self.redirects: dict[str, str] = {}
        self.drips: set[str] = set()
        self.calls: Counter[str] = Counter()
        self.authorizations: list[str] = []
        self.stopping = threading.Event()
        token = base64.b64encode(f"{username}:{password}".encode()).decode("ascii")
        self.authorization = f"Basic {token}" if username else ""
        self._add_machine()
        self._server = TlsServer(type("_Handler", (_Handler,), {"service": self}), authority.server_file)
        self.port = self._server.port

    @property
    def url(self) -> str:
        """Where it listens."""
        return self._server.url

    def _add_machine(self) -> None:
        self.resources["/redfish/v1/Systems"] = _collection(SYSTEM)
        self.resources[SYSTEM] = {"Id": "1", "Links": {"Chassis": [_link(CHASSIS)]}}
        self.resources["/redfish/v1/Chassis"] = _collection(CHASSIS)
        self.add_chassis(CHASSIS, SYSTEM)

    def add_chassis(self, path: str, *systems: str) -> None:
        """Serve a chassis that holds ``systems`` and refers to every shape, none of which exists yet."""
        self.resources[path] = {
            "Id": path.rpartition("/")[2],
            "Links": {"ComputerSystems": [_link(system) for system in systems]},
            "EnvironmentMetrics": _link(f"{path}/EnvironmentMetrics"),
            "Power": _link(f"{path}/Power"),
            "Sensors": _link(f"{path}/Sensors"),
        }

    def show_environment(self, power_w: object = None, *, energy_kwh: object = None) -> None:
        """Serve EnvironmentMetrics; None: JSON's null."""
        self.resources[ENVIRONMENT] = {"PowerWatts": {"Reading": power_w}, "EnergykWh": {"Reading": energy_kwh}}

    def show_power(self, *controls: dict[str, object]) -> None:
        """Serve the deprecated Power resource."""
        self.resources[POWER] = {"PowerControl": list(controls)}

    def show_sensors(self, **readings: object) -> None:
        """Serve one Sensor of the chassis' power by each name."""
        self.resources[SENSORS] = _collection(*(f"{SENSORS}/{name}" for name in readings))
        for name, reading in readings.items():
            self.resources[f"{SENSORS}/{name}"] = {
                "ReadingType": "Power",
                "ReadingUnits": "W",
                "PhysicalContext": "Chassis",
                "Status": {"State": "Enabled"},
                "Reading": reading,
            }

    def page(self, path: str) -> tuple[int, bytes]:
        """Return status and body for an authorised request."""
        if path in self.bodies:
            return 200, self.bodies[path]
        if path in self.resources:
            return 200, json.dumps(self.resources[path]).encode()
        return 404, b"{}"

    def close(self) -> None:
        """Stop listening."""
        self.stopping.set()
        self._server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def _link(path: str) -> dict[str, str]:
    return {"@odata.id": path}


def _collection(*paths: str) -> dict[str, object]:
    return {"Members": [_link(path) for path in paths], "Members@odata.count": len(paths)}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service: ClassVar[FakeRedfish]

    def do_GET(self) -> None:
        service, path = self.service, self.path
        service.calls[path] += 1
        service.authorizations.append(self.headers.get("Authorization", ""))
        status = service.statuses.get(path, service.statuses.get("", 0))
        if service.authorization not in ("", service.authorizations[-1]):
            status = 401
        if status:
            self._answer(status, b"{}")
        elif path in service.redirects:
            self._answer(302, b"", location=service.redirects[path])
        elif path in service.drips:
            self._drip()
        else:
            self._answer(*service.page(path))

    def _answer(self, status: int, body: bytes, *, location: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if location:
            self.send_header("Location", location)
        self.end_headers()
        self.wfile.write(body)

    def _drip(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "100000")
        self.end_headers()
        while not self.service.stopping.wait(0.05):
            self.wfile.write(b" ")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Keep quiet."""
