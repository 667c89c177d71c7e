"""Who used the node: the process table, the control groups and the runs, joined into leaves once per tick.

Cost is in system calls and grows with change: groups whose parents did not change are not read, processes are looked
at when they are new, and only those of runs (or outside of any group) are read one by one.
"""

from __future__ import annotations

import os
import pwd
import resource
import socket
from collections.abc import Collection, Mapping
from functools import lru_cache

from exporter.clock import Clock
from exporter.errors import SourceFormatError
from exporter.health import SourceEvent
from exporter.host import Roots
from exporter.workloads.access import Access, probe_access, workload_findings
from exporter.workloads.cgroup_files import choose_hierarchy
from exporter.workloads.cgroup_paths import classify_cgroup
from exporter.workloads.cgroup_tree import CgroupNode, CgroupTree
from exporter.workloads.facts import CgroupIdentity
from exporter.workloads.gpu_claims import GpuClaims
from exporter.workloads.gpu_users import GpuUsers
from exporter.workloads.kubernetes.pod_devices import PodDevices
from exporter.workloads.kubernetes.pod_names import PodNames
from exporter.workloads.leaf_places import LeafPlaces
from exporter.workloads.memory import memory_total_bytes, refresh_memory, requested_cores, resident_by_leaf
from exporter.workloads.namespaces import CgroupPaths
from exporter.workloads.process import Process
from exporter.workloads.process_table import ProcessTable
from exporter.workloads.procfs import NodeStat, parse_node_stat
from exporter.workloads.records import LeafUsage, ProcessUsage, RunFacts, RunKey, UsageSample, WorkloadId
from exporter.workloads.rules import RunSettings
from exporter.workloads.runs import RunTable
from exporter.workloads.settings import WorkloadSettings
from exporter.workloads.tracked import TrackedProcesses
from exporter.workloads.usage import Leaf, LeafSeconds, UsageSplitter, leaf_of, split_without_groups

__all__ = ["WorkloadCollector"]

_TICKS_PER_S = 100
"""USER_HZ: what /proc counts in on every Linux architecture that runs this agent."""
_STAT_BYTES = 1 << 16
_REFRESH_TICKS = 12
_MEMORY_READS_PER_TICK = 200


class WorkloadCollector:
    """Implements ``WorkloadSampler`` on the kernel's own files. Not thread-safe: one loop calls it."""

    def __init__(
        self,
        roots: Roots,
        clock: Clock,
        settings: WorkloadSettings,
        runs: RunSettings | None = None,
        *,
        pods: PodNames | None = None,
        pod_devices: PodDevices | None = None,
    ) -> None:
        self._roots = roots
        self._procfs = str(roots.procfs)
        self._clock = clock
        self._settings = settings
        self._access: Access = probe_access(roots)
        run_settings = runs or RunSettings()
        descriptors = int(resource.getrlimit(resource.RLIMIT_NOFILE)[0] * 0.3)
        self._users = lru_cache(maxsize=1024)(_user_name)
        self._pods = pods
        self._runs = RunTable(
            run_settings,
            boot_id=roots.boot_id(),
            hostname=socket.gethostname(),
            user_name=self._users,
            environment_readable=self._access.environments,
        )
        hierarchy = choose_hierarchy(roots.cgroupfs)
        self._tree: CgroupTree | None = None
        if hierarchy is not None:
            self._tree = CgroupTree(
                hierarchy,
                classify=self._classify,
                max_cgroups=settings.max_cgroups,
                max_descriptors=descriptors,
            )
        self._paths = CgroupPaths(roots, self._tree)
        self._table = ProcessTable(
            self._procfs,
            clock,
            locate=self._locate,
            runs=self._runs,
            run_settings=run_settings,
            ticks_per_s=_TICKS_PER_S,
            budget_s=settings.new_process_budget_s,
        )
        self._tracked = TrackedProcesses(
            self._procfs,
            ticks_per_s=_TICKS_PER_S,
            max_processes=settings.max_tracked_processes,
            max_descriptors=descriptors,
        )
        self._gpu_users = GpuUsers(self._table, self._runs.rank_of)
        self._pod_devices = pod_devices
        self._gpu_claims = GpuClaims(
            roots, classify=self._classify, run_identity=self._run_identity, pod_devices=pod_devices
        )
        self._splitter = UsageSplitter()
        self._idle: list[LeafUsage] = []
        self._index: dict[Leaf, int] = {}
        self._leaves_are_of: tuple[int, int] = (-1, -1)
        self._members_version = 0
        self._memory_total_bytes = memory_total_bytes(self._procfs)
        self._tick = 0
        self._sampled_at_s: float | None = None
        self._walked_at_s = clock.monotonic_s()
        self._node_stat: NodeStat | None = None
        self._descriptor = -1

    def sample(self, *, with_memory: bool, gpu_pids: Collection[int] = ()) -> UsageSample:
        """Return who used the node since the previous call; the first call only sets the baselines."""
        self._tick += 1
        previous_s, now_s = self._sampled_at_s, self._clock.monotonic_s()
        self._sampled_at_s = now_s
        events: list[SourceEvent] = []
        busy_s, forks = self._read_node(events)
        self._refresh(now_s, previous_s, forks, gpu_pids)
        used = self._tree.sample() if self._tree else []
        tracked, lost = self._tracked.read(tick=self._tick)
        for process in lost:
            self._table.remove(process)
        seconds = self._splitter.split(used, tracked)
        if self._tree is None or not self._tree.has_root_usage:
            seconds = self._without_root(seconds, tracked, busy_s)
        if previous_s is None:
            seconds, tracked = LeafSeconds({}, 0.0), []
        resident = self._resident(now_s) if with_memory and self._tree else {}
        leaves, index = self._leaf_usages(seconds, resident)
        processes = self._process_usages(tracked, index)
        places = LeafPlaces(leaves, index)
        gpu_users = self._gpu_users.users(places)
        self._gpu_claims.refresh(self._table.processes.values(), now_s=now_s)
        gpu_claims = self._gpu_claims.claims(places, users=self._gpu_users.leaves())
        runs = self._run_facts()
        self._settle()
        self._count_events(events)
        cpu_count = self._access.cpu_count
        return UsageSample(
            interval_s=0.0 if previous_s is None else now_s - previous_s,
            cpu_count=cpu_count,
            busy_cpu_s=busy_s if previous_s is not None else 0.0,
            system_cpu_s=seconds.system_s,
            memory_total_bytes=self._memory_total_bytes,
            leaves=leaves,
            processes=processes,
            runs=runs,
            gpu_users=gpu_users,
            gpu_claims=gpu_claims,
            labels=self._pods.labels if self._pods else {},
            pods=self._pods.facts if self._pods else (),
            events=events,
            findings=[
                *workload_findings(self._access, self._table, self._tree, wall_s=self._clock.wall_s()),
                *(self._pods.findings() if self._pods else ()),
                *(self._pod_devices.findings() if self._pod_devices else ()),
            ],
        )

    def close(self) -> None:
        """Release every descriptor."""
        self._tracked.close()
        if self._pods:
            self._pods.close()
        if self._pod_devices:
            self._pod_devices.close()
        if self._tree:
            self._tree.close()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _read_node(self, events: list[SourceEvent]) -> tuple[float, int]:
        """Return busy CPU seconds since the last tick, and how many processes were ever created."""
        try:
            if self._descriptor < 0:
                self._descriptor = os.open(f"{self._procfs}/stat", os.O_RDONLY | os.O_CLOEXEC)
            stat = parse_node_stat(os.pread(self._descriptor, _STAT_BYTES, 0))
        except (OSError, SourceFormatError) as exc:
            events.append(
                SourceEvent("process_table", "error", "format" if isinstance(exc, SourceFormatError) else "io")
            )
            return 0.0, -self._tick
        before, self._node_stat = self._node_stat, stat
        return max(stat.busy_ticks - before.busy_ticks, 0) / _TICKS_PER_S if before else 0.0, stat.forks

    def _refresh(self, now_s: float, previous_s: float | None, forks: int, gpu_pids: Collection[int]) -> None:
        if self._tree:
            is_due = now_s - self._walked_at_s >= self._settings.rescan_interval_s
            self._walked_at_s = now_s if is_due else self._walked_at_s
            self._tree.refresh(walk=is_due)
        self._table.refresh(tick=self._tick, forks=forks, previous_s=previous_s)
        self._gpu_users.look(gpu_pids, tick=self._tick, previous_s=previous_s)
        self._name_pods()
        self._settle()

    def _locate(self, cgroup_raw: bytes) -> tuple[CgroupNode | None, CgroupIdentity]:
        """Return the group that accounts for a process, and whose the process is: any hierarchy may tell of a job."""
        path = self._paths.resolve(cgroup_raw) or "/"
        node = self._tree.find(path) if self._tree else None
        identity = node.identity if node is not None and node.path == path else self._classify(path)
        if not (identity.job_system or identity.pod_uid or identity.container_id):
            others = map(self._classify, self._paths.others(cgroup_raw))
            identity = next((other for other in others if other.job_system), identity)
        return node, identity

    def _classify(self, path: str) -> CgroupIdentity:
        identity = classify_cgroup(path, user_name=self._users)
        if self._pods and identity.pod_uid:
            return self._pods.name(identity)
        job_id = self._runs.job_ids().get(identity.job_id) if identity.job_system == "slurm" else None
        return _named(identity, job_id) if job_id else identity

    def _settle(self) -> None:
        """Bring groups' members and the tracking up to date with what the tables learned."""
        if self._table.gone or self._table.changed:
            self._gpu_claims.note_change()
        self._gpu_users.lose(self._table.gone)
        for gone in self._table.gone:
            self._count(gone, None)
            self._tracked.lose(gone)
        self._table.gone.clear()
        changed, self._table.changed = self._table.changed, set()
        for pid in changed:
            process = self._table.processes.get(pid)
            if process is not None and process.facts is not None:
                process.run = self._runs.run_of(pid)
                self._count(process, process.node)
                if process.run is not None or process.node is None or process.node.parent is None:
                    self._tracked.track(process, tick=self._tick)
                else:
                    self._tracked.drop(process)

    def _count(self, process: Process, node: CgroupNode | None) -> None:
        after = None if node is None else (node, process.run)
        if process.membership == after:
            return
        self._members_version += 1
        if process.membership is not None:
            group, run = process.membership
            group.members[run] -= 1
            if not group.members[run]:
                del group.members[run]
            _note_owner(group)
        process.membership = after
        if node is not None:
            node.members[process.run] = node.members.get(process.run, 0) + 1
            _note_owner(node)

    def _without_root(self, seconds: LeafSeconds, tracked: list[tuple[Process, float]], busy_s: float) -> LeafSeconds:
        if self._tree is None:
            return split_without_groups(tracked, busy_s=busy_s)
        return seconds._replace(system_s=max(busy_s - sum(seconds.leaves_s.values()), 0.0))

    def _leaf_usages(
        self, seconds: LeafSeconds, resident: Mapping[Leaf, float]
    ) -> tuple[list[LeafUsage], dict[Leaf, int]]:
        version = (self._tree.version if self._tree else 0, self._members_version)
        if version != self._leaves_are_of or self._tick % _REFRESH_TICKS == 0 or resident:
            self._leaves_are_of = version
            self._idle = [
                LeafUsage(leaf.workload, leaf.run, 0.0, resident.get(leaf, 0.0), max(cores, 0.0))
                for leaf, cores in self._alive_leaves().items()
            ]
            self._index = {Leaf(usage.workload, usage.run): i for i, usage in enumerate(self._idle)}
        leaves, index = self._idle.copy(), self._index
        for leaf, cpu_s in seconds.leaves_s.items():
            place = index.get(leaf)
            if place is not None:
                leaves[place] = leaves[place]._replace(cpu_s=cpu_s)
            else:
                leaves.append(LeafUsage(leaf.workload, leaf.run, cpu_s))
        return leaves, index

    def _alive_leaves(self) -> dict[Leaf, float]:
        """Return every leaf that has a live process, with the CPUs reserved for it."""
        self._name_jobs()
        leaves: dict[Leaf, float] = {}
        for node in self._tree.nodes.values() if self._tree else ():
            if node.parent is None:
                continue
            if node.requested_cores < 0 and self._tree:
                node.requested_cores = requested_cores(self._tree.hierarchy, node, cpu_count=self._access.cpu_count)
            runs = node.members or ({node.owner: 1} if node.used_ns and not node.children else {})
            for run in runs:
                leaf = Leaf(node.identity.workload, run)
                leaves[leaf] = max(leaves.get(leaf, 0.0), node.requested_cores)
        for process in self._tracked.processes():
            leaves.setdefault(leaf_of(process), 0.0)
        return leaves

    def _name_jobs(self) -> None:
        """Give jobs whose path shows only Slurm's unique id the job id that their step daemon tells."""
        ids = self._runs.job_ids()
        for node in self._tree.nodes.values() if self._tree and ids else ():
            job_id = ids.get(node.identity.job_id)
            if job_id and node.identity.workload.name != job_id:
                node.identity = _named(node.identity, job_id)

    def _name_pods(self) -> None:
        """Give groups and processes of pods the names that became known, and ask for those that are not."""
        pods, nodes = self._pods, self._tree.nodes if self._tree else {}
        version = self._tree.version if self._tree else self._tick
        if pods is None or not pods.is_due(version):
            return
        pods.begin(version)
        uids: set[str] = set()
        for node in nodes.values():
            if node.identity.pod_uid:
                uids.add(node.identity.pod_uid)
                node.identity = pods.name(node.identity)
        uids |= self._table.rename(pods.name)
        self._members_version += 1
        pods.finish(uids)

    def _resident(self, now_s: float) -> Mapping[Leaf, float]:
        assert self._tree is not None  # noqa: S101 - the caller checked; for the type checker
        nodes = self._tree.nodes.values()
        refresh_memory(
            self._tree.hierarchy,
            nodes,
            now_s=now_s,
            interval_s=self._settings.memory_interval_s,
            most=_MEMORY_READS_PER_TICK,
        )
        return resident_by_leaf(nodes)

    def _process_usages(self, tracked: list[tuple[Process, float]], index: Mapping[Leaf, int]) -> list[ProcessUsage]:
        limit = self._settings.max_training_processes
        used_s = {process.pid: cpu_s for process, cpu_s in tracked}
        members = [process for process in self._tracked.processes() if process.run is not None]
        ranked = [(process, self._runs.rank_of(process.pid)) for process in members]
        if len(ranked) > limit:
            ranked.sort(key=lambda entry: (not entry[1], entry[0].start_ticks, entry[0].pid))
        usages = []
        for process, rank in ranked[:limit]:
            leaf = index.get(leaf_of(process))
            if leaf is not None and process.run is not None:
                usages.append(ProcessUsage(leaf, process.run, rank, process.pid, used_s.get(process.pid, 0.0)))
        return usages

    def _run_identity(self, run: RunKey) -> str:
        facts = self._runs.facts().get(run)
        return facts.identity if facts is not None else ""

    def _run_facts(self) -> Mapping[RunKey, RunFacts]:
        alive, ended = self._runs.facts(), self._runs.ended()
        return {**{facts.key: facts for facts in ended}, **alive} if ended else alive

    def _count_events(self, events: list[SourceEvent]) -> None:
        for reason, count in self._runs.conflicts().items():
            events.append(SourceEvent("identity", "error", f"{reason}_conflict", count))
        if self._table.errors:
            events.append(SourceEvent("process_table", "error", "io", self._table.errors))
            self._table.errors = 0
        if self._table.is_truncated:
            events.append(SourceEvent("process_table", "error", "truncated"))
        events += self._pods.take_events() if self._pods else []
        events += self._pod_devices.take_events() if self._pod_devices else []
        errors = self._tree.take_errors() if self._tree else 0
        if errors:
            events.append(SourceEvent("cgroups", "error", "format", errors))


def _note_owner(node: CgroupNode) -> None:
    """Remember whose a group is as long as it has processes, for what shows after the last one has gone."""
    if node.members:
        node.owner = next(iter(node.members)) if len(node.members) == 1 else None


def _named(identity: CgroupIdentity, job_id: str) -> CgroupIdentity:
    return identity._replace(workload=WorkloadId("slurm_job", "", job_id))


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return ""
