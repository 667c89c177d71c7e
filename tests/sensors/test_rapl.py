from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.sensors.meter import Found, Look
from exporter.sensors.rapl import find_rapl
from tests.sensors.trees import INTEL_RANGE_UJ, Tree


def _look(tree: Tree) -> Look:
    return find_rapl(tree.roots.sysfs, source="rapl", max_package_w=500)


def _domains(look: Look) -> list[tuple[str, str]]:
    return [found.key[1:] for found in look.found]


def test_packages_and_their_children_are_found_with_their_package(tree: Tree) -> None:
    for package in (0, 1):
        tree.zone(f"intel-rapl:{package}", f"package-{package}")
        tree.zone(f"intel-rapl:{package}:0", "core")
        tree.zone(f"intel-rapl:{package}:1", "dram")

    assert _domains(_look(tree)) == [
        ("package", "0"),
        ("core", "0"),
        ("dram", "0"),
        ("package", "1"),
        ("core", "1"),
        ("dram", "1"),
    ]


def test_the_tree_is_the_same_without_the_class_directory(tmp_path: Path) -> None:
    linked, bare = Tree(tmp_path / "a"), Tree(tmp_path / "b", has_class=False)
    for one in (linked, bare):
        one.zone("intel-rapl:0", "package-0")
        one.zone("intel-rapl:0:0", "dram")

    assert _domains(_look(linked)) == _domains(_look(bare)) == [("package", "0"), ("dram", "0")]


def test_zone_numbers_are_hexadecimal(tree: Tree) -> None:
    """F11: the eleventh package is intel-rapl:a, and its label says 10."""
    for package in range(16):
        tree.zone(f"intel-rapl:{package:x}", f"package-{package}")
        tree.zone(f"intel-rapl:{package:x}:0", "dram")

    domains = _domains(_look(tree))

    assert [device for domain, device in domains if domain == "package"] == [str(package) for package in range(16)]
    assert ("dram", "10") in domains


def test_dies_keep_their_package_and_die_number(tree: Tree) -> None:
    tree.zone("intel-rapl:0", "package-0-die-0")
    tree.zone("intel-rapl:1", "package-0-die-1")

    assert [found.role.place for found in _look(tree).found] == ["0-die-0", "0-die-1"]


def test_the_same_package_over_another_interface_ranks_behind(tree: Tree) -> None:
    tree.zone("intel-rapl-mmio:0", "package-0")
    tree.zone("intel-rapl:0", "package-0")

    found = _look(tree).found

    assert [(one.key.device, one.role.rank) for one in found] == [("0", 0), ("0-mmio", 1)]


def test_a_future_control_type_is_found(tree: Tree) -> None:
    tree.zone("amd-rapl:0", "package-0")

    assert _domains(_look(tree)) == [("package", "0-amd-rapl")]


def test_power_limits_without_energy_counter_are_no_domains(tree: Tree) -> None:
    tree.zone("dtpm:0", "power-limit")
    (tree.zone_path("dtpm:0") / "energy_uj").unlink()

    assert _domains(_look(tree)) == []


def test_psys_may_draw_more_than_a_package(tree: Tree) -> None:
    tree.zone("intel-rapl:0", "package-0")
    tree.zone("intel-rapl:1", "psys")

    package, psys = _look(tree).found

    assert package.max_power_w == 500
    assert psys.max_power_w > 2 * package.max_power_w


def test_a_range_that_is_missing_zero_text_or_too_large_turns_wrap_correction_off(tree: Tree) -> None:
    """F09: max_energy_range_uj missing, 0, text, 2^64."""
    for number, bad in enumerate([None, 0, "unlimited", 2**64]):
        tree.zone(f"intel-rapl:{number}", f"package-{number}", range_uj=bad)
    tree.zone("intel-rapl:9", "package-9")

    *broken, good = _look(tree).found

    assert [(one.range_uj, "range is unknown" in one.note) for one in broken] == [(None, True)] * 4
    assert (good.range_uj, good.note) == (INTEL_RANGE_UJ, "")


def test_links_in_a_circle_end(tree: Tree) -> None:
    """F19: a symlink loop shows each domain once."""
    tree.zone("intel-rapl:0", "package-0")
    (tree.zone_path("intel-rapl:0") / "intel-rapl:0").symlink_to("..")
    (tree.zone_path("intel-rapl:0") / "intel-rapl:0:0").symlink_to("../intel-rapl:0")
    (tree.powercap / "intel-rapl" / "intel-rapl:5").symlink_to("intel-rapl:5")

    look = _look(tree)

    assert len(look.found) == len({found.path for found in look.found}) == 2
    assert ("package", "0") in _domains(look)


def test_a_zone_without_name_is_skipped(tree: Tree) -> None:
    """F19: a directory deleted during the listing."""
    tree.zone("intel-rapl:0", "package-0")
    tree.zone("intel-rapl:1", "package-1")
    (tree.zone_path("intel-rapl:1") / "name").unlink()

    assert _domains(_look(tree)) == [("package", "0")]


def test_a_machine_without_powercap_says_what_the_causes_may_be(tree: Tree) -> None:
    """F01: no /sys/class/powercap."""
    [finding] = _look(tree).findings

    assert finding.state == "absent"
    assert "virtual machine" in finding.detail
    assert "--path.sysfs=/host/sys" in finding.remedy


def test_a_masked_tree_is_recognised_by_its_dangling_links(tree: Tree) -> None:
    """F01: container runtimes hide devices/virtual/powercap and leave the class behind."""
    tree.zone("intel-rapl:0", "package-0")
    tree.powercap.rename(tree.powercap.with_name("hidden"))

    [finding] = _look(tree).findings

    assert "container runtime masks" in finding.detail
    assert finding.remedy.startswith("mount the host's /sys")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.binary(min_size=1, max_size=300), raw=st.binary(max_size=40), range_text=st.binary(max_size=40))
def test_any_bytes_in_a_zone_give_a_clean_domain_or_none(
    tree: Tree, name: bytes, raw: bytes, range_text: bytes
) -> None:
    """F16: hostile names are sanitised; nothing a file holds raises."""
    if not tree.zone_path("intel-rapl:0").exists():
        tree.zone("intel-rapl:0", "package-0")
    (tree.zone_path("intel-rapl:0") / "name").write_bytes(name)
    tree.set_uj("intel-rapl:0", raw)
    (tree.zone_path("intel-rapl:0") / "max_energy_range_uj").write_bytes(range_text)

    for found in _look(tree).found:
        assert _is_clean(found)


def _is_clean(found: Found) -> bool:
    return all(part.isprintable() and 0 < len(part) <= 64 for part in found.key)


def test_nesting_deeper_than_any_hardware_is_not_followed(tree: Tree) -> None:
    """F19: a hostile tree ends."""
    for depth in range(1, 8):
        tree.has_class = False
        tree.zone("intel-rapl" + ":0" * depth, f"level-{depth}")

    assert len(_look(tree).found) == 4
