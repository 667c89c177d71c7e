"""Reads Intel GPUs from sysfs and procfs alone: the hwmon chip of i915 or xe, and DRM fdinfo for the processes.

Integrated GPUs have no energy register of their own (their joules are in the CPU package's) and are left out.
Sources: sysfs-driver-intel-i915-hwmon, sysfs-driver-intel-xe-hwmon and drm-usage-stats.rst of Linux.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from exporter.clock import Clock
from exporter.errors import SourceUnsupportedError
from exporter.health import Finding
from exporter.host import Roots
from exporter.sensors.gpu.boards import Boards
from exporter.sensors.gpu.drm_scan import ClientKey, DrmScan, DrmScanner, DrmUse
from exporter.sensors.gpu.pci_cards import OpenAttributes, PciCard, driver_path, find_cards, hwmon_paths
from exporter.sensors.gpu.records import GpuFacts, GpuProcess, GpuReading
from exporter.sensors.sysfs import list_names, read_name
from exporter.units import MICROWATTS_PER_WATT, NANOSECONDS_PER_SECOND

__all__ = ["IntelGpuDriver"]

_SOURCE = "intel_gpu"
_DRIVERS = ("i915", "xe")
_VENDOR = 0x8086
_ENERGY = re.compile(r"energy([0-9]{1,2})_input")
_RANKS = {"card": 0, "": 1, "pkg": 2, "package": 2}
"""Labels from the most to the least that a register covers. A register without label is i915's or an old xe's card."""
_MODELS = {
    0x0BD5: "Data Center GPU Max 1550",
    0x0BDA: "Data Center GPU Max 1100",
    0x56A0: "Arc A770",
    0x56A1: "Arc A750",
    0x56C0: "Data Center GPU Flex 170",
    0x56C1: "Data Center GPU Flex 140",
}
_MILLIDEGREES = 1000
_DEFAULT_BUDGET_S = 0.5
_PACKAGE_ONLY = "only its package is measured, not its memory and board"


class _Board(NamedTuple):
    """A GPU and what is kept of it; ``energy`` and ``limits`` are paths."""

    facts: GpuFacts
    card: PciCard
    attributes: OpenAttributes
    energy: str
    limits: tuple[str, ...]
    temperature: str
    usage: _Usage


class IntelGpuDriver:
    """Every Intel GPU with an energy register. ``budget_s``: seconds for one walk over all processes."""

    source = _SOURCE

    def __init__(self, roots: Roots, clock: Clock, *, budget_s: float = _DEFAULT_BUDGET_S) -> None:
        self._sysfs = roots.sysfs
        self._clock = clock
        self._scanner = DrmScanner(roots.procfs, clock, source=_SOURCE, budget_s=budget_s)
        self._boards: Boards[_Board] = Boards(_SOURCE)
        self._scan: DrmScan | None = None

    def look(self) -> Sequence[GpuFacts]:
        """Return every GPU with an energy register, by PCI address.

        Raises:
            SourceUnsupportedError: there is none.
        """
        kept = self._boards.by_card()
        cards = [card for driver in _DRIVERS for card in find_cards(self._sysfs, driver) if card.vendor == _VENDOR]
        boards: dict[str, _Board] = {}
        for card in sorted(cards):
            board = _board(card, index=len(boards), before=kept.get(card))
            if board is not None:
                boards[board.facts.uuid] = board
        facts = self._boards.replace(boards)
        if not boards:
            listings = " and ".join(driver_path(self._sysfs, driver) for driver in _DRIVERS)
            raise SourceUnsupportedError(_SOURCE, f"{listings} list no GPU with an energy register")
        return facts

    def read(self, gpu: GpuFacts) -> GpuReading:
        """Return a reading of ``gpu``.

        i915 and xe extend a 32-bit register to 64 bits at each read of the attribute and so catch one wrap per read. In
        its usual unit of 2**-14 J it wraps after 262 kJ, four minutes at 1 kW: read it once a minute at the least.

        Raises:
            DeviceLostError: it is gone.
            SourceError: this read failed.
        """
        board = self._boards.of(gpu)
        attributes = board.attributes
        attributes.check()
        energy_uj = attributes.number(board.energy)
        read_at_s = self._clock.monotonic_s()  # after the read, which may have hung
        limits = (attributes.optional(path) for path in board.limits)
        limit_uw = next((limit for limit in limits if limit), None)  # 0: this limit is switched off
        temperature = attributes.optional(board.temperature) if board.temperature else None
        scan = self._scan = self._scanner.scan()
        uses = {key: use for key, use in scan.uses.items() if key[0] == board.card.address}
        samples, busy_ratio = board.usage.take(uses, scan.at_s)
        is_known = scan.readable > 0 or not scan.denied
        return GpuReading(
            read_at_s=read_at_s,
            energy_uj=energy_uj,
            power_limit_w=None if limit_uw is None else limit_uw / MICROWATTS_PER_WATT,
            utilization_ratio=busy_ratio if scan.is_complete and not scan.denied else None,
            temperature_celsius=None if temperature is None else temperature / _MILLIDEGREES,
            processes=_processes(uses),
            has_processes=is_known,
            samples=samples or {},
            has_samples=is_known and samples is not None,
        )

    def findings(self, gpu: GpuFacts) -> Sequence[Finding]:
        """Return what is missing of ``gpu``."""
        scan = self._scan
        if self._boards.get(gpu) is None or scan is None:
            return []
        item = f"gpu {gpu.index} {gpu.uuid} processes"
        found = []
        if scan.denied:
            detail = f"{scan.denied} of {scan.denied + scan.readable} processes do not show their open files: EACCES"
            remedy = "give this agent CAP_SYS_PTRACE and the host's PID namespace, or run it as root"
            found.append(Finding(source=_SOURCE, state="degraded", item=item, detail=detail, remedy=remedy))
        if not scan.is_complete:
            detail = "the walk over all processes took longer than its budget; what it did not reach comes later"
            found.append(Finding(source=_SOURCE, state="degraded", item=item, detail=detail))
        if scan.malformed:
            detail = f"{scan.malformed} fdinfo texts have another format than drm-usage-stats.rst says"
            found.append(Finding(source=_SOURCE, state="degraded", item=item, detail=detail))
        return found

    def unusable(self) -> Sequence[Finding]:
        """Return nothing: what the kernel does not list is not there."""
        return ()

    def release(self) -> None:
        """Close every attribute."""
        self._boards.replace({})


class _Usage:
    """What each process used of one GPU since the last reading."""

    def __init__(self) -> None:
        self._before: dict[ClientKey, DrmUse] = {}
        self._at_s: float | None = None

    def take(self, uses: Mapping[ClientKey, DrmUse], at_s: float) -> tuple[dict[int, float] | None, float | None]:
        """Return busy engine time per process and how busy the busiest engine class was; None at the first reading.

        Engine time is in nanoseconds (i915) or cycles (xe) and counts every engine alike.
        """
        before, before_s = self._before, self._at_s
        self._before, self._at_s = dict(uses), at_s
        if before_s is None:
            return None, None
        samples: dict[int, float] = {}
        ratios: dict[str, float] = {}
        for key, use in uses.items():
            last = before.get(key)
            base = last.client.busy if last else use.baseline
            for engine, value in use.client.busy.items():
                spent = max(value - base.get(engine, 0), 0)
                if spent:
                    samples[use.pid] = samples.get(use.pid, 0.0) + spent
                elapsed = _elapsed(use, last, engine, (at_s - before_s) * NANOSECONDS_PER_SECOND)
                if elapsed > 0:
                    ratios[engine] = ratios.get(engine, 0.0) + spent / elapsed / use.client.capacity.get(engine, 1)
        return samples, min(max(ratios.values(), default=0.0), 1.0)


def _elapsed(use: DrmUse, last: DrmUse | None, engine: str, interval_ns: float) -> float:
    """Return how much of the client's unit has passed, or 0 where that is not known."""
    if use.client.unit == "ns":
        return interval_ns
    if last is None:
        return 0.0
    return float(use.client.elapsed.get(engine, 0) - last.client.elapsed.get(engine, 0))


def _processes(uses: Mapping[ClientKey, DrmUse]) -> tuple[GpuProcess, ...]:
    """Return one entry per process; its memory is that of all its clients."""
    memory: dict[int, int | None] = {}
    for use in uses.values():
        held, more = memory.get(use.pid), use.client.memory_bytes
        memory[use.pid] = more if held is None else held + (more or 0)
    return tuple(GpuProcess(pid, held) for pid, held in sorted(memory.items()))


def _board(card: PciCard, *, index: int, before: _Board | None) -> _Board | None:
    """Return the GPU of ``card`` if it measures its energy. ``i915_gtN`` chips are tiles of it and are not added."""
    hwmon = next((path for name, path in hwmon_paths(card) if name in _DRIVERS), "")
    matches = [match for match in map(_ENERGY.fullmatch, list_names(hwmon)) if match] if hwmon else []
    labels = {int(match[1]): (read_name(f"{hwmon}/energy{match[1]}_label") or "").lower() for match in matches}
    channels = sorted((_RANKS[label], channel) for channel, label in labels.items() if label in _RANKS)
    if not channels:
        return None
    _, channel = channels[0]
    is_package = labels[channel] in {"pkg", "package"} or (not labels[channel] and channel > 1)
    temperatures = [f"{hwmon}/temp{number}_input" for number in (2, 1)]  # xe has no temp1, i915 no temp2
    facts = GpuFacts(
        source=_SOURCE,
        uuid=card.address,
        index=index,
        vendor="Intel",
        model=_MODELS.get(card.device, f"GPU {card.device:04x}"),
        minor=card.render_minor,
        pci_bus_id=card.address,
        notes=(_PACKAGE_ONLY,) if is_package else (),
    )
    return _Board(
        facts=facts,
        card=card,
        attributes=before.attributes if before else OpenAttributes(card.path, source=_SOURCE),
        energy=f"{hwmon}/energy{channel}_input",
        limits=(f"{hwmon}/power{channel}_max", f"{hwmon}/power{channel}_rated_max"),
        temperature=next((path for path in temperatures if read_name(path)), ""),
        usage=before.usage if before else _Usage(),
    )
