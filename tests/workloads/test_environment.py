from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.workloads.environment import ENVIRONMENT_NAMES, parse_environ

ALLOWED = frozenset(ENVIRONMENT_NAMES)


def test_only_listed_names_are_kept() -> None:
    """S-01: secrets beside the listed names never enter a record."""
    found = parse_environ(b"WANDB_API_KEY=canary\0RANK=3\0PATH=/bin\0", ALLOWED)

    assert found == {"RANK": "3"}


def test_no_listed_name_looks_like_a_secret() -> None:
    assert [name for name in ENVIRONMENT_NAMES if "TOKEN" in name or "KEY" in name or "SECRET" in name] == []


def test_the_reference_lists_every_name() -> None:
    reference = (Path(__file__).parents[2] / "docs/reference/runs.md").read_text("utf-8")

    assert [name for name in ENVIRONMENT_NAMES if f"`{name}`" not in reference] == []


@pytest.mark.parametrize("raw", [b"\0" * 200, b"python: training epoch 3\0\0\0"])
def test_a_block_overwritten_by_a_title_is_no_environment(raw: bytes) -> None:
    """F41."""
    assert parse_environ(raw, ALLOWED) is None


def test_an_empty_block_is_an_empty_environment() -> None:
    assert parse_environ(b"", ALLOWED) == {}


def test_the_first_of_two_values_counts() -> None:
    """F41."""
    assert parse_environ(b"RANK=1\0RANK=2\0", ALLOWED) == {"RANK": "1"}


def test_a_name_behind_160_kilobytes_is_found() -> None:
    """F41."""
    services = b"".join(b"SVC_%d_SERVICE_HOST=10.0.0.1\0" % index for index in range(6000))

    assert parse_environ(services + b"RANK=1\0", ALLOWED) == {"RANK": "1"}


def test_values_are_cleaned_and_cut() -> None:
    """F41, S-11."""
    found = parse_environ(b"SLURM_JOB_NAME=a\nb\xff" + b"x" * 1000 + b"\0", ALLOWED)

    assert found is not None
    assert found["SLURM_JOB_NAME"] == "a\ufffdb\ufffd" + "x" * 252


def test_a_tensorflow_cluster_is_the_same_on_all_tasks() -> None:
    hosts = {"chief": ["c:1"], "worker": ["a:1", "b:1"], "ps": ["p:1"]}
    chief = json.dumps({"cluster": hosts, "task": {"type": "chief", "index": 0}}).encode()
    worker = json.dumps({"task": {"type": "worker", "index": 1}, "cluster": hosts}).encode()
    first = parse_environ(b"TF_CONFIG=" + chief, ALLOWED)
    second = parse_environ(b"TF_CONFIG=" + worker, ALLOWED)

    assert first is not None
    assert second is not None
    assert first["TF_CONFIG.hosts"] == second["TF_CONFIG.hosts"]
    assert (first["TF_CONFIG.rank"], second["TF_CONFIG.rank"], second["TF_CONFIG.world_size"]) == ("0", "2", "3")


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{",
        b"[" * 60000,
        b"7",
        b'{"cluster": 1}',
        b'{"cluster": {"worker": 2}}',
        b'{"cluster": {"worker": ["' + b"a" * 70000 + b'"]}}',
    ],
)
def test_a_malformed_or_huge_tensorflow_cluster_says_nothing(value: bytes) -> None:
    assert parse_environ(b"TF_CONFIG=" + value + b"\0RANK=1", ALLOWED) == {"RANK": "1"}


@given(raw=st.binary(max_size=300), prefix=st.sampled_from([b"", b"RANK=", b"TF_CONFIG={", b"SLURM_JOB_NAME="]))
def test_any_bytes_give_clean_listed_values_or_none(raw: bytes, prefix: bytes) -> None:
    found = parse_environ(prefix + raw, ALLOWED)

    assert found is None or all(
        name.partition(".")[0] in ALLOWED and value.isprintable() and len(value) <= 256 for name, value in found.items()
    )
