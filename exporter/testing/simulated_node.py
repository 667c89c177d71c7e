"""A whole node on disk whose true energy is known: fake /proc, /sys and cgroup trees, advanced in time.

Build one on an empty directory, give the agent its ``roots`` and ``clock``, let processes run with ``advance``, and
compare what the agent says with ``truth``. Energy is idle watts per package plus joules per CPU second, exactly; the
files show it as the kernel would, in whole microjoules, nanoseconds and clock ticks.

    node = SimulatedNode(tmp_path, packages=[RaplPackage(idle_w=60), RaplPackage(idle_w=60)])
    rank = node.spawn("python3", cgroup="/jobs/a", run="a", demand_cpus=1.0, environment={"RANK": "0"})
    node.advance(5.0)
    assert node.truth.run_active_j["a"] == pytest.approx(25.0)

``python -m exporter.testing DIRECTORY`` runs one in real time, for an agent process to be pointed at.
"""

from __future__ import annotations

import os
import uuid
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from exporter.host import Roots
from exporter.testing.fake_clock import FakeClock
from exporter.testing.kernel_files import create_text, overwrite, remove_tree
from exporter.testing.simulated_cgroups import CgroupLayout, SimulatedCgroups
from exporter.testing.simulated_power import PlatformMeter, RaplPackage, RaplZone
from exporter.testing.simulated_processes import (
    CLOCK_TICKS_PER_SECOND,
    SimulatedProcess,
    cpuinfo_text,
    environ_bytes,
    meminfo_text,
    stat_text,
    status_text,
    system_stat_text,
)
from exporter.units import MICROJOULES_PER_JOULE, NANOSECONDS_PER_SECOND

__all__ = ["SimulatedNode", "Truth"]

_KTHREADD_PID = 2
_FIRST_PID = 300
_FIRST_PID_NAMESPACE = 0xEFFF_FFFC
_DEFAULT_MODEL = "Intel(R) Xeon(R) Gold 6248 CPU @ 2.50GHz"


@dataclass(slots=True)
class Truth:
    """Where the joules above idle really went, and the CPU seconds that drew them.

    Attributes:
        run_active_j: by the ``run`` that each process was spawned with; processes without one are not in it.
        cgroup_active_j: by the control group the process was in itself, removed groups included.
        run_cpu_s: CPU seconds by run.
        cgroup_cpu_s: CPU seconds by control group.
        idle_j: joules drawn without load.
        active_j: all joules above idle, packages and dram.
    """

    run_active_j: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    cgroup_active_j: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    run_cpu_s: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    cgroup_cpu_s: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    idle_j: float = 0.0
    active_j: float = 0.0


class SimulatedNode:
    """One machine: processes in control groups on sockets, and the registers that count what they draw.

    Args:
        directory: an empty or missing directory; ``proc``, ``sys`` and ``cgroup`` are made in it.
        packages: the CPU packages, at least one.
        has_rapl: whether the registers are shown; without, the node looks like a virtual machine.
        cpu_count: logical CPUs.
        layout: which cgroup version.
        memory_bytes: installed memory.
        platform_other_w: if given, an ACPI meter shows the whole machine: this much more than the packages draw.
        clock: the node's time; a new ``FakeClock`` if not given.
        boot_id: the kernel's id of this boot.
        model: the CPU's model name.
    """

    def __init__(
        self,
        directory: Path,
        *,
        packages: Sequence[RaplPackage] = (RaplPackage(),),
        has_rapl: bool = True,
        cpu_count: int = 32,
        layout: CgroupLayout = "v2",
        memory_bytes: int = 64 << 30,
        platform_other_w: float | None = None,
        clock: FakeClock | None = None,
        boot_id: str = "",
        model: str = _DEFAULT_MODEL,
    ) -> None:
        self.roots = Roots(procfs=directory / "proc", sysfs=directory / "sys", cgroupfs=directory / "cgroup")
        self.clock = clock or FakeClock()
        self.truth = Truth()
        self.cpu_count = cpu_count
        self.processes: dict[int, SimulatedProcess] = {}
        self._packages = tuple(packages)
        self._sockets = len(self._packages)
        self._started_s = self.clock.monotonic_s()
        self._busy_ns = 0
        self._forks = _FIRST_PID
        self._next_pid = _FIRST_PID
        self._pending_ns: Counter[tuple[str, int, str | None]] = Counter()
        self.roots.procfs.mkdir(parents=True)
        self.roots.sysfs.mkdir()
        self.cgroups = SimulatedCgroups(self.roots.cgroupfs, layout=layout, cpu_count=cpu_count)
        self.zones: dict[str, RaplZone] = {}
        """Energy registers by the kernel's name: ``intel-rapl:0`` is package 0, ``intel-rapl:0:0`` its dram."""
        for socket, package in enumerate(self._packages):
            self._add_zones(directory if has_rapl else directory / "unseen", socket, package)
        self.platform = None if platform_other_w is None else PlatformMeter(self.roots.sysfs, other_w=platform_other_w)
        self._write_machine(model, memory_bytes, boot_id or str(uuid.UUID(int=0x5EED, version=4)))
        self.spawn("systemd", pid=1, parent_pid=0, cgroup="/init.scope", arguments=("/sbin/init",))
        self._join_host_namespace()
        self.spawn("kthreadd", pid=_KTHREADD_PID, parent_pid=0, cgroup="/", is_kernel_thread=True)

    def spawn(
        self,
        command: str,
        *,
        cgroup: str,
        pid: int | None = None,
        parent_pid: int = 1,
        session_id: int | None = None,
        run: str | None = None,
        demand_cpus: float = 0.0,
        resident_bytes: int = 0,
        environment: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
        is_kernel_thread: bool = False,
        user_id: int | None = None,
        socket: int | None = None,
    ) -> SimulatedProcess:
        """Start a process now, in a control group that is made if it does not exist, and return it.

        ``pid`` may be one that was used before: that is how PIDs are reused. ``socket`` is ``pid`` modulo sockets
        unless given. ``run`` is whom the truth charges; the agent does not see it.

        Raises:
            ValueError: a process with this ``pid`` is alive.
        """
        pid = self._free_pid() if pid is None else pid
        if pid in self.processes:
            raise ValueError(f"expected a free pid, {pid} is alive")
        self._forks += 1
        self.cgroups.ensure(cgroup)
        process = SimulatedProcess(
            pid=pid,
            command=command[:15],
            cgroup=cgroup,
            parent_pid=parent_pid,
            session_id=session_id or pid,
            start_ticks=int(self.clock.monotonic_s() * CLOCK_TICKS_PER_SECOND),
            socket=pid % self._sockets if socket is None else socket,
            run=run,
            demand_cpus=demand_cpus,
            resident_bytes=resident_bytes,
            environment=dict(environment or {}),
            arguments=tuple(arguments),
            is_kernel_thread=is_kernel_thread,
            user_id=user_id,
        )
        self.processes[pid] = process
        self.cgroups.hold(cgroup, resident_bytes)
        self._write_new(process)
        self._write_system_stat()
        self.cgroups.write()
        return process

    def exit(self, process: SimulatedProcess) -> None:
        """End a process; its CPU time stays in its control group, and its parent, if alive, reaps it."""
        process.is_alive = False
        del self.processes[process.pid]
        parent = self.processes.get(process.parent_pid)
        if parent is not None:
            parent.reaped_ns += process.used_ns + process.reaped_ns
        if self.cgroups.exists(process.cgroup):
            self.cgroups.hold(process.cgroup, -process.resident_bytes)
        remove_tree(self.roots.procfs / str(process.pid))

    def execute(
        self,
        process: SimulatedProcess,
        command: str,
        *,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Let a process become another program, as execve(2) does: same pid and start time."""
        process.command, process.arguments = command[:15], tuple(arguments)
        process.environment = dict(environment or {})
        self._write_identity(process)

    def move(self, process: SimulatedProcess, cgroup: str) -> None:
        """Move a process to another control group; what it used before stays in the old one."""
        self.cgroups.ensure(cgroup)
        self.cgroups.hold(process.cgroup, -process.resident_bytes)
        self.cgroups.hold(cgroup, process.resident_bytes)
        process.cgroup = cgroup
        overwrite(self.roots.procfs / str(process.pid) / "cgroup", self.cgroups.membership(cgroup).encode())

    def run_and_exit(
        self,
        *,
        cgroup: str,
        cpu_s: float = 0.05,
        count: int = 1,
        run: str | None = None,
        parent: SimulatedProcess | None = None,
    ) -> None:
        """Fork ``count`` processes that use ``cpu_s`` each and are gone before anybody can see them in /proc.

        Their use is booked at the next ``advance``; ``parent``, if given, reaps them.
        """
        self.cgroups.ensure(cgroup)
        self._forks += count
        used_ns = round(cpu_s * NANOSECONDS_PER_SECOND)
        for number in range(count):
            self._pending_ns[cgroup, (self._forks + number) % self._sockets, run] += used_ns
        if parent is not None:
            parent.reaped_ns += used_ns * count

    def advance(self, seconds: float) -> None:
        """Let time pass: processes use CPU, registers count, files follow.

        Raises:
            ValueError: the processes ask for more CPU time than the node's CPUs have.
        """
        if not seconds:
            return
        active_j = [0.0] * self._sockets
        dram_j = [0.0] * self._sockets
        busy_ns = self._busy_ns
        for (cgroup, socket, run), used_ns in self._work_of(seconds).items():
            used_s = used_ns / NANOSECONDS_PER_SECOND
            package = self._packages[socket]
            self._busy_ns += used_ns
            if self.cgroups.exists(cgroup):
                self.cgroups.use(cgroup, used_ns)
            else:
                self.cgroups.use(self._nearest(cgroup), used_ns)
            active_j[socket] += used_s * package.joules_per_cpu_s
            dram_j[socket] += used_s * package.dram_joules_per_cpu_s
            self._charge(cgroup, run, used_s, package)
        if self._busy_ns - busy_ns > seconds * self.cpu_count * NANOSECONDS_PER_SECOND:
            raise ValueError(f"expected at most {self.cpu_count} CPUs to be asked for over {seconds} s")
        self.clock.advance(seconds)
        self._draw(seconds, active_j, dram_j)
        self._write_all()

    def remove_cgroup(self, path: str) -> None:
        """Remove a control group and those below, with the processes that are still in them."""
        for process in [p for p in self.processes.values() if p.cgroup == path or p.cgroup.startswith(f"{path}/")]:
            self.exit(process)
        self.cgroups.remove(path)

    def reboot(self, boot_id: str) -> None:
        """Give the node another boot id; counters and processes stay, which is what a reader must not trust."""
        overwrite(self.roots.procfs / "sys/kernel/random/boot_id", f"{boot_id}\n".encode())

    def hardware_j(self, domain: str = "package") -> float:
        """Return the joules that all registers of one kind (package, dram) really counted since the start."""
        is_dram = domain == "dram"
        counted_uj = sum(zone.counted_uj for name, zone in self.zones.items() if (name.count(":") > 1) == is_dram)
        return counted_uj / MICROJOULES_PER_JOULE

    def _work_of(self, seconds: float) -> Counter[tuple[str, int, str | None]]:
        work = self._pending_ns
        self._pending_ns = Counter()
        for process in self.processes.values():
            if process.demand_cpus:
                used_ns = round(process.demand_cpus * seconds * NANOSECONDS_PER_SECOND)
                process.used_ns += used_ns
                work[process.cgroup, process.socket, process.run] += used_ns
        return work

    def _charge(self, cgroup: str, run: str | None, used_s: float, package: RaplPackage) -> None:
        joules = used_s * (package.joules_per_cpu_s + package.dram_joules_per_cpu_s)
        self.truth.active_j += joules
        self.truth.cgroup_active_j[cgroup] += joules
        self.truth.cgroup_cpu_s[cgroup] += used_s
        if run is not None:
            self.truth.run_active_j[run] += joules
            self.truth.run_cpu_s[run] += used_s

    def _draw(self, seconds: float, active_j: Sequence[float], dram_j: Sequence[float]) -> None:
        before_uj = sum(zone.counted_uj for zone in self.zones.values())
        for socket, package in enumerate(self._packages):
            self.zones[f"intel-rapl:{socket}"].draw(package.idle_w * seconds + active_j[socket])
            self.truth.idle_j += (package.idle_w + (package.dram_idle_w or 0.0)) * seconds
            if package.dram_idle_w is not None:
                self.zones[f"intel-rapl:{socket}:0"].draw(package.dram_idle_w * seconds + dram_j[socket])
        if self.platform:
            drawn_uj = sum(zone.counted_uj for zone in self.zones.values()) - before_uj
            self.platform.show(self.platform.other_w + drawn_uj / MICROJOULES_PER_JOULE / seconds)

    def _nearest(self, cgroup: str) -> str:
        while not self.cgroups.exists(cgroup or "/"):
            cgroup = cgroup.rpartition("/")[0]
        return cgroup or "/"

    def _free_pid(self) -> int:
        while self._next_pid in self.processes:
            self._next_pid += 1
        self._next_pid += 1
        return self._next_pid - 1

    def _add_zones(self, directory: Path, socket: int, package: RaplPackage) -> None:
        name = f"intel-rapl:{socket}"
        self.zones[name] = RaplZone(
            directory / "sys",
            name,
            f"package-{socket}",
            range_uj=package.range_uj,
            idle_w=package.idle_w,
            joules_per_cpu_s=package.joules_per_cpu_s,
            start_uj=package.start_uj + socket,
        )
        if package.dram_idle_w is not None:
            self.zones[f"{name}:0"] = RaplZone(
                directory / "sys",
                f"{name}:0",
                "dram",
                range_uj=package.range_uj,
                idle_w=package.dram_idle_w,
                joules_per_cpu_s=package.dram_joules_per_cpu_s,
                start_uj=socket,
            )
            self.zones[name].children.append(self.zones[f"{name}:0"])

    def _write_machine(self, model: str, memory_bytes: int, boot_id: str) -> None:
        procfs = self.roots.procfs
        create_text(procfs / "cpuinfo", cpuinfo_text(cpu_count=self.cpu_count, sockets=self._sockets, model=model))
        create_text(procfs / "meminfo", meminfo_text(memory_bytes))
        create_text(procfs / "sys/kernel/random/boot_id", f"{boot_id}\n")
        create_text(procfs / "sys/kernel/hostname", "simulated\n")
        (procfs / "self").symlink_to("1")

    def _join_host_namespace(self) -> None:
        """Show PID 1, which ``self`` is, in the process namespace that the kernel made at boot."""
        namespaces = self.roots.procfs / "1/ns"
        namespaces.mkdir()
        (namespaces / "pid").symlink_to(f"pid:[{_FIRST_PID_NAMESPACE}]")

    def _write_new(self, process: SimulatedProcess) -> None:
        path = self.roots.procfs / str(process.pid)
        path.mkdir()
        if process.user_id is not None and os.geteuid() == 0:
            os.chown(path, process.user_id, process.user_id)
        create_text(path / "cgroup", self.cgroups.membership(process.cgroup))
        pages = process.resident_bytes // os.sysconf("SC_PAGE_SIZE")
        create_text(path / "statm", f"{pages} {pages} 0 0 0 0 0\n")
        self._write_identity(process)

    def _write_identity(self, process: SimulatedProcess) -> None:
        path = self.roots.procfs / str(process.pid)
        overwrite(path / "comm", f"{process.command}\n".encode())
        overwrite(path / "environ", environ_bytes(process.environment))
        overwrite(path / "cmdline", b"".join(f"{argument}\0".encode() for argument in process.arguments))
        overwrite(path / "status", status_text(process).encode())
        overwrite(path / "stat", stat_text(process))

    def _write_all(self) -> None:
        for process in self.processes.values():
            if process.demand_cpus or process.reaped_ns:
                overwrite(self.roots.procfs / str(process.pid) / "stat", stat_text(process))
        self.cgroups.write()
        self._write_system_stat()
        for zone in self.zones.values():
            zone.write()

    def _write_system_stat(self) -> None:
        elapsed_s = self.clock.monotonic_s()
        text = system_stat_text(
            busy_ns=self._busy_ns,
            elapsed_s=elapsed_s,
            cpu_count=self.cpu_count,
            forks=self._forks,
            boot_s=self.clock.wall_s() - elapsed_s,
        )
        overwrite(self.roots.procfs / "stat", text)
        overwrite(self.roots.procfs / "uptime", f"{elapsed_s:018.2f} {elapsed_s:018.2f}\n".encode())
