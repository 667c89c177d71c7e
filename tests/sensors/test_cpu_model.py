from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.sensors import cpu_table
from exporter.sensors.cpu_model import CpuFacts, model_key, read_cpu_facts
from exporter.sensors.cpu_table import find_rating
from tests.sensors.trees import cpuinfo


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Intel(R) Xeon(R) Gold 6248 CPU @ 2.50GHz", "xeon gold 6248"),
        ("Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz", "xeon e5-2680 v4"),
        ("12th Gen Intel(R) Core(TM) i7-1260P", "core i7-1260p"),
        ("AMD Ryzen 7 5800U with Radeon Graphics", "ryzen 7 5800u"),
        ("AMD EPYC 7763 64-Core Processor", "epyc 7763"),
        ("AMD FX(tm)-8350 Eight-Core Processor", "fx-8350"),
        ("Intel(R) Xeon(R) CPU @ 2.20GHz", "xeon"),
        ("AMD EPYC", "epyc"),
        ("", ""),
    ],
)
def test_model_names_are_reduced_to_what_tells_models_apart(name: str, key: str) -> None:
    assert key == model_key(name)


@given(st.text(max_size=80))
def test_a_reduced_name_holds_no_separator_of_the_table(name: str) -> None:
    assert find_rating(name) is None or ";" not in model_key(name)


@pytest.mark.parametrize(
    ("name", "tdp_w", "cores"),
    [
        ("Intel(R) Xeon(R) Gold 6248 CPU @ 2.50GHz", 150, 20),
        ("AMD EPYC 7763 64-Core Processor", 280, 64),
        ("Intel(R) Core(TM) i7-9700 CPU @ 3.00GHz", 65, 8),
    ],
)
def test_known_models_have_their_rating(name: str, tdp_w: float, cores: int) -> None:
    assert find_rating(name) == (tdp_w, cores)


@pytest.mark.parametrize("name", ["Intel(R) Xeon(R) CPU @ 2.20GHz", "AMD EPYC", "AMD EPYC-Rome Processor", "", ";"])
def test_names_that_name_no_model_have_no_rating(name: str) -> None:
    assert find_rating(name) is None


def test_every_line_of_the_table_can_be_found_and_used() -> None:
    table = (Path(cpu_table.__file__).parent / "data" / "cpu_tdp.txt").read_text("ascii").splitlines()
    entries = [line.split(";") for line in table if not line.startswith("#")]

    assert len(entries) > 3000
    assert len({key for key, _, _ in entries}) == len(entries)
    assert all(0 < float(tdp_w) <= 1000 and (not cores or int(cores) > 0) for _, tdp_w, cores in entries)
    unreachable = [key for key, _, _ in entries if model_key(key) != key]
    assert unreachable == []


def test_facts_are_read_from_cpuinfo(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(cpuinfo(threads=8, packages=2, flags="fpu sgx hypervisor"))

    assert read_cpu_facts(tmp_path) == CpuFacts(
        model_name="Intel(R) Xeon(R) Gold 6248 CPU @ 2.50GHz",
        vendor="GenuineIntel",
        family=6,
        model=85,
        packages=2,
        threads=8,
        cores_per_package=20,
        is_virtual=True,
        has_sgx=True,
    )


def test_an_arm_cpu_is_named_by_maker_and_part(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd4f\n")

    assert read_cpu_facts(tmp_path).model_name == "Arm part 0xd4f"


def test_without_cpuinfo_nothing_is_known(tmp_path: Path) -> None:
    assert read_cpu_facts(tmp_path) == CpuFacts()


@given(st.binary(max_size=500))
def test_any_bytes_in_cpuinfo_give_facts(tmp_path_factory: pytest.TempPathFactory, text: bytes) -> None:
    directory = tmp_path_factory.mktemp("proc")
    (directory / "cpuinfo").write_bytes(text)

    assert read_cpu_facts(directory).threads >= 1
