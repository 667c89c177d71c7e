"""What the agent does with bindings that are not as they should be."""

from __future__ import annotations

import sys
from types import ModuleType

import pynvml  # type: ignore[import-untyped]  # NVIDIA ships no types
import pytest

from exporter.errors import SourceUnsupportedError
from exporter.sensors.gpu.nvml import NvmlDriver
from exporter.testing import FakeClock
from tests.sensors.gpu.standin import NvidiaNode


def binding_with(**changed: object) -> ModuleType:
    """Return the real binding, and some of it changed; None takes a function away."""
    module = ModuleType("pynvml")
    vars(module).update(vars(pynvml) | changed)
    for name in [name for name, value in changed.items() if value is None]:
        delattr(module, name)
    return module


def test_another_package_called_pynvml_is_told() -> None:
    driver = NvmlDriver(FakeClock(), binding_with(nvmlDeviceGetTotalEnergyConsumption=None))

    with pytest.raises(SourceUnsupportedError, match="uninstall pynvml, install nvidia-ml-py"):
        driver.look()


@pytest.mark.usefixtures("node")  # the library is there, only the package is not
def test_a_missing_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)

    with pytest.raises(SourceUnsupportedError, match="nvidia-ml-py cannot be imported"):
        NvmlDriver(FakeClock()).look()


def test_a_mismatch_that_is_no_nvml_error_is_a_missing_function(node: NvidiaNode) -> None:
    """nvidia-ml-py raises one exception from outside of its own tree."""

    def too_old(_handle: object) -> int:
        raise pynvml.NVMLLibraryMismatchError("Unversioned function called")

    node.driver = NvmlDriver(node.clock, binding_with(nvmlDeviceGetPowerUsage=too_old))
    node.look()
    reading = node.read()

    assert (reading.power_w, reading.energy_uj) == (None, 1_000_000_000)


def test_a_function_that_the_binding_lacks_is_absent(node: NvidiaNode) -> None:
    node.driver = NvmlDriver(node.clock, binding_with(nvmlDeviceGetPowerUsage=None, NVMLLibraryMismatchError=None))
    node.look()
    reading = node.read()

    assert (reading.power_w, reading.energy_uj) == (None, 1_000_000_000)
