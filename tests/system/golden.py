"""The machines of the golden scrapes, built by the simulated node, and the command that accepts their pages.

``python -m tests.system.golden`` writes ``tests/golden/*.prom`` again; review the diff before committing.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from exporter.node import GpuFactory, hardware_gpus
from exporter.sensors.gpu.gpu_set import GpuSet
from exporter.testing import AMD_RANGE_UJ, FakeClock, RaplPackage, SimulatedGpuDriver, SimulatedNode
from exporter.testing.__main__ import demo_node
from exporter.testing.demo import Demo
from tests.system.accounts import open_accounts, page_of, settings_for

__all__ = ["GOLDEN", "MACHINES", "page_after_a_minute"]

GOLDEN = Path(__file__).parent.parent / "golden"
_CHANGING = re.compile(r"^(wattribute_(?:tick_duration_seconds|build_info)\b.*) \S+$", re.MULTILINE)
_OF_THE_MACHINE = re.compile(r'\b(version|user)="[^"]*"')
_VALUE = re.compile(r"^(wattribute_\S+(?:.*\})?) (\S+)$", re.MULTILINE)
_NOBODY = 59_999
"""A user id without a name on any machine that runs the tests."""


def _training_node(directory: Path) -> SimulatedNode:
    """Two Intel-like sockets with memory domains, cgroup v2, one training run, one pod, services."""
    return demo_node(directory, clock=FakeClock())[0]


def _plain_amd(directory: Path) -> SimulatedNode:
    """One AMD socket without memory domain, cgroup v1, no training."""
    package = RaplPackage(idle_w=70.0, joules_per_cpu_s=4.0, range_uj=AMD_RANGE_UJ, start_uj=AMD_RANGE_UJ - 1_000_000)
    node = SimulatedNode(directory, packages=[package], layout="v1", cpu_count=64, model="AMD EPYC 7763 64-Core")
    node.spawn("nginx", cgroup="/system.slice/nginx.service", demand_cpus=1.25, resident_bytes=1 << 28)
    node.spawn("bash", cgroup=f"/user.slice/user-{_NOBODY}.slice/session-4.scope", demand_cpus=0.5)
    return node


def _platform_meter(directory: Path) -> SimulatedNode:
    """One socket and an ACPI meter for the whole machine, hybrid cgroups."""
    node = SimulatedNode(directory, layout="hybrid", platform_other_w=80.0)
    node.spawn("server", cgroup="/system.slice/server.service", demand_cpus=3.0)
    return node


def _virtual_machine(directory: Path) -> SimulatedNode:
    """No power counter at all: energy is estimated and says so."""
    node = SimulatedNode(directory, has_rapl=False, cpu_count=8)
    node.spawn("server", cgroup="/system.slice/server.service", demand_cpus=2.0)
    return node


def _plain(make: Callable[[Path], SimulatedNode]) -> Callable[[Path], Machine]:
    def build(directory: Path) -> Machine:
        node = make(directory)
        return Machine(node, node.advance, hardware_gpus)

    return build


def _gpu_node(directory: Path) -> Machine:
    """Eight GPUs: four at work, two held and idle, one shared by a run and a pod, one free."""
    demo = Demo(directory, FakeClock())
    driver = SimulatedGpuDriver(demo.gpus, demo.node.clock)
    return Machine(demo.node, demo.advance, lambda settings, _, clock: GpuSet([driver], clock, settings.gpus))


class Machine(NamedTuple):
    """A simulated machine, how its time passes, and what reads its GPUs."""

    node: SimulatedNode
    advance: Callable[[float], None]
    make_gpus: GpuFactory


MACHINES: dict[str, Callable[[Path], Machine]] = {
    "training-node": _plain(_training_node),
    "plain-amd": _plain(_plain_amd),
    "platform-meter": _plain(_platform_meter),
    "virtual-machine": _plain(_virtual_machine),
    "gpu-node": _gpu_node,
}


def page_after_a_minute(machine: str, directory: Path) -> str:
    """Return the page after twelve ticks, without what differs between versions, machines and runs.

    A family's series are sorted, since file systems list directories in their own order; values are rounded to twelve
    digits, since sums in another order differ in the last bits.
    """
    made = MACHINES[machine](directory)
    accounts = open_accounts(made.node, settings_for(), make_gpus=made.make_gpus)
    for _ in range(12):
        made.advance(5.0)
        snapshot = accounts.tick()
    accounts.close()
    page = _OF_THE_MACHINE.sub(r'\1="…"', _CHANGING.sub(r"\1 1.0", page_of(snapshot).decode()))
    page = _VALUE.sub(lambda sample: f"{sample[1]} {float(sample[2]):.12g}", page)
    return "".join(_sorted_families(page.splitlines(keepends=True)))


def _sorted_families(lines: list[str]) -> Iterator[str]:
    """Yield comments where they are, and the samples between two of them in alphabetical order."""
    for is_comment, group in groupby(lines, lambda line: line.startswith("#")):
        family = list(group)
        yield from family if is_comment else sorted(family)


def main() -> int:
    """Accept the pages of all machines."""
    GOLDEN.mkdir(exist_ok=True)
    for machine in MACHINES:
        with tempfile.TemporaryDirectory() as directory:
            (GOLDEN / f"{machine}.prom").write_text(page_after_a_minute(machine, Path(directory)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
