"""Who holds how many GPUs now, and for how long so far."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from exporter.attribution.gpu_records import GpuShares
from exporter.ledger.accounts import Account, RunRecord
from exporter.workloads.records import RunKey

__all__ = ["HeldGpus", "book_holdings", "note_most_held"]

HeldGpus = Mapping[RunKey, Mapping[str, bool]]
"""By run, the GPUs it holds (by UUID), and whether nothing ran on them in the last interval."""


def book_holdings(
    gpus: Collection[GpuShares], accounts: Sequence[Account], touch: Callable[[Account], None], *, now_s: float
) -> HeldGpus | None:
    """Add what each of ``accounts`` (by leaf) held of ``gpus``, once ``touch`` knows of it; return who holds what.

    None: no GPU was read, so nobody knows.
    """
    held: dict[RunKey, dict[str, bool]] = {}
    for gpu in gpus:
        for leaf, holding in gpu.holdings.items():
            account = accounts[leaf]
            if gpu.interval_s > 0 and holding.share > 0:
                touch(account)
                account.gpu_born_s = min(account.gpu_born_s, now_s)
                account.gpu[0] += holding.share * gpu.interval_s
                account.gpu[1] += holding.unused_share * gpu.interval_s
                account.gpu[2] += holding.unused_j
            run = account.key.run if account.key else None
            if run is not None and holding.share > 0:
                is_unused = holding.unused_share >= holding.share
                of_run = held.setdefault(run, {})
                of_run[gpu.uuid] = is_unused and of_run.get(gpu.uuid, True)
    return held if any(gpu.is_known for gpu in gpus) else None


def note_most_held(held: HeldGpus | None, models: Mapping[str, str], runs: Mapping[RunKey, RunRecord]) -> None:
    """Note in the records of ``runs``, by model, the most GPUs they ever held at once; ``models`` are by UUID."""
    for key, gpus in (held or {}).items():
        now: dict[str, int] = {}
        for uuid in gpus:
            model = models.get(uuid, "")
            now[model] = now.get(model, 0) + 1
        most = runs[key].gpus
        for model, count in now.items():
            if model and count > most.get(model, 0):
                most[model] = count
