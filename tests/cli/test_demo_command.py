"""``wattribute demo``: everything on it is there, and every output says that it is simulated."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.system.programs import free_port, started, wait_for


@contextmanager
def demo(log: Path, *flags: str) -> Iterator[int]:
    port = free_port()
    command = [sys.executable, "-m", "exporter.cli", "demo", f"--web.listen-address=127.0.0.1:{port}"]
    with started([*command, "--sampling.interval=1s", *flags], log=log):
        wait_for("three runs", lambda: len(json.loads(get(port, "/api/v1/runs"))["runs"]) == 3 or None)
        yield port


def get(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return str(answer.read().decode())


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with demo(tmp_path_factory.mktemp("demo") / "log") as port:
        time.sleep(3.0)
        yield port


def test_every_output_says_that_it_is_simulated(port: int) -> None:
    top = subprocess.run(
        [sys.executable, "-m", "exporter.cli", "top", "--once", f"--agent=127.0.0.1:{port}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert "wattribute_simulated_info{" in get(port, "/metrics")
    assert "simulated" in get(port, "/").partition("</header>")[0]
    assert json.loads(get(port, "/api/v1/snapshot"))["simulated"]
    assert json.loads(get(port, "/api/v1/runs"))["simulated"]
    assert "SIMULATED" in top.splitlines()[0]


def test_it_shows_a_good_run_a_wasteful_one_and_a_shared_gpu(port: int) -> None:
    snapshot = json.loads(get(port, "/api/v1/snapshot"))

    runs = {run["name"]: (run["gpus"], run["unused_gpus"]) for run in snapshot["runs"]}
    assert runs == {"llama-pretrain": (4, 0), "forgotten-notebook": (2, 2), "bert-finetune": (1, 0)}
    assert len(snapshot["gpus"][6]["holders"]) == 2
    assert "held and idle" in get(port, "/")


def test_several_demos_share_one_run(tmp_path: Path) -> None:
    with (
        demo(tmp_path / "a.log", "--nodes=2", "--node=0") as first,
        demo(tmp_path / "b.log", "--nodes=2", "--node=1") as second,
    ):
        found = [
            {run["name"]: run for run in json.loads(get(port, "/api/v1/runs"))["runs"]} for port in (first, second)
        ]

    keys = [runs["llama-pretrain"]["run"] for runs in found]
    assert keys[0] == keys[1]
    assert [runs["llama-pretrain"]["world_size"] for runs in found] == [8, 8]
