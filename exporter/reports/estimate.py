"""Energy and emissions of a run before it runs.

Energy = hours × processors × average watts × PUE, emissions = energy × carbon intensity. Source: Patterson et al.,
"Carbon Emissions and Large Neural Network Training" (arXiv 2104.10350), section 2.5. Every result has a low and a high
end: those of power, PUE and intensity, all taken at the same end. Nothing here reads a file of the user or the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from exporter.carbon.accelerators import Accelerator, find_by_common_name
from exporter.carbon.settings import CarbonSettings, CostSettings, EmbodiedSettings
from exporter.reports.embodied_share import embodied_range_g
from exporter.reports.places import (
    INDUSTRY_PUE_RATIO,
    GridFigure,
    PlaceFigures,
    configured_place,
    named_place,
    stated_intensity,
)
from exporter.reports.plausibility import implied_problem, intensity_problem
from exporter.reports.power_model import PowerFigure, measured_power, modelled_power
from exporter.reports.ranges import Range, exactly
from exporter.units import JOULES_PER_KILOWATT_HOUR

__all__ = ["Estimate", "Estimator", "Published", "RunPlan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What somebody published about the run, to compare with; None: nothing.

    Attributes:
        energy_j: facility energy in joules.
        emissions_g: grams of CO2e by the grid's average.
        market_g: grams by a market-based intensity.
    """

    energy_j: float | None = None
    emissions_g: float | None = None
    market_g: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """A run that is planned, or one that somebody published. None and empty: not stated.

    Attributes:
        name: what to call it.
        accelerator: model, as people write it.
        power_w: average watts per accelerator, of the system unless ``host_power_w`` is stated.
        host_power_w: watts of the host per accelerator, to be added.
        utilization_ratio: share of the time in which the accelerators are busy.
        accelerator_s: seconds times accelerators.
        duration_s: seconds from start to end, where stated.
        energy_j: IT energy in joules that was metered, in place of power and time.
        pue_ratio: facility energy over IT energy.
        grid: zone, country or ``provider:region``.
        intensity_g_per_kwh: of the grid, over the place's.
        market_g_per_kwh: market-based intensity for a second figure.
        wue_l_per_kwh: litres of water per kilowatt-hour of IT energy.
        price_per_kwh: price of facility energy, in the currency of the configuration.
        with_embodied: whether emissions of making the hardware are estimated, too.
        published: what to compare with.
    """

    name: str = ""
    accelerator: str = ""
    power_w: float | None = None
    host_power_w: float | None = None
    utilization_ratio: float | None = None
    accelerator_s: float | None = None
    duration_s: float | None = None
    energy_j: float | None = None
    pue_ratio: float | None = None
    grid: str = ""
    intensity_g_per_kwh: float | None = None
    market_g_per_kwh: float | None = None
    wue_l_per_kwh: float | None = None
    price_per_kwh: float | None = None
    with_embodied: bool = False
    published: Published = Published()


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a plan comes to. None: not known, as ``missing`` says, or not asked for.

    Attributes:
        plan: what was asked.
        power: average watts per accelerator; None where energy was metered.
        it_energy_j: joules of the computers.
        pue_ratio: facility over IT energy.
        energy_j: joules of the facility.
        grid: the intensity in force.
        emissions_g: grams of CO2e by the grid's average.
        market_g: grams by the market-based intensity.
        embodied_g: grams of making the hardware, for the time that it is held.
        water_l: litres evaporated on site.
        cost: price of the electricity, in ``currency``.
        currency: of the cost; empty without one.
        implied_g_per_kwh: published emissions over energy; the published energy counts first.
        assumptions: what was assumed and where figures come from, one sentence each.
        missing: what was needed and not stated, one sentence each; empty for a complete estimate.
        implausible: why what was stated or published cannot be true, one sentence each.
    """

    plan: RunPlan
    power: PowerFigure | None = None
    it_energy_j: Range | None = None
    pue_ratio: Range | None = None
    energy_j: Range | None = None
    grid: GridFigure | None = None
    emissions_g: Range | None = None
    market_g: Range | None = None
    embodied_g: Range | None = None
    water_l: Range | None = None
    cost: Range | None = None
    currency: str = ""
    implied_g_per_kwh: float | None = None
    assumptions: Sequence[str] = ()
    missing: Sequence[str] = ()
    implausible: Sequence[str] = ()


class Estimator:
    """Estimates plans; what they do not state comes from the configuration.

    Args:
        carbon: place, PUE, WUE and fixed intensities.
        costs: price and currency.
        embodied: kilograms and lifetime.
    """

    def __init__(self, carbon: CarbonSettings, costs: CostSettings, embodied: EmbodiedSettings) -> None:
        self._own = configured_place(carbon)
        self._market = next((one for one in carbon.providers if one.kind == "fixed" and one.signal == "market"), None)
        self._carbon = carbon
        self._costs = costs
        self._embodied = embodied

    def estimate(self, plan: RunPlan) -> Estimate:
        """Return what ``plan`` comes to. A name that is not known counts as missing."""
        notes: list[str] = []
        missing: list[str] = []
        accelerator = find_by_common_name(plan.accelerator) if plan.accelerator else None
        power, it_energy_j = _it_energy(plan, accelerator, missing)
        place = self._place(plan, missing)
        pue_ratio = self._pue(plan, place, notes)
        energy_j = it_energy_j.times(pue_ratio) if it_energy_j else None
        grid = self._grid(plan, place)
        emissions_g = _grams(energy_j, grid.intensity_g_per_kwh if grid else None)
        market = self._market_g_per_kwh(plan)
        cost = self._cost(plan, energy_j, notes)
        implied = _implied_g_per_kwh(plan, energy_j)
        embodied_g = self._embodied_g(plan, accelerator, notes, missing)
        return Estimate(
            plan=plan,
            power=power,
            it_energy_j=it_energy_j,
            pue_ratio=pue_ratio,
            energy_j=energy_j,
            grid=grid,
            emissions_g=emissions_g,
            market_g=None if market is None else _grams(energy_j, exactly(market)),
            embodied_g=embodied_g,
            water_l=self._water(plan, place, it_energy_j, notes),
            cost=cost,
            currency="" if cost is None else self._costs.currency,
            implied_g_per_kwh=implied,
            assumptions=(*(power.assumptions if power else ()), *_grid_notes(grid), *notes),
            missing=missing,
            implausible=_implausible(grid, implied),
        )

    def _place(self, plan: RunPlan, missing: list[str]) -> PlaceFigures | None:
        if not plan.grid:
            return self._own
        place, problems = named_place(plan.grid)
        missing += problems
        if place is not None and place.grid is None and plan.intensity_g_per_kwh is None:
            missing.append(f"no figure of the grid of {plan.grid!r} is known: give --intensity")
        return place

    def _grid(self, plan: RunPlan, place: PlaceFigures | None) -> GridFigure | None:
        if plan.intensity_g_per_kwh is not None:
            zone = place.grid.grid_zone if place and place.grid and plan.grid else ""
            return stated_intensity(plan.intensity_g_per_kwh, "--intensity", grid_zone=zone)
        return place.grid if place else None

    def _pue(self, plan: RunPlan, place: PlaceFigures | None, notes: list[str]) -> Range:
        """Return the PUE: stated, else published for a region that the plan names, else configured, else unknown."""
        if plan.pue_ratio is not None:
            return exactly(plan.pue_ratio)
        if place is not None and place.pue_ratio is not None:
            notes.append(f"PUE {place.pue_ratio:g}, {place.pue_note}")
            return exactly(place.pue_ratio)
        if self._carbon.pue_ratio is not None:
            notes.append(f"PUE {self._carbon.pue_ratio:g}, from the configuration")
            return exactly(self._carbon.pue_ratio)
        notes.append(
            f"PUE not known: 1 counts no cooling and no losses, the high end takes the industry's mean, "
            f"{INDUSTRY_PUE_RATIO:g}; give --pue"
        )
        return Range(1.0, 1.0, INDUSTRY_PUE_RATIO)

    def _market_g_per_kwh(self, plan: RunPlan) -> float | None:
        if plan.market_g_per_kwh is not None or plan.grid or plan.intensity_g_per_kwh is not None:
            return plan.market_g_per_kwh
        return self._market.intensity_g_per_kwh if self._market else None

    def _water(
        self, plan: RunPlan, place: PlaceFigures | None, it_energy_j: Range | None, notes: list[str]
    ) -> Range | None:
        wue = plan.wue_l_per_kwh
        if wue is None and place is not None:
            wue = place.wue_l_per_kwh
        if wue is None or it_energy_j is None:
            return None
        notes.append(f"water: {wue:g} litres per kWh of IT energy, on site only")
        return it_energy_j.times(wue).over(JOULES_PER_KILOWATT_HOUR)

    def _cost(self, plan: RunPlan, energy_j: Range | None, notes: list[str]) -> Range | None:
        price = plan.price_per_kwh
        if price is None and not plan.grid:
            price = self._costs.price_per_kwh
            if price is not None and self._costs.tariff:
                notes.append("cost: the configured price without its tariff by time of day")
        if price is None or energy_j is None:
            return None
        cost = energy_j.times(price).over(JOULES_PER_KILOWATT_HOUR)
        return Range(min(cost), cost.value, max(cost))  # a price may be negative

    def _embodied_g(
        self, plan: RunPlan, accelerator: Accelerator | None, notes: list[str], missing: list[str]
    ) -> Range | None:
        if not plan.with_embodied:
            return None
        if plan.accelerator_s is None:
            missing.append("embodied emissions need the time: give --duration with --count, or --accelerator-hours")
            return None
        grams, note = embodied_range_g(accelerator, self._embodied, accelerator_s=plan.accelerator_s)
        notes.append(note)
        return grams


def _it_energy(
    plan: RunPlan, accelerator: Accelerator | None, missing: list[str]
) -> tuple[PowerFigure | None, Range | None]:
    if plan.energy_j is not None:
        return None, exactly(plan.energy_j)
    if plan.accelerator_s is None:
        missing.append("the time is not stated: give --duration with --count, or --accelerator-hours, or --energy")
    power = _power(plan, accelerator, missing)
    if power is None or plan.accelerator_s is None:
        return power, None
    return power, power.power_w.times(plan.accelerator_s)


def _power(plan: RunPlan, accelerator: Accelerator | None, missing: list[str]) -> PowerFigure | None:
    host_w = plan.host_power_w or 0.0
    if plan.power_w is not None:
        return measured_power(plan.power_w, host_power_w=host_w)
    if accelerator is not None and accelerator.tdp_w is not None:
        return modelled_power(
            accelerator, accelerator.tdp_w, host_power_w=host_w, utilization_ratio=plan.utilization_ratio
        )
    if accelerator is not None:
        missing.append(f"no power figure of {accelerator.name} is known: give --power")
    elif plan.accelerator:
        missing.append(f"the power of {plan.accelerator!r} is not known: give --power")
    else:
        missing.append("the power is not stated: give --power or --accelerator")
    return None


def _grams(energy_j: Range | None, intensity_g_per_kwh: Range | None) -> Range | None:
    if energy_j is None or intensity_g_per_kwh is None:
        return None
    return energy_j.times(intensity_g_per_kwh).over(JOULES_PER_KILOWATT_HOUR)


def _grid_notes(grid: GridFigure | None) -> Sequence[str]:
    if grid is None:
        return ("no emissions without a grid: give --grid-zone or --intensity",)
    return (f"intensity: {grid.note}", *grid.assumptions)


def _implied_g_per_kwh(plan: RunPlan, energy_j: Range | None) -> float | None:
    """Return published grams over published energy, else over ours; None without either."""
    published = plan.published
    joules = published.energy_j if published.energy_j is not None else energy_j.value if energy_j else None
    if published.emissions_g is None or not joules:
        return None
    return published.emissions_g / (joules / JOULES_PER_KILOWATT_HOUR)


def _implausible(grid: GridFigure | None, implied_g_per_kwh: float | None) -> Sequence[str]:
    stated = grid.intensity_g_per_kwh.value if grid else None
    problems = (
        "" if stated is None else intensity_problem(stated),
        "" if implied_g_per_kwh is None else implied_problem(implied_g_per_kwh, stated_g_per_kwh=stated),
    )
    return [problem for problem in problems if problem]
