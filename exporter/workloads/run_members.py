"""One run on this node: who belongs to it, who holds which rank, and what is told of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from exporter.workloads.facts import PodLaunch, ProcessFacts
from exporter.workloads.records import RunFacts, RunKey
from exporter.workloads.run_jobs import Job
from exporter.workloads.run_keys import Claim, RankClaim, framework_order, is_contained, recognise_framework
from exporter.workloads.text import clean_text

__all__ = ["Member", "Run"]

_NAMED, _NAMED_BY_SCRIPT, _NAMED_BY_WRAPPER = 0, 1, 2
_SHORT_KEY = 6
_ACCOUNT_VARIABLE = "SLURM_JOB_ACCOUNT"


@dataclass(slots=True, kw_only=True)
class Run:
    """A run while it lives on this node.

    Attributes:
        key: its key, which never changes.
        claim: what the key was made of.
        signatures: where later processes with the same claim find it.
        members: pids that hold it alive.
        adopted: pids of wrappers that belong to it as long as it has members.
        window: number of the start window that its key was made with.
    """

    key: RunKey
    claim: Claim
    signatures: set[tuple[object, ...]] = field(default_factory=set)
    members: set[int] = field(default_factory=set)
    adopted: set[int] = field(default_factory=set)
    window: int = 0
    _framework: str = ""
    _names: dict[int, str] = field(default_factory=dict)
    _uid: int = -1
    _pod_uid: str = ""
    _account: str = ""
    _pod: PodLaunch | None = None
    _started_s: float | None = None
    _world: tuple[int, int] | None = None
    _candidates: dict[str, dict[int, tuple[int, int, int]]] = field(default_factory=dict)
    _holders: dict[str, int] = field(default_factory=dict)

    def join(self, process: ProcessFacts, place: RankClaim, *, is_adopted: bool) -> set[int]:
        """Take a process in, or take its new facts; return pids that gained or lost a rank."""
        (self.adopted if is_adopted else self.members).add(process.pid)
        if is_adopted:
            return set()
        self._learn(process)
        if place.world_size is not None:
            found = (place.strength, -place.world_size)
            self._world = found if self._world is None else min(self._world, found)
        if not place.rank:
            return set()
        order = (place.strength, process.start_ticks, process.pid)
        self._candidates.setdefault(place.rank, {})[process.pid] = order
        return self._settle(place.rank)

    def leave(self, pid: int, rank: str) -> None:
        """Forget a process that held or wanted ``rank``."""
        self.members.discard(pid)
        self.adopted.discard(pid)
        if rank in self._candidates and self._candidates[rank].pop(pid, None) is not None:
            self._settle(rank)

    def holds(self, pid: int, rank: str) -> bool:
        """Return whether the process is the one that counts as the rank."""
        return self._holders.get(rank) == pid

    def _settle(self, rank: str) -> set[int]:
        wanting = self._candidates[rank]
        before = self._holders.pop(rank, None)
        if not wanting:
            del self._candidates[rank]
            return set()
        after = min(wanting, key=lambda pid: wanting[pid])
        self._holders[rank] = after
        return {pid for pid in (before, after) if pid is not None and before != after}

    def _learn(self, process: ProcessFacts) -> None:
        start = process.started_s
        self._started_s = start if self._started_s is None else min(self._started_s, start)
        framework = recognise_framework(process)
        if framework and (not self._framework or framework_order(framework) < framework_order(self._framework)):
            self._framework = framework
        if process.line.script:
            self._names.setdefault(_NAMED_BY_WRAPPER if process.line.wrapper else _NAMED_BY_SCRIPT, process.line.script)
        if self._uid <= 0 <= process.uid:
            self._uid = process.uid
        self._pod_uid = self._pod_uid or process.cgroup.pod_uid
        if not self._account and not is_contained(process):
            self._account = (process.environment or {}).get(_ACCOUNT_VARIABLE, "")
        self._pod = process.cgroup.pod or self._pod

    def facts(self, user: Callable[[int], str], *, is_alive: bool = True) -> RunFacts:
        """Return what is known now; ``user`` gives the text for a uid."""
        claim = self.claim
        framework = (claim.framework if claim.identity == "rule" else "") or self._framework or claim.framework
        names = {_NAMED: claim.name, **self._names} if claim.name else self._names
        name = names[min(names)] if names else f"{framework or 'run'}-{self.key[:_SHORT_KEY]}"
        return RunFacts(
            key=self.key,
            name=clean_text(name),
            framework=clean_text(framework),
            namespace=clean_text(claim.namespace),
            owner=clean_text(claim.owner or (self._pod.owner if self._pod else "") or self._pod_uid),
            user=clean_text(user(self._uid)) if self._uid >= 0 else "",
            world_size=None if self._world is None else -self._world[1],
            ranks=len(self._holders),
            identity=claim.identity,
            started_s=self._started_s or 0.0,
            is_alive=is_alive,
            account=clean_text(self._account),
            queue=self._pod.queue if self._pod else "",
            team=self._pod.team if self._pod else "",
        )


@dataclass(slots=True)
class Member:
    """A process in the table: what is known of it, what it says of its run, and which run it is in.

    Attributes:
        facts: what the reader saw.
        place: what it says of its rank.
        claim: what it says of its run.
        job: the batch job it is in.
        run: its run.
        is_adopted: whether it is a wrapper that belongs to the run only while that has other members.
        was_seen_twice: whether it was looked at again after it was new.
    """

    facts: ProcessFacts
    place: RankClaim
    claim: Claim | None = None
    job: Job | None = None
    run: Run | None = None
    is_adopted: bool = False
    was_seen_twice: bool = False
