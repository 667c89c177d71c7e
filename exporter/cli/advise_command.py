"""``wattribute advise``: where and when the same energy would emit less."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from exporter.cli.advise_inputs import Question, read_question
from exporter.cli.arguments import Options
from exporter.cli.csv_output import Cell, print_csv
from exporter.cli.estimate_arguments import add_advise_flags
from exporter.cli.live_outlook import ask_providers
from exporter.cli.screen import Column, open_console, prose, show, table, words
from exporter.clock import Clock, SystemClock
from exporter.config import Settings
from exporter.exposition.quantities import duration_text, energy_text, mass_text
from exporter.ledger.history import PastRun
from exporter.ledger.snapshot import SCOPES
from exporter.reports.advise import Offer, starts, yearly_offers
from exporter.units import JOULES_PER_KILOWATT_HOUR, emissions_g

__all__ = ["add_advise_flags", "run_advise"]

_ASK_WITHIN_S = 15.0
_MOST_ASKED = 12
"""Zones that providers are asked for: a free key has some fifty calls an hour."""
_DAY_S = 86_400.0
_SECONDS_PER_HOUR = 3600.0
_UNKNOWN = "–"
_WIDE, _MEDIUM = 120, 80


@dataclass(frozen=True, slots=True, kw_only=True)
class _Advice:
    """What is answered. ``where`` and ``when`` are ranked; ``now`` is what savings are against, None: nothing is."""

    question: Question
    now: Offer | None
    where: Sequence[Offer]
    now_live: Offer | None
    when: Sequence[Offer]
    unused: Mapping[str, float] | None
    remarks: Sequence[str]


def run_advise(
    options: Options, settings: Settings, *, clock: Clock | None = None, environ: Mapping[str, str] | None = None
) -> int:
    """Print where and when the energy of a plan or of a run would emit least, with the saving against now.

    Raises:
        ConfigError: with every mistake in the flags.
        StateError: a run is named and there is no readable state file.
    """
    now_s = (clock or SystemClock()).wall_s()
    question = read_question(options.values, settings, os.environ if environ is None else environ, now_s=now_s)
    advice = _advise(question, settings, now_s)
    if options.values.output == "json":
        print(json.dumps(_document(advice), indent=2, ensure_ascii=False))
    elif options.values.output == "csv":
        offers = [("where", offer) for offer in advice.where] + [("when", offer) for offer in advice.when]
        print_csv(_CSV_NAMES, [{"question": name, **_row(offer)} for name, offer in offers])
    else:
        _print_text(advice, now_s)
    return 0


def _advise(question: Question, settings: Settings, now_s: float) -> _Advice:
    own, need = question.own, question.need
    now, where = yearly_offers(own, question.others, need)
    nearest = [offer.site.grid_zone for offer in where if offer.site.grid_zone]
    zones = list(dict.fromkeys([zone for zone in (own.grid_zone, *nearest) if zone]))
    remarks = list(question.remarks)
    live = ask_providers(settings.carbon, zones[:_MOST_ASKED], now_s=now_s, timeout_s=_ASK_WITHIN_S)
    if live and len(zones) > _MOST_ASKED:
        remarks.append(f"providers were asked for {_MOST_ASKED} of {len(zones)} zones, those with the lowest means")
    now_live: Offer | None = None
    when: Sequence[Offer] = ()
    if live and need.duration_s is not None:
        now_live, when = starts(own, question.others, need, live, now_s=now_s)
    elif live:
        remarks.append("the best start needs the length of the run: give --duration")
    return _Advice(
        question=question,
        now=now,
        where=where,
        now_live=now_live,
        when=when,
        unused=_unused(question),
        remarks=[*remarks, *_remarks(question, when, has_live=bool(live))],
    )


def _unused(question: Question) -> Mapping[str, float] | None:
    """Return GPU-hours, joules and grams of GPUs that the run held and did not use; None if there were none."""
    run = question.run
    if run is None or not run.gpu[1] > 0:
        return None
    held_s, unused_s, unused_j = run.gpu
    grams = _operational_g(run) * unused_j / sum(run.energy_j)
    grid = question.estimate.grid
    if grams <= 0 and grid is not None:
        per_kwh = grid.intensity_g_per_kwh.value
        grams = emissions_g(unused_j, pue_ratio=question.own.pue_ratio, intensity_g_per_kwh=per_kwh)
    return {
        "gpu_hours": unused_s / _SECONDS_PER_HOUR,
        "share_of_gpu_hours_ratio": unused_s / held_s,
        "it_energy_kwh": unused_j / JOULES_PER_KILOWATT_HOUR,
        "emissions_g": grams,
    }


def _operational_g(run: PastRun) -> float:
    return run.emissions_g[SCOPES.index("operational")]


def _remarks(question: Question, when: Sequence[Offer], *, has_live: bool) -> Sequence[str]:
    remarks = []
    duration_s, energy_j = question.need.duration_s, question.estimate.it_energy_j
    if energy_j and not energy_j.is_exact:
        span = f"{energy_text(energy_j.low)} to {energy_text(energy_j.high)}"
        remarks.append(f"the energy is estimated, {span}: grams scale with it, shares do not")
    if question.estimate.pue_ratio and not question.estimate.pue_ratio.is_exact:
        remarks.append("your PUE is not known and counts as 1, so cloud regions look worse than they are: give --pue")
    if any(offer.site.remarks for offer in when) or any(site.remarks for site in question.others):
        remarks.append("your PUE: no PUE is published for that place, so yours is taken")
    if not has_live:
        remarks.append("no provider of live intensity is configured: yearly means say where, nothing says when")
    if duration_s is not None and duration_s >= _DAY_S:
        remarks.append(
            f"the run takes {duration_text(duration_s)}: what a later start saves shrinks as runs get long beside a day"
        )
    if when:
        remarks.append("starts are without pauses; forecasts change, so ask again before you start")
    remarks.append(
        "savings are by the average of each grid; what one more kilowatt-hour causes (marginal) differs, and can rank "
        "places and hours otherwise"
    )
    return remarks


def _print_text(advice: _Advice, now_s: float) -> None:
    question = advice.question
    console = open_console()
    show(console, words(_headline(question)))
    if question.matches > 1:
        show(console, words(f"the newest of {question.matches} runs that match"))
    print("\nwhere, by yearly means")
    _print_table(advice.where, question, now_s, with_start=False)
    if advice.when:
        print("\nwhen, by what providers say now")
        _print_table(advice.when, question, now_s, with_start=True)
    if advice.unused:
        unused = advice.unused
        energy = energy_text(unused["it_energy_kwh"] * JOULES_PER_KILOWATT_HOUR)
        text = f"\nreleasing idle GPUs would have saved {energy} and {mass_text(unused['emissions_g'])}: nothing ran "
        text += (
            f"on them for {unused['gpu_hours']:.1f} GPU-hours, {unused['share_of_gpu_hours_ratio']:.0%} of those held"
        )
        show(console, prose(text))
    print("\nto know")
    for remark in advice.remarks:
        show(console, prose(f"  - {remark}"))


def _headline(question: Question) -> str:
    plan, need = question.estimate.plan, question.need
    text = f"{energy_text(need.it_energy_j)} of IT energy"
    if plan.name:
        text = f"{plan.name}: {text}"
    if need.duration_s is not None:
        text += f" over {duration_text(need.duration_s)}"
    if question.run is not None:
        grams = _operational_g(question.run)
        text += f", which emitted {mass_text(grams)}" if grams > 0 else ", measured on this node"
    return text


def _print_table(offers: Sequence[Offer], question: Question, now_s: float, *, with_start: bool) -> None:
    console = open_console()
    head = (
        Column("PLACE", is_flexible=True),
        *((Column("START (UTC)"),) if with_start else ()),
        Column("G/KWH", is_number=True),
        Column("PUE", is_number=True, needs_columns=_MEDIUM),
        Column("EMISSIONS", is_number=True),
        Column("SAVING", is_number=True),
        Column("", is_number=True),
        *((Column("MARGINAL", is_number=True, needs_columns=_WIDE),) if with_start else ()),
        Column("REMARK", is_flexible=True, needs_columns=_MEDIUM),
    )
    shown = [*_first(offers, question.rows, are_comparable=True), *_first(offers, question.rows, are_comparable=False)]
    rows = [[words(text) for text in _texts(offer, now_s, with_start=with_start)] for offer in shown]
    show(console, table(head, rows, width=console.width))
    if len(shown) < len(offers):
        print(f"and {len(offers) - len(shown)} more: --limit")


def _first(offers: Sequence[Offer], rows: int, *, are_comparable: bool) -> Sequence[Offer]:
    """Return the best ``rows`` of those that can, or cannot, be compared, and what they are compared with."""
    group = [offer for offer in offers if offer.is_comparable == are_comparable]
    return [offer for rank, offer in enumerate(group) if rank < rows or (offer.site.is_own and offer.starts_s is None)]


def _texts(offer: Offer, now_s: float, *, with_start: bool) -> Sequence[str]:
    is_baseline = offer.site.is_own and offer.starts_s is None
    start = "now" if offer.starts_s is None else _start_text(offer.starts_s, now_s)
    marginal = _UNKNOWN if offer.marginal_g_per_kwh is None else f"{offer.marginal_g_per_kwh:.0f}"
    return (
        f"{offer.site.name} (you)" if offer.site.is_own else offer.site.name,
        *((start,) if with_start else ()),
        f"{offer.intensity_g_per_kwh:.0f}",
        f"{offer.site.pue_ratio:.2f}",
        mass_text(offer.emissions_g),
        _UNKNOWN if is_baseline or offer.saving_g is None else mass_text(offer.saving_g),
        "" if is_baseline or offer.saving_ratio is None else f"{offer.saving_ratio:.0%}",
        *((marginal,) if with_start else ()),
        "; ".join(offer.remarks),
    )


def _start_text(starts_s: float, now_s: float) -> str:
    return f"{datetime.fromtimestamp(starts_s, UTC):%a %H:%M}, in {duration_text(starts_s - now_s)}"


def _document(advice: _Advice) -> Mapping[str, object]:
    question = advice.question
    run = question.run
    return {
        "run": None if run is None else {"key": run.facts.key, "name": run.facts.name, "matches": question.matches},
        "it_energy_kwh": question.need.it_energy_j / JOULES_PER_KILOWATT_HOUR,
        "duration_s": question.need.duration_s,
        "now": _row(advice.now) if advice.now else None,
        "where": [_row(offer) for offer in advice.where],
        "now_live": _row(advice.now_live) if advice.now_live else None,
        "when": [_row(offer) for offer in advice.when],
        "unused_gpus": advice.unused,
        "assumptions": list(question.estimate.assumptions),
        "remarks": list(advice.remarks),
    }


def _row(offer: Offer) -> dict[str, Cell]:
    return {
        "place": offer.site.name,
        "grid_zone": offer.site.grid_zone,
        "is_own": "yes" if offer.site.is_own else "no",
        "kind": offer.kind,
        "starts": None if offer.starts_s is None else _moment(offer.starts_s),
        "intensity_g_per_kwh": offer.intensity_g_per_kwh,
        "pue_ratio": offer.site.pue_ratio,
        "emissions_g": offer.emissions_g,
        "saving_g": offer.saving_g,
        "saving_ratio": offer.saving_ratio,
        "is_comparable": "yes" if offer.is_comparable else "no",
        "marginal_g_per_kwh": offer.marginal_g_per_kwh,
        "basis": offer.basis,
        "provider": offer.provider,
        "remarks": "; ".join(offer.remarks),
    }


_CSV_NAMES = (
    *("question", "place", "grid_zone", "is_own", "kind", "starts", "intensity_g_per_kwh", "pue_ratio"),
    *("emissions_g", "saving_g", "saving_ratio", "is_comparable", "marginal_g_per_kwh", "basis", "provider", "remarks"),
)


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
