from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from exporter.cli import main
from exporter.host import Roots
from exporter.ledger.store import Store
from tests.cli.agents import AgentProcess, root_flags
from tests.system.programs import free_port

BASIC = ["check", "--wait=0.1", "--output=json"]


def check(capsys: pytest.CaptureFixture[str], roots: Roots, *flags: str) -> tuple[int, dict[str, Any]]:
    free = [] if any("listen-address" in flag for flag in flags) else [f"--web.listen-address=127.0.0.1:{free_port()}"]
    code = main([*BASIC, *root_flags(roots), *free, *flags])
    document = json.loads(capsys.readouterr().out)
    assert isinstance(document, dict)
    return code, document


def finding(document: dict[str, Any], source: str, item: str = "") -> dict[str, Any]:
    return next(f for f in document["findings"] if (f["source"], f["item"]) == (source, item))


@contextmanager
def another_program(greeting: bytes) -> Iterator[str]:
    """Listen, and greet whoever comes with something that is not ours."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client:
                client.recv(1000)
                client.sendall(greeting)

        thread = threading.Thread(target=greet)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join(5)


def test_a_node_that_has_what_is_needed_is_fine(roots: Roots, capsys: pytest.CaptureFixture[str]) -> None:
    """No grid zone, no hwmon and no state file are hints."""
    code, document = check(capsys, roots, "--state.file=")

    assert (code, document["failed"]) == (0, [])
    assert finding(document, "energy", "cpu")["state"] == "up"
    assert finding(document, "process_table")["state"] == "up"
    assert finding(document, "cgroups")["state"] == "up"
    assert finding(document, "environment")
    assert "carbon:\n  grid_zone: DE" in finding(document, "carbon")["remedy"]
    assert finding(document, "state_file")["state"] == "absent"


def test_a_required_sensor_that_is_missing_fails(
    roots: Roots, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "w.yaml"
    config.write_text("sensors: {required_sources: [hwmon, rapl]}")

    code, document = check(capsys, roots, f"--config.file={config}")

    assert (code, document["failed"]) == (1, ["hwmon"])


def test_no_source_of_energy_fails(roots: Roots, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "w.yaml"
    config.write_text("sensors: {disabled_sources: [hwmon, rapl, cpu_estimate]}")

    code, document = check(capsys, roots, f"--config.file={config}")

    assert (code, document["failed"]) == (1, ["energy"])


def test_an_empty_proc_fails(roots: Roots, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, document = check(capsys, roots, f"--path.procfs={tmp_path}")

    assert code == 1
    assert "process_table" in document["failed"]


def test_an_address_that_our_agent_holds_is_in_order(
    agent: AgentProcess, roots: Roots, capsys: pytest.CaptureFixture[str]
) -> None:
    code, document = check(capsys, roots, f"--web.listen-address={agent.url.removeprefix('http://')}")

    assert code == 0
    assert finding(document, "web")["detail"] == f"an agent is running at {agent.url}"


@pytest.mark.parametrize("greeting", [b"SSH-2.0-x\r\n", b"HTTP/1.0 200 OK\r\n\r\nPrometheus Server is Healthy.\n", b""])
def test_an_address_that_another_program_holds_fails(
    roots: Roots, capsys: pytest.CaptureFixture[str], greeting: bytes
) -> None:
    """F72."""
    with another_program(greeting) as address:
        code, document = check(capsys, roots, f"--web.listen-address={address}")

    assert (code, document["failed"]) == (1, ["web"])
    assert address in finding(document, "web")["detail"]


def test_a_state_file_that_an_agent_uses_is_in_order(
    roots: Roots, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "state.db"
    store = Store(path, boot_id="boot")
    try:
        _, document = check(capsys, roots, f"--state.file={path}")
    finally:
        store.close()
    _, later = check(capsys, roots, f"--state.file={path}")

    assert finding(document, "state_file")["detail"] == f"{path}, in use by an agent"
    assert finding(later, "state_file")["detail"] == str(path)


def test_a_file_that_is_no_state_file_is_told_and_left_alone(
    roots: Roots, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """F68."""
    path = tmp_path / "state.db"
    path.write_bytes(b"not a database, but somebody's text" * 100)

    code, document = check(capsys, roots, f"--state.file={path}")

    assert (code, finding(document, "state_file")["state"]) == (0, "down")
    assert list(tmp_path.iterdir()) == [path]


def test_a_state_file_is_not_created_by_looking(
    roots: Roots, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "new" / "state.db"

    _, document = check(capsys, roots, f"--state.file={path}")

    assert finding(document, "state_file")["detail"] == f"{path} will be created"
    assert not path.parent.exists()


def test_plain_text_has_one_line_per_source_and_remedies_below(
    roots: Roots, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"127.0.0.1:{free_port()}"

    assert main(["check", "--wait=0.1", *root_flags(roots), f"--web.listen-address={address}"]) == 0

    lines = capsys.readouterr().out.splitlines()
    start = lines.index("          → Set the grid zone in the configuration file:")
    assert lines[start + 1 : start + 3] == ["            carbon:", "              grid_zone: DE"]
    assert f"up        web: {address} is free" in lines
    assert lines[-1] == "everything needed works"


def test_providers_are_asked_and_their_failure_is_told(
    roots: Roots, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    intensity, config = tmp_path / "intensity.yaml", tmp_path / "c.yaml"
    intensity.write_text("250")
    config.write_text(
        "carbon:\n  grid_zone: DE\n  providers:\n"
        f"    - {{kind: gateway, url: 'http://127.0.0.1:{free_port()}'}}\n    - {{kind: file, path: {intensity}}}\n"
    )

    _, document = check(capsys, roots, "--state.file=", f"--config.file={config}")

    gateway = finding(document, "gateway")
    assert (gateway["state"], "Connection refused" in gateway["detail"]) == ("down", True)
    assert finding(document, "file")["state"] == "up"
    assert "250 g/kWh for DE" in finding(document, "carbon", "average")["detail"]


def test_budgets_say_what_they_select(roots: Roots, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(
        "budgets:\n  - {name: all, limit_kg: 1, select: {everything: true}}\n"
        "  - {name: nobody, limit_kg: 1, select: {namespace: no-such-team}}\n"
    )

    _, document = check(capsys, roots, "--state.file=", f"--config.file={config}")

    assert finding(document, "budget", "all")["state"] == "up"
    assert "selects nothing here now" in finding(document, "budget", "nobody")["detail"]
