from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.workloads.command_line import parse_command
from exporter.workloads.facts import CommandFacts


@pytest.mark.parametrize(
    ("raw", "comm", "launcher"),
    [
        (b"/opt/venv/bin/python3.11\0/opt/venv/bin/torchrun\0train.py\0", "torchrun", "torchrun"),
        (b"python\0-u\0-m\0torch.distributed.run\0train.py\0", "python", "torchrun"),
        (b"python\0-W\0ignore\0/x/bin/accelerate\0launch\0t.py\0", "accelerate", "accelerate"),
        (b"python\0/x/bin/deepspeed\0t.py\0", "deepspeed", "deepspeed"),
        (b"/usr/bin/python3\0-u\0-m\0deepspeed.launcher.launch\0t.py\0", "python3", "deepspeed"),
        (b"python\0/x/bin/horovodrun\0-np\x002\0", "horovodrun", "horovod"),
        (b"mpirun\0-n\x004\0./a.out\0", "mpirun", "openmpi"),
        (b"orted\0--daemonize\0", "orted", "openmpi"),
        (b"jsrun\0-n\x006\0", "jsrun", "jsrun"),
        (b"", "pt_elastic", "torchrun"),
        (b"python\0torchrun_helper.py\0", "python", ""),
        (b"python\0-c\0torchrun\0", "python", ""),
    ],
)
def test_launchers_are_recognised(raw: bytes, comm: str, launcher: str) -> None:
    assert parse_command(raw, comm, keep_script=False).launcher == launcher


@pytest.mark.parametrize(
    "raw", [b"bash\0train.sh\0", b"-bash\0", b"/sbin/tini\0--\0x\0", b"srun\0x\0", b"timeout\x005\0x"]
)
def test_wrappers_are_recognised(raw: bytes) -> None:
    assert parse_command(raw, "x", keep_script=False).wrapper


def test_a_script_name_is_kept_only_where_allowed() -> None:
    raw = b"python\0--token=canary\0/home/ada/secret-project/train.py\0--key\0canary\0"

    assert parse_command(raw, "python", keep_script=False) == CommandFacts()
    assert parse_command(raw, "python", keep_script=True) == CommandFacts(script="train.py")


def test_a_step_daemons_title_names_the_job() -> None:
    found = parse_command(b"slurmstepd: [3385.batch]\0", "slurmstepd", keep_script=False)

    assert (found.slurm_job, found.slurm_step) == ("3385", "batch")


def test_a_forged_title_of_another_program_says_nothing() -> None:
    """S-13."""
    assert parse_command(b"slurmstepd: [3385.0]\0", "python", keep_script=False).slurm_job == ""


def test_deepspeeds_local_rank_is_found() -> None:
    assert parse_command(b"python\0-u\0t.py\0--local_rank=3\0", "python", keep_script=False).local_rank == "3"


@given(raw=st.binary(max_size=200), comm=st.text(max_size=15))
def test_any_bytes_give_clean_facts(raw: bytes, comm: str) -> None:
    """F38, F39."""
    found = parse_command(raw, comm, keep_script=True)

    assert found.script.isprintable()
    assert len(found.script) <= 128
