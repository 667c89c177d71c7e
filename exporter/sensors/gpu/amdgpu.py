"""Reads AMD GPUs from sysfs alone: amdgpu's hwmon chip and ``gpu_metrics`` table, and KFD's list of processes.

Owns which device is a GPU of its own (partitions of an MI300 are not, the second die of an MI250 has no power of its
own) and what is read of it; the table's format is ``gpu_metrics``'s, processes are ``kfd``'s, the judgement of the
energy accumulator is ``amd_accumulator``'s. Source: Documentation/gpu/amdgpu (thermal, driver-misc) of Linux.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from exporter.clock import Clock
from exporter.errors import SourceError, SourceUnsupportedError
from exporter.health import Finding
from exporter.host import Roots
from exporter.sensors.gpu.amd_accumulator import AccumulatorWatch
from exporter.sensors.gpu.boards import Boards
from exporter.sensors.gpu.gpu_metrics import MAX_TABLE_BYTES, GpuMetrics, parse_gpu_metrics
from exporter.sensors.gpu.kfd import KfdNode, KfdUsage, find_nodes, nodes_of, read_usage
from exporter.sensors.gpu.pci_cards import OpenAttributes, PciCard, driver_path, find_cards, hwmon_paths
from exporter.sensors.gpu.records import GpuFacts, GpuProcess, GpuReading, GpuScope, Restricted
from exporter.sensors.sysfs import read_name
from exporter.units import MICROWATTS_PER_WATT

__all__ = ["AmdGpuDriver"]

_SOURCE = "amdgpu"
_VENDOR = 0x1002
_TWO_DIES = frozenset({0x7408, 0x740C})
"""MI250X and MI250: two GPUs on one board, and only the first one measures, for both."""
_WITH_CPU = frozenset({0x74A0})
"""MI300A: format 1 like a GPU of its own, and CPU cores in the same socket."""
_UNIQUE_ID = re.compile(r"(?=.*[1-9a-f])[0-9a-f]{1,16}")
_PERCENT = 100
_MILLIDEGREES = 1000

_SECOND_DIE = "the second die of its board: {first} measures both, so it has no power of its own"
_FIRST_DIE = "energy and power are those of both dies of its board; {second}'s processes are counted here"
_LONE_DIE = "a die of a board with two that reports no power, and the die that measures both is not visible"
_PARTITIONED = "divided into {count} partitions ({mode}): energy and power are the whole GPU's"
_PACKAGE = "in one package with CPU cores, which its power includes"


class _Board(NamedTuple):
    """A GPU and what is kept of it between reads; ``gpu_ids`` are KFD's, those of a second die included."""

    facts: GpuFacts
    card: PciCard
    attributes: OpenAttributes
    hwmon: str
    gpu_ids: tuple[int, ...]
    watch: AccumulatorWatch


class AmdGpuDriver:
    """Every GPU that the kernel driver amdgpu holds."""

    source = _SOURCE

    def __init__(self, roots: Roots, clock: Clock) -> None:
        self._sysfs = roots.sysfs
        self._clock = clock
        self._boards: Boards[_Board] = Boards(_SOURCE)

    def look(self) -> Sequence[GpuFacts]:
        """Return every GPU, in ROCm's order where KFD tells it, else by PCI address.

        Raises:
            SourceUnsupportedError: amdgpu holds no device.
        """
        cards = [card for card in find_cards(self._sysfs, "amdgpu") if card.vendor == _VENDOR]
        if not cards:
            self.release()
            raise SourceUnsupportedError(_SOURCE, f"{driver_path(self._sysfs, 'amdgpu')} lists no AMD GPU")
        nodes = find_nodes(self._sysfs, source=_SOURCE)
        addresses = {card.address for card in cards}
        own = {card.address: nodes_of(nodes, card.address, addresses) for card in cards}
        if all(own.values()):
            cards.sort(key=lambda card: own[card.address][0].number)
        boards = self._made(cards, own)
        return self._boards.replace(boards)

    def _made(self, cards: Sequence[PciCard], nodes: dict[str, list[KfdNode]]) -> dict[str, _Board]:
        ids = {card.address: (read_name(f"{card.path}/unique_id") or "").lower() for card in cards}
        counts = Counter(ids.values())
        kept = self._boards.by_card()
        looked = []
        for card in cards:
            before = kept.get(card)
            attributes = before.attributes if before else OpenAttributes(card.path, source=_SOURCE)
            hwmon = next((path for name, path in hwmon_paths(card) if name == "amdgpu"), "")
            looked.append((card, attributes, hwmon, card.device in _TWO_DIES and _is_silent(attributes, hwmon)))
        partners = _partners(
            [(card.address, is_silent) for card, _, _, is_silent in looked if card.device in _TWO_DIES]
        )
        boards = {}
        for index, (card, attributes, hwmon, is_silent) in enumerate(looked):
            unique_id = ids[card.address]
            uuid = f"GPU-{unique_id:0>16}" if _UNIQUE_ID.fullmatch(unique_id) else card.address
            if counts[unique_id] > 1:  # one id for both dies of a board
                uuid = card.address
            partner = partners.get(card.address, "")
            on_it = nodes[card.address] + (nodes[partner] if partner and not is_silent else [])
            facts = _facts(card, attributes, index=index, uuid=uuid, nodes=nodes[card.address])
            if card.device in _TWO_DIES:
                facts = _as_die(facts, partner=partner, is_silent=is_silent)
            before = kept.get(card)
            watch = before.watch if before else AccumulatorWatch()
            boards[uuid] = _Board(facts, card, attributes, hwmon, tuple(node.gpu_id for node in on_it), watch)
        return boards

    def read(self, gpu: GpuFacts) -> GpuReading:
        """Return a reading of ``gpu``.

        Raises:
            DeviceLostError: it is gone.
            SourceError: this read failed.
        """
        board = self._boards.of(gpu)
        attributes, path = board.attributes, board.card.path
        attributes.check()
        metrics = _metrics(board)
        read_at_s = self._clock.monotonic_s()  # after the read, which may have hung
        power_w = _power_w(attributes, board.hwmon)
        if power_w is None and metrics is not None and metrics.power_w:
            power_w = float(metrics.power_w)
        energy_uj = board.watch.accept(metrics.energy_uj if metrics else None, power_w, read_at_s)
        limit_uw = attributes.optional(f"{board.hwmon}/power1_cap") if board.hwmon else None
        busy = attributes.optional(f"{path}/gpu_busy_percent")
        temperature = attributes.optional(f"{board.hwmon}/temp1_input") if board.hwmon else None
        utilization_ratio = None if busy is None or busy > _PERCENT else busy / _PERCENT
        usage = KfdUsage() if gpu.restricted == "no_processes" else read_usage(self._sysfs, board.gpu_ids)
        samples = _samples(usage, utilization_ratio)
        return GpuReading(
            read_at_s=read_at_s,
            energy_uj=energy_uj,
            power_w=power_w,
            cross_check_power_w=board.watch.mean_power_w if energy_uj is not None else None,
            power_limit_w=limit_uw / MICROWATTS_PER_WATT if limit_uw else None,
            utilization_ratio=utilization_ratio,
            memory_used_bytes=attributes.optional(f"{path}/mem_info_vram_used"),
            memory_total_bytes=attributes.optional(f"{path}/mem_info_vram_total"),
            temperature_celsius=None if temperature is None else temperature / _MILLIDEGREES,
            processes=tuple(GpuProcess(user.pid, user.memory_bytes) for user in usage.users),
            has_processes=usage.is_known,
            samples=samples or {},
            has_samples=samples is not None,
        )

    def findings(self, gpu: GpuFacts) -> Sequence[Finding]:
        """Return what is missing of ``gpu``."""
        board = self._boards.get(gpu)
        if board is None:
            return []
        item = f"gpu {gpu.index} {gpu.uuid}"
        found = []
        if board.watch.refusal:
            found.append(Finding(source=_SOURCE, state="degraded", item=f"{item} energy", detail=board.watch.refusal))
        if gpu.restricted != "no_processes" and not board.gpu_ids:
            found.append(
                Finding(
                    source=_SOURCE,
                    state="degraded",
                    item=f"{item} processes",
                    detail=f"{self._sysfs}/class/kfd/kfd/topology shows no node of it, so its processes are unknown",
                    remedy="load amdgpu with KFD, and let this agent's device cgroup have /dev/kfd and /dev/dri",
                )
            )
        return found

    def unusable(self) -> Sequence[Finding]:
        """Return nothing: what the kernel does not list is not there."""
        return ()

    def release(self) -> None:
        """Close every attribute."""
        self._boards.replace({})


def _facts(card: PciCard, attributes: OpenAttributes, *, index: int, uuid: str, nodes: Sequence[KfdNode]) -> GpuFacts:
    notes = []
    scope: GpuScope = "gpu"
    restricted: Restricted = ""
    if card.device in _WITH_CPU or _format(card, attributes) > 1:
        scope, restricted = "module", "module"
        notes.append(_PACKAGE)
    if len(nodes) > 1:
        mode = read_name(f"{card.path}/current_compute_partition") or "mode unknown"
        notes.append(_PARTITIONED.format(count=len(nodes), mode=mode))
    return GpuFacts(
        source=_SOURCE,
        uuid=uuid,
        index=index,
        vendor="AMD",
        model=read_name(f"{card.path}/product_name") or f"GPU {card.device:04x}",
        minor=card.render_minor,
        pci_bus_id=card.address,
        scope=scope,
        restricted=restricted,
        notes=tuple(notes),
    )


def _as_die(facts: GpuFacts, *, partner: str, is_silent: bool) -> GpuFacts:
    """Return ``facts`` as those of one die of two."""
    if is_silent:
        note = _SECOND_DIE.format(first=partner) if partner else _LONE_DIE
    else:
        note = _FIRST_DIE.format(second=partner) if partner else ""
    return replace(
        facts,
        restricted="no_processes" if is_silent else facts.restricted,
        notes=(*facts.notes, *([note] if note else [])),
    )


def _partners(dies: Sequence[tuple[str, bool]]) -> dict[str, str]:
    """Return which die shares a board with which, by address, where exactly one of two neighbours measures.

    Assumption: the dies of a board follow each other on the bus, as on every machine with OAM boards we know of.
    """
    partners: dict[str, str] = {}
    ordered = sorted(dies)
    for (one, one_silent), (other, other_silent) in zip(ordered[::2], ordered[1::2], strict=False):
        if one_silent != other_silent:
            partners |= {one: other, other: one}
    return partners


def _power_w(attributes: OpenAttributes, hwmon: str) -> float | None:
    """Return the mean power, or the momentary one; None where neither is told. No GPU that is on draws 0 W."""
    for name in ("power1_average", "power1_input") if hwmon else ():
        power_uw = attributes.number(f"{hwmon}/{name}")
        if power_uw:
            return power_uw / MICROWATTS_PER_WATT
    return None


def _is_silent(attributes: OpenAttributes, hwmon: str) -> bool:
    """Whether a die is known to tell no power; one that cannot be read is not."""
    try:
        return _power_w(attributes, hwmon) is None
    except SourceError:
        return False


def _metrics(board: _Board) -> GpuMetrics | None:
    path = f"{board.card.path}/gpu_metrics"
    table = board.attributes.text(path, MAX_TABLE_BYTES)
    return parse_gpu_metrics(table, source=_SOURCE, path=path) if table else None


def _format(card: PciCard, attributes: OpenAttributes) -> int:
    path = f"{card.path}/gpu_metrics"
    try:
        table = attributes.text(path, MAX_TABLE_BYTES)
        return parse_gpu_metrics(table, source=_SOURCE, path=path).format if table else 0
    except SourceError:
        return 0


def _samples(usage: KfdUsage, utilization_ratio: float | None) -> dict[int, float] | None:
    """Return the compute units each process fills right now, or None where that says nothing of the interval.

    It is a look at one moment: nobody at work although the GPU was busy means that the moment was a bad one.
    """
    told = {user.pid: float(user.occupancy) for user in usage.users if user.occupancy is not None}
    if not usage.is_known or len(told) < len(usage.users):
        return None
    if usage.users and not any(told.values()) and utilization_ratio != 0:
        return None
    return {pid: units for pid, units in told.items() if units}
