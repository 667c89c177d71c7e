"""Real training, a real agent and a real Prometheus: PromQL shows the run, its ranks, energy and emissions."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from pathlib import Path

import pytest

from exporter.host import Roots
from exporter.units import JOULES_PER_KILOWATT_HOUR
from tests.system.programs import agent_running, needs, prometheus_running, wait_for

_PUE = 1.4
_INTENSITY = 250.0
_CONFIG = f"carbon:\n  grid_zone: DE\n  pue_ratio: {_PUE}\n  intensity_g_per_kwh: {_INTENSITY}\n"
_RUN_ID = "wattribute-system-test"
_TRAIN = Path(__file__).with_name("train.py")
_HAS_TORCH = importlib.util.find_spec("torch") is not None


@pytest.mark.system
@pytest.mark.timeout(180)
@needs("prometheus")
@pytest.mark.skipif(not _HAS_TORCH, reason="torch is not installed (make test with CI=true does)")
def test_a_real_training_run_is_seen_with_its_ranks_energy_and_emissions(tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--rdzv-backend=c10d"),
        *("--rdzv-endpoint=127.0.0.1:0", f"--rdzv-id={_RUN_ID}", str(_TRAIN), "20"),
    ]
    with agent_running(tmp_path, Roots(), config=_CONFIG) as agent, prometheus_running(tmp_path, agent.port) as server:
        with (tmp_path / "train.log").open("wb") as log:
            training = subprocess.Popen(command, stdout=log, stderr=log)
        key = wait_for(
            "two ranks",
            lambda: next(
                iter(server.query('wattribute_run_ranks{} == 2 and on(run) wattribute_run_info{framework="torchrun"}')),
                None,
            ),
            timeout_s=60,
        )[0]["run"]
        processes = server.query(f'count by (rank) (wattribute_process_energy_joules_total{{run="{key}",rank!=""}})')
        assert training.wait(timeout=90) == 0, (tmp_path / "train.log").read_text()[-2000:]
        time.sleep(4.0)
        of_run = f'{{run="{key}"}}'
        info = server.query(f"wattribute_run_info{of_run}")
        energy_j = server.value(f"sum(wattribute_run_energy_joules_total{of_run})")
        node_j = server.value("sum(wattribute_node_energy_joules_total)")
        grams_per_joule = server.value(
            f'sum(wattribute_run_emissions_grams_total{{run="{key}",scope="operational"}})'
            f" / sum(wattribute_run_energy_joules_total{of_run})"
        )
        part_of_processes = server.value(
            f"sum(wattribute_process_energy_joules_total{of_run}) / sum(wattribute_run_energy_joules_total{of_run})"
        )
        time.sleep(3.0)
        later_j = server.value(f"sum(wattribute_run_energy_joules_total{of_run})")

    assert {labels["rank"] for labels, _ in processes} == {"0", "1"}
    assert [(labels["framework"], labels["world_size"]) for labels, _ in info] == [("torchrun", "2")]
    assert energy_j is not None
    assert node_j is not None
    assert 0 < energy_j <= node_j
    assert grams_per_joule == pytest.approx(_PUE * _INTENSITY / JOULES_PER_KILOWATT_HOUR, rel=1e-6)
    assert part_of_processes is not None
    assert 0.9 < part_of_processes <= 1 + 1e-9
    assert later_j == energy_j, "the counter of a finished run stays, and stands still"
