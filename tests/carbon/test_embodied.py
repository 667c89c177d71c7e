"""What making the hardware emitted: whose figure counts, and how fast it is written off."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.carbon.embodied import SERVER, HardwareFigure, accelerator_figure, grams_per_second, server_figure
from exporter.carbon.settings import EmbodiedSettings

PUBLISHED = EmbodiedSettings(enabled=True)


def test_a_server_s_published_figure_depends_on_whether_it_carries_accelerators() -> None:
    plain = server_figure(PUBLISHED, has_accelerators=False)
    heavy = server_figure(PUBLISHED, has_accelerators=True)

    assert (plain.value_g, plain.low_g, plain.high_g) == (1_000_000, 1_000_000, 5_700_000)
    assert (heavy.value_g, heavy.low_g, heavy.high_g) == (2_500_000, 1_000_000, 5_700_000)
    assert "BLOOM" in heavy.source


@pytest.mark.parametrize(
    ("model", "kilograms"),
    [
        ("NVIDIA H100 80GB HBM3", (164, 164, 575)),
        ("NVIDIA A100-SXM4-80GB", (150, 150, 319)),
        ("NVIDIA L4", (150, 150, 575)),
        ("a card of 2031", (150, 150, 575)),
    ],
)
def test_an_accelerator_has_its_model_s_figure_else_that_of_accelerators(
    model: str, kilograms: tuple[float, float, float]
) -> None:
    figure = accelerator_figure(PUBLISHED, uuid="GPU-1", model=model)

    assert figure[:2] == ("GPU-1", model)
    assert (figure.value_g, figure.low_g, figure.high_g) == tuple(kg * 1000 for kg in kilograms)
    assert figure.source


def test_what_the_operator_states_counts_without_a_range() -> None:
    stated = EmbodiedSettings(enabled=True, server_kg=0.0, accelerator_kg=210.5)

    assert server_figure(stated, has_accelerators=True) == HardwareFigure(SERVER, "", 0, 0, 0, "configuration")
    figure = accelerator_figure(stated, uuid="GPU-1", model="NVIDIA H100 80GB HBM3")
    assert figure == HardwareFigure("GPU-1", "NVIDIA H100 80GB HBM3", 210_500, 210_500, 210_500, "configuration")


def test_the_standard_s_example_comes_out() -> None:
    """1,000 kg over 4 years is 28.5 g per hour of the whole server (carbon notes, SCI)."""
    figure = server_figure(EmbodiedSettings(server_kg=1000.0, lifetime_years=4.0), has_accelerators=False)

    assert grams_per_second(figure, EmbodiedSettings(lifetime_years=4.0)) * 3600 == pytest.approx(28.5, rel=2e-3)


@given(kilograms=st.floats(0, 1e5), years=st.floats(0.5, 30))
def test_over_its_life_exactly_what_it_took_to_make_is_written_off(kilograms: float, years: float) -> None:
    settings = EmbodiedSettings(server_kg=kilograms, lifetime_years=years)
    figure = server_figure(settings, has_accelerators=True)

    life_s = years * 365.25 * 86_400
    assert grams_per_second(figure, settings) * life_s == pytest.approx(kilograms * 1000)
