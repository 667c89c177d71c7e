"""Carbon intensity of production, computed from ENTSO-E's generation per type and factors by fuel.

Owns the question (document A75, process A16; ENTSO-E Transparency Platform, RESTful API guide, 2026) and the
arithmetic: the mean of the factors, weighted by the megawatts of an hour. Imports are not seen. The newest hours are
incomplete, and types report at different times: an hour counts only if every type that generated in the hours before it
reports for all of it, because a type that is missing is not a type that stands still.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from urllib.parse import quote, quote_plus

from exporter.carbon.place import Place
from exporter.carbon.providers.answers import get, reading, refuse_future, user_agent, utc_text, without_secrets
from exporter.carbon.providers.credentials import KeyFile
from exporter.carbon.providers.entsoe_document import SLOT_S, Acknowledgement, Generation, parse_document
from exporter.carbon.providers.fuel_factors import OTHER, factors
from exporter.carbon.providers.tempo import fresh_for_s
from exporter.carbon.providers.zones import asked_zone
from exporter.carbon.records import IntensityPoint, IntensitySeries, ZoneQuery
from exporter.carbon.settings import ProviderSettings
from exporter.errors import ProviderError
from exporter.web_client import WebClient

__all__ = ["EntsoeClient", "hourly_intensity"]

_SOURCE = "entsoe"
_URL = "https://web-api.tp.entsoe.eu/api"
_HOUR_S = 3600
_SLOTS_PER_HOUR = _HOUR_S // SLOT_S
_WINDOW_S = 24 * _HOUR_S
_BAN_S = 600.0
"""Who asks more than 400 times a minute is shut out for ten minutes."""
_NO_DATA = "999"
_TIME = "%Y%m%d%H%M"


class EntsoeClient:
    """Asks ENTSO-E's Transparency Platform.

    Args:
        settings: ``key_file``; may have ``url``, ``ca_file``, ``zone`` (an EIC code) and ``emission_factors``.
        place: the node's, whose zone ``settings.zone`` translates.
        timeout_s: seconds for a request as a whole; the server can be slow.
    """

    provider = _SOURCE

    def __init__(self, settings: ProviderSettings, place: Place, *, timeout_s: float = 30.0) -> None:
        self._settings = settings
        self._place = place
        self._fresh_for_s = fresh_for_s(settings)
        self._key = KeyFile(settings.key_file, source=_SOURCE)
        self._factors = factors(settings.emission_factors)
        self._web = WebClient(
            settings.url or _URL, user_agent=user_agent(), ca_file=settings.ca_file, timeout_s=timeout_s
        )

    def credentials_changed(self) -> bool:
        """Return whether the token differs from the one last sent."""
        return self._key.has_changed()

    def fetch(self, query: ZoneQuery, *, now_s: float) -> IntensitySeries:
        """Return the complete hours of the last day; there is no forecast. Raises ``ProviderError``."""
        if query.signal != "average":
            raise ProviderError(_SOURCE, "not_found", f"{_SOURCE} offers the average signal only, not {query.signal}")
        area = asked_zone(self._settings, query.grid_zone, self._place)
        points = tuple(hourly_intensity(self._ask(area, now_s), self._factors))
        if not points:
            raise ProviderError(_SOURCE, "not_found", f"{_SOURCE} has no complete hour of {area} in the last day")
        refuse_future(_SOURCE, points[-1].from_s, now_s)
        return IntensitySeries(
            grid_zone=query.grid_zone,
            signal="average",
            provider=_SOURCE,
            basis=f"production-{self._settings.emission_factors}",
            points=points,
            fresh_until_s=points[-1].from_s + self._fresh_for_s,
            fetched_s=now_s,
            note=f"ENTSO-E Transparency Platform, generation per type of {area}, own computation, without imports",
        )

    def _ask(self, area: str, now_s: float) -> Generation:
        """Return what was generated in ``area`` in the day before ``now_s``."""
        token = self._key.read()
        hour_s = now_s // _HOUR_S * _HOUR_S
        parameters = {
            "securityToken": token,
            "documentType": "A75",
            "processType": "A16",
            "in_Domain": area,
            "periodStart": utc_text(hour_s - _WINDOW_S, _TIME),
            "periodEnd": utc_text(hour_s + _HOUR_S, _TIME),
        }
        secrets = (token, quote(token), quote_plus(token))
        try:
            body = get(self._web, _SOURCE, "", parameters, secrets=secrets, statuses=(200, 400), now_s=now_s)
        except ProviderError as exc:
            if exc.reason == "rate_limited":
                exc.retry_after_s = max(exc.retry_after_s or 0.0, _BAN_S)
            raise
        with reading(_SOURCE, secrets):
            document = parse_document(body)
        if isinstance(document, Acknowledgement):
            reason = "not_found" if document.code == _NO_DATA else "format"
            text = without_secrets(document.text, secrets)
            raise ProviderError(_SOURCE, reason, f"{_SOURCE} has no data for {area}: {text}")
        if document.areas - {area}:
            found = min(document.areas - {area})[:20]
            raise ProviderError(_SOURCE, "wrong_zone", f"{_SOURCE} was asked for {area} and answered for {found!r}")
        return document


def hourly_intensity(generation: Generation, factor_of: Mapping[str, float | None]) -> Iterator[IntensityPoint]:
    """Yield the intensity of every hour that is complete, in order of time.

    Args:
        generation: megawatts by type and slot.
        factor_of: grams per kilowatt-hour by type; None: the type is left out; types without a factor count as other.
    """
    hours = _hourly_means(generation, factor_of)
    running: set[str] = set()
    for at, hour in enumerate(sorted(hours)):
        reported = hours[hour]
        # Of the first hour nobody knows what is missing.
        if (at or len(hours) == 1) and running <= reported.keys():
            intensity = _mean(reported.values())
            if intensity is not None:
                yield IntensityPoint(float(hour * _HOUR_S), float((hour + 1) * _HOUR_S), intensity, is_estimated=True)
        running |= {kind for kind, (megawatts, _) in reported.items() if megawatts > 0}


def _hourly_means(
    generation: Generation, factor_of: Mapping[str, float | None]
) -> Mapping[int, Mapping[str, tuple[float, float]]]:
    """Return by hour since the epoch and type, of the hours that a type reports for as a whole: megawatts, factor."""
    parts: dict[int, dict[str, list[float]]] = {}
    for kind, slots in generation.megawatts.items():
        for slot, megawatts in slots.items():
            parts.setdefault(slot // _SLOTS_PER_HOUR, {}).setdefault(kind, []).append(megawatts)
    return {
        hour: {
            kind: (sum(mw) / _SLOTS_PER_HOUR, factor)
            for kind, mw in kinds.items()
            if len(mw) == _SLOTS_PER_HOUR and (factor := factor_of.get(kind, factor_of[OTHER])) is not None
        }
        for hour, kinds in parts.items()
    }


def _mean(weighed: Collection[tuple[float, float]]) -> float | None:
    """Return the mean of factors weighted by megawatts, or None where nothing was generated."""
    total_mw = sum(mw for mw, _ in weighed)
    return sum(mw * factor for mw, factor in weighed) / total_mw if total_mw > 0 else None
