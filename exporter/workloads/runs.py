"""Which process belongs to which training run: the join of cgroups, the process tree and the environment.

Pure over ``ProcessFacts``: no files, no clock. Order of trust: an administrator's rule, the user's own annotation or
variable, what controls its pod in Kubernetes, a batch system's job by its cgroup or its step daemon, a launcher's run,
launch variables, the parent, and last a recognised launcher alone. A key once given is never changed: later and better
knowledge only improves the facts. The cost of adding is the depth of the tree plus the processes whose run changes.
See docs/explanation/identity.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from exporter.workloads.facts import ProcessFacts
from exporter.workloads.records import RunFacts, RunKey
from exporter.workloads.rules import RunSettings
from exporter.workloads.run_jobs import Job, JobIndex, decides_key
from exporter.workloads.run_keys import (
    WINDOW_S,
    AddressReuses,
    Claim,
    RankClaim,
    claim_by_name,
    claim_job,
    claim_launch,
    claim_pod,
    claim_rank,
    is_contained,
    is_rank_zero_of,
    job_mismatch,
    make_key,
)
from exporter.workloads.run_members import Member, Run

__all__ = ["RunTable"]

_ANCESTORS = 64
_ADOPTING_KINDS = frozenset({"pod", "container", "slurm_job", "pbs_job", "lsf_job", "unit", "user_unit"})
_ADOPTED_RANK_STRENGTH = 8


class RunTable:
    """The runs on this node; one per agent, used by one thread.

    ``boot_id`` and ``hostname`` make node-local keys unique; ``user_name`` gives a uid's login name or "";
    if other users' environments are not ``environment_readable``, nothing is waited for.
    """

    def __init__(
        self,
        settings: RunSettings,
        *,
        boot_id: str,
        hostname: str,
        user_name: Callable[[int], str],
        environment_readable: bool = True,
    ) -> None:
        self._settings = settings
        self._environment_readable = environment_readable
        self._node_parts = ("local", boot_id, hostname)
        self._user_name = user_name
        self._nodes: dict[int, Member] = {}
        self._children: dict[int, set[int]] = {}
        self._runs: dict[RunKey, Run] = {}
        self._by_signature: dict[tuple[object, ...], Run] = {}
        self._jobs = JobIndex()
        self._reuses = AddressReuses()
        self._ended: dict[RunKey, RunFacts] = {}
        self._facts: dict[RunKey, RunFacts] = {}
        self._dirty: set[RunKey] = set()
        self._conflicts: dict[str, int] = {}

    def add(self, process: ProcessFacts) -> set[int]:
        """Take in a process, or new facts of a known one; return the pids whose run or rank may have changed.

        Look at young processes twice, even if nothing changed: a launcher whose children say nothing of a run
        at the second look becomes a run of its own. Adding the same facts again changes nothing else.
        """
        changed: set[int] = set()
        node = self._place(process, changed)
        parent = self._parent(node)
        self._set_job(node, self._jobs.find(process, parent.job if parent is not None else None))
        run = self._find_run(node, changed)
        if node.is_adopted and run is node.run and process.line.wrapper:
            return changed
        if run is not None:
            self._assign(node, run, changed)
            self._adopt_upwards(node, changed)
        elif node.run is not None:
            self._unassign(node, changed)
        else:
            self._join_children(node, changed)
        return changed

    def remove(self, pid: int, start_ticks: int) -> set[int]:
        """Forget a process that is gone; return further pids whose run or rank may have changed."""
        node = self._nodes.get(pid)
        if node is None or node.facts.start_ticks != start_ticks:
            return set()
        changed: set[int] = set()
        self._unassign(node, changed)
        self._set_job(node, None)
        self._unlink(node)
        del self._nodes[pid]
        changed.discard(pid)
        return changed

    def run_of(self, pid: int) -> RunKey | None:
        """Return the run of a process, or None."""
        node = self._nodes.get(pid)
        return node.run.key if node is not None and node.run is not None else None

    def rank_of(self, pid: int) -> str:
        """Return the rank of a process, or an empty string; of several that claim one, the oldest has it."""
        node = self._nodes.get(pid)
        if node is None or node.run is None or not node.run.holds(pid, node.place.rank):
            return ""
        return node.place.rank

    def facts(self) -> Mapping[RunKey, RunFacts]:
        """Return the facts of the runs that are alive; the same object while nothing changed."""
        if self._dirty:
            fresh = dict(self._facts)
            for key in sorted(self._dirty):
                fresh.pop(key, None)
                if key in self._runs:
                    fresh[key] = self._runs[key].facts(self._user_text)
            self._facts = fresh
            self._dirty.clear()
        return self._facts

    def ended(self) -> Sequence[RunFacts]:
        """Return the runs whose last process was removed since the previous call, and that did not come back."""
        ended = [facts for key, facts in self._ended.items() if key not in self._runs]
        self._ended.clear()
        return ended

    def conflicts(self) -> Mapping[str, int]:
        """Return what contradicted itself since the previous call: ``job`` (environment against cgroup), ``rank``."""
        conflicts, self._conflicts = self._conflicts, {}
        return conflicts

    def job_ids(self) -> Mapping[str, str]:
        """Return the Slurm job id by SLUID, for the jobs on this node whose step daemon shows both."""
        return self._jobs.ids()

    def _place(self, process: ProcessFacts, changed: set[int]) -> Member:
        node = self._nodes.get(process.pid)
        if node is not None and node.facts.start_ticks != process.start_ticks:
            changed.add(process.pid)
            changed |= self.remove(process.pid, node.facts.start_ticks)
            node = None
        if node is None:
            node = Member(process, claim_rank(process))
            self._nodes[process.pid] = node
            self._note_conflicts(node)
        else:
            self._replace(node, process, changed)
        self._children.setdefault(process.parent_pid, set()).add(process.pid)
        return node

    def _replace(self, node: Member, process: ProcessFacts, changed: set[int]) -> None:
        node.was_seen_twice = True
        if node.facts == process:
            return
        moved = node.facts.cgroup.place != process.cgroup.place
        spoke = node.facts.environment != process.environment or node.facts.line != process.line
        told = node.facts.cgroup.pod != process.cgroup.pod
        self._unlink(node)
        if moved:
            self._unassign(node, changed)
            self._set_job(node, None)
        node.facts = process
        if spoke or told:
            if node.run is not None:
                node.run.leave(process.pid, node.place.rank)
            node.place = claim_rank(process)
        if spoke:
            self._note_conflicts(node)

    def _unlink(self, node: Member) -> None:
        siblings = self._children.get(node.facts.parent_pid)
        if siblings is not None:
            siblings.discard(node.facts.pid)
            if not siblings:
                del self._children[node.facts.parent_pid]

    def _note_conflicts(self, node: Member) -> None:
        process = node.facts
        job = process.cgroup
        if job.job_system:
            mismatch = job_mismatch(self._jobs.id_of(job.job_id), job.job_system, process)
        else:
            mismatch = is_contained(process) and "SLURM_JOB_ID" in (process.environment or {})
        for reason, is_so in (("job", mismatch), ("rank", node.place.is_bad)):
            if is_so:
                self._conflicts[reason] = self._conflicts.get(reason, 0) + 1

    def _set_job(self, node: Member, job: Job | None) -> None:
        self._jobs.move(node.facts, node.job, job)
        node.job = job

    def _parent(self, node: Member) -> Member | None:
        """Return the parent if it is known and in the same workload: nothing is inherited across workloads."""
        parent = self._nodes.get(node.facts.parent_pid)
        if parent is None or parent is node or parent.facts.cgroup.place != node.facts.cgroup.place:
            return None
        return parent

    def _ancestors(self, node: Member) -> Iterator[Member]:
        parent = self._parent(node)
        for _ in range(_ANCESTORS):
            if parent is None:
                return
            yield parent
            parent = self._parent(parent)

    def _find_run(self, node: Member, changed: set[int]) -> Run | None:
        """Return the run by the first of the sources of identity that says something; the order is the trust."""
        process = node.facts
        user = self._user_name(process.uid) if self._settings.rules and process.uid >= 0 else ""
        named = claim_by_name(process, self._settings, user)
        if named is not None and (named.identity == "rule" or not process.cgroup.is_pending):
            return self._run_by_claim(node, named)
        if process.cgroup.is_pending:
            return node.run
        controlled = claim_pod(process, self._settings)
        if controlled is not None:
            return self._run_by_claim(node, controlled)
        if node.job is not None:
            return self._run_by_job(node, node.job, changed)
        return self._find_launched(node, changed)

    def _find_launched(self, node: Member, changed: set[int]) -> Run | None:
        """Return the run by the launch, for a process that no rule, user or job names; what it has stays."""
        process = node.facts
        claim = claim_launch(process, self._settings)
        if node.run is not None and not node.is_adopted and claim == node.claim:
            return node.run
        launcher = next((above for above in self._ancestors(node) if above.facts.line.launcher), None)
        if launcher is not None and launcher.run is not None and not launcher.is_adopted:
            node.claim = claim
            return launcher.run
        if claim is not None:
            return self._run_by_claim(node, claim)
        node.claim = None
        parent = self._parent(node)
        if parent is not None and parent.run is not None and not parent.is_adopted:
            return parent.run
        return node.run or self._run_by_launcher(node, changed)

    def _run_by_claim(self, node: Member, claim: Claim) -> Run:
        node.claim = claim
        if not claim.is_windowed:
            return self._open(make_key(claim.text), claim, None)
        signature: tuple[object, ...] = (claim.text, node.facts.cgroup.place) if claim.is_local else (claim.text,)
        active = self._by_signature.get(signature)
        if active is not None:
            return active
        if claim.is_local:
            return self._open(self._local_key(self._anchor(node)), claim, signature)
        window = int(node.facts.started_s // WINDOW_S)
        incarnation = self._reuses.of(claim.text, window)
        run = self._open(make_key((*claim.text, str(window), str(incarnation))), claim, signature)
        run.window = window
        return run

    def _anchor(self, node: Member) -> Member:
        """Return the topmost process that is the run's own: the launcher, Lightning's rank 0, else the process."""
        launchers = [above for above in self._ancestors(node) if above.facts.line.launcher]
        parent = self._parent(node)
        if launchers:
            return launchers[-1]
        return parent if parent is not None and is_rank_zero_of(parent.facts, node.facts) else node

    def _local_key(self, node: Member) -> RunKey:
        return make_key((*self._node_parts, str(node.facts.pid), str(node.facts.start_ticks)))

    def _open(self, key: RunKey, claim: Claim, signature: tuple[object, ...] | None) -> Run:
        run = self._runs.get(key)
        if run is None:
            run = Run(key=key, claim=claim)
            self._runs[key] = run
        if signature is not None:
            run.signatures.add(signature)
            self._by_signature[signature] = run
        return run

    def _run_by_job(self, node: Member, job: Job, changed: set[int]) -> Run | None:
        """Return the job's run; its key is decided by its first task, and until then its processes wait."""
        run = self._by_signature.get(job)
        if run is not None:
            return run
        if not decides_key(node.facts, job, environment_readable=self._environment_readable):
            self._jobs.wait(job, node.facts.pid)
            return None
        claim = claim_job(job, node.facts, self._settings, self._jobs.id_of(job[1]))
        run = self._open(make_key(claim.text), claim, job)
        for pid in self._jobs.take_waiting(job) - {node.facts.pid}:
            self._assign(self._nodes[pid], run, changed)
        return run

    def _run_by_launcher(self, node: Member, changed: set[int]) -> Run | None:
        """Start a node-local run at the topmost launcher, once nothing better is to be expected."""
        line = node.facts.line
        if self._environment_readable and (line.launcher or line.wrapper or not node.was_seen_twice):
            return None
        chain = [above for above in (node, *self._ancestors(node)) if above.facts.line.launcher]
        if not chain:
            return None
        root = chain[-1]
        key = self._local_key(root)
        claim = Claim("process_tree", (key,), framework=root.facts.line.launcher)
        run = self._run_below(root) or self._open(key, claim, None)
        self._assign(root, run, changed)
        return run

    def _run_below(self, node: Member) -> Run | None:
        """Return the run of a child that made its own before its parent was known."""
        for pid in self._children.get(node.facts.pid, ()):
            child = self._nodes[pid]
            if child.run is not None and not child.is_adopted and self._parent(child) is node:
                return child.run
        return None

    def _join_children(self, node: Member, changed: set[int]) -> None:
        """Bring in a process that became known after its children."""
        for pid in tuple(self._children.get(node.facts.pid, ())):
            child = self._nodes[pid]
            if node.run is None and child.run is not None and self._parent(child) is node:
                self._adopt_upwards(child, changed)

    def _adopt_upwards(self, node: Member, changed: set[int]) -> None:
        """Bring in what launched the run: launchers for good, wrappers while the run lasts."""
        run = node.run
        below = node
        for above in self._ancestors(node):
            if run is None or above.run is not None or above.job is not None:
                return
            if above.facts.line.launcher:
                self._assign(above, run, changed)
            elif above.facts.line.wrapper and above.facts.cgroup.workload.kind in _ADOPTING_KINDS:
                self._assign(above, run, changed, is_adopted=True)
            elif is_rank_zero_of(above.facts, below.facts):
                rank = "0" if (below.facts.environment or {}).get("NODE_RANK") == "0" else ""
                above.place = RankClaim(rank, None, _ADOPTED_RANK_STRENGTH)
                self._assign(above, run, changed)
            else:
                return
            below = above

    def _assign(self, node: Member, run: Run, changed: set[int], *, is_adopted: bool = False) -> None:
        """Make the process a member, and with it all below it that have no run of their own."""
        stack = [node]
        while stack:
            self._join(current := stack.pop(), run, changed, is_adopted=is_adopted)
            if is_adopted:
                return
            for pid in self._children.get(current.facts.pid, ()):
                child = self._nodes[pid]
                is_free = child.run is None or child.is_adopted
                if is_free and child.job == current.job and self._parent(child) is current:
                    stack.append(child)

    def _join(self, node: Member, run: Run, changed: set[int], *, is_adopted: bool) -> None:
        pid = node.facts.pid
        if node.run is not run or node.is_adopted != is_adopted:
            self._unassign(node, changed, successor=run)
            changed.add(pid)
        node.run, node.is_adopted = run, is_adopted
        changed |= run.join(node.facts, node.place, is_adopted=is_adopted)
        self._runs[run.key] = run
        self._dirty.add(run.key)

    def _unassign(self, node: Member, changed: set[int], *, successor: Run | None = None) -> None:
        run = node.run
        if run is None:
            return
        run.leave(node.facts.pid, node.place.rank)
        node.run, node.is_adopted = None, False
        changed.add(node.facts.pid)
        self._dirty.add(run.key)
        if not run.members and run is not successor:
            self._close(run, changed)

    def _close(self, run: Run, changed: set[int]) -> None:
        for pid in tuple(run.adopted):
            wrapper = self._nodes[pid]
            wrapper.run, wrapper.is_adopted = None, False
            changed.add(pid)
        run.adopted.clear()
        del self._runs[run.key]
        for signature in run.signatures:
            del self._by_signature[signature]
        if run.claim.is_windowed and not run.claim.is_local:
            self._reuses.count(run.claim.text, run.window)
        self._ended[run.key] = run.facts(self._user_text, is_alive=False)

    def _user_text(self, uid: int) -> str:
        return (self._user_name(uid) or str(uid)) if self._settings.user_names else ""
