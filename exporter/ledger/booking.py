"""How one interval's shares become joules and grams on accounts. The order of leaves is that of the usage sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from exporter.attribution.records import ComponentShares
from exporter.ledger.accounts import ACTIVE_COLUMN, IDLE_COLUMN, Account
from exporter.ledger.rates import Rates
from exporter.ledger.snapshot import SCOPES

__all__ = ["book_embodied", "book_energy", "book_footprint"]

_OPERATIONAL, _EMBODIED = SCOPES.index("operational"), SCOPES.index("embodied")
_Touch = Callable[[Account], None]


def book_energy(share: ComponentShares, accounts: Sequence[Account], drawn_j: list[float], touch: _Touch) -> None:
    """Add a component's joules to the accounts, and to ``drawn_j``, all joules of each leaf in this interval."""
    active_column, idle_column = ACTIVE_COLUMN.get(share.component), IDLE_COLUMN[share.component]
    per_s = 1 / share.interval_s if share.interval_s > 0 else 0.0
    for i, (account, active_j, idle_j) in enumerate(zip(accounts, share.active_j, share.idle_j, strict=True)):
        joules = active_j + idle_j
        if not joules:
            continue
        touch(account)
        if active_column is not None:
            account.energy_j[active_column] += active_j
        account.energy_j[idle_column] += idle_j
        account.power_w += joules * per_s
        drawn_j[i] += joules


def book_footprint(accounts: Sequence[Account], drawn_j: Sequence[float], rates: Rates) -> Sequence[float]:
    """Add what each leaf's joules caused to its account; return the operational grams by leaf, empty where none."""
    columns = [(i, rate) for i, rate in enumerate(rates.footprint) if rate]
    if columns:
        for account, joules in zip(accounts, drawn_j, strict=True):
            if joules:
                for i, rate in columns:
                    account.footprint[i] += joules * rate
    g_per_j = rates.operational_g
    if not g_per_j:
        return ()
    grams = [joules * g_per_j for joules in drawn_j]
    for account, operational_g in zip(accounts, grams, strict=True):
        account.emissions_g[_OPERATIONAL] += operational_g
    return grams


def book_embodied(accounts: Sequence[Account], embodied_g: Sequence[float], touch: _Touch) -> None:
    """Add what each leaf is charged for the hardware it holds; an empty sequence is nothing."""
    if embodied_g:
        for account, grams in zip(accounts, embodied_g, strict=True):
            if grams:
                touch(account)
                account.emissions_g[_EMBODIED] += grams
