"""Where leaves stand in one sample: who uses or holds a GPU may be of a leaf without CPU time that no group shows."""

from __future__ import annotations

from collections.abc import Mapping

from exporter.workloads.records import LeafUsage
from exporter.workloads.usage import Leaf

__all__ = ["LeafPlaces"]


class LeafPlaces:
    """Finds a leaf's place in a sample's leaves, and adds the leaf where it is missing.

    Args:
        leaves: the sample's leaves; grows.
        index: places of the first ``len(index)`` leaves; stays as it is, because it outlives the sample.
    """

    def __init__(self, leaves: list[LeafUsage], index: Mapping[Leaf, int]) -> None:
        self._leaves = leaves
        self._index = index
        further = enumerate(leaves[len(index) :], start=len(index))
        self._further = {Leaf(usage.workload, usage.run): place for place, usage in further}

    def place(self, leaf: Leaf) -> int:
        """Return the leaf's index; one that is not there yet is added with no CPU time."""
        known = self._index.get(leaf, self._further.get(leaf))
        if known is not None:
            return known
        self._further[leaf] = len(self._leaves)
        self._leaves.append(LeafUsage(leaf.workload, leaf.run, 0.0))
        return self._further[leaf]
