"""The process table of a simulated node: what it writes into /proc.

Source of the formats: proc_pid_stat(5), proc_pid_status(5), proc_stat(5), proc_cpuinfo(5), proc_meminfo(5).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from exporter.testing.kernel_files import wide
from exporter.units import BYTES_PER_KIBIBYTE, NANOSECONDS_PER_SECOND

__all__ = [
    "CLOCK_TICKS_PER_SECOND",
    "KERNEL_THREAD_FLAG",
    "SimulatedProcess",
    "cpuinfo_text",
    "environ_bytes",
    "meminfo_text",
    "stat_text",
    "status_text",
    "system_stat_text",
]

CLOCK_TICKS_PER_SECOND = 100
KERNEL_THREAD_FLAG = 0x0020_0000
"""PF_KTHREAD of include/linux/sched.h."""
_PAGE_BYTES = 4096
_NS_PER_TICK = NANOSECONDS_PER_SECOND // CLOCK_TICKS_PER_SECOND
_TICK_DIGITS = 10


@dataclass(slots=True, kw_only=True, eq=False)
class SimulatedProcess:
    """One process. ``demand_cpus`` may be changed at any time; everything else by the node's methods.

    Attributes:
        pid: its id.
        command: ``comm``.
        cgroup: path of its control group.
        parent_pid: its parent's id.
        session_id: its session's id.
        start_ticks: start in clock ticks since boot.
        socket: number of the package it runs on.
        run: who is charged in the truth: any name, or None.
        demand_cpus: CPU seconds it uses per second.
        resident_bytes: its memory.
        environment: its variables.
        arguments: its command line.
        is_kernel_thread: whether it is one.
        user_id: its user, or None for the one who made the tree.
        used_ns: CPU nanoseconds it has used.
        reaped_ns: CPU nanoseconds its reaped children had used.
        is_alive: False after its exit.
    """

    pid: int
    command: str
    cgroup: str
    parent_pid: int
    session_id: int
    start_ticks: int
    socket: int
    run: str | None = None
    demand_cpus: float = 0.0
    resident_bytes: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    is_kernel_thread: bool = False
    user_id: int | None = None
    used_ns: int = 0
    reaped_ns: int = 0
    is_alive: bool = True


def stat_text(process: SimulatedProcess) -> bytes:
    """Return ``/proc/PID/stat``: 52 fields, the numbers that grow in fixed width."""
    utime, stime = _split_ticks(process.used_ns)
    cutime, cstime = _split_ticks(process.reaped_ns)
    flags = KERNEL_THREAD_FLAG if process.is_kernel_thread else 0x0040_0000
    fields = [
        *("R" if process.demand_cpus else "S", process.parent_pid, process.session_id, process.session_id, 0, -1),
        *(flags, 0, 0, 0, 0),
        *(wide(ticks, digits=_TICK_DIGITS) for ticks in (utime, stime, cutime, cstime)),
        *(20, 0, 1, 0, process.start_ticks, process.resident_bytes, process.resident_bytes // _PAGE_BYTES),
        *([0] * 28),
    ]
    return f"{process.pid} ({process.command}) {' '.join(map(str, fields))}\n".encode()


def status_text(process: SimulatedProcess) -> str:
    """Return the lines of ``/proc/PID/status`` that tools use most."""
    uid, resident_kb = process.user_id or 0, process.resident_bytes // BYTES_PER_KIBIBYTE
    return (
        f"Name:\t{process.command}\nTgid:\t{process.pid}\nPid:\t{process.pid}\nPPid:\t{process.parent_pid}\n"
        f"Uid:\t{uid}\t{uid}\t{uid}\t{uid}\nVmRSS:\t{resident_kb:8d} kB\nRssAnon:\t{resident_kb:8d} kB\n"
    )


def environ_bytes(environment: Mapping[str, str]) -> bytes:
    """Return ``/proc/PID/environ``."""
    return b"".join(f"{name}={value}\0".encode() for name, value in environment.items())


def system_stat_text(*, busy_ns: int, elapsed_s: float, cpu_count: int, forks: int, boot_s: float) -> bytes:
    """Return ``/proc/stat``; the load is spread evenly over the CPUs."""
    user, system = _split_ticks(busy_ns)
    idle = max(int(elapsed_s * CLOCK_TICKS_PER_SECOND) * cpu_count - user - system, 0)
    lines = [_cpu_line("cpu ", user, system, idle)]
    lines += [_cpu_line(f"cpu{n}", user // cpu_count, system // cpu_count, idle // cpu_count) for n in range(cpu_count)]
    lines += [f"ctxt {wide(forks * 10)}", f"btime {int(boot_s)}", f"processes {wide(forks)}"]
    return ("\n".join([*lines, "procs_running 1", "procs_blocked 0"]) + "\n").encode()


def cpuinfo_text(*, cpu_count: int, sockets: int, model: str) -> str:
    """Return ``/proc/cpuinfo`` of a machine whose CPUs alternate between ``sockets``."""
    vendor = "AuthenticAMD" if "AMD" in model else "GenuineIntel"
    cores = max(cpu_count // sockets, 1)
    blocks = [
        f"processor\t: {cpu}\nvendor_id\t: {vendor}\ncpu family\t: 6\nmodel\t\t: 85\nmodel name\t: {model}\n"
        f"physical id\t: {cpu % sockets}\nsiblings\t: {cores}\ncore id\t\t: {cpu // sockets}\ncpu cores\t: {cores}\n"
        f"flags\t\t: fpu vme sse sse2\n"
        for cpu in range(cpu_count)
    ]
    return "\n".join(blocks) + "\n"


def meminfo_text(memory_bytes: int) -> str:
    """Return the first lines of ``/proc/meminfo``."""
    total_kb = memory_bytes // BYTES_PER_KIBIBYTE
    return f"MemTotal:       {total_kb:8d} kB\nMemFree:        {total_kb:8d} kB\nMemAvailable:   {total_kb:8d} kB\n"


def _split_ticks(used_ns: int) -> tuple[int, int]:
    """Return user and system ticks; both grow, and their sum is the whole ticks of ``used_ns``."""
    ticks = used_ns // _NS_PER_TICK
    return ticks - ticks // 8, ticks // 8


def _cpu_line(name: str, user: int, system: int, idle: int) -> str:
    numbers = (user, 0, system, idle, 0, 0, 0, 0, 0, 0)
    return f"{name} {' '.join(wide(number, digits=_TICK_DIGITS) for number in numbers)}"
