from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from exporter.cli import main
from exporter.cli.arguments import parse
from exporter.cli.reference import markdown
from exporter.cli.state_path import with_state_path
from exporter.config import Settings

DOCS = Path(__file__).parents[2] / "docs"


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


def test_the_callers_own_state_directory_comes_next(tmp_path: Path) -> None:
    """Without root: the system's directory cannot be written, the user's can."""
    missing = tmp_path / "file"
    missing.touch()

    settings = with_state_path(Settings(), {"HOME": str(tmp_path)}, system=missing / "wattribute")

    assert settings.ledger.state_path == str(tmp_path / ".local/state/wattribute/state.db")


def test_nowhere_to_write_means_no_state_file(tmp_path: Path) -> None:
    missing = tmp_path / "file"
    missing.touch()

    assert with_state_path(Settings(), {}, system=missing / "x").ledger.state_path == ""


def test_the_agent_is_the_command_of_a_line_that_names_none() -> None:
    options = parse(["--sampling.interval=2s", "--web.listen-address=:1", "--web.listen-address=:2"], {})

    assert options.command == "agent"
    assert options.settings().sampling.interval_s == 2
    assert options.settings().web.listen_addresses == (":1", ":2")


def test_the_configuration_file_may_be_named_by_the_environment_and_the_flag_wins() -> None:
    environ = {"WATTRIBUTE_CONFIG_FILE": "/a"}

    assert parse([], environ).config_path == Path("/a")
    assert parse(["--config.file=/b"], environ).config_path == Path("/b")


def test_the_cgroup_mount_follows_sysfs() -> None:
    roots = parse(["--path.procfs=/host/proc", "--path.sysfs=/host/sys"], {}).roots

    assert (roots.procfs, roots.cgroupfs) == (Path("/host/proc"), Path("/host/sys/fs/cgroup"))


@pytest.mark.parametrize(
    ("argv", "hint"),
    [
        (["chekc"], "did you mean check?"),
        (["--log.level=info", "check"], "the command comes first: wattribute check"),
        (["runs", "--onec"], "unrecognized arguments: --onec"),
        (["top", "--interval=never"], "expected a duration such as 5s"),
    ],
)
def test_a_wrong_command_line_exits_2_with_a_hint(
    argv: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)

    assert caught.value.code == 2
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["--version"], ["top", "--version"], ["--help"], ["runs", "-h"]])
def test_help_and_version_exit_0(argv: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)

    assert caught.value.code == 0


def test_the_reference_is_current() -> None:
    assert markdown() == (DOCS / "reference/cli.md").read_text("utf-8")


def test_a_reader_that_leaves_early_is_no_traceback() -> None:
    """`wattribute check --output json | true`."""
    command = f"{sys.executable} -m exporter.cli check --output=json --wait=0.1 2>&1 >&3 | cat"
    done = subprocess.run(["bash", "-c", f"{{ {command}; }} 3> >(true)"], capture_output=True, text=True, check=False)

    assert done.stdout == ""


def test_the_agents_modules_leave_what_is_heavy_to_others() -> None:
    """Memory: the agent needs neither tables nor an HTTP client, and its settings need no database."""
    code = "import sys, exporter.cli.agent_command as a; print([m for m in sys.argv[1:] if m in sys.modules])"
    heavy = ["rich", "urllib.request", "http.client", "yaml"]
    done = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True)
    config = "import sys, exporter.config; print('sqlite3' in sys.modules)"
    settings = subprocess.run([sys.executable, "-c", config], capture_output=True, text=True, check=True)

    assert (done.stdout.strip(), settings.stdout.strip()) == ("[]", "False")
