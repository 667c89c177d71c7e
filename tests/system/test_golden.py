"""The whole page of known machines, reviewed and committed; ``make golden`` accepts a change."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.system.golden import GOLDEN, MACHINES, page_after_a_minute
from tests.system.programs import needs


@pytest.mark.parametrize("machine", MACHINES)
def test_the_page_is_the_reviewed_one(tmp_path: Path, machine: str) -> None:
    page = page_after_a_minute(machine, tmp_path)

    assert page == (GOLDEN / f"{machine}.prom").read_text()


@pytest.mark.parametrize("machine", MACHINES)
def test_the_client_library_reads_every_reviewed_page(machine: str) -> None:
    families = list(text_string_to_metric_families((GOLDEN / f"{machine}.prom").read_text()))

    assert "wattribute_node_energy_joules" in {family.name for family in families}


@needs("promtool")
@pytest.mark.parametrize("machine", MACHINES)
def test_promtool_accepts_every_reviewed_page(machine: str) -> None:
    page = (GOLDEN / f"{machine}.prom").read_bytes()

    checked = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, check=False)

    assert (checked.returncode, checked.stderr.decode()) == (0, "")
