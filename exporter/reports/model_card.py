"""A report as the part of a model card that states emissions: metadata the Hugging Face Hub reads, and a paragraph.

Source of the keys: https://huggingface.co/docs/hub/model-cards-co2: ``co2_eq_emissions`` with ``emissions`` in grams,
``source``, ``training_type``, ``geographical_location``, ``hardware_used``. A key that is unknown is left out.
"""

from __future__ import annotations

from datetime import UTC, datetime

from exporter.reports.report import ReportError, RunReport
from exporter.reports.report_document import hardware_text
from exporter.reports.report_text import grids_text
from exporter.units import GRAMS_PER_KILOGRAM, JOULES_PER_KILOWATT_HOUR

__all__ = ["model_card"]

_SECONDS_PER_HOUR = 3600
_MARKDOWN = r"\`*_{}[]()<>#+!|~"
_FIGURES = 6


def model_card(report: RunReport, *, version: str, training_type: str = "", location: str = "") -> str:
    """Return front matter and Markdown.

    Args:
        report: the run; its texts may hold anything.
        version: of this program.
        training_type: ``pre-training``, ``fine-tuning`` or other words; empty: left out.
        location: where the computers are; empty: the grid zones.

    Raises:
        ReportError: emissions were not counted.
    """
    import yaml

    grams = report.operational_g
    if grams is None:
        raise ReportError(
            f"no emissions were counted for run {report.key}, so there is nothing to put on a model card: set "
            "carbon.grid_zone in the agents' configuration before a run"
        )
    location = location or ", ".join(dict.fromkeys(grid.zone for grid in report.grids))
    card = {
        "emissions": float(f"{grams:.{_FIGURES}g}"),
        "source": f"wattribute {version}, {report.quality} energy, location-based",
        "training_type": training_type,
        "geographical_location": location,
        "hardware_used": hardware_text(report) or "; ".join(report.cpu_models),
    }
    known = {key: _one_line(value) if isinstance(value, str) else value for key, value in card.items() if value != ""}
    front = yaml.safe_dump({"co2_eq_emissions": known}, sort_keys=False, allow_unicode=True, width=1000)
    return f"---\n{front}---\n\n{_prose(report, grams, location)}\n"


def _prose(report: RunReport, grams: float, location: str) -> str:
    kwh = report.total_j / JOULES_PER_KILOWATT_HOUR
    ratio = report.uncertainty_ratio
    sure = "" if ratio is None else f" (±{ratio:.0%})"
    days = f"{_day(report.started_s)} to {_day(report.seen_s)}"
    hardware = hardware_text(report) or "; ".join(report.cpu_models)
    on = f" on {_plain(hardware)}" if hardware else ""
    size = f"{len(report.nodes)} node{'s' * (len(report.nodes) != 1)}{on}"
    drew = f"drew {kwh:.{_FIGURES}g} kWh{sure}, {_quality(report)}"
    caused = f"{grams / GRAMS_PER_KILOGRAM:.{_FIGURES}g} kg CO2e, location-based{_where(report, location)}"
    sentences = [f"The run {_plain(report.name)} ({days}, {size}) {drew}.", f"That caused {caused}."]
    if report.market_g is not None:
        sentences.append(f"Market-based: {report.market_g / GRAMS_PER_KILOGRAM:.{_FIGURES}g} kg CO2e.")
    if report.embodied_g is not None:
        sentences.append(
            f"Making the hardware caused {report.embodied_g / GRAMS_PER_KILOGRAM:.{_FIGURES}g} kg CO2e for the time it "
            "was held, which is not part of the figure above."
        )
    if report.gpu_held_s:
        idle = (report.gpu_unused_s or 0.0) / report.gpu_held_s
        sentences.append(f"It held GPUs for {report.gpu_held_s / _SECONDS_PER_HOUR:.1f} GPU hours, {idle:.0%} idle.")
    sentences.append(f"Not covered: {'; '.join(report.not_covered())}.")
    sentences += [_plain(note) for note in report.notes if note.startswith(("SIMULATED", "Only", "This is the part"))]
    return "## Environmental impact\n\n" + " ".join(sentences)


def _quality(report: RunReport) -> str:
    return {
        "measured": "measured by power counters",
        "estimated": "estimated by a model",
        "partly estimated": "measured in part and estimated in part",
    }.get(report.quality, "counted by power counters or a model")


def _where(report: RunReport, location: str) -> str:
    intensity, parts = report.intensity_g_per_kwh, []
    if intensity is not None:
        parts.append(f"at a mean of {intensity:.0f} g/kWh")
    if zones := grids_text(report.grids) or location:
        parts.append(f"grid {_plain(zones)}")
    if report.pue_ratios:
        parts.append("PUE " + ", ".join(f"{ratio:g}" for ratio in report.pue_ratios))
    return f" ({', '.join(parts)})" if parts else ""


def _plain(text: str) -> str:
    """Return ``text`` as Markdown that shows just it."""
    return "".join(f"\\{c}" if c in _MARKDOWN else c for c in _one_line(text))


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


def _day(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).date().isoformat()
    except (ValueError, OverflowError, OSError):
        return "unknown"
