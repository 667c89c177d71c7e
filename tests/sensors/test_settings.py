from __future__ import annotations

from exporter.clock import SystemClock
from exporter.host import Roots
from exporter.sensors import SOURCE_NAMES, UNCERTAINTY_RATIOS, SensorSettings
from exporter.sensors.bmc_poll import IPMI_DCMI, REDFISH
from exporter.sensors.components import HWMON, RAPL
from exporter.sensors.estimate import CPU_ESTIMATE
from exporter.sensors.gpu.drivers import hardware_drivers


def test_every_default_is_the_documented_one() -> None:
    assert SensorSettings() == SensorSettings(
        full_to_idle_ratio=3.0,
        tdp_watts=None,
        max_package_watts=None,
        allow_virtual=False,
        disabled_sources=(),
        required_sources=(),
        rescan_interval_s=60.0,
        down_after_samples=3,
        bmc_interval_s=10.0,
        ipmi_device="",
        redfish_url="",
        redfish_username_file="",
        redfish_password_file="",
        redfish_ca_file="",
        redfish_insecure_skip_verify=False,
        redfish_system="",
    )


def test_the_names_that_can_be_configured_are_those_the_sources_use() -> None:
    drivers = hardware_drivers(Roots(), SystemClock(), SensorSettings())

    assert (RAPL, HWMON, CPU_ESTIMATE, *(driver.source for driver in drivers), REDFISH, IPMI_DCMI) == SOURCE_NAMES


def test_a_disabled_driver_is_not_even_made() -> None:
    drivers = hardware_drivers(Roots(), SystemClock(), SensorSettings(disabled_sources=("nvml", "gaudi")))

    assert [driver.source for driver in drivers] == ["amdgpu", "intel_gpu"]


def test_estimates_are_less_certain_than_any_sensor_of_this_machine() -> None:
    sensors = [ratio for name, ratio in UNCERTAINTY_RATIOS.items() if name.startswith(("rapl_intel", "rapl_amd", "hw"))]

    assert max(sensors) < min(ratio for name, ratio in UNCERTAINTY_RATIOS.items() if name.startswith("estimate"))
