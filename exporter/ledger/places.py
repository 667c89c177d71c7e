"""Where a run ran on this node, and on what: what a report says beside its totals."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

from exporter.carbon.records import CarbonState

__all__ = ["NO_PLACE", "RunPlace", "moved", "place_from_json", "place_now", "place_to_json"]


class RunPlace(NamedTuple):
    """The node around a run, as it was when the run was last alive.

    Attributes:
        cpu_model: the CPU in the kernel's words, or empty.
        grid_zone: the zone of the average intensity in force, or empty.
        pue_ratio: facility energy over IT energy, or None where it was not noted.
        currency: what the run's cost is in, or empty.
        is_cost_whole: False if the cost began again at zero, in another currency.
        is_pue_constant: False if the PUE changed while the run was seen.
        is_market_counted: whether a market-based intensity was ever known.
        is_water_counted: whether a water usage effectiveness was ever known.
    """

    cpu_model: str = ""
    grid_zone: str = ""
    pue_ratio: float | None = None
    currency: str = ""
    is_cost_whole: bool = True
    is_pue_constant: bool = True
    is_market_counted: bool = False
    is_water_counted: bool = False


NO_PLACE = RunPlace()


def place_now(before: RunPlace, carbon: CarbonState, *, currency: str) -> RunPlace:
    """Return this node as it is now; zone and PUE are the last that entered emissions."""
    now = before._replace(
        currency=currency,
        is_market_counted=carbon.market is not None,
        is_water_counted=carbon.wue_l_per_kwh is not None,
    )
    if carbon.average is None:
        return now
    return now._replace(grid_zone=carbon.average.grid_zone, pue_ratio=carbon.pue_ratio)


def moved(before: RunPlace, now: RunPlace) -> RunPlace:
    """Return the place of a run that was at ``before`` and is at ``now``, with what has changed on the way."""
    if before == now:
        return before
    has_other_pue = before.pue_ratio is not None and before.pue_ratio != now.pue_ratio
    return now._replace(
        is_cost_whole=before.is_cost_whole,
        is_pue_constant=before.is_pue_constant and not has_other_pue,
        is_market_counted=before.is_market_counted or now.is_market_counted,
        is_water_counted=before.is_water_counted or now.is_water_counted,
    )


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
        is_cost_whole=known.get("is_cost_whole", True) is not False,
        is_pue_constant=known.get("is_pue_constant", True) is not False,
        is_market_counted=known.get("is_market_counted") is True,
        is_water_counted=known.get("is_water_counted") is True,
    )
    return place, {str(model): int(count) for model, count in dict(known.get("gpus", {})).items()}
