"""What the documents of a Redfish service say of power; pure functions of parsed JSON that believe nothing.

Shapes: DMTF DSP0266 (protocol) and DSP0268 (data model): Power (deprecated), EnvironmentMetrics, Sensor, Chassis.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence

from exporter.sensors.bmc_poll import HIGHEST_POWER_W
from exporter.units import JOULES_PER_KILOWATT_HOUR

__all__ = [
    "DocumentError",
    "control_power_w",
    "environment_energy_j",
    "environment_power_w",
    "link",
    "links",
    "may_be_total",
    "parse_document",
    "sensor_power_w",
]

Document = Mapping[str, object]

_MOST_LINKS = 256
_PATH = re.compile(r"/(?!/)[A-Za-z0-9._~!$&'()*+,;=:@%/-]{0,500}")
_WHOLE = (None, "", "Chassis")
_TOTAL = re.compile(
    r"(total|system|chassis|server|node|input|platform)[ _-]?(input[ _-]?)?(power|watts)", re.IGNORECASE
)


class DocumentError(Exception):
    """A body is not the JSON object that the protocol promises."""


def parse_document(body: bytes) -> Document:
    """Return the object in ``body``.

    Raises:
        DocumentError: there is none.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise DocumentError("expected JSON, found something else") from None
    if not isinstance(document, dict):
        raise DocumentError(f"expected a JSON object, found {type(document).__name__}")
    return document


def link(document: Document, *names: str) -> str:
    """Return the path that the property ``names`` (nested) refers to, or an empty text for none or a strange one."""
    value: object = document
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    path = value.get("@odata.id") if isinstance(value, dict) else None
    return path if isinstance(path, str) and _PATH.fullmatch(path) and "/../" not in path else ""


def links(document: Document, *names: str) -> Sequence[str]:
    """Return the paths that the list ``names`` (nested) refers to, in its order, each once."""
    value: object = document
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    if not isinstance(value, list):
        return ()
    paths = [link(item) for item in value[:_MOST_LINKS] if isinstance(item, dict)]
    return tuple(dict.fromkeys(path for path in paths if path))


def environment_power_w(document: Document) -> float | None:
    """Return ``PowerWatts.Reading`` of an EnvironmentMetrics resource, or None."""
    return _power_w(_reading(document, "PowerWatts"))


def environment_energy_j(document: Document) -> float | None:
    """Return ``EnergykWh.Reading`` of an EnvironmentMetrics resource in joules, or None."""
    energy_kwh = _number(_reading(document, "EnergykWh"))
    return energy_kwh * JOULES_PER_KILOWATT_HOUR if energy_kwh is not None and energy_kwh >= 0 else None


def control_power_w(document: Document) -> float | None:
    """Return ``PowerConsumedWatts`` of the first of ``PowerControl`` that is not of a part of the chassis, or None.

    A service may add entries for CPUs and memory, with that ``PhysicalContext``: they lie inside the first.
    """
    controls = document.get("PowerControl")
    for control in controls if isinstance(controls, list) else ():
        if not isinstance(control, dict) or not _is_enabled(control):
            continue
        if control.get("PhysicalContext") in _WHOLE:
            return _power_w(control.get("PowerConsumedWatts"))
    return None


def may_be_total(path: str) -> bool:
    """Return whether the name of a sensor sounds like the whole machine's power."""
    return bool(_TOTAL.search(path.rstrip("/").rpartition("/")[2]))


def sensor_power_w(document: Document) -> float | None:
    """Return the ``Reading`` of a Sensor that says that it is the chassis' power in watts, or None."""
    is_power = document.get("ReadingType") == "Power" and document.get("ReadingUnits") in (None, "W", "Watts")
    if not is_power or not _is_enabled(document) or document.get("PhysicalContext") not in _WHOLE:
        return None
    return _power_w(document.get("Reading"))


def _reading(document: Document, name: str) -> object:
    value = document.get(name)
    return value.get("Reading") if isinstance(value, dict) else None


def _is_enabled(document: Document) -> bool:
    status = document.get("Status")
    return not isinstance(status, dict) or status.get("State") in (None, "Enabled")


def _power_w(value: object) -> float | None:
    """Return watts of a running machine: a number above 0 and below a rack's; 0 says that a BMC has no data."""
    power_w = _number(value)
    return power_w if power_w is not None and 0 < power_w <= HIGHEST_POWER_W else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
