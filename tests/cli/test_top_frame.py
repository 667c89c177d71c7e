from __future__ import annotations

import json
from dataclasses import replace

import pytest
from rich.console import Console

from exporter.cli.node_view import NodeView, node_view
from exporter.cli.top_frame import SORTS, frame
from exporter.exposition.api import snapshot_document
from exporter.ledger.snapshot import WorkloadTotals
from exporter.workloads.records import WorkloadId
from tests.exposition.snapshots import snapshot


def view(*, workloads: int = 0, with_carbon: bool = True) -> NodeView:
    many = [
        WorkloadTotals(WorkloadId("unit", "", f"w{i}"), (float(i),) + (0.0,) * 6, (1.0 / (i + 1), 0.0), float(-i))
        for i in range(workloads)
    ]
    made = snapshot(with_carbon=with_carbon, workloads=many or None)
    return node_view(json.loads(snapshot_document(made)))


def lines(shown: NodeView, *, width: int = 100, height: int | None = None, sort: str = "power") -> list[str]:
    console = Console(width=width, force_terminal=False, color_system=None)
    with console.capture() as capture:
        console.print(frame(shown, feed="the feed", sort=sort, width=width, height=height))
    return [line.rstrip() for line in capture.get().splitlines()]


def line_of(word: str, found: list[str]) -> str:
    return next(line for line in found if line.startswith(word))


def test_what_is_estimated_is_marked_and_what_is_measured_is_not() -> None:
    """DESIGN.md §1.6."""
    found = lines(view())

    assert "measured, rapl ±5%" in line_of("cpu", found)
    assert "~" not in line_of("cpu", found)
    assert "estimated, cpu_estimate ±60%" in line_of("dram", found)
    assert "~" in line_of("dram", found)
    assert "~ estimated by a model, not measured" in found


def test_what_nobody_is_charged_for_is_shown() -> None:
    assert "22.3 W" in line_of("unattributed", lines(view()))
    assert line_of("ended", lines(view()))


def test_power_that_was_not_read_is_not_zero() -> None:
    assert "–" in line_of("dram", lines(view()))
    assert "0 W" not in line_of("dram", lines(view()))


def test_without_a_grid_zone_emissions_are_unknown_and_the_setting_is_named() -> None:
    found = lines(view(with_carbon=False))

    assert line_of("ml/trainer-0", found).endswith("–")
    assert "set carbon.grid_zone" in found[-1]


def test_a_source_that_is_down_is_told() -> None:
    assert "cgroup down: EACCES" in lines(view())


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    found = lines(view(workloads=5), width=width)

    assert max(map(len, found)) <= width
    assert line_of("cpu", found)


@pytest.mark.parametrize("height", [24, 30, 50])
def test_the_frame_fits_and_says_what_is_left_out(height: int) -> None:
    found = lines(view(workloads=100), height=height)

    assert len(found) <= height
    shown = sum(line.startswith("w") for line in found)
    assert f"and {100 - shown} more workload(s)" in found


@pytest.mark.parametrize(("height", "gpus"), [(24, 0), (30, 2), (40, 8), (None, 8)])
def test_gpus_are_left_out_before_runs_and_workloads(height: int | None, gpus: int) -> None:
    few = view(workloads=100)
    many = replace(few, gpus=[few.gpus[0]._replace(number=number) for number in range(8)])

    found = lines(many, height=height)

    assert sum("llama-ft (idle)" in line for line in found) == gpus
    assert height is None or len(found) <= height
    assert line_of("llama-ft", found)


def test_a_gpu_that_is_held_and_idle_is_said_to_be() -> None:
    found = lines(view(), width=120)

    assert "llama-ft (idle)" in line_of("3 H100", found)
    assert "1, 1 idle" in line_of("llama-ft", [line for line in found if "torchrun" in line])


@pytest.mark.parametrize(("sort", "first"), [("power", "w0"), ("energy", "w3"), ("emissions", "w0"), ("name", "w0")])
def test_workloads_are_sorted(sort: str, first: str) -> None:
    names = [line.split()[0] for line in lines(view(workloads=4), sort=sort) if line.startswith("w")]

    assert names[0] == first


def test_what_is_over_comes_last_in_every_order() -> None:
    shown = view()
    over = shown.runs[0]._replace(name="over", is_over=True, power_w=1e6, energy_j=1e12, emissions_g=1e9)
    shown = replace(shown, runs=[over, *shown.runs])

    for sort in SORTS:
        names = [line.split()[0] for line in lines(shown, sort=sort) if line.startswith(("over", "llama-ft"))]
        assert names == ["llama-ft", "over"]


def test_text_from_users_is_no_markup_and_no_escape_sequence() -> None:
    shown = view()
    shown = replace(shown, runs=[shown.runs[0]._replace(name="[red]x[/red]\x1b[2J")])

    assert line_of("[red]x[/red]", lines(shown))
    assert not any("\x1b" in line for line in lines(shown))
