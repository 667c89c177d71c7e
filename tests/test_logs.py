from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.health import Finding, State
from exporter.logs import HealthLog, JsonFormatter, LogfmtFormatter, RateCap, set_up_logs

PAIR = re.compile(r'([a-z_]+)=("(?:[^"\\]|\\.)*"|[^ "=]+)(?: |$)')


def record(message: str, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("exporter", logging.WARNING, "", 0, message, None, None)
    made.__dict__.update(fields)
    return made


def parsed(line: str) -> dict[str, str]:
    """Read logfmt back; what is not key=value is an error."""
    pairs, end = {}, 0
    while end < len(line):
        match = PAIR.match(line, end)
        assert match, f"not logfmt from {end}: {line!r}"
        pairs[match[1]] = json.loads(match[2]) if match[2].startswith('"') else match[2]
        end = match.end()
    return pairs


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    logger = logging.getLogger("exporter")
    before = (logger.handlers[:], logger.level, logger.propagate, logging.raiseExceptions)
    stream = io.StringIO()
    set_up_logs("info", "logfmt", stream)
    yield stream
    logger.handlers[:], level, logger.propagate, logging.raiseExceptions = before
    logger.setLevel(level)


@given(st.text(max_size=50), st.text(max_size=50))
def test_logfmt_is_one_line_that_reads_back(message: str, detail: str) -> None:
    """S-22: no text, whoever chose it, makes a second line or another field."""
    line = LogfmtFormatter().format(record(message.replace("%", ""), detail=detail))

    assert len(line.splitlines()) == 1
    assert list(parsed(line)) == ["ts", "level", "msg", "detail"]
    assert parsed(line)["detail"] == detail


@given(st.text(max_size=50))
def test_json_is_one_line_that_reads_back(detail: str) -> None:
    """S-22."""
    line = JsonFormatter().format(record("m", detail=detail, count=3))

    assert len(line.splitlines()) == 1
    assert json.loads(line) | {"ts": ""} == {"ts": "", "level": "warning", "msg": "m", "detail": detail, "count": 3}


def test_plain_words_are_not_quoted_and_time_is_utc() -> None:
    made = record("serving", source="rapl")
    made.created = 1_764_000_000.25

    assert LogfmtFormatter().format(made) == "ts=2025-11-24T16:00:00.250Z level=warning msg=serving source=rapl"


def test_a_traceback_stays_on_the_line() -> None:
    error = ValueError("a\nlevel=error")
    made = record("failed")
    made.exc_info = (ValueError, error, None)

    assert "ValueError: a\nlevel=error" in parsed(LogfmtFormatter().format(made))["exception"]
    assert len(LogfmtFormatter().format(made).splitlines()) == 1


def test_a_remedy_of_several_lines_is_escaped(stream: io.StringIO) -> None:
    HealthLog().note([Finding(source="carbon", state="absent", remedy="Set:\ncarbon:\n  grid_zone: DE")])

    (line,) = stream.getvalue().splitlines()
    assert r'remedy="Set:\ncarbon:\n  grid_zone: DE"' in line


def test_health_is_logged_on_a_change_only(stream: io.StringIO) -> None:
    health = HealthLog()
    states: list[State] = ["up", "up", "down", "down", "degraded", "up"]
    for state in states:
        health.note([Finding(source="rapl", state=state, detail=f"now {state}", remedy="do"), up("hwmon")])

    found = [parsed(line) for line in stream.getvalue().splitlines()]
    assert [(f["level"], f["state"]) for f in found if f["source"] == "rapl"] == [
        ("info", "up"),
        ("warning", "down"),
        ("warning", "degraded"),
        ("info", "up"),
    ]
    assert len([f for f in found if f["source"] == "hwmon"]) == 1
    assert found[2]["detail"] == "now down"
    assert found[2]["remedy"] == "do"


def up(source: str) -> Finding:
    return Finding(source=source, state="up")


def test_items_of_a_source_have_states_of_their_own(stream: io.StringIO) -> None:
    health = HealthLog()
    for state in ("up", "down"):
        health.note([up("rapl"), Finding(source="rapl", item="package 0", state=state)])

    assert [line.count('item="package 0"') for line in stream.getvalue().splitlines()] == [0, 1, 1]


def test_a_change_of_words_alone_is_not_logged(stream: io.StringIO) -> None:
    """Details hold numbers that change at every tick."""
    health = HealthLog()
    for tick in range(5):
        health.note([Finding(source="rapl", state="down", detail=f"{tick} reads failed")])

    assert len(stream.getvalue().splitlines()) == 1


def test_a_flood_is_cut_and_the_next_line_says_by_how_much() -> None:
    now_s = [0.0]
    cap = RateCap(limit=3, window_s=10.0, now_s=lambda: now_s[0])

    passed = [cap.filter(record("m")) for _ in range(10)]
    now_s[0] = 10.0
    following = record("m")

    assert passed == [True] * 3 + [False] * 7
    assert cap.filter(following)
    assert vars(following)["dropped_before"] == 7
    assert "dropped_before" not in vars(record("m"))


def test_messages_below_the_level_are_not_written(stream: io.StringIO) -> None:
    set_up_logs("error", "json", stream)
    logging.getLogger("exporter.x").warning("no")
    logging.getLogger("exporter.x").error("yes")

    assert [json.loads(line)["msg"] for line in stream.getvalue().splitlines()] == ["yes"]


def test_a_stream_that_fails_does_not_end_the_program(stream: io.StringIO) -> None:
    """F71: a full disk or a closed pipe behind standard error."""
    closed = io.StringIO()
    closed.close()
    set_up_logs("info", "logfmt", closed)

    logging.getLogger("exporter.x").error("lost")
