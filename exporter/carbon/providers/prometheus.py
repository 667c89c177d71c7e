"""A value out of Prometheus, or of anything that speaks its API: ``GET {url}/api/v1/query?query=…``.

Format: Prometheus documentation, "HTTP API", sections "Instant queries" and "Expression query result formats". The
query must give one sample, in grams per kilowatt-hour, as a scalar or a vector; its timestamp is the time for which
it was evaluated. A series that went stale gives no sample, so the age of the value is known to Prometheus's look-back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from exporter.carbon.providers import answers
from exporter.carbon.providers.credentials import KeyFile
from exporter.carbon.records import IntensityPoint, IntensitySeries, ZoneQuery
from exporter.carbon.settings import ProviderSettings
from exporter.errors import ProviderError
from exporter.web_client import WebClient

__all__ = ["PrometheusClient", "parse_sample"]

_FRESH_FOR_S = 900.0


class PrometheusClient:
    """Asks one server, with a bearer token or a user name and password from files, or without any."""

    provider = "prometheus"

    def __init__(self, settings: ProviderSettings) -> None:
        self._settings = settings
        self._web = WebClient(settings.url, user_agent=answers.user_agent(), ca_file=settings.ca_file)
        self._fresh_for_s = settings.fresh_for_s or _FRESH_FOR_S
        paths = {
            "token": settings.key_file,
            "user name": settings.username_file,
            "password": settings.password_file,
        }
        self._keys = {what: KeyFile(path, source=self.provider, what=what) for what, path in paths.items() if path}

    def credentials_changed(self) -> bool:
        """Return whether a file holds another secret than at the last question."""
        return any(key.has_changed() for key in self._keys.values())

    def fetch(self, query: ZoneQuery, *, now_s: float) -> IntensitySeries:
        """Return the one sample that the query gives now, true until there is another. Raises ``ProviderError``."""
        secrets = {what: key.read() for what, key in self._keys.items()}
        zone = query.grid_zone.replace("\\", "\\\\").replace('"', '\\"').replace("'", "\\'")
        try:
            body = answers.get(
                self._web,
                self.provider,
                "/api/v1/query",
                {"query": self._settings.query.replace("$zone", zone)},
                headers=_authorization(secrets),
                secrets=[*secrets.values(), *_authorization(secrets).values()],
                now_s=now_s,
            )
        except ProviderError as exc:
            if exc.reason != "not_found":
                raise
            # 400 is a mistake in the query, 404 another server's address: no zone is looked up here.
            raise ProviderError(self.provider, "format", str(exc), retry_after_s=exc.retry_after_s) from None
        with answers.reading(self.provider):
            sample = parse_sample(answers.parse_json(body))
        if sample is None:
            raise ProviderError(self.provider, "not_found", f"the query gives no sample for {query.grid_zone}")
        at_s, grams = sample
        return IntensitySeries(
            grid_zone=query.grid_zone,
            signal=query.signal,
            provider=self.provider,
            basis="as-configured",
            points=(IntensityPoint(at_s, math.inf, grams),),
            fresh_until_s=at_s + self._fresh_for_s,
            fetched_s=now_s,
            note="query of the configuration (carbon.providers)",
        )


def _authorization(secrets: Mapping[str, str]) -> dict[str, str]:
    if "token" in secrets:
        return {"Authorization": f"Bearer {secrets['token']}"}
    if "user name" in secrets and "password" in secrets:
        import base64

        pair = f"{secrets['user name']}:{secrets['password']}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode('ascii')}"}
    return {}


def parse_sample(document: object) -> tuple[float, float] | None:
    """Return time (Unix seconds) and value of the answer's one sample, or None where it has none.

    Raises:
        MalformedError: it is not an answer of this API, has several samples, or a value that is no finite number.
    """
    answer = answers.record_of(document, "answer")
    if answer.get("status") != "success":
        said = answers.clean(str(answer.get("error", "")))
        raise answers.MalformedError(f"expected status success, found {str(answer.get('status'))[:20]!r} {said}")
    data = answers.record_of(answer.get("data"), "data")
    kind = data.get("resultType")
    if kind == "scalar":
        return _sample(data.get("result"))
    if kind != "vector":
        raise answers.MalformedError(f"expected a scalar or a vector, found {str(kind)[:20]!r}; use an instant query")
    result = answers.items_of(data.get("result"), "result")
    if len(result) > 1:
        raise answers.MalformedError(f"expected one sample, found {len(result)}; aggregate, or select with $zone")
    return _sample(answers.record_of(result[0], "sample").get("value")) if result else None


def _sample(value: object) -> tuple[float, float]:
    match value:
        case [int() | float() as at_s, str(text)] if not isinstance(at_s, bool):
            try:
                grams = float(text)
                at_s = float(at_s)
            except (ValueError, OverflowError):
                grams = math.nan
            if math.isfinite(grams) and math.isfinite(at_s):
                return at_s, grams
    raise answers.MalformedError(f"expected one finite value with its time, found {str(value)[:60]!r}")
