"""The accounts: running totals per leaf, snapshots of them, and their state on disk.

What needs SQLite is imported from ``exporter.ledger.store`` and ``exporter.ledger.history`` by those who use it.
"""

from exporter.ledger.ledger import Ledger
from exporter.ledger.saved import SavedState, StateChanges
from exporter.ledger.settings import LedgerSettings
from exporter.ledger.snapshot import (
    ENERGY_COLUMNS,
    FOOTPRINT_COLUMNS,
    GPU_COLUMNS,
    SCOPES,
    AgentStats,
    BudgetTotals,
    ComponentTotals,
    GpuHolder,
    GpuTotals,
    ProcessTotals,
    RunTotals,
    Scope,
    Snapshot,
    WorkloadTotals,
)

__all__ = [
    "ENERGY_COLUMNS",
    "FOOTPRINT_COLUMNS",
    "GPU_COLUMNS",
    "SCOPES",
    "AgentStats",
    "BudgetTotals",
    "ComponentTotals",
    "GpuHolder",
    "GpuTotals",
    "Ledger",
    "LedgerSettings",
    "ProcessTotals",
    "RunTotals",
    "SavedState",
    "Scope",
    "Snapshot",
    "StateChanges",
    "WorkloadTotals",
]
