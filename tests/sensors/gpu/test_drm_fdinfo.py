from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import SourceFormatError
from exporter.sensors.gpu.drm_fdinfo import DrmClient, parse_fdinfo
from exporter.sensors.gpu.drm_scan import DrmScanner, parse_start_time
from tests.sensors.gpu.gpu_trees import GpuTree, as_nobody, fdinfo
from tests.sensors.trees import ManualClock

PDEV = "0000:03:00.0"
RENDER = "/dev/dri/renderD128"


@pytest.fixture
def tree(tmp_path: Path) -> GpuTree:
    return GpuTree(tmp_path)


class TickingClock(ManualClock):
    """Every look at it takes a tenth of a second."""

    def monotonic_s(self) -> float:
        self.now_s += 0.1
        return self.now_s


def _parsed(text: str | bytes) -> DrmClient | None:
    data = text.encode() if isinstance(text, str) else text
    return parse_fdinfo(data, source="intel_gpu", path="fdinfo")


def _scanner(tree: GpuTree, *, budget_s: float = 1.0) -> DrmScanner:
    return DrmScanner(tree.roots.procfs, tree.clock, source="intel_gpu", budget_s=budget_s)


def _render(busy_ns: int, *, client: int = 7) -> str:
    return fdinfo("i915", PDEV, client, drm_engine_render=f"{busy_ns} ns")


def test_i915_counts_nanoseconds() -> None:
    text = fdinfo(
        "i915",
        "0000:03:00.0",
        7,
        drm_engine_render="123 ns",
        drm_engine_compute="9 ns",
        drm_engine_capacity_compute=4,
        drm_resident_local0="2 MiB",
        drm_resident_system0="64 KiB",
    )

    assert _parsed(text) == DrmClient(
        driver="i915",
        pdev=PDEV,
        client_id=7,
        unit="ns",
        busy={"render": 123, "compute": 9},
        elapsed={},
        capacity={"compute": 4},
        memory_bytes=2 * 2**20,
    )


def test_xe_counts_cycles() -> None:
    text = fdinfo("xe", "0000:03:00.0", 7, drm_cycles_ccs=50, drm_total_cycles_ccs=400, drm_resident_vram0="1 KiB")
    client = _parsed(text)

    assert client is not None
    assert (client.unit, client.busy, client.elapsed, client.memory_bytes) == (
        "cycles",
        {"ccs": 50},
        {"ccs": 400},
        1024,
    )


@pytest.mark.parametrize("text", ["", "pos:\t0\nflags:\t02\n", "drm-driver"])
def test_the_text_of_another_file_gives_nothing(text: str) -> None:
    """NVIDIA's driver writes no DRM keys."""
    assert _parsed(text) is None


@pytest.mark.parametrize(
    "line", ["drm-pdev: nowhere", "drm-client-id: x", "drm-engine-render: -5 ns", "drm-engine-render: " + "9" * 21]
)
def test_a_number_that_is_none_is_an_error(line: str) -> None:
    with pytest.raises(SourceFormatError, match="fdinfo: "):
        _parsed(f"drm-driver: i915\n{line}\n")


@given(
    st.binary(max_size=300)
    | st.lists(
        st.sampled_from([b"drm-driver: i915", b"drm-engine-render:", b"drm-client-id:", b"\xff\xfe", b" 12 ns", b"\n"])
    ).map(b"".join)
)
def test_any_bytes_give_a_value_or_a_format_error(text: bytes) -> None:
    try:
        client = _parsed(text)
    except SourceFormatError:
        return

    assert client is None or all(value >= 0 for value in client.busy.values())


@given(st.binary(max_size=300))
def test_any_stat_gives_a_start_time_or_none(stat: bytes) -> None:
    assert (parse_start_time(stat) or 0) >= 0


def test_engines_beyond_any_hardware_are_left_out() -> None:
    client = _parsed("drm-driver: x\n" + "".join(f"drm-engine-e{number}: 1 ns\n" for number in range(100)))

    assert client is not None
    assert len(client.busy) == 64


def test_the_start_time_is_found_behind_any_command() -> None:
    assert parse_start_time(b"12 (a) b) R " + b"0 " * 18 + b"4711 0") == 4711


def test_a_client_is_counted_once_and_belongs_to_the_oldest_process(tree: GpuTree) -> None:
    """Dup and fork repeat a client's descriptor."""
    text = _render(5)
    tree.process(20, {4: (RENDER, text)}, start=300)
    tree.process(30, {4: (RENDER, text), 5: ("/dev/dri/card0", text), 6: ("/dev/null", "")}, start=200)
    scan = _scanner(tree).scan()

    assert {key: use.pid for key, use in scan.uses.items()} == {(PDEV, 7): 30}
    assert (scan.readable, scan.denied, scan.is_complete) == (2, 0, True)


def test_busy_time_that_steps_back_stays(tree: GpuTree) -> None:
    scanner = _scanner(tree)
    seen = []
    for busy_ns in (50, 40, 60):
        tree.process(20, {4: (RENDER, _render(busy_ns))})
        seen.append(scanner.scan().uses[PDEV, 7].client.busy["render"])
        tree.clock.now_s += 5

    assert seen == [50, 50, 60]


def test_a_client_that_is_known_to_be_new_counts_from_zero(tree: GpuTree) -> None:
    """One that may have been there before counts from its first reading."""
    scanner = _scanner(tree)
    tree.process(20, {4: (RENDER, _render(50, client=1))})
    tree.process(21, {})
    first = scanner.scan().uses
    tree.clock.now_s += 31
    tree.process(20, {4: (RENDER, _render(50, client=1)), 5: (RENDER, _render(8, client=2))})
    tree.process(21, {4: (RENDER, _render(9, client=3))})
    tree.process(22, {4: (RENDER, _render(10, client=4))})
    second = scanner.scan().uses

    assert first[PDEV, 1].baseline == {"render": 50}
    assert [dict(second[PDEV, client].baseline) for client in (1, 2, 3, 4)] == [{"render": 50}, {}, {"render": 9}, {}]


def test_a_process_without_a_gpu_is_walked_again_less_and_less_often(tree: GpuTree) -> None:
    """Walks at 0, 10, 20, 40 and 70 s: a training opens its GPU soon after its start, most others never do."""
    scanner = _scanner(tree)
    tree.process(20, {4: ("/dev/null", "")})
    counts = []
    for tick in range(8):
        if tick == 5:
            tree.process(20, {4: (RENDER, _render(5))})
        counts.append(len(scanner.scan().uses))
        tree.clock.now_s += 10

    assert counts == [0, 0, 0, 0, 0, 0, 0, 1]


def test_a_gpu_that_is_opened_after_the_first_walk_is_seen_by_the_second(tree: GpuTree) -> None:
    scanner = _scanner(tree)
    tree.process(20, {})
    scanner.scan()
    tree.process(20, {4: (RENDER, _render(5))})
    tree.clock.now_s += 1

    assert len(scanner.scan().uses) == 1


def test_a_reused_process_number_is_another_process(tree: GpuTree) -> None:
    scanner = _scanner(tree)
    tree.process(20, {}, start=100)
    scanner.scan()
    tree.clock.now_s += 1
    tree.process(20, {4: (RENDER, _render(5))}, start=999)

    assert len(scanner.scan().uses) == 1


def test_scans_close_to_each_other_are_one(tree: GpuTree) -> None:
    scanner = _scanner(tree)

    assert scanner.scan() is scanner.scan()


def test_this_process_and_others_without_a_stat_are_left_out(tree: GpuTree) -> None:
    tree.process(20, {4: (RENDER, _render(5))})
    (tree.roots.procfs / "self").symlink_to("20")
    (tree.roots.procfs / "21").mkdir()
    (tree.roots.procfs / "22").mkdir()
    (tree.roots.procfs / "22/stat").symlink_to("/proc/self/mem")
    (tree.roots.procfs / "meminfo").write_text("")

    assert (_scanner(tree).scan().readable, _scanner(tree).scan().uses) == (0, {})


def test_broken_and_vanished_files_do_not_hide_others(tree: GpuTree) -> None:
    path = tree.process(
        20, {3: (RENDER, b"drm-driver: \xff\ndrm-client-id: \xff"), 4: (RENDER, _render(5)), 5: (RENDER, "")}
    )
    (path / "fdinfo/5").unlink()
    (path / "fd/6").write_text("not a link")
    (tree.process(21, {}) / "fdinfo").rmdir()
    (tree.roots.procfs / "21/fd").rmdir()
    scan = _scanner(tree).scan()

    assert (list(scan.uses), scan.malformed) == ([(PDEV, 7)], 1)


@pytest.fixture
def open_tree() -> Iterator[GpuTree]:
    """Give a tree that everybody can reach: pytest's own lies in a directory of root's."""
    with tempfile.TemporaryDirectory() as root:
        Path(root).chmod(0o755)
        yield GpuTree(Path(root))


def test_processes_that_may_not_be_looked_into_are_counted(open_tree: GpuTree) -> None:
    files = open_tree.process(20, {4: (RENDER, _render(5))}) / "fd"
    open_tree.process(21, {})
    files.chmod(0)
    with as_nobody():
        scan = _scanner(open_tree).scan()
    files.chmod(0o755)

    assert (scan.readable, scan.denied, scan.uses) == (1, 1, {})


def test_what_the_budget_did_not_reach_comes_later_and_is_not_gone(tree: GpuTree) -> None:
    for pid in range(20, 30):
        tree.process(pid, {4: (RENDER, _render(5, client=pid))})
    tree.clock = TickingClock()
    scanner = _scanner(tree, budget_s=0.45)
    scans = [scanner.scan() for _ in range(5)]

    assert [(len(scan.uses), scan.is_complete) for scan in scans] == [
        (4, False),
        (8, False),
        (8, False),
        (10, False),
        (10, False),
    ]


def test_a_process_with_very_many_files_is_left_when_the_budget_is_spent(tree: GpuTree) -> None:
    tree.process(20, dict.fromkeys(range(300), ("/dev/null", "")))
    tree.clock = TickingClock()

    assert not _scanner(tree, budget_s=0.15).scan().is_complete
