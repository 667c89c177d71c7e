"""Reads one DRM fdinfo text: which GPU an open file works on, and how busy its client kept each engine.

Pure. i915 counts nanoseconds per engine class, xe counts cycles of the engine's clock. Values may step back; who keeps
them from one read to the next keeps the larger one. NVIDIA's driver writes no such keys, and work through ROCm does
not pass this way. Source: drm-usage-stats.rst of Linux.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, NamedTuple

from exporter.errors import SourceFormatError
from exporter.sensors.sysfs import clean_name
from exporter.units import BYTES_PER_KIBIBYTE

__all__ = ["MAX_FDINFO_BYTES", "DrmClient", "parse_fdinfo"]

MAX_FDINFO_BYTES = 16_384
"""Four pages: the longest known text, of xe with all regions, has two kilobytes."""

_MAX_DIGITS = 20
_MAX_ENGINES = 64
_KEY = re.compile(
    rb"drm-(?P<kind>engine-capacity|engine|cycles|total-cycles|resident|memory)-(?P<name>[A-Za-z0-9_.-]{1,32})"
)
_PDEV = re.compile(rb"[0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]")
_UNIT_BYTES = {b"": 1, b"B": 1, b"KiB": BYTES_PER_KIBIBYTE, b"MiB": BYTES_PER_KIBIBYTE**2}
_DEVICE_REGIONS = ("vram", "local")
"""Regions in the GPU's own memory; the others (system, stolen, gtt) lie in the host's."""


class DrmClient(NamedTuple):
    """What one fdinfo tells of its client.

    Attributes:
        driver: i915, xe, amdgpu, …
        pdev: PCI address in lower case, or empty where the GPU is not a PCI device.
        client_id: the client's number, unique on its GPU; dup and fork repeat it. None: the driver has none.
        unit: of ``busy``: nanoseconds (``ns``) or ``cycles``.
        busy: per engine class, all engines of the class added up.
        elapsed: per engine class the cycles that have passed at all; empty where ``unit`` is ``ns``.
        capacity: per engine class the number of its engines, where not 1.
        memory_bytes: resident in the GPU's own memory, or None where that is not told.
    """

    driver: str
    pdev: str
    client_id: int | None
    unit: Literal["ns", "cycles"]
    busy: Mapping[str, int]
    elapsed: Mapping[str, int]
    capacity: Mapping[str, int]
    memory_bytes: int | None


def parse_fdinfo(text: bytes, *, source: str, path: str) -> DrmClient | None:
    """Return what the text tells, or None where it is not that of a DRM file.

    Raises:
        SourceFormatError: it is a DRM file's and a number or an address in it is none.
    """
    lines = (line.partition(b":") for line in text.split(b"\n"))
    fields = {key.strip(): value.strip() for key, colon, value in lines if colon and key.startswith(b"drm-")}
    if b"drm-driver" not in fields:
        return None
    pdev = fields.get(b"drm-pdev", b"")
    if pdev and not _PDEV.fullmatch(pdev):
        raise SourceFormatError(source, f"{path}: expected a PCI address, read {pdev[:40]!r}")
    client_id = fields.get(b"drm-client-id")
    kinds = _numbers(fields, source=source, path=path)
    regions = kinds["resident"] or kinds["memory"]
    local = [size for region, size in regions.items() if region.startswith(_DEVICE_REGIONS)]
    is_cycles = not kinds["engine"] and bool(kinds["cycles"])
    return DrmClient(
        driver=clean_name(fields[b"drm-driver"]),
        pdev=pdev.decode("ascii").lower(),
        client_id=None if client_id is None else _number(client_id, b"drm-client-id", source=source, path=path),
        unit="cycles" if is_cycles else "ns",
        busy=kinds["cycles"] if is_cycles else kinds["engine"],
        elapsed=kinds["total-cycles"] if is_cycles else {},
        capacity={engine: count for engine, count in kinds["engine-capacity"].items() if count > 1},
        memory_bytes=sum(local) if local else None,
    )


def _numbers(fields: Mapping[bytes, bytes], *, source: str, path: str) -> dict[str, dict[str, int]]:
    """Return the numbers of all per-engine and per-region keys, by kind and name."""
    kinds: dict[str, dict[str, int]] = {
        kind: {} for kind in ("engine", "engine-capacity", "cycles", "total-cycles", "resident", "memory")
    }
    for key, value in fields.items():
        match = _KEY.fullmatch(key)
        if match is None:
            continue
        named = kinds[match["kind"].decode("ascii")]
        if len(named) < _MAX_ENGINES:
            named[match["name"].decode("ascii")] = _number(value, key, source=source, path=path)
    return kinds


def _number(value: bytes, key: bytes, *, source: str, path: str) -> int:
    digits, _, unit = value.partition(b" ")
    if not digits.isdigit() or len(digits) > _MAX_DIGITS:
        raise SourceFormatError(source, f"{path}: {key[:40]!r}: expected a number, read {value[:40]!r}")
    return int(digits) * _UNIT_BYTES.get(unit.strip(), 1)
