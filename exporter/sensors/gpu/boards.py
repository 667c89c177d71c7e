"""What a sysfs driver keeps of its GPUs between reads: found by UUID, kept over looks, closed when they go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Generic, Protocol, TypeVar

from exporter.errors import DeviceLostError
from exporter.sensors.gpu.pci_cards import OpenAttributes, PciCard
from exporter.sensors.gpu.records import GpuFacts

__all__ = ["Board", "Boards"]


class Board(Protocol):
    """What every driver keeps of a GPU."""

    @property
    def facts(self) -> GpuFacts:
        """What it is."""
        ...

    @property
    def card(self) -> PciCard:
        """Where it is."""
        ...

    @property
    def attributes(self) -> OpenAttributes:
        """Its open attributes."""
        ...


_Board = TypeVar("_Board", bound=Board)


class Boards(Generic[_Board]):
    """The GPUs of the last look, in its order. ``source`` is the driver's name, for errors."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._by_uuid: Mapping[str, _Board] = {}

    def __iter__(self) -> Iterator[_Board]:
        return iter(self._by_uuid.values())

    def get(self, gpu: GpuFacts) -> _Board | None:
        """Return what is kept of ``gpu``, or None if the last look did not find it."""
        return self._by_uuid.get(gpu.uuid)

    def of(self, gpu: GpuFacts) -> _Board:
        """Return what is kept of ``gpu``.

        Raises:
            DeviceLostError: the last look did not find it.
        """
        board = self._by_uuid.get(gpu.uuid)
        if board is None:
            raise DeviceLostError(self._source, f"{gpu.uuid}: not found by the last look")
        return board

    def by_card(self) -> dict[PciCard, _Board]:
        """Return the boards by where they are, for a look to go on with what is open."""
        return {board.card: board for board in self}

    def replace(self, found: Mapping[str, _Board]) -> list[GpuFacts]:
        """Take over what a look found, by UUID; close what is gone; return the facts."""
        for uuid, board in self._by_uuid.items():
            if uuid not in found:
                board.attributes.close()
        self._by_uuid = found
        return [board.facts for board in self]
