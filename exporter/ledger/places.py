"""Where a run ran on this node, and on what: what a report says beside its totals."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

from exporter.carbon.records import CarbonState

__all__ = ["NO_PLACE", "RunPlace", "place_from_json", "place_now", "place_to_json"]


class RunPlace(NamedTuple):
    """The node around a run, as it was when the run was last alive.

    Attributes:
        cpu_model: the CPU in the kernel's words, or empty.
        grid_zone: the zone of the average intensity in force, or empty.
        pue_ratio: facility energy over IT energy, or None where it was not noted.
        currency: what the run's cost is in, or empty.
    """

    cpu_model: str = ""
    grid_zone: str = ""
    pue_ratio: float | None = None
    currency: str = ""


NO_PLACE = RunPlace()


def place_now(before: RunPlace, carbon: CarbonState, *, currency: str) -> RunPlace:
    """Return this node as it is now; zone and PUE are the last that entered emissions."""
    if carbon.average is None:
        return before._replace(currency=currency)
    return RunPlace(before.cpu_model, carbon.average.grid_zone, carbon.pue_ratio, currency)


def place_to_json(place: RunPlace, gpus: Mapping[str, int]) -> str:
    """Return both as the text of the state file; ``gpus`` is by model, the most that were held at once."""
    return json.dumps({**place._asdict(), "gpus": dict(gpus)})


def place_from_json(text: str) -> tuple[RunPlace, dict[str, int]]:
    """Return what ``place_to_json`` wrote; what an older version did not know is unknown.

    Raises:
        ValueError, TypeError: the text is no JSON object of this form.
    """
    known = json.loads(text or "{}")
    if not isinstance(known, dict):
        raise TypeError(f"expected an object, read {text[:40]!r}")
    pue_ratio = known.get("pue_ratio")
    place = RunPlace(
        cpu_model=str(known.get("cpu_model", "")),
        grid_zone=str(known.get("grid_zone", "")),
        pue_ratio=None if pue_ratio is None else float(pue_ratio),
        currency=str(known.get("currency", "")),
    )
    return place, {str(model): int(count) for model, count in dict(known.get("gpus", {})).items()}
