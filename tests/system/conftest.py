from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.gpu_machine import GpuMachine, gpu_machine


@pytest.fixture
def machine(tmp_path: Path, standin_library: Path) -> Iterator[GpuMachine]:
    """Give a machine with two GPUs, running in real time."""
    with gpu_machine(tmp_path, standin_library) as made:
        yield made
