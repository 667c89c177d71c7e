from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.sensors.cpu_model import CpuFacts
from exporter.sensors.cpu_table import CpuRating
from exporter.sensors.estimate import CpuEstimate, estimate_for
from exporter.sensors.settings import SensorSettings

SETTINGS = SensorSettings()
KNOWN = CpuRating(200.0, 16)
METAL = CpuFacts(model_name="Xeon X", vendor="GenuineIntel", packages=2, threads=64, cores_per_package=16)
GUEST = CpuFacts(model_name="Xeon X", vendor="GenuineIntel", packages=1, threads=8, is_virtual=True)


def test_bare_metal_draws_its_rating_per_package_at_full_load() -> None:
    estimate = estimate_for(METAL, KNOWN, SETTINGS)

    assert estimate.power_w(1.0) == 400
    assert estimate.power_w(0.0) == pytest.approx(400 / 3)
    assert estimate.is_model_known


def test_a_virtual_machine_draws_its_share_of_the_threads() -> None:
    estimate = estimate_for(GUEST, KNOWN, SETTINGS)

    assert estimate.full_power_w == 200 * 8 / 32


def test_a_virtual_machine_of_a_model_without_known_cores_is_unknown() -> None:
    estimate = estimate_for(GUEST, CpuRating(200.0, None), SETTINGS)

    assert (estimate.full_power_w, estimate.is_model_known) == (8.75 * 4, False)


@pytest.mark.parametrize(
    ("cpu", "cores"),
    [
        (METAL, 32),
        (CpuFacts(vendor="AuthenticAMD", threads=6), 3),
        (CpuFacts(model_name="Arm part 0xd4f", threads=72), 72),
        (GUEST, 4),
    ],
)
def test_an_unknown_model_is_said_to_be_unknown_and_uses_a_default_per_core(cpu: CpuFacts, cores: int) -> None:
    estimate = estimate_for(cpu, None, SETTINGS)
    finding = estimate.finding()

    assert estimate.full_power_w == 8.75 * cores
    assert finding.state == "degraded"
    assert "unknown CPU model" in finding.detail
    assert "tdp_watts" in finding.remedy


def test_the_uncertainty_grows_with_what_is_not_known() -> None:
    metal, guest = estimate_for(METAL, KNOWN, SETTINGS), estimate_for(GUEST, KNOWN, SETTINGS)
    unknown = estimate_for(METAL, None, SETTINGS)

    assert metal.uncertainty_ratio < guest.uncertainty_ratio < unknown.uncertainty_ratio


def test_a_configured_rating_wins_over_the_table() -> None:
    settings = SensorSettings(tdp_watts=100.0, full_to_idle_ratio=4.0)

    assert estimate_for(METAL, KNOWN, settings).full_power_w == 200
    assert estimate_for(METAL, KNOWN, settings).idle_power_w == 50
    assert estimate_for(GUEST, KNOWN, settings).full_power_w == 100


def test_the_finding_says_what_is_covered_and_how_far_off_it_may_be() -> None:
    finding = estimate_for(METAL, KNOWN, SETTINGS).finding()

    assert finding.state == "up"
    assert "±50%" in finding.detail
    assert "not covered" in finding.detail


@given(busy_ratio=st.floats(-1, 2), full_w=st.floats(1, 1e4), ratio=st.floats(1, 10))
def test_power_stays_between_idle_and_full(busy_ratio: float, full_w: float, ratio: float) -> None:
    estimate = CpuEstimate(
        full_power_w=full_w, full_to_idle_ratio=ratio, uncertainty_ratio=0.5, basis="", is_model_known=True
    )

    assert estimate.idle_power_w * (1 - 1e-9) <= estimate.power_w(busy_ratio) <= full_w * (1 + 1e-9)


def test_energy_carries_the_idle_power_and_the_label_estimated() -> None:
    energy = estimate_for(METAL, KNOWN, SETTINGS).energy(busy_ratio=0.5, interval_s=6)

    assert energy is not None
    assert energy.energy_j == pytest.approx(400 / 3 * 2 * 6)
    assert energy.quality == "estimated"
    assert energy.idle_power_w == pytest.approx(400 / 3)


@pytest.mark.parametrize("interval_s", [0.0, -1.0, 3600.0])
def test_no_energy_is_invented_for_no_time_or_for_a_long_sleep(interval_s: float) -> None:
    """F65: the machine may have been asleep."""
    assert estimate_for(METAL, KNOWN, SETTINGS).energy(busy_ratio=0.5, interval_s=interval_s) is None
