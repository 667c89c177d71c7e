"""Parsing /proc."""

import contextlib
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import SourceFormatError
from exporter.workloads.procfs import parse_node_stat, parse_process_stat

_TAIL = b" S 7 8 9 0 -1 2097152 0 0 0 0 10 20 3 4 20 0 1 0 555 0 0"


def test_a_command_may_hold_brackets_and_spaces() -> None:
    stat = parse_process_stat(b"42 (a) b (c)" + _TAIL)
    assert stat == ("a) b (c", 7, 9, True, 30, 7, 555)


def test_guest_time_and_iowait_are_not_busy() -> None:
    assert parse_node_stat(b"cpu 1 2 4 100 200 8 16 500 900 900\nprocesses 77\n") == (31, 77)


def test_the_running_kernel_is_understood() -> None:
    assert parse_node_stat(Path("/proc/stat").read_bytes()).forks > 0
    assert parse_process_stat(Path("/proc/self/stat").read_bytes()).start_ticks > 0


@given(st.binary())
def test_any_bytes_give_a_value_or_a_format_error(raw: bytes) -> None:
    for parse in (parse_node_stat, parse_process_stat):
        with contextlib.suppress(SourceFormatError):
            parse(raw)
