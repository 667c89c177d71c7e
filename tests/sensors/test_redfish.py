from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.sensors import SensorSettings
from exporter.sensors.bmc_poll import BmcAnswer, BmcError
from exporter.sensors.redfish import RedfishPower
from exporter.testing.fake_kubelet import CertificateAuthority, NoOpensslError
from exporter.testing.fake_redfish import CHASSIS, ENVIRONMENT, SENSORS, SYSTEM, FakeRedfish

SECRET = "hunter2-pässword"  # noqa: S105 - of the fake
NAME = "reader-account"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    try:
        return CertificateAuthority(tmp_path_factory.mktemp("authority"))
    except NoOpensslError as exc:
        pytest.skip(str(exc))


@pytest.fixture
def service(authority: CertificateAuthority) -> Iterator[FakeRedfish]:
    with FakeRedfish(authority, username=NAME, password=SECRET) as service:
        yield service


@pytest.fixture
def settings(service: FakeRedfish, authority: CertificateAuthority, tmp_path: Path) -> SensorSettings:
    (tmp_path / "name").write_text(f"{NAME}\n", encoding="utf-8")
    (tmp_path / "password").write_text(f"{SECRET}\n", encoding="utf-8")
    return SensorSettings(
        redfish_url=service.url,
        redfish_username_file=str(tmp_path / "name"),
        redfish_password_file=str(tmp_path / "password"),
        redfish_ca_file=str(authority.ca_file),
    )


def power_w(settings: SensorSettings) -> float | None:
    return RedfishPower(settings).ask().power_w


def error_of(settings: SensorSettings, *, timeout_s: float = 5.0) -> BmcError:
    with pytest.raises(BmcError) as caught:
        RedfishPower(settings, timeout_s=timeout_s).ask()
    for hidden in (SECRET, NAME):
        assert hidden not in f"{caught.value} {caught.value.remedy} {caught.value!r}"
    return caught.value


def test_environment_metrics_give_the_power(service: FakeRedfish, settings: SensorSettings) -> None:
    service.show_environment(412.5)

    assert RedfishPower(settings).ask() == BmcAnswer("EnvironmentMetrics PowerWatts", power_w=412.5)


def test_the_old_power_resource_gives_the_power_of_the_whole_chassis(
    service: FakeRedfish, settings: SensorSettings
) -> None:
    service.show_power(
        {"PowerConsumedWatts": 100, "PhysicalContext": "CPU"},
        {"PowerConsumedWatts": 344, "PhysicalContext": "Chassis"},
        {"PowerConsumedWatts": 50, "PhysicalContext": "Memory"},
    )

    assert power_w(settings) == 344


def test_a_sensor_of_the_total_power_is_found_among_others(service: FakeRedfish, settings: SensorSettings) -> None:
    service.show_sensors(fan_1=9000, psu1_input_power=150, total_power=298.0)
    service.resources[f"{SENSORS}/psu1_input_power"] = {
        "ReadingType": "Power",
        "ReadingUnits": "W",
        "PhysicalContext": "PowerSupply",
        "Reading": 150,
    }

    assert power_w(settings) == 298.0
    assert service.calls[f"{SENSORS}/fan_1"] == 0


def test_energy_is_used_where_there_is_no_power(service: FakeRedfish, settings: SensorSettings) -> None:
    service.show_environment(None, energy_kwh=2.5)

    assert RedfishPower(settings).ask() == BmcAnswer("EnvironmentMetrics EnergykWh", energy_j=9_000_000.0)


def test_of_three_resources_with_the_same_watts_one_is_used(service: FakeRedfish, settings: SensorSettings) -> None:
    service.show_environment(400.0)
    service.show_power({"PowerConsumedWatts": 401})
    service.show_sensors(total_power=402)

    assert power_w(settings) == 400.0
    service.show_environment("400")
    assert power_w(settings) == 401.0
    service.show_power({"PowerConsumedWatts": None})
    assert power_w(settings) == 402.0


def test_what_was_found_is_asked_directly_afterwards(service: FakeRedfish, settings: SensorSettings) -> None:
    service.show_environment(400.0)
    redfish = RedfishPower(settings)
    redfish.ask()
    service.show_environment(410.0)
    before = service.calls.total()

    assert redfish.ask().power_w == 410.0
    assert service.calls.total() == before + 1


def test_a_value_that_goes_away_is_no_power_and_then_another_is_found(
    service: FakeRedfish, settings: SensorSettings
) -> None:
    service.show_environment(400.0)
    service.show_power({"PowerConsumedWatts": 401})
    redfish = RedfishPower(settings)
    redfish.ask()
    service.show_environment(None)

    with pytest.raises(BmcError, match="has no power now"):
        redfish.ask()
    assert redfish.ask().power_w == 401


@pytest.mark.parametrize("reading", [None, "400", "", True, 0, -5, 1e9, [], {}, 10**400])
def test_what_is_no_power_of_a_running_machine_is_never_a_number(
    service: FakeRedfish, settings: SensorSettings, reading: object
) -> None:
    service.bodies[ENVIRONMENT] = b'{"PowerWatts":{"Reading":%s}}' % (
        b"1" + b"0" * 400 if isinstance(reading, int) and reading > 10**300 else json.dumps(reading).encode()
    )

    assert error_of(settings).reason in {"unsupported", "not_found"}


def test_the_chassis_that_contains_the_system_is_used(service: FakeRedfish, settings: SensorSettings) -> None:
    """The rack's and the neighbour's chassis have a power, too."""
    other = "/redfish/v1/Chassis/Rack"
    service.add_chassis(other, "/redfish/v1/Systems/2")
    service.resources[f"{other}/EnvironmentMetrics"] = {"PowerWatts": {"Reading": 9000}}
    service.resources["/redfish/v1/Chassis"] = {"Members": [{"@odata.id": other}, {"@odata.id": CHASSIS}]}
    service.resources[SYSTEM] = {"Id": "1"}
    service.show_environment(350.0)

    assert power_w(settings) == 350.0


def test_the_rack_around_the_machine_is_not_the_machine(service: FakeRedfish, settings: SensorSettings) -> None:
    """A chassis that names no system is believed if the system refers to it, not if it only stands beside another."""
    rack = "/redfish/v1/Chassis/Rack"
    service.add_chassis(rack)
    service.resources[f"{rack}/EnvironmentMetrics"] = {"PowerWatts": {"Reading": 9000}}
    service.resources["/redfish/v1/Chassis"] = {"Members": [{"@odata.id": rack}, {"@odata.id": CHASSIS}]}
    service.resources[SYSTEM] = {"Id": "1"}

    assert error_of(settings).reason == "not_found"
    service.resources[SYSTEM] = {"Id": "1", "Links": {"Chassis": [{"@odata.id": rack}]}}
    assert power_w(settings) == 9000


def test_a_chassis_that_names_the_system_comes_before_one_that_names_none(
    service: FakeRedfish, settings: SensorSettings
) -> None:
    drawer = "/redfish/v1/Chassis/Drawer"
    service.add_chassis(drawer)
    service.resources[f"{drawer}/EnvironmentMetrics"] = {"PowerWatts": {"Reading": 90}}
    service.resources[SYSTEM] = {"Id": "1", "Links": {"Chassis": [{"@odata.id": drawer}, {"@odata.id": CHASSIS}]}}
    service.add_chassis(CHASSIS, f"{SYSTEM}/")
    service.show_environment(350.0)

    assert power_w(settings) == 350.0


def test_a_chassis_with_several_systems_has_no_power_of_this_machine(
    service: FakeRedfish, settings: SensorSettings
) -> None:
    service.add_chassis(CHASSIS, SYSTEM, "/redfish/v1/Systems/2")
    service.show_environment(1400.0)

    error = error_of(settings)

    assert (error.reason, "several systems" in str(error)) == ("unsupported", True)


def test_of_several_systems_the_named_one_is_used(service: FakeRedfish, settings: SensorSettings) -> None:
    service.resources["/redfish/v1/Systems"] = {
        "Members": [{"@odata.id": "/redfish/v1/Systems/2"}, {"@odata.id": SYSTEM}]
    }
    service.show_environment(350.0)

    assert "sensors.redfish_system" in error_of(settings).remedy
    assert power_w(replace(settings, redfish_system="1")) == 350.0


@pytest.mark.parametrize(
    ("status", "reason", "is_lasting"),
    [
        (401, "auth", True),
        (403, "auth", True),
        (404, "not_found", False),
        (500, "server", False),
        (503, "server", False),
    ],
)
def test_a_status_is_an_error_with_a_reason(
    service: FakeRedfish, settings: SensorSettings, status: int, reason: str, is_lasting: bool
) -> None:
    service.statuses[""] = status

    error = error_of(settings)

    assert (error.reason, error.is_lasting) == (reason, is_lasting)
    assert service.calls.total() == 1


def test_one_failing_shape_leaves_the_others(service: FakeRedfish, settings: SensorSettings) -> None:
    service.statuses[ENVIRONMENT] = 500
    service.show_power({"PowerConsumedWatts": 344})

    assert power_w(settings) == 344


def test_a_wrong_password_is_asked_with_once_and_not_again_soon(
    service: FakeRedfish, settings: SensorSettings, tmp_path: Path
) -> None:
    (tmp_path / "password").write_text("not-the-password", encoding="utf-8")

    assert error_of(settings).is_lasting
    assert service.calls.total() == 1


def test_a_redirect_to_another_host_gets_neither_request_nor_password(
    service: FakeRedfish, authority: CertificateAuthority, settings: SensorSettings
) -> None:
    with FakeRedfish(authority) as thief:
        service.redirects["/redfish/v1/Systems"] = f"{thief.url}/redfish/v1/Systems"
        assert error_of(settings).reason == "redirect"
        service.redirects["/redfish/v1/Systems"] = f"//127.0.0.1:{thief.port}/redfish/v1/Systems"
        assert error_of(settings).reason == "redirect"
        service.redirects["/redfish/v1/Systems"] = "http://[bad"
        assert error_of(settings).reason == "redirect"

        assert thief.calls.total() == 0


def test_a_redirect_within_the_host_is_followed_once(service: FakeRedfish, settings: SensorSettings) -> None:
    service.show_environment(350.0)
    service.redirects["/redfish/v1/Systems"] = "/redfish/v1/Systems/"
    service.resources["/redfish/v1/Systems/"] = service.resources["/redfish/v1/Systems"]

    assert power_w(settings) == 350.0
    service.redirects["/redfish/v1/Systems/"] = "/redfish/v1/Systems"
    assert error_of(settings).reason == "io"


def test_a_link_to_another_host_is_no_link(
    service: FakeRedfish, authority: CertificateAuthority, settings: SensorSettings
) -> None:
    with FakeRedfish(authority) as thief:
        for strange in (f"//127.0.0.1:{thief.port}/x", f"{thief.url}/x", f"@127.0.0.1:{thief.port}/", ":80@x/", "/a b"):
            service.resources["/redfish/v1/Systems"] = {"Members": [{"@odata.id": strange}]}
            assert error_of(settings).reason == "unsupported"

        assert thief.calls.total() == 0


def test_a_body_of_twenty_megabytes_is_refused(service: FakeRedfish, settings: SensorSettings) -> None:
    service.bodies["/redfish/v1/Systems"] = b" " * (20 << 20)

    assert error_of(settings).reason == "too_large"


def test_a_slow_drip_ends_with_the_deadline(service: FakeRedfish, settings: SensorSettings) -> None:
    service.drips.add("/redfish/v1/Systems")
    begun_s = time.monotonic()

    assert error_of(settings, timeout_s=0.3).reason == "timeout"
    assert time.monotonic() - begun_s < 3


def test_a_certificate_of_an_unknown_authority_is_refused_before_the_password_is_sent(
    service: FakeRedfish, settings: SensorSettings
) -> None:
    error = error_of(replace(settings, redfish_ca_file=""))

    assert (error.reason, "redfish_ca_file" in error.remedy) == ("io", True)
    assert service.authorizations == []


def test_the_certificate_is_unchecked_only_where_the_operator_says_so(
    service: FakeRedfish, settings: SensorSettings
) -> None:
    service.show_environment(350.0)

    assert power_w(replace(settings, redfish_ca_file="", redfish_insecure_skip_verify=True)) == 350.0


@pytest.mark.parametrize(
    "url", ["http://bmc", "https://name:pw@bmc", "bmc", "https://", "https://[", "https://b:x", ""]
)
def test_an_address_that_would_show_the_password_is_refused(settings: SensorSettings, url: str) -> None:
    error = error_of(replace(settings, redfish_url=url))

    assert (error.is_lasting, "https://HOST" in error.remedy, "pw" in str(error)) == (True, True, False)


@pytest.mark.parametrize("content", [None, b"", b"\n", b"two\nlines", b"x" * 5000])
def test_a_password_file_that_cannot_be_used_is_named(
    service: FakeRedfish, settings: SensorSettings, tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "other"
    if content is not None:
        file.write_bytes(content)

    error = error_of(replace(settings, redfish_password_file=str(file)))

    assert str(file) in str(error)
    assert "lines" not in str(error)
    assert service.calls.total() == 0


def test_a_new_password_is_used_at_once(service: FakeRedfish, settings: SensorSettings, tmp_path: Path) -> None:
    service.show_environment(350.0)
    (tmp_path / "password").write_text("old", encoding="utf-8")
    redfish = RedfishPower(settings)
    with pytest.raises(BmcError):
        redfish.ask()
    (tmp_path / "password").write_text(SECRET, encoding="utf-8")

    assert redfish.ask().power_w == 350.0


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{", b"\xff\xfe", b"[" * 100_000, b"<html>", b'"text"', b"NaN"])
def test_a_body_that_is_no_object_is_an_error(service: FakeRedfish, settings: SensorSettings, body: bytes) -> None:
    service.bodies["/redfish/v1/Systems"] = body

    assert error_of(settings).reason == "format"


def test_a_service_that_lists_thousands_of_sensors_is_not_asked_for_all(
    service: FakeRedfish, settings: SensorSettings
) -> None:
    service.show_sensors(**{f"total_power_{number}": None for number in range(2000)})

    error_of(settings)

    assert service.calls.total() < 40
