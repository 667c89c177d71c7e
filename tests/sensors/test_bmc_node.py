from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.sensors import Component, EnergySample, SensorSet, SensorSettings
from exporter.sensors.bmc_groups import bmc_groups
from exporter.sensors.bmc_poll import IPMI_DCMI, REDFISH
from exporter.testing.fake_clock import FakeClock
from exporter.testing.fake_kubelet import CertificateAuthority, NoOpensslError
from exporter.testing.fake_redfish import FakeRedfish
from tests.sensors.samples import energies, finding_of
from tests.sensors.trees import Tree


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    try:
        return CertificateAuthority(tmp_path_factory.mktemp("authority"))
    except NoOpensslError as exc:
        pytest.skip(str(exc))


def _machine(tree: Tree) -> None:
    tree.zone("intel-rapl:0", "package-0", 10_000_000)


def _until(sensors: SensorSet, is_true: Callable[[EnergySample], bool], tree: Tree) -> EnergySample:
    """Sample without time passing until a thread has its answer."""
    end_s = time.monotonic() + 10
    while time.monotonic() < end_s:
        sample = tree.tick(sensors, seconds=0.0, busy_ratio=0.0)
        if is_true(sample):
            return sample
        time.sleep(0.01)
    raise AssertionError("the BMC never answered")


def _is_up(source: str) -> Callable[[EnergySample], bool]:
    return lambda sample: finding_of(sample, source).state in {"up", "degraded"}


def test_a_machine_with_a_bmc_has_the_component_other(tree: Tree, authority: CertificateAuthority) -> None:
    _machine(tree)
    with FakeRedfish(authority) as service:
        service.show_environment(400.0)
        settings = SensorSettings(redfish_url=service.url, redfish_ca_file=str(authority.ca_file))
        sensors = tree.started(settings)
        _until(sensors, _is_up(REDFISH), tree)
        tree.tick(sensors, busy_ratio=0.0)
        for step in range(1, 4):
            tree.set_uj("intel-rapl:0", 10_000_000 + step * 500_000_000)
            sample = tree.tick(sensors)
            assert energies(sample) == pytest.approx({"cpu": 500.0, "other": 1500.0})
        sensors.close()

    assert "feeds other" in finding_of(sample, REDFISH).detail
    assert sample.components[Component.OTHER].source == REDFISH


def test_without_a_fresh_answer_there_is_no_other_and_the_cpu_goes_on(
    tree: Tree, authority: CertificateAuthority
) -> None:
    _machine(tree)
    with FakeRedfish(authority) as service:
        service.show_environment(400.0)
        settings = SensorSettings(redfish_url=service.url, redfish_ca_file=str(authority.ca_file))
        sensors = tree.started(settings)
        _until(sensors, _is_up(REDFISH), tree)
        tree.set_uj("intel-rapl:0", 510_000_000)
        sample = tree.tick(sensors, seconds=31.0)
        sensors.close()

    assert energies(sample) == {"cpu": 500.0}
    assert ("gap_seconds", "stale", 31.0) in {(event.kind, event.reason, event.amount) for event in sample.events}
    assert finding_of(sample, REDFISH).state == "down"


def test_the_acpi_meter_stands_in_for_a_bmc_that_fell_silent(tree: Tree, authority: CertificateAuthority) -> None:
    _machine(tree)
    tree.chip(0, "ACPI000D:00", "power_meter", power1_average=300_000_000)
    with FakeRedfish(authority) as service:
        service.show_environment(400.0)
        settings = SensorSettings(redfish_url=service.url, redfish_ca_file=str(authority.ca_file))
        sensors = tree.started(settings)
        _until(sensors, _is_up(REDFISH), tree)
        sources = []
        for step in range(1, 12):
            tree.set_uj("intel-rapl:0", 10_000_000 + step * 500_000_000)
            other = tree.tick(sensors).components.get(Component.OTHER)
            sources.append((other.source, round(other.energy_j)) if other else None)
        sensors.close()

    assert sources[1:5] == [(REDFISH, 1500)] * 4
    assert None in sources[5:8]
    assert sources[-3:] == [("hwmon", 1000)] * 3


def test_ipmi_is_asked_where_the_kernel_lists_a_bmc(tree: Tree) -> None:
    clock, settings = FakeClock(), SensorSettings()
    assert bmc_groups(tree.roots, clock, settings) == []
    (tree.roots.sysfs / "class/ipmi/ipmi0").mkdir(parents=True)

    [group] = bmc_groups(tree.roots, clock, settings)

    assert group.name == IPMI_DCMI
    assert bmc_groups(tree.roots, clock, replace(settings, disabled_sources=(IPMI_DCMI,))) == []


def test_both_interfaces_can_be_configured_and_each_disabled(tree: Tree) -> None:
    settings = SensorSettings(redfish_url="https://bmc", ipmi_device="/dev/ipmi3")

    names = [
        [group.name for group in bmc_groups(tree.roots, FakeClock(), replace(settings, disabled_sources=disabled))]
        for disabled in ((), (REDFISH,), (IPMI_DCMI,))
    ]

    assert names == [[REDFISH, IPMI_DCMI], [IPMI_DCMI], [REDFISH]]


def test_a_tick_never_waits_for_a_bmc_that_hangs(tree: Tree, authority: CertificateAuthority) -> None:
    _machine(tree)
    with FakeRedfish(authority) as service:
        service.drips.add("/redfish/v1/Systems")
        settings = SensorSettings(redfish_url=service.url, redfish_ca_file=str(authority.ca_file))
        sensors = tree.started(settings)
        begun_s = time.monotonic()
        for _ in range(5):
            sample = tree.tick(sensors)
        sensors.close()
        took_s = time.monotonic() - begun_s

    assert took_s < 2  # one request may take 5 s
    assert finding_of(sample, REDFISH).detail == "Redfish service: no answer yet"


def test_a_required_source_without_an_answer_is_missing(tree: Tree) -> None:
    sensors = tree.started(SensorSettings(required_sources=(REDFISH, IPMI_DCMI), redfish_url="http://not-https"))

    assert sensors.missing_required() == (REDFISH, IPMI_DCMI)
    sensors.close()


def test_close_ends_the_threads(tree: Tree, tmp_path: Path) -> None:
    before = set(threading.enumerate())
    sensors = tree.started(SensorSettings(redfish_url="http://not-https", ipmi_device=str(tmp_path / "none")))
    mine = [thread for thread in threading.enumerate() if thread not in before]

    sensors.close()

    assert sorted(thread.name for thread in mine) == ["bmc-ipmi_dcmi", "bmc-redfish"]
    for thread in mine:
        thread.join(5)
        assert not thread.is_alive()
