"""A real Slurm of one node: Debian's packages, cgroup v1, no services."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.system.programs import free_port, needs, started, wait_for

__all__ = ["Slurm", "needs_slurm", "slurm_running"]

_HAS_V1 = Path("/sys/fs/cgroup/freezer").is_dir() and Path("/sys/fs/cgroup/cpuacct").is_dir()
_NODE = socket.gethostname().split(".")[0]
_GROUP = f"slurm_{_NODE}"
"""Its group in every hierarchy: Debian builds it for several slurmd per host."""

needs_slurm = (
    needs("slurmctld", "slurmd", "sbatch", "munged", "setpriv"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to run slurmd"),
    pytest.mark.skipif(not _HAS_V1, reason="needs cgroup v1: Debian's Slurm refuses others on this kind of machine"),
)
"""Marks of a test that runs Slurm."""


class Slurm:
    """The commands of a running cluster."""

    def __init__(self, config: Path) -> None:
        self._environ = {**os.environ, "SLURM_CONF": str(config)}

    def submit(self, script: str, *options: str) -> str:
        """Submit a job, as soon as the controller takes it, and return its id."""
        command = ["sbatch", "--parsable", *options]
        return wait_for("sbatch", lambda: self._run(command, text=script), timeout_s=40).split(";")[0]

    def cancel(self, job: str) -> None:
        """End a job and wait until it is over."""
        self._run(["scancel", job])
        wait_for(f"the end of job {job}", lambda: self._run(["sh", "-c", f"squeue -h -j {job} | grep -q . || echo y"]))

    def cancel_all(self) -> None:
        """End all jobs and wait until they are over."""
        self._run(["scancel", "--user=root"])
        wait_for("the jobs' end", lambda: self._run(["sh", "-c", "squeue -h | grep -q . || echo empty"]))

    def _run(self, command: list[str], *, text: str = "") -> str | None:
        done = subprocess.run(command, env=self._environ, input=text, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 and done.stdout.strip() else None


@contextmanager
def slurm_running(directory: Path, *, gpus: str = "", allowed_devices: tuple[str, ...] = ()) -> Iterator[Slurm]:
    """Run munge, slurmctld and slurmd of a one-node cluster, and end its jobs afterwards.

    Args:
        directory: for its configuration and state.
        gpus: device files of two GPUs, as gres.conf takes them; each job may then open its own only.
        allowed_devices: entries of devices.list; all of Slurm may open no others, as in a container.
    """
    config = directory / "slurm.conf"
    config.write_text(_config(directory, gpus))
    if gpus:
        (directory / "gres.conf").write_text(f"AutoDetect=off\nNodeName={_NODE} Name=gpu File={gpus}\n")
    (directory / "cgroup.conf").write_text(
        "CgroupPlugin=cgroup/v1\nCgroupMountpoint=/sys/fs/cgroup\nCgroupAutomount=no\n"
        f"ConstrainCores=no\nConstrainRAMSpace=no\nConstrainDevices={'yes' if gpus else 'no'}\n"
    )
    os.environ["SLURM_CONF"] = str(config)
    with ExitStack() as stack:
        stack.callback(os.environ.pop, "SLURM_CONF", None)
        if not Path("/run/munge/munge.socket.2").exists():
            Path("/run/munge").mkdir(exist_ok=True)
            subprocess.run(["chown", "munge:", "/run/munge"], check=True)
            munged = ["setpriv", "--reuid=munge", "--regid=munge", "--clear-groups", "munged", "--foreground"]
            stack.enter_context(started(munged, log=directory / "munged.log"))
            wait_for("munge", lambda: Path("/run/munge/munge.socket.2").exists() or None)
        stack.callback(_remove_groups)
        _restrict(allowed_devices)
        stack.enter_context(started(["slurmctld", "-D", "-f", str(config)], log=directory / "slurmctld.log"))
        stack.enter_context(started(["slurmd", "-D", "-f", str(config), "-N", _NODE], log=directory / "slurmd.log"))
        slurm = Slurm(config)
        stack.callback(slurm.cancel_all)
        yield slurm


def _config(directory: Path, gpus: str) -> str:
    for name in ("state", "spool"):
        (directory / name).mkdir()
    return (
        f"ClusterName=wattribute\nSlurmctldHost={_NODE}(127.0.0.1)\nSlurmUser=root\nAuthType=auth/munge\n"
        f"SlurmctldPort={free_port()}\nSlurmdPort={free_port()}\n"
        f"StateSaveLocation={directory}/state\nSlurmdSpoolDir={directory}/spool\n"
        f"SlurmctldPidFile={directory}/slurmctld.pid\nSlurmdPidFile={directory}/slurmd.pid\n"
        "ProctrackType=proctrack/cgroup\nTaskPlugin=task/cgroup\nJobAcctGatherType=jobacct_gather/cgroup\n"
        "SelectType=select/cons_tres\nSelectTypeParameters=CR_Core\nMpiDefault=none\nReturnToService=2\n"
        f"{'GresTypes=gpu' if gpus else ''}\n"
        f"NodeName={_NODE} NodeAddr=127.0.0.1 CPUs={os.cpu_count()} {'Gres=gpu:2' if gpus else ''} State=UNKNOWN\n"
        f"PartitionName=p Nodes={_NODE} Default=YES\n"
    )


def _restrict(allowed_devices: tuple[str, ...]) -> None:
    _remove_groups()  # of an earlier Slurm: only a group without others below can be restricted
    if not allowed_devices:
        return
    group = Path("/sys/fs/cgroup/devices") / _GROUP
    group.mkdir()
    (group / "devices.deny").write_text("a")
    for entry in allowed_devices:
        (group / "devices.allow").write_text(entry)


def _remove_groups() -> None:
    for top in Path("/sys/fs/cgroup").glob(f"*/{_GROUP}"):
        for directory, _, _ in os.walk(top, topdown=False):
            with suppress(OSError):  # in use by a process that ends just now
                Path(directory).rmdir()
