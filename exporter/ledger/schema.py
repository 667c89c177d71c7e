"""The tables of the state file. Column names carry units; the order of the totals is that of ``ENERGY_COLUMNS``."""

from exporter.ledger.snapshot import ENERGY_COLUMNS, FOOTPRINT_COLUMNS, GPU_COLUMNS, SCOPES

__all__ = ["ENERGY_NAMES", "GRAM_NAMES", "MIGRATIONS", "SCHEMA", "SCHEMA_VERSION", "TOTALS"]

SCHEMA_VERSION = 3
ENERGY_NAMES = tuple(f"{component}_{mode}_j" for component, mode in ENERGY_COLUMNS)
GRAM_NAMES = tuple(f"{scope}_g" for scope in SCOPES)

TOTALS = (*ENERGY_NAMES, *GRAM_NAMES, *GPU_COLUMNS, *FOOTPRINT_COLUMNS)
"""The columns of an account, as ``leaf`` and ``run`` have them."""

_ENERGY = ", ".join(f"{name} REAL NOT NULL DEFAULT 0" for name in ENERGY_NAMES)
_TOTALS = ", ".join(f"{name} REAL NOT NULL DEFAULT 0" for name in TOTALS)

SCHEMA = f"""
CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS leaf(kind TEXT, namespace TEXT, name TEXT, container TEXT, run TEXT, {_TOTALS},
    PRIMARY KEY(kind, namespace, name, container, run)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS process(run TEXT, rank TEXT, pid INTEGER, {_ENERGY},
    PRIMARY KEY(run, rank, pid)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS component(component TEXT PRIMARY KEY, totals TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS unattributed(component TEXT, reason TEXT, energy_j REAL NOT NULL,
    PRIMARY KEY(component, reason)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS emissions(scope TEXT PRIMARY KEY, emissions_g REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS footprint(name TEXT PRIMARY KEY, amount REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS budget(name TEXT PRIMARY KEY, emissions_g REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS event(kind TEXT, source TEXT, reason TEXT, amount REAL NOT NULL,
    PRIMARY KEY(kind, source, reason)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS domain(source TEXT, domain TEXT, device TEXT, raw TEXT NOT NULL, read_at_s REAL NOT NULL,
    total_j REAL NOT NULL, PRIMARY KEY(source, domain, device)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS learned(component TEXT PRIMARY KEY, weight_s REAL, mean_busy_ratio REAL, mean_power_w REAL,
    busy_spread REAL, power_spread REAL, joint_spread REAL, lowest_power_w REAL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS gpu_floor(gpu_uuid TEXT PRIMARY KEY, bare_w REAL, bare_observed_s REAL, context_w REAL,
    context_observed_s REAL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS run(id INTEGER PRIMARY KEY, key TEXT NOT NULL, boot_id TEXT NOT NULL, started_s REAL,
    seen_s REAL, ended_s REAL, is_live INTEGER NOT NULL DEFAULT 1, facts TEXT, {_TOTALS},
    place TEXT NOT NULL DEFAULT '{{}}');
CREATE INDEX IF NOT EXISTS run_by_key ON run(key);
CREATE INDEX IF NOT EXISTS run_by_time ON run(seen_s);
PRAGMA user_version = {SCHEMA_VERSION};
"""


def _added(names: tuple[str, ...]) -> str:
    return "".join(
        f"ALTER TABLE {table} ADD COLUMN {name} REAL NOT NULL DEFAULT 0;\n"
        for table in ("leaf", "run")
        for name in names
    )


MIGRATIONS = {
    1: _added(GPU_COLUMNS),
    2: _added(FOOTPRINT_COLUMNS) + "ALTER TABLE run ADD COLUMN place TEXT NOT NULL DEFAULT '{}';\n",
}
"""What brings a file of the version in the key to the next one, before ``SCHEMA`` adds the tables that are new."""
