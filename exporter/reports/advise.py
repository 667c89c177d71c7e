"""Where and when the same energy would emit less: places by their yearly means, starts by the forecasts in force.

Pure arithmetic on figures that the caller has. A saving is only stated between figures that count the same thing: the
same basis, and yearly with yearly or hourly of one provider with hourly of the same. Pausing a run is not considered.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from exporter.carbon.grid_table import find_row
from exporter.carbon.live.windows import best_window, held, mean_g_per_kwh, outlook
from exporter.carbon.records import IntensityPoint, IntensitySeries
from exporter.reports.places import PlaceFigures
from exporter.units import emissions_g

__all__ = ["Live", "Need", "Offer", "Site", "site_of", "starts", "yearly_offers"]

OfferKind = Literal["yearly", "forecast", "present"]
"""yearly: a yearly mean; forecast: the mean over the run by a forecast; present: the value of now, taken for all of
the run."""
_SOON_S = 60.0


class Need(NamedTuple):
    """What is to be done: joules of IT energy, its length in seconds if known, the wall-clock time to be done by."""

    it_energy_j: float
    duration_s: float | None = None
    deadline_s: float = math.inf


class Site(NamedTuple):
    """A place that the work could go to.

    Attributes:
        name: for people.
        grid_zone: what providers are asked for; empty where no zone is known.
        place: its yearly figures.
        pue_ratio: facility energy over IT energy there.
        is_own: whether it is the place to compare with.
        remarks: about the PUE.
    """

    name: str
    grid_zone: str
    place: PlaceFigures
    pue_ratio: float
    is_own: bool = False
    remarks: Sequence[str] = ()


class Live(NamedTuple):
    """What providers said of a zone: the average series, or why there is none; the marginal one if there is one."""

    series: IntensitySeries | None
    problem: str = ""
    marginal: IntensitySeries | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """The energy at a place, from a time on.

    Attributes:
        site: the place.
        kind: where the intensity comes from.
        starts_s: wall-clock time of the start; None: now, or whenever for a yearly mean.
        intensity_g_per_kwh: mean over the run.
        emissions_g: grams of CO2e.
        basis: what the intensity counts.
        provider: whose figure it is.
        saving_g: grams less than now at the own place, negative for more; None where the two are not comparable.
        saving_ratio: the same as a share of now's.
        marginal_g_per_kwh: what one more kilowatt-hour causes there now, if a provider says.
        is_comparable: whether it counts what the own place's figure counts.
        remarks: one phrase each.
    """

    site: Site
    kind: OfferKind
    starts_s: float | None = None
    intensity_g_per_kwh: float
    emissions_g: float
    basis: str
    provider: str
    saving_g: float | None = None
    saving_ratio: float | None = None
    marginal_g_per_kwh: float | None = None
    is_comparable: bool = True
    remarks: Sequence[str] = ()


def site_of(place: PlaceFigures, *, own_pue_ratio: float, is_own: bool = False) -> Site:
    """Return ``place`` as a candidate; without a published PUE it gets that of the own facility."""
    if is_own:
        return Site(place.name, place.grid_zone, place, own_pue_ratio, is_own=True)
    if place.pue_ratio is None:
        return Site(place.name, place.grid_zone, place, own_pue_ratio, remarks=("your PUE",))
    return Site(place.name, place.grid_zone, place, place.pue_ratio)


def yearly_offers(own: Site, others: Iterable[Site], need: Need) -> tuple[Offer | None, Sequence[Offer]]:
    """Return the own place by its yearly mean, and every place ranked: comparable ones first, least grams first.

    Where the own intensity was stated, the table's figure of the zone is compared with: None if it has none.
    """
    baseline = _yearly(own, need)
    offers = [offer for offer in (_yearly(site, need) for site in others) if offer is not None]
    if baseline is None:
        return None, _ranked(offers)
    return baseline, _ranked([baseline, *(_against(baseline, offer) for offer in offers)])


def starts(
    own: Site, others: Iterable[Site], need: Need, live: Mapping[str, Live], *, now_s: float
) -> tuple[Offer | None, Sequence[Offer]]:
    """Return starting now at the own place, and the best start of every place that was asked for, ranked.

    ``live`` is what providers said, by grid zone. A place without an answer is there with its yearly mean and the
    reason. ``need.duration_s`` must be known.
    """
    baseline = _now(own, need, live, now_s)
    offers = [baseline] if baseline else []
    for site in (own, *others):
        if site.grid_zone in live:
            found = _best(site, need, live[site.grid_zone], now_s)
            offers += [_against(baseline, offer) if baseline else offer for offer in found]
    return baseline, _ranked(offers)


def _yearly(site: Site, need: Need, remark: str = "") -> Offer | None:
    grid = site.place.grid
    grams, basis, provider = (None, "", "")
    if grid is not None:
        grams, basis, provider = grid.intensity_g_per_kwh.value, grid.basis, grid.provider
    remarks = [remark] * bool(remark)
    if basis == "as-given":
        row = find_row(site.grid_zone) if site.grid_zone else None
        if row is None:
            return None
        remarks.append(f"the table's figure, as yours of {grams:g} g/kWh may count something else")
        grams, basis, provider = row.entry.intensity_g_per_kwh, row.origin.basis, "grid_table"
    if grams is None:
        return None
    return _offer(site, need, "yearly", grams, basis=basis, provider=provider, remarks=remarks)


def _now(own: Site, need: Need, live: Mapping[str, Live], now_s: float) -> Offer | None:
    """Return the own place from now on: by the forecast, else by the present value, else by the yearly mean."""
    answer = live.get(own.grid_zone)
    if answer is None or answer.series is None or need.duration_s is None:
        return _yearly(own, need, answer.problem if answer else "")
    return _from_now(own, need, answer.series, answer, now_s)


def _from_now(site: Site, need: Need, series: IntensitySeries, answer: Live, now_s: float) -> Offer:
    problems = [answer.problem] * bool(answer.problem)
    duration_s = need.duration_s or 0.0
    grams = mean_g_per_kwh(outlook(series.points, series.forecast), now_s, now_s + duration_s)
    if grams is not None and series.forecast:
        return _offer(site, need, "forecast", grams, series=series, marginal=answer.marginal, remarks=problems)
    remark = "the present value for all of it: the forecast does not reach so far"
    present = mean_g_per_kwh(held(series.points), now_s, now_s + _SOON_S)
    if present is None:
        present = series.points[-1].intensity_g_per_kwh
    return _offer(site, need, "present", present, series=series, marginal=answer.marginal, remarks=[remark, *problems])


def _best(site: Site, need: Need, answer: Live, now_s: float) -> Sequence[Offer]:
    """Return the best start at ``site``, if it is later than now, and starting now unless it is the own place."""
    if answer.series is None:
        yearly = _yearly(site, need, f"yearly mean: {answer.problem}")
        return [] if yearly is None or site.is_own else [yearly]
    now = _from_now(site, need, answer.series, answer, now_s)
    found = [] if site.is_own else [now]
    best = _best_start(need, answer.series, now_s)
    if best is None or now.kind != "forecast":
        return found
    starts_s, grams = best
    if starts_s <= now_s + _SOON_S or grams >= now.intensity_g_per_kwh:
        return found
    later = _offer(site, need, "forecast", grams, series=answer.series, marginal=answer.marginal, starts_s=starts_s)
    return [later, *found]


def _best_start(need: Need, series: IntensitySeries, now_s: float) -> tuple[float, float] | None:
    points = [_until(point, need.deadline_s) for point in outlook(series.points, series.forecast)]
    usable = [point for point in points if point.until_s > point.from_s]
    return best_window(usable, need.duration_s, now_s) if need.duration_s else None


def _until(point: IntensityPoint, until_s: float) -> IntensityPoint:
    return point._replace(until_s=min(point.until_s, until_s))


def _offer(
    site: Site,
    need: Need,
    kind: OfferKind,
    grams_per_kwh: float,
    *,
    basis: str = "",
    provider: str = "",
    series: IntensitySeries | None = None,
    marginal: IntensitySeries | None = None,
    starts_s: float | None = None,
    remarks: Sequence[str] = (),
) -> Offer:
    return Offer(
        site=site,
        kind=kind,
        starts_s=starts_s,
        intensity_g_per_kwh=grams_per_kwh,
        emissions_g=emissions_g(need.it_energy_j, pue_ratio=site.pue_ratio, intensity_g_per_kwh=grams_per_kwh),
        basis=series.basis if series else basis,
        provider=series.provider if series else provider,
        marginal_g_per_kwh=marginal.points[-1].intensity_g_per_kwh if marginal else None,
        remarks=(*remarks, *site.remarks),
    )


def _against(baseline: Offer, offer: Offer) -> Offer:
    """Return ``offer`` with its saving, or marked where it counts something else than ``baseline``."""
    if offer is baseline:
        return offer
    problem = _difference(baseline, offer)
    saving_g = None if problem else baseline.emissions_g - offer.emissions_g
    return replace(
        offer,
        saving_g=saving_g,
        saving_ratio=saving_g / baseline.emissions_g if saving_g is not None and baseline.emissions_g > 0 else None,
        is_comparable=not problem,
        remarks=(*([f"not comparable: {problem}"] if problem else ()), *offer.remarks),
    )


def _difference(baseline: Offer, offer: Offer) -> str:
    """Return what two figures do not have in common, or nothing."""
    if (baseline.kind == "yearly") != (offer.kind == "yearly"):
        return f"{offer.kind} figure beside a {baseline.kind} one"
    if offer.basis != baseline.basis:
        return f"{offer.basis}, yours is {baseline.basis}"
    if offer.kind != "yearly" and offer.provider != baseline.provider:
        return f"of {offer.provider}, yours is of {baseline.provider}"
    return ""


def _ranked(offers: Sequence[Offer]) -> Sequence[Offer]:
    """Return comparable offers before others, the least grams first; equals stay in order."""
    return sorted(offers, key=lambda offer: (not offer.is_comparable, offer.emissions_g))
