"""What an operator can say about the grid, its price and what was built; the configuration file fills these records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["CarbonSettings", "CostSettings", "EmbodiedSettings", "ProviderKind", "ProviderSettings", "TariffPeriod"]

ProviderKind = Literal[
    "electricity_maps", "watttime", "gb_carbon_intensity", "entsoe", "prometheus", "gateway", "file", "fixed"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSettings:
    """One provider of carbon intensity. Which keys it needs depends on its kind: docs/how-to/live-intensity.md."""

    kind: ProviderKind = "file"
    """Which provider: ``electricity_maps``, ``watttime``, ``gb_carbon_intensity``, ``entsoe``, ``prometheus`` (a
    query to anything that speaks its API), ``gateway`` (the one of this cluster), ``file`` or ``fixed``."""
    signal: Literal["average", "marginal", "market"] = "average"
    """``average`` (location-based) enters emissions and budgets, ``market`` a second account of its own, ``marginal``
    none: it is shown for people who shift load."""
    url: str = ""
    """Base address; empty: the provider's public one. Needed for ``prometheus`` and ``gateway``."""
    key_file: str = ""
    """File that holds the key or token. Read again whenever it changes; never logged."""
    username_file: str = ""
    """File that holds the user name, where the provider has accounts (``watttime``, ``prometheus``)."""
    password_file: str = ""
    """File that holds the password that goes with it."""
    ca_file: str = ""
    """Certificates (PEM) that may sign the server's; empty: those of the system."""
    zone: str = ""
    """The provider's own name of the zone where it differs from ours: a WattTime region, a GB region number from 1 to
    17, an ENTSO-E EIC code. Empty: derived from the grid zone."""
    query: str = ""
    """PromQL that gives one value in g/kWh (``prometheus``). ``$zone`` stands for the grid zone."""
    path: str = ""
    """File with intensities (``file``); format: docs/reference/carbon.md. Watched for changes."""
    intensity_g_per_kwh: float | None = None
    """The value (``fixed``), for example of a contract with ``signal: market``. From 0 to 2000."""
    emission_factors: Literal["lifecycle", "direct"] = "lifecycle"
    """Whether upstream emissions are counted (``electricity_maps``, ``entsoe``)."""
    estimates: bool = True
    """Whether values that the provider itself calls estimated are taken."""
    poll_interval_s: float | None = None
    """Seconds between two questions. None: as often as the provider's data change, at most every 5 minutes. At
    least 30."""
    fresh_for_s: float | None = None
    """Seconds from the start of a value's interval for which it may be taken for the present. None: the provider's
    usual delay. Above 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CarbonSettings:
    """Where the electricity comes from, and what the building adds to it."""

    grid_zone: str = ""
    """The grid that feeds this node: ``DE``, ``US-CAL-CISO``, ``SE-SE3``, a country's name, or a cloud region such as
    ``aws:us-east-1``.

    Empty, because nobody should be charged for a grid that was guessed: emissions are absent until it is set."""
    cloud_provider: str = ""
    """The cloud this node runs in: ``aws``, ``azure``, ``gcp``, ``ovh``, ``ovhcloud`` or ``scaleway``. Needs
    ``cloud_region``; empty outside a cloud."""
    cloud_region: str = ""
    """The provider's own name of the region, for example ``europe-west1``. Gives the zone unless ``grid_zone`` does,
    and the published PUE unless ``pue_ratio`` does."""
    pue_ratio: float | None = None
    """Energy of the facility over energy of its computers (power usage effectiveness). From 1 to 10.

    None: the region's published value, else 1.0, which counts no cooling and no losses."""
    wue_l_per_kwh: float | None = None
    """Litres of water the facility evaporates per kilowatt-hour of IT energy (water usage effectiveness). From 0 to 20.

    None: the region's published value, else water is not counted."""
    intensity_g_per_kwh: float | None = None
    """A fixed carbon intensity in grams of CO2e per kilowatt-hour, from a supplier or an inventory. From 0 to 2000.

    None: the providers below, then the embedded yearly mean of the zone. Average and location-based figures only."""
    providers: Sequence[ProviderSettings] = ()
    """Providers of live intensity in order of preference, for each signal. Empty: nothing is fetched."""
    yearly_fallback: bool = True
    """Whether the embedded yearly mean stands in while no provider has a usable value. Off: emissions stop
    meanwhile."""
    keep_s: float = 86_400.0
    """Seconds after which a provider's last value, once past its freshness, is no longer used. Not negative."""
    lowest_plausible_g_per_kwh: float = 0.0
    """Values of providers below this are refused. From 0 to 2000."""
    highest_plausible_g_per_kwh: float = 2000.0
    """Values of providers above this are refused. From 0 to 2000."""
    reference_zones: Sequence[str] = ()
    """Other zones whose intensity is shown for comparison, by the same providers or the yearly table. At most 50."""
    green_window_s: Sequence[float] = (3600.0, 14_400.0, 43_200.0)
    """Lengths of work in seconds for which the best start is shown where a provider has a forecast. Above 0."""
    cache_path: str | None = None
    """File that keeps the last values over a restart. None: ``carbon.json`` beside the state file. Empty: none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TariffPeriod:
    """A price for a part of the day. Of several that fit, the first counts."""

    start: str = "00:00"
    """Local time ``HH:MM`` from which it holds."""
    end: str = "24:00"
    """Local time ``HH:MM`` up to which it holds; an earlier one than the start is on the next day."""
    days: Sequence[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]] = ()
    """Days of the week on which it starts; empty: all."""
    price_per_kwh: float = 0.0
    """Price of a kilowatt-hour, which may be negative. From -100000 to 100000."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostSettings:
    """What the electricity costs. Without a price, cost is not counted."""

    price_per_kwh: float | None = None
    """Price of a kilowatt-hour at the meter of the facility, wherever no period of the tariff fits. From
    -100000 to 100000."""
    currency: str = "EUR"
    """Three capital letters (ISO 4217)."""
    time_zone: str = "UTC"
    """Time zone of the tariff, for example ``Europe/Berlin``."""
    tariff: Sequence[TariffPeriod] = ()
    """Prices by time of use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbodiedSettings:
    """Emissions of making the hardware, spread evenly over its life and charged by what is held."""

    enabled: bool = False
    """Whether they are counted. Off, because published figures differ by a factor of five: state yours, or be ready
    to quote ours with their range."""
    server_kg: float | None = None
    """Kilograms of CO2e of the server without accelerators. None: a published figure, see docs/reference/carbon.md.
    Not negative."""
    accelerator_kg: float | None = None
    """Kilograms of CO2e of each accelerator. None: the published figure of the model, else of accelerators in general.
    Not negative."""
    lifetime_years: float = 4.0
    """Years over which they are spread. From 0.5 to 30."""
