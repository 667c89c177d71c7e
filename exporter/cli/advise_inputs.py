"""What ``wattribute advise`` is asked: how much energy, where it would be used now, and which places to compare."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from exporter.carbon.cloud_regions import read_regions
from exporter.cli.estimate_arguments import Reader, flag_cells, number, plan_of_flags
from exporter.cli.screen import printable
from exporter.cli.state_path import with_state_path
from exporter.config import Settings
from exporter.errors import ConfigError, StateError
from exporter.ledger.history import History, PastRun
from exporter.reports.advise import Need, Site, site_of
from exporter.reports.estimate import Estimate, Estimator, RunPlan
from exporter.reports.places import PlaceFigures, configured_place, named_place

__all__ = ["Question", "read_question"]

_MOST_ZONES = 300
_OF_A_RUN = ("power", "host-power", "utilization", "accelerator", "count", "accelerator-hours", "energy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked.

    Attributes:
        estimate: the energy, and the place it would be used at now.
        need: the energy, its duration and deadline.
        own: the place to compare with.
        others: the places to compare, without the own one.
        run: the run whose energy it is, or None.
        matches: how many runs the name matches.
        rows: how many rows a table has.
        remarks: about what was left out, one sentence each.
    """

    estimate: Estimate
    need: Need
    own: Site
    others: Sequence[Site]
    run: PastRun | None
    matches: int
    rows: int
    remarks: Sequence[str]


def read_question(
    values: argparse.Namespace, settings: Settings, environ: Mapping[str, str], *, now_s: float
) -> Question:
    """Return what the command line asks.

    Raises:
        ConfigError: with every mistake in it, or what it lacks.
        StateError: a run is named and there is no readable state file.
    """
    plan, problems = plan_of_flags(values, with_embodied=False)
    reader = Reader(lambda name: f"--{name}")
    deadline_s = reader.duration_s(values.deadline, "deadline")
    rows = _rows(values.limit, reader)
    places = _places(values, settings, reader)
    if values.run:
        for name in sorted(set(_OF_A_RUN) & set(flag_cells(values))):
            reader.problem(name, "the run states the energy; remove it or --run")
    if problems or reader.problems:
        raise ConfigError([*problems, *reader.problems])
    run, matches = _run(values.run, settings, environ) if values.run else (None, 0)
    plan = _of_run(plan, run, settings) if run else plan
    estimate = Estimator(settings.carbon, settings.costs, settings.embodied).estimate(plan)
    _check(estimate, deadline_s)
    assert estimate.it_energy_j is not None  # noqa: S101 - nothing is missing
    assert estimate.pue_ratio is not None  # noqa: S101 - as above
    own_place = _own_place(plan, estimate, settings)
    own = site_of(own_place, own_pue_ratio=estimate.pue_ratio.value, is_own=True)
    others = [site_of(place, own_pue_ratio=own.pue_ratio) for place in _distinct(places, own_place)]
    return Question(
        estimate=estimate,
        need=Need(
            it_energy_j=estimate.it_energy_j.value,
            duration_s=plan.duration_s,
            deadline_s=math.inf if deadline_s is None else now_s + deadline_s,
        ),
        own=own,
        others=[site for site in others if site.place.grid is not None],
        run=run,
        matches=matches,
        rows=rows,
        remarks=_left_out(others),
    )


def _rows(text: str, reader: Reader) -> int:
    value = number(text)
    if value is None or value < 1 or value != int(value):
        reader.problem("limit", f"expected a whole number above 0, found {text[:40]!r}")
        return 1
    return int(value)


def _places(values: argparse.Namespace, settings: Settings, reader: Reader) -> Sequence[PlaceFigures]:
    """Return the places to compare: those named, all regions of a cloud, else the configured reference zones."""
    names = [name.strip() for name in values.zones.split(",") if name.strip()]
    if len(names) > _MOST_ZONES:
        reader.problem("zones", f"expected at most {_MOST_ZONES} zones, found {len(names)}")
        names = []
    places = []
    for name in names:
        place, problems = named_place(name)
        places += [place] if place else []
        for problem in problems:
            reader.problem("zones", problem)
    if values.regions:
        places += _regions(values.regions, reader)
    if not (names or values.regions):
        found = (named_place(zone)[0] for zone in settings.carbon.reference_zones)
        places += [place for place in found if place]
    return places


def _regions(provider: str, reader: Reader) -> Sequence[PlaceFigures]:
    wanted = provider.strip().lower()
    rows = list(read_regions())
    providers = list(dict.fromkeys(row.provider for row in rows))
    if wanted not in providers:
        reader.problem("regions", f"expected one of {', '.join(providers)}, found {provider[:40]!r}")
        return ()
    names = (f"{row.provider}:{row.region}" for row in rows if row.provider == wanted)
    return [place for name in names if (place := named_place(name)[0])]


def _run(name: str, settings: Settings, environ: Mapping[str, str]) -> tuple[PastRun, int]:
    """Return the newest run that ``name``, a key, name or glob, matches, and how many match."""
    path = with_state_path(settings, environ).ledger.state_path
    if not path:
        raise StateError("there is no state file: give one with --state.file")
    runs = History(Path(path)).runs(name=name)
    if not runs:
        raise ConfigError(
            [f"--run: no run in {path} has the key or name {printable(name)[:60]!r}; see wattribute runs"]
        )
    return runs[0], len(runs)


def _of_run(plan: RunPlan, run: PastRun, settings: Settings) -> RunPlan:
    """Return ``plan`` with what the run measured; where nobody names a place, it is where the run ran."""
    is_placeless = not plan.grid and plan.intensity_g_per_kwh is None and configured_place(settings.carbon) is None
    ran_at = run.place.grid_zone
    return replace(
        plan,
        name=run.facts.name or run.facts.key,
        energy_j=sum(run.energy_j),
        duration_s=plan.duration_s or max((run.ended_s or run.seen_s) - run.started_s, 0.0) or None,
        pue_ratio=run.place.pue_ratio if plan.pue_ratio is None and not plan.grid else plan.pue_ratio,
        grid=ran_at if is_placeless and named_place(ran_at)[0] else plan.grid,
    )


def _check(estimate: Estimate, deadline_s: float | None) -> None:
    problems = list(estimate.missing)
    duration_s = estimate.plan.duration_s
    if estimate.grid is None and not problems:
        problems.append("--grid-zone: say where the energy would be used now, to compare with")
    if estimate.it_energy_j is not None and not estimate.it_energy_j.value > 0:
        problems.append("--run: the run used no energy that was measured")
    if deadline_s is not None and duration_s is None:
        problems.append("--deadline: needs the length of the run: give --duration")
    elif deadline_s is not None and duration_s is not None and deadline_s < duration_s:
        problems.append("--deadline: is shorter than the run itself")
    if problems:
        raise ConfigError(problems)


def _own_place(plan: RunPlan, estimate: Estimate, settings: Settings) -> PlaceFigures:
    place = named_place(plan.grid)[0] if plan.grid else configured_place(settings.carbon)
    if place is None:
        return PlaceFigures(name="here", grid_zone="", grid=estimate.grid)
    return replace(place, grid=estimate.grid)


def _distinct(places: Iterable[PlaceFigures], own: PlaceFigures) -> Sequence[PlaceFigures]:
    found: dict[str, PlaceFigures] = {}
    for place in places:
        found.setdefault(place.name.strip().lower(), place)
    found.pop(own.name.strip().lower(), None)
    return [place for place in found.values() if ":" in place.name or place.grid_zone != own.grid_zone]


def _left_out(sites: Sequence[Site]) -> Sequence[str]:
    names = [printable(site.name) for site in sites if site.place.grid is None]
    return [f"no figure of the grid is known for {', '.join(names)}"] if names else []
