"""A real Slurm job is found by its cgroup, with its id and name."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.host import Roots
from tests.system.programs import agent_running, wait_for
from tests.system.slurm import needs_slurm, slurm_running

pytestmark = [pytest.mark.system, pytest.mark.timeout(180), *needs_slurm]

_JOB = "#!/bin/sh\n#SBATCH --job-name=wattribute-job\n#SBATCH --output=/dev/null\nsrun sh -c 'while :; do :; done'\n"


def test_a_real_slurm_job_is_found_with_its_id_and_name(tmp_path: Path) -> None:
    with slurm_running(tmp_path) as slurm, agent_running(tmp_path, Roots()) as agent:
        job = slurm.submit(_JOB)
        run = wait_for("the run", lambda: _line(agent.get(), "wattribute_run_info{", f'owner="{job}"'), timeout_s=40)
        workload = wait_for(
            "the job's energy",
            lambda: _line(agent.get(), "wattribute_workload_energy_joules_total{", 'kind="slurm_job"', f'name="{job}"'),
        )

    assert 'name="wattribute-job"' in run
    assert 'identity="slurm"' in run or "slurm" in run
    assert 'component="cpu"' in workload


def _line(page: str, *parts: str) -> str | None:
    return next((line for line in page.split("\n") if all(part in line for part in parts)), None)
