from __future__ import annotations

import os
from pathlib import Path

import pytest

from exporter.errors import DeviceLostError
from exporter.sensors.gpu.pci_cards import OpenAttributes, PciCard, find_cards
from tests.sensors.gpu.gpu_trees import GpuTree
from tests.sensors.trees import FAILING

ADDRESS = "0000:03:00.0"


@pytest.fixture
def tree(tmp_path: Path) -> GpuTree:
    return GpuTree(tmp_path)


def test_cards_are_found_by_driver(tree: GpuTree) -> None:
    path = tree.card(ADDRESS, "amdgpu", vendor=0x1002, device=0x740F, render=130)
    tree.card("0000:04:00.0", "xe", vendor=0x8086)

    assert find_cards(tree.roots.sysfs, "amdgpu") == [PciCard(ADDRESS, str(path.resolve()), 0x1002, 0x740F, 130)]


def test_a_card_without_ids_or_a_dangling_link_is_no_error(tree: GpuTree) -> None:
    path = tree.card(ADDRESS, "xe", vendor=0)
    tree.write(path, vendor=b"\xff\xfe", device=b"")
    (tree.roots.sysfs / "bus/pci/drivers/xe/0000:05:00.0").symlink_to("nowhere")

    assert [(card.vendor, card.device) for card in find_cards(tree.roots.sysfs, "xe")] == [(-1, -1)]


def test_an_attribute_that_was_made_anew_is_opened_again(tmp_path: Path) -> None:
    """The driver was bound anew: the old descriptor fails for ever, the path leads to the new attribute."""
    path = tmp_path / "power1_input"
    path.symlink_to(FAILING)
    attributes = OpenAttributes(str(tmp_path), source="amdgpu")
    assert attributes.number(str(path)) is None
    path.unlink()
    path.write_text("5\n")
    assert attributes.number(str(path)) == 5
    stale = os.open(FAILING, os.O_RDONLY)
    os.dup2(stale, attributes._descriptors[str(path)])
    os.close(stale)

    assert attributes.number(str(path)) == 5


def test_a_device_that_is_gone_is_lost(tmp_path: Path) -> None:
    attributes = OpenAttributes(str(tmp_path / "gone"), source="amdgpu")

    with pytest.raises(DeviceLostError, match="gone"):
        attributes.check()
