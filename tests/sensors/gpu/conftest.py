from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.testing.simulated_nvml import (
    NVML_STATE_VARIABLE,
    NvidiaBoard,
    load_standin,
)
from tests.sensors.gpu.standin import MakeNode, NvidiaNode


@pytest.fixture
def make_node(standin_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeNode]:
    """Give a function that makes a node with these boards, in this process."""
    load_standin(standin_library)
    nodes: list[NvidiaNode] = []

    def make(*boards: NvidiaBoard) -> NvidiaNode:
        path = tmp_path / f"nvml-{len(nodes)}"
        monkeypatch.setenv(NVML_STATE_VARIABLE, str(path))
        nodes.append(NvidiaNode(path, boards or (NvidiaBoard(),)))
        return nodes[-1]

    yield make
    for node in nodes:
        node.nvml.recover()
        node.driver.release()


@pytest.fixture
def node(make_node: MakeNode) -> NvidiaNode:
    """Give a node with one H100."""
    return make_node()
