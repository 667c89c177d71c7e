"""Says at the end what was skipped and why; with CI=true a skip that is not expected there fails the run.

Also gives the one fixture that tests of several folders share.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

EXPECTED_SKIPS = (
    "needs cgroup v1",
    "no NVIDIA GPU",
    "no RAPL",
    "needs real hardware",
    "the user nobody can run no Python here",
)
"""Beginnings of the reasons that a machine without GPU, power counters, cgroup v1 or a Python outside of root's home
may give under CI=true."""

_SKIPS = pytest.StashKey[Counter[str]]()


settings.register_profile("busy", deadline=None)  # what a busy machine needs says nothing of the code
settings.load_profile("busy")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_SKIPS] = Counter()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        item.config.stash[_SKIPS][_reason(report.longrepr)] += 1
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if report.skipped:
        collector.config.stash[_SKIPS][_reason(report.longrepr)] += 1
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    if _unexpected(session.config) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    skips = config.stash[_SKIPS]
    terminalreporter.section(f"{skips.total()} skipped")
    for reason, count in sorted(skips.items()):
        terminalreporter.line(f"{count:4d} × {reason}")
    for reason in _unexpected(config):
        terminalreporter.line(f"FAILED: not an expected skip with CI=true: {reason}", red=True)


def _unexpected(config: pytest.Config) -> list[str]:
    if os.environ.get("CI") != "true":
        return []
    return [reason for reason in config.stash[_SKIPS] if not reason.startswith(EXPECTED_SKIPS)]


def _reason(longrepr: object) -> str:
    """Return the reason of a skip; pytest keeps it as the last of (path, line, "Skipped: reason")."""
    text = longrepr[2] if isinstance(longrepr, tuple) else str(longrepr)
    return str(text).removeprefix("Skipped: ")


@pytest.fixture(scope="session")
def standin_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the stand-in for NVIDIA's library, compiled; skip where there is no compiler."""
    from exporter.testing.simulated_nvml import NoCompilerError, build_standin

    try:
        return build_standin(tmp_path_factory.mktemp("nvml"))
    except NoCompilerError as exc:
        pytest.skip(str(exc))
