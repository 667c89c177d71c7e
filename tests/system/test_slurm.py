"""A real Slurm job is found by its cgroup, with its id and name. Debian's Slurm, cgroup v1, one node, no services."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from exporter.host import Roots
from tests.system.programs import agent_running, free_port, needs, started, wait_for

_JOB = "#!/bin/sh\n#SBATCH --job-name=wattribute-job\n#SBATCH --output=/dev/null\nsrun sh -c 'while :; do :; done'\n"
_HAS_V1 = Path("/sys/fs/cgroup/freezer").is_dir() and Path("/sys/fs/cgroup/cpuacct").is_dir()


@contextmanager
def _slurm(directory: Path) -> Iterator[dict[str, str]]:
    """Run munge, slurmctld and slurmd of a one-node cluster; yield the environment for its commands."""
    node = socket.gethostname().split(".")[0]
    config = directory / "slurm.conf"
    config.write_text(_config(directory, node))
    (directory / "cgroup.conf").write_text(
        "CgroupPlugin=cgroup/v1\nCgroupMountpoint=/sys/fs/cgroup\nCgroupAutomount=no\n"
        "ConstrainCores=no\nConstrainRAMSpace=no\n"
    )
    environment = {**os.environ, "SLURM_CONF": str(config)}
    os.environ["SLURM_CONF"] = str(config)
    with ExitStack() as stack:
        stack.callback(os.environ.pop, "SLURM_CONF", None)
        if not Path("/run/munge/munge.socket.2").exists():
            Path("/run/munge").mkdir(exist_ok=True)
            subprocess.run(["chown", "munge:", "/run/munge"], check=True)
            munged = ["setpriv", "--reuid=munge", "--regid=munge", "--clear-groups", "munged", "--foreground"]
            stack.enter_context(started(munged, log=directory / "munged.log"))
            wait_for("munge", lambda: Path("/run/munge/munge.socket.2").exists() or None)
        stack.enter_context(started(["slurmctld", "-D", "-f", str(config)], log=directory / "slurmctld.log"))
        stack.enter_context(started(["slurmd", "-D", "-f", str(config), "-N", node], log=directory / "slurmd.log"))
        yield environment


def _config(directory: Path, node: str) -> str:
    for name in ("state", "spool"):
        (directory / name).mkdir()
    return (
        f"ClusterName=wattribute\nSlurmctldHost={node}(127.0.0.1)\nSlurmUser=root\nAuthType=auth/munge\n"
        f"SlurmctldPort={free_port()}\nSlurmdPort={free_port()}\n"
        f"StateSaveLocation={directory}/state\nSlurmdSpoolDir={directory}/spool\n"
        f"SlurmctldPidFile={directory}/slurmctld.pid\nSlurmdPidFile={directory}/slurmd.pid\n"
        "ProctrackType=proctrack/cgroup\nTaskPlugin=task/cgroup\nJobAcctGatherType=jobacct_gather/cgroup\n"
        "SelectType=select/cons_tres\nSelectTypeParameters=CR_Core\nMpiDefault=none\nReturnToService=2\n"
        f"NodeName={node} NodeAddr=127.0.0.1 CPUs={os.cpu_count()} State=UNKNOWN\n"
        f"PartitionName=p Nodes={node} Default=YES\n"
    )


def _run(command: list[str], environment: dict[str, str], *, text: str = "") -> str | None:
    done = subprocess.run(command, env=environment, input=text, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 and done.stdout.strip() else None


@pytest.mark.system
@pytest.mark.timeout(180)
@needs("slurmctld", "slurmd", "sbatch", "munged", "setpriv")
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to run slurmd")
@pytest.mark.skipif(not _HAS_V1, reason="needs cgroup v1: Debian's Slurm refuses others on this kind of machine")
def test_a_real_slurm_job_is_found_with_its_id_and_name(tmp_path: Path) -> None:
    with _slurm(tmp_path) as environment, agent_running(tmp_path, Roots()) as agent:
        try:
            job = wait_for(
                "sbatch", lambda: _run(["sbatch", "--parsable"], environment, text=_JOB), timeout_s=40
            ).split(";")[0]
            run = wait_for(
                "the run", lambda: _line(agent.get(), "wattribute_run_info{", f'owner="{job}"'), timeout_s=40
            )
            workload = wait_for(
                "the job's energy",
                lambda: _line(
                    agent.get(), "wattribute_workload_energy_joules_total{", 'kind="slurm_job"', f'name="{job}"'
                ),
            )
        finally:
            _run(["scancel", "--user=root"], environment)
            wait_for("the job's end", lambda: _run(["sh", "-c", "squeue -h | grep -q . || echo empty"], environment))

    assert 'name="wattribute-job"' in run
    assert 'identity="slurm"' in run or "slurm" in run
    assert 'component="cpu"' in workload


def _line(page: str, *parts: str) -> str | None:
    return next((line for line in page.split("\n") if all(part in line for part in parts)), None)
