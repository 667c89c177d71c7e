"""The accounts: running totals per leaf, snapshots of them, and their state on disk."""

from exporter.ledger.history import History, PastRun
from exporter.ledger.ledger import Ledger
from exporter.ledger.saved import SavedState, StateChanges
from exporter.ledger.settings import LedgerSettings
from exporter.ledger.snapshot import (
    ENERGY_COLUMNS,
    SCOPES,
    AgentStats,
    ComponentTotals,
    ProcessTotals,
    RunTotals,
    Scope,
    Snapshot,
    WorkloadTotals,
)
from exporter.ledger.store import Store

__all__ = [
    "ENERGY_COLUMNS",
    "SCOPES",
    "AgentStats",
    "ComponentTotals",
    "History",
    "Ledger",
    "LedgerSettings",
    "PastRun",
    "ProcessTotals",
    "RunTotals",
    "SavedState",
    "Scope",
    "Snapshot",
    "StateChanges",
    "Store",
    "WorkloadTotals",
]
