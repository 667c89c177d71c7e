"""Asks a Redfish service for the power of the chassis that contains this machine: where to look, and in which order.

One value is used and never a sum, because the same watts stand in several places. The order, best first: chassis
EnvironmentMetrics ``PowerWatts``; ``PowerControl`` of the deprecated Power resource; a Sensor of the chassis' power;
EnvironmentMetrics ``EnergykWh``. Sources: DMTF DSP0266 (basic authentication, links, redirects) and DSP0268.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

from exporter.sensors import bmc_documents as documents
from exporter.sensors.bmc_documents import Document
from exporter.sensors.bmc_poll import REDFISH, BmcAnswer, BmcError
from exporter.sensors.settings import SensorSettings
from exporter.web_client import Answer, HttpError, WebClient

__all__ = ["RedfishPower"]

_TIMEOUT_S = 5.0
_MOST_BYTES = 2 << 20
_MOST_REQUESTS = 40
"""Requests in one search for the power; every one has its own deadline."""
_MOST_SENSORS = 16
_MOST_CHASSIS = 12
_MOST_SECRET_BYTES = 4096
_SYSTEMS = "/redfish/v1/Systems"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class _Place(NamedTuple):
    """One value of one resource."""

    path: str
    what: str
    extract: Callable[[Document], BmcAnswer | None]


class RedfishPower:
    """One BMC. Not thread-safe: one poller asks it.

    Args:
        settings: ``redfish_url`` and what belongs to it.
        timeout_s: seconds for one request as a whole.
    """

    def __init__(self, settings: SensorSettings, *, timeout_s: float = _TIMEOUT_S) -> None:
        self._settings = settings
        self._timeout_s = timeout_s
        self._client: WebClient | None = None
        self._place: _Place | None = None
        self._requests = 0

    def ask(self) -> BmcAnswer:
        """Return the chassis' power, or its energy where it has no power.

        Raises:
            BmcError: there is none. Its text holds neither name nor password, nor anything of an answer's body.
        """
        self._requests = 0
        if self._place is not None:
            place, self._place = self._place, None
            answer = place.extract(self._get(place.path))
            if answer is None:
                raise BmcError(REDFISH, "format", f"{place.path} has no power now")
            self._place = place
            return answer
        problem: BmcError | None = None
        for chassis in self._chassis():
            for place in self._places(chassis):
                try:
                    answer = place.extract(self._get(place.path))
                except BmcError as exc:
                    if exc.is_lasting or exc.reason in {"timeout", "busy"}:
                        raise
                    problem = problem or exc
                    continue
                if answer is not None:
                    self._place = place
                    return answer
        raise problem or BmcError(REDFISH, "unsupported", "no power of the chassis in any place that is known")

    def _chassis(self) -> Iterator[Document]:
        """Yield the chassis that contain the system and no other system: what others draw must not be ours.

        Those that say so come first. One that names no system is believed only if the system refers to it, or if
        there is no other: it may be the rack.
        """
        system = self._system()
        paths = documents.links(self._get(system), "Links", "Chassis")
        is_referred = bool(paths)
        paths = (paths or documents.links(self._get("/redfish/v1/Chassis"), "Members"))[:_MOST_CHASSIS]
        silent = []
        is_shared = False
        for path in paths:
            chassis = self._get(path)
            inside = {other.rstrip("/") for other in documents.links(chassis, "Links", "ComputerSystems")}
            if inside == {system.rstrip("/")}:
                yield chassis
            elif not inside:
                silent.append(chassis)
            else:
                is_shared = is_shared or len(inside) > 1
        if is_referred or len(paths) == 1:
            yield from silent
        if is_shared:
            raise BmcError(REDFISH, "unsupported", "the chassis holds several systems: its power is not this machine's")

    def _system(self) -> str:
        systems = documents.links(self._get(_SYSTEMS), "Members")
        wanted = self._settings.redfish_system
        if wanted:
            systems = tuple(path for path in systems if path.rstrip("/").rpartition("/")[2] == wanted)
        if len(systems) == 1:
            return systems[0]
        found = f"{len(systems)} systems" + (f" named {wanted!r}" if wanted else "")
        remedy = f"set sensors.redfish_system to the Id of this machine in {_SYSTEMS}"
        raise BmcError(REDFISH, "unsupported", f"the service has {found}", remedy=remedy)

    def _places(self, chassis: Document) -> Iterator[_Place]:
        environment = documents.link(chassis, "EnvironmentMetrics")
        if environment:
            yield _Place(environment, "PowerWatts", _from_environment)
        power = documents.link(chassis, "Power")
        if power:
            yield _Place(power, "PowerConsumedWatts", _from_control)
        sensors = documents.link(chassis, "Sensors")
        if sensors:
            try:
                members = documents.links(self._get(sensors), "Members")
            except BmcError as exc:
                if exc.is_lasting or exc.reason == "timeout":
                    raise
                members = ()
            named = [path for path in members if documents.may_be_total(path)][:_MOST_SENSORS]
            yield from (_Place(path, "Reading", _from_sensor) for path in named)
        if environment:
            yield _Place(environment, "EnergykWh", _from_energy)

    def _get(self, path: str) -> Document:
        self._requests += 1
        if self._requests > _MOST_REQUESTS:
            raise BmcError(REDFISH, "unsupported", f"no power found with {_MOST_REQUESTS} requests", is_lasting=True)
        client, headers = self._open(), self._headers()
        try:
            answer = client.get(path, headers=headers)
            if answer.status in _REDIRECTS:
                answer = client.get(self._redirected(answer, path), headers=headers)
        except HttpError as exc:
            self._client = None  # certificates are read anew
            remedy = (
                "set sensors.redfish_ca_file to the certificate that signs the BMC's"
                if "certificate" in str(exc).lower()
                else ""
            )
            raise BmcError(REDFISH, exc.reason, str(exc), remedy=remedy) from None
        _check_status(answer.status, path)
        try:
            return documents.parse_document(answer.body)
        except documents.DocumentError as exc:
            raise BmcError(REDFISH, "format", f"{path}: {exc}") from None

    def _redirected(self, answer: Answer, path: str) -> str:
        """Return the path that a redirect within the same host, port and scheme leads to."""
        base = urlsplit(self._settings.redfish_url.rstrip("/"))
        try:
            target = urlsplit(answer.headers.get("location", ""))
            is_own = not target.netloc or (target.scheme, target.netloc) == (base.scheme, base.netloc)
        except ValueError:
            is_own = False
        if not is_own or not target.path.startswith(f"{base.path}/"):
            raise BmcError(REDFISH, "redirect", f"{path} leads off this host, which is not followed", is_lasting=True)
        return target.path.removeprefix(base.path)

    def _open(self) -> WebClient:
        if self._client is None:
            settings = self._settings
            remedy = "set sensors.redfish_url to https://HOST, without name and password"
            try:
                parts = urlsplit(settings.redfish_url)
                is_right = parts.scheme == "https" and parts.hostname and "@" not in parts.netloc and not parts.query
                if not is_right:
                    raise BmcError(REDFISH, "io", "not an https address", remedy=remedy, is_lasting=True)
                self._client = WebClient(
                    settings.redfish_url,
                    ca_file=settings.redfish_ca_file,
                    timeout_s=self._timeout_s,
                    max_bytes=_MOST_BYTES,
                    verify=not settings.redfish_insecure_skip_verify,
                )
            except (HttpError, ValueError):
                raise BmcError(REDFISH, "io", "not an address", remedy=remedy, is_lasting=True) from None
        return self._client

    def _headers(self) -> dict[str, str]:
        settings = self._settings
        headers = {"Accept": "application/json", "OData-Version": "4.0", "Connection": "close"}
        if settings.redfish_username_file or settings.redfish_password_file:
            name = _secret("redfish_username_file", settings.redfish_username_file)
            password = _secret("redfish_password_file", settings.redfish_password_file)
            headers["Authorization"] = "Basic " + base64.b64encode(name + b":" + password).decode("ascii")
        return headers


def _from_environment(document: Document) -> BmcAnswer | None:
    power_w = documents.environment_power_w(document)
    return None if power_w is None else BmcAnswer("EnvironmentMetrics PowerWatts", power_w=power_w)


def _from_control(document: Document) -> BmcAnswer | None:
    power_w = documents.control_power_w(document)
    return None if power_w is None else BmcAnswer("Power PowerConsumedWatts", power_w=power_w)


def _from_sensor(document: Document) -> BmcAnswer | None:
    power_w = documents.sensor_power_w(document)
    return None if power_w is None else BmcAnswer("Sensor of the chassis' power", power_w=power_w)


def _from_energy(document: Document) -> BmcAnswer | None:
    energy_j = documents.environment_energy_j(document)
    return None if energy_j is None else BmcAnswer("EnvironmentMetrics EnergykWh", energy_j=energy_j)


def _check_status(status: int, path: str) -> None:
    if status == 200:  # noqa: PLR2004 - HTTP's word for success
        return
    where = f"{path}: HTTP status {status}"
    if status in (401, 403):
        remedy = "check sensors.redfish_username_file and redfish_password_file; the account needs the right to log in"
        raise BmcError(REDFISH, "auth", where, remedy=remedy, is_lasting=True)
    if status == 404:  # noqa: PLR2004 - HTTP's word for not found
        raise BmcError(REDFISH, "not_found", where)
    raise BmcError(REDFISH, "server" if status >= 500 else "io", where)  # noqa: PLR2004 - HTTP's class of errors


def _secret(key: str, path: str) -> bytes:
    """Return what the file holds, without the end of its line. The error's text never holds what was read."""
    remedy = f"put it into a file that the agent may read and name that in sensors.{key}"
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - bounded
            text = file.read(_MOST_SECRET_BYTES + 1).rstrip(b"\r\n")
    except (OSError, ValueError) as exc:
        cause = exc.strerror if isinstance(exc, OSError) else "not a path"
        raise BmcError(REDFISH, "permission", f"sensors.{key} {path!r}: {cause}", remedy=remedy) from None
    if not text or len(text) > _MOST_SECRET_BYTES or any(byte < 32 or byte == 127 for byte in text):  # noqa: PLR2004
        raise BmcError(REDFISH, "format", f"sensors.{key} {path}: expected one line of text", remedy=remedy)
    return text
