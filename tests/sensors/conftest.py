from __future__ import annotations

from pathlib import Path

import pytest

from tests.sensors.trees import Tree


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Give an Intel machine that has no sensor yet."""
    return Tree(tmp_path / "node")
