"""Families of the grid, of budgets, and of what energy causes beside operational grams: part of the catalogue."""

from __future__ import annotations

from exporter.exposition.family import AT_TICK, WORKLOAD_LABELS, Family, counter, gauge, info

__all__ = [
    "BUDGET_FAMILIES",
    "GRID_FAMILIES",
    "NODE_FOOTPRINT_FAMILIES",
    "RUN_FOOTPRINT_FAMILIES",
    "WORKLOAD_FOOTPRINT_FAMILIES",
]

_CACHED = "Cached with the value."
_FORECAST = "Cached until the provider has a newer forecast."
_ACCOUNTS = "Integrated tick by tick in the ledger."


def _footprint(subject: str, labels: tuple[str, ...], of: str) -> tuple[Family, ...]:
    """Return the families of market-based grams, water and cost of one kind of thing."""
    return (
        counter(
            f"{subject}_market_emissions_grams_total",
            "grams",
            labels,
            f"Greenhouse gases in grams of CO2 equivalent of {of} by the market-based intensity: a second account, "
            f"never added to the location-based one. {_ACCOUNTS} Absent until such an intensity is known. {AT_TICK}",
            "ledger",
        ),
        counter(
            f"{subject}_water_liters_total",
            "liters",
            labels,
            f"Water that cooling evaporated for {of}: IT energy times WUE, without PUE. {_ACCOUNTS} Absent until a WUE "
            f"is known. {AT_TICK}",
            "ledger",
        ),
        counter(
            f"{subject}_electricity_cost_total",
            "",
            (*labels, "currency"),
            f"Price of the electricity of {of}: energy times PUE times the price of the moment; stays where it is "
            "while the price is negative, and starts at 0 again in another currency. "
            f"{_ACCOUNTS} Absent until a price is configured. {AT_TICK}",
            "ledger",
        ),
    )


NODE_FOOTPRINT_FAMILIES: tuple[Family, ...] = (
    *_footprint("node", (), "the node"),
    gauge(
        "embodied_hardware_grams",
        "grams",
        ("item", "bound"),
        "Greenhouse gases in grams of CO2 equivalent of making a piece of hardware (server, or an accelerator by UUID) "
        "as item: the value that is accounted over its life, and the lowest and highest published; from the "
        "configuration or the tables named in wattribute_embodied_hardware_info. Cached until the hardware changes.",
        "carbon",
    ),
    info(
        "embodied_hardware_info",
        ("item", "model", "source"),
        "Whose figure of making the hardware is accounted. Cached until the hardware changes.",
        "carbon",
    ),
)

WORKLOAD_FOOTPRINT_FAMILIES = _footprint("workload", WORKLOAD_LABELS, "a workload")

RUN_FOOTPRINT_FAMILIES = _footprint("run", ("run",), "a training run on this node")

BUDGET_FAMILIES: tuple[Family, ...] = (
    counter(
        "budget_emissions_grams_total",
        "grams",
        ("budget",),
        "Greenhouse gases in grams of CO2 equivalent of all that a budget selects on this node, of the scopes it is "
        "for, since it was configured; a workload counts once in each budget that selects it. Sum over nodes. "
        f"From the ledger. {AT_TICK}",
        "ledger",
    ),
    gauge(
        "budget_limit_grams",
        "grams",
        ("budget",),
        "Limit of a budget for the whole cluster in its period, or for each run; the same on every node, so taken by "
        "max. From the configuration. Cached until a reload.",
        "ledger",
    ),
    gauge(
        "budget_period_seconds",
        "seconds",
        ("budget",),
        "Rolling time that a budget's limit is for; absent where the limit is per run. From the configuration. Cached "
        "until a reload.",
        "ledger",
    ),
    gauge(
        "budget_selected_workloads",
        "",
        ("budget",),
        "Parts of workloads (by run) that a budget selects on this node now; 0 may be a mistake in its selector. From "
        f"the ledger. {AT_TICK}",
        "ledger",
    ),
    info(
        "budget_run_info",
        ("budget", "run", "scope"),
        "Training runs on this node that a budget with a limit per run is for, and the scopes of their emissions that "
        f"count. From the ledger. {AT_TICK}",
        "ledger",
    ),
)

GRID_FAMILIES: tuple[Family, ...] = (
    gauge(
        "grid_carbon_intensity_fresh_until_timestamp_seconds",
        "seconds",
        ("grid_zone", "signal"),
        "Unix time up to which the carbon intensity may be taken for the present, by its provider's usual delay; "
        f"absent for values that hold for good. {_CACHED}",
        "carbon",
    ),
    gauge(
        "grid_carbon_fallback",
        "",
        (),
        "Whether the intensity in force is another than the first configured provider's, or is past its freshness (1), "
        f"or is what was asked for (0); absent without providers. From the providers' state. {AT_TICK}",
        "carbon",
    ),
    gauge(
        "grid_greenest_start_timestamp_seconds",
        "seconds",
        ("grid_zone", "duration"),
        "Unix time at which work of the given duration would emit least if started then, by the forecast in force; "
        f"from the zone's provider. {_FORECAST}",
        "carbon",
    ),
    gauge(
        "grid_greenest_mean_grams_per_kilowatt_hour",
        "grams_per_kilowatt_hour",
        ("grid_zone", "duration"),
        "Mean carbon intensity over work of the given duration that starts at "
        f"wattribute_grid_greenest_start_timestamp_seconds, by the same forecast. {_FORECAST}",
        "carbon",
    ),
    gauge(
        "electricity_price_per_kilowatt_hour",
        "",
        ("currency",),
        f"Price of a kilowatt-hour now, from the configured tariff; may be negative. {AT_TICK}",
        "carbon",
    ),
    gauge(
        "wue_liters_per_kilowatt_hour",
        "liters_per_kilowatt_hour",
        (),
        "Water that cooling evaporates per kilowatt-hour of IT energy, as configured or published for the cloud "
        "region. Cached until a reload.",
        "carbon",
    ),
)
