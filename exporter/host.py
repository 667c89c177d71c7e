"""Where this node's kernel interfaces are mounted, and who the node is.

Everything that reads the kernel takes a ``Roots``, so that a fixture tree, a container with the host mounted
at ``/host`` and the real machine are read by the same code.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Roots"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Roots:
    """The mount points of the kernel's file systems.

    Attributes:
        procfs: the host's proc file system.
        sysfs: the host's sys file system.
        cgroupfs: the host's cgroup mount: the v2 hierarchy itself, or the directory that holds the v1 controllers.
    """

    procfs: Path = Path("/proc")
    sysfs: Path = Path("/sys")
    cgroupfs: Path = Path("/sys/fs/cgroup")

    def boot_id(self) -> str:
        """Return the kernel's random id of this boot, or an empty string where it cannot be read."""
        try:
            return (self.procfs / "sys/kernel/random/boot_id").read_text("ascii").strip()
        except (OSError, ValueError):
            return ""

    def cpu_count(self) -> int:
        """Return the number of logical CPUs that are online now, at least 1.

        Source: the ``cpuN`` lines of proc_stat(5), which list online CPUs only.
        """
        try:
            text = (self.procfs / "stat").read_bytes()
        except OSError:
            return os.cpu_count() or 1
        return max(1, sum(line[3:4].isdigit() for line in text.split(b"\n") if line.startswith(b"cpu")))
