from __future__ import annotations

import io
import logging
from pathlib import Path

import pytest

from exporter.cli import main
from exporter.cli.state_path import with_state_path
from exporter.config import Settings
from exporter.health import Finding
from exporter.logs import HealthLog, LogfmtFormatter, set_up_logs


def test_an_unknown_flag_exits_2_with_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--web.listen-adress=:1"])

    assert caught.value.code == 2
    assert "did you mean --web.listen-address?" in capsys.readouterr().err


def test_config_exits_2_and_names_file_line_and_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "w.yaml"
    path.write_text("web:\n  max_requests: 0\n")

    assert main(["config", "--config.file", str(path)]) == 2
    assert f"{path}:2: web.max_requests: expected" in capsys.readouterr().err


def test_config_accepts_the_defaults() -> None:
    assert main(["config"]) == 0


def test_runs_without_a_state_file_exits_1_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "--state.file", str(tmp_path / "none.db")]) == 1
    assert "does not exist" in capsys.readouterr().err


def test_the_systemd_directory_is_taken_first(tmp_path: Path) -> None:
    settings = with_state_path(Settings(), {"STATE_DIRECTORY": str(tmp_path)})

    assert settings.ledger.state_path == str(tmp_path / "state.db")


def test_text_from_users_cannot_forge_a_log_line() -> None:
    """S-22."""
    record = logging.LogRecord("exporter", logging.INFO, "", 0, "a\r\nlevel=error", None, None)

    line = LogfmtFormatter().format(record)

    assert line.splitlines() == [line]
    assert line.endswith('msg="a\\r\\nlevel=error"')


def test_health_is_logged_on_a_change_only() -> None:
    stream = io.StringIO()
    set_up_logs("info", "logfmt", stream)
    health = HealthLog()
    for state in ("up", "up", "down", "down", "up"):
        health.note([Finding(source="rapl", state=state)])

    assert [line.rpartition("state=")[2] for line in stream.getvalue().splitlines()] == ["up", "down", "up"]
