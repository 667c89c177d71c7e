from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.testing.simulated_nvml import NoCompilerError, build_standin
from tests.system.gpu_machine import GpuMachine, gpu_machine


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the NVML stand-in, compiled; skip where there is no compiler."""
    try:
        return build_standin(tmp_path_factory.mktemp("nvml"))
    except NoCompilerError as exc:
        pytest.skip(str(exc))


@pytest.fixture
def machine(tmp_path: Path, nvml_library: Path) -> Iterator[GpuMachine]:
    """Give a machine with two GPUs, running in real time."""
    with gpu_machine(tmp_path, nvml_library) as made:
        yield made
